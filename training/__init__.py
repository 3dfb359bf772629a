"""From texts and teachers to an encoder: recipes in, encoder folders out."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsr.datasets import CorpusFile, Dataset, load_dataset, read_queries
from lsr.errors import MissingExtra, UsageError, imports_of
from lsr.types import Query

from .adapting.data import MadeCollection, write_collection
from .adapting.written import Writing
from .mining.collections import MiningReport, mine_collection
from .mining.negatives import MiningPlan
from .mining.unjudged import mine_unjudged
from .recipe import Recipe, load_recipe, shipped_recipes
from .report import Measured, TrainReport

if TYPE_CHECKING:
    from .adapting.run import AdaptReport

__all__ = [
    "MadeCollection",
    "Measured",
    "MiningReport",
    "Recipe",
    "TrainReport",
    "adapt",
    "load_recipe",
    "mine",
    "pseudo_queries",
    "shipped_recipes",
    "train",
]


def train(
    recipe: Recipe,
    output: str | Path,
    *,
    resume: bool = True,
    progress: bool | None = None,
    stop_after: float | None = None,
) -> TrainReport:
    """Train the encoder a recipe describes and write its folder to `output`.

    An unfinished run in `<output>.training` is continued, with the result it would have had without
    the interruption; `resume=False` starts over. `stop_after` seconds, the state is saved and the
    report says `finished=False`: call again. `progress=None` leaves it to `LSR_QUIET`.
    Raises `MissingExtra` without torch and transformers.
    """
    try:
        from .run import run_recipe
    except ImportError as missing:
        package = (missing.name or "torch").partition(".")[0]
        raise MissingExtra("training", extra="train", package=package) from None
    return run_recipe(
        recipe,
        Path(output).absolute(),
        resume=resume,
        quiet=os.environ.get("LSR_QUIET", "") not in ("", "0")
        if progress is None
        else not progress,
        stop_after=stop_after,
    )


def mine(
    dataset: str | Path | Dataset,
    output: str | Path,
    *,
    queries: str | Path | Dataset | None = None,
    most: int = 0,
    miners: Sequence[str] = ("bm25",),
    split: str = "train",
    windows: Sequence[str] = ("10-50",),
    margin: float | None = None,
    share: float | None = None,
    teacher: str = "",
    near_copy: float = 0.9,
    seed: int = 0,
    stop_after: float | None = None,
    progress: bool | None = None,
) -> MiningReport:
    """Find hard negatives for the queries of a collection and write them to `output`.

    `miners` are "bm25", folders of sparse encoders and "dense:FOLDER"; each draws from every window
    of ranks, "FIRST-LAST" or "FIRST-LAST:TAKE". Documents above `margin` or `share` of the best
    positive, by `teacher` or else by the miner, are left out. `stop_after` seconds, what was found
    is kept in `<output>.work` and the report says `finished=False`: call again. See
    `training.mining`.

    With `queries`, a collection or a file of queries, `most` of these are asked instead (0: all),
    and `output` is a file of pairs for teachers to judge (`training.mining.unjudged`). If it is the
    collection itself, relevant documents are left out. `margin` and `share`, which compare with
    judged answers, are then a `UsageError`.
    """
    deadline = None if stop_after is None else time.monotonic() + stop_after
    plan = MiningPlan.of(
        miners,
        windows,
        margin=margin,
        share=share,
        teacher=teacher,
        near_copy=near_copy,
        seed=seed,
    )
    found = load_dataset(dataset) if isinstance(dataset, str | Path) else dataset
    quiet = _quiet(progress)
    if queries is None:
        if most:
            raise UsageError("most draws of the queries that are named; name them, or leave it out")
        return mine_collection(
            found, Path(output), plan, split=split, deadline=deadline, quiet=quiet
        )
    if margin is not None or share is not None:
        raise UsageError(
            "margin and share compare with judged answers, and these queries have none"
        )
    asking, same = _asked(queries, found, split)
    if most and most < len(asking):
        rows = np.random.default_rng([seed, 0x7175]).choice(len(asking), size=most, replace=False)
        asking = [asking[row] for row in np.sort(rows)]
    return mine_unjudged(
        found,
        asking,
        Path(output),
        plan,
        split=split if same else None,
        deadline=deadline,
        quiet=quiet,
    )


def _quiet(progress: bool | None) -> bool:
    return os.environ.get("LSR_QUIET", "") not in ("", "0") if progress is None else not progress


def _asked(source: str | Path | Dataset, of: Dataset, split: str) -> tuple[list[Query], bool]:
    """Queries of a file or of a collection's split, and whether that is the collection `of`."""
    found = load_dataset(source) if isinstance(source, str | Path) else source
    if isinstance(found, CorpusFile):
        return list(read_queries(found.path)), False
    return found.queries(split), found.fingerprint == of.fingerprint


def pseudo_queries(
    corpus: str | Path | Dataset,
    output: str | Path,
    *,
    most: int = 0,
    held_out: float = 0.1,
    seed: int = 0,
    text_fields: Sequence[str] = ("title", "text"),
    generator: str | Path = "",
    round_trip: int = 20,
    progress: bool | None = None,
) -> MadeCollection:
    """Make a judged collection of a corpus without labels: a BEIR folder that recipes can name.

    A title, heading or first sentence of each document becomes a query and is taken out of its
    text (inverse cloze task, Lee et al., ACL 2019). With a `generator`, a causal language model
    (folder, .gguf file or hub name), it writes a query for each document, which stays whole, and
    `round_trip` keeps those that find it among so many of BM25's first (Promptagator,
    arXiv 2209.11755). `most` draws so many documents, 0 takes all; `held_out` is the share of
    queries that goes to the split "held-out", 500 at most, the others are "train".

    Raises `DatasetError` where fewer than 4 documents have a query to give, `UsageError` where
    `output` exists, `EncoderError` for a generator that is none, `MissingExtra` where it lacks
    torch, and `IndexLocked` while another process writes for the same output. What was written
    waits in `<output>.work`, where the same call goes on after a kill.
    """
    folder = Path(output)
    if folder.exists():
        raise UsageError(f"{folder} exists; choose another path")
    if not 0 < held_out < 1:
        raise UsageError(f"held_out is {held_out}; wanted a share between 0 and 1")
    found = load_dataset(corpus) if isinstance(corpus, str | Path) else corpus
    writing = None
    if generator:
        with imports_of("writing queries", extra="train", package="torch"):
            from .adapting.writer import QuestionWriter
        quiet = _quiet(progress)
        work = folder.with_name(f"{folder.name}.work")
        writing = Writing(QuestionWriter.load(generator), work, round_trip, quiet=quiet)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return write_collection(
        folder,
        found,
        text_fields,
        max_documents=most,
        held_out=held_out,
        seed=seed,
        writing=writing,
    )


def adapt(
    corpus: str,
    output: str | Path,
    *,
    encoder: str | Path = "lsr-mini",
    queries: Path | None = None,
    generator: str = "",
    teacher: str = "",
    judged: Sequence[str] = (),
    split: str | None = None,
    held_out: float = 0.1,
    max_documents: int = 5_000,
    steps: int = 300,
    batch: int = 16,
    negatives: int = 2,
    learning_rate: float = 3e-5,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    resume: bool = True,
    stop_after: float | None = None,
    progress: bool | None = None,
) -> "AdaptReport":
    """Adapt an encoder to a corpus without labels and write its folder to `output`.

    See `training.adapting.run.AdaptPlan` for what each argument means. `<output>.adapt` keeps what
    every step made; a call that `stop_after` seconds ended, or that was killed, goes on where it
    was.
    Raises `MissingExtra` without torch and transformers.
    """
    try:
        from .adapting.run import AdaptPlan, run_adapt
    except ImportError as missing:
        package = (missing.name or "torch").partition(".")[0]
        raise MissingExtra("adapting an encoder", extra="train", package=package) from None
    plan = AdaptPlan(
        corpus,
        str(encoder),
        queries=queries,
        generator=generator,
        teacher=teacher,
        judged=tuple(judged),
        split=split,
        held_out=held_out,
        max_documents=max_documents,
        steps=steps,
        batch=batch,
        negatives=negatives,
        learning_rate=learning_rate,
        seed=seed,
        settings=settings or {},
    )
    quiet = _quiet(progress)
    return run_adapt(
        plan, Path(output).absolute(), resume=resume, stop_after=stop_after, quiet=quiet
    )
