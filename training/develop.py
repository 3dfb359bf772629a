"""Early stopping: ranks development collections now and then, keeps the best weights.

A collection is judged queries that training never sees: a split of some collection, of each of a
group (`nanobeir`), or a share of the training queries held out. Its documents are those judged and
a sample of others, so that a look takes seconds; its scores compare one step with another and are
not those of the whole collection.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lsr.datasets import draw_pool, load_dataset
from lsr.datasets.catalogue import known, members
from lsr.encoders.folder import read_object, write_json
from lsr.encoders.protocol import SparseEncoder
from lsr.errors import RecipeError
from lsr.measures import evaluate
from lsr.types import Qrels

from .candidates import limited
from .data import Pairs, Source, beside, counted, load_pairs, rows_of_texts, same_text
from .gather import anyone
from .recipe import Recipe
from .sharding import collect
from .shards import INDEX, learned, read_into, write_shards
from .watch import Notes

_DEPTH = 100


@dataclass(frozen=True)
class Development:
    """Queries, documents and judgements; ids are the positions in the lists, as strings."""

    name: str
    split: str
    fingerprint: str
    queries: list[str]
    documents: list[str]
    qrels: Qrels


def load_learned(
    recipe: Recipe,
    *,
    cache: Path | None = None,
    deadline: float | None = None,
    quiet: bool = True,
) -> tuple[tuple[Development, ...], Pairs]:
    """The development collections of the recipe, and the pairs that it learns from.

    Both training and `lsr score` ask here: scores of other queries or candidates are refused.
    `cache` keeps mined negatives; `OutOfTimeError` if `deadline` ended the mining.
    """
    loaded = load_pairs(recipe, cache=cache, deadline=deadline, quiet=quiet)
    developments, left = load_development(recipe, loaded)
    return developments, limited(left, recipe.distillation.candidates)


def load_development(recipe: Recipe, pairs: Pairs) -> tuple[tuple[Development, ...], Pairs]:
    """The development collections of the recipe, and the pairs that are left to learn from."""
    wanted = recipe.develop
    if wanted is None:
        return (), pairs
    if not wanted.dataset:
        development, left = _held_out(recipe, pairs)
        return (development,), left
    named = members([wanted.dataset])
    developments = tuple(_from_collection(recipe, name, pairs.sources) for name in named)
    asked = {same_text(query) for one in developments for query in one.queries}
    kept = [row for row, query in enumerate(pairs.queries) if same_text(query) not in asked]
    if not kept:
        raise RecipeError(
            f"{recipe.path}: every query of data.train is also one of develop.dataset = "
            f"'{wanted.dataset}', split '{wanted.split}'; name another split or collection."
        )
    return developments, pairs if len(kept) == len(pairs.queries) else _kept(pairs, kept)


def _from_collection(recipe: Recipe, name: str, learned: Sequence[Source]) -> Development:
    wanted = recipe.develop
    assert wanted is not None
    dataset = load_dataset(beside(name, recipe.path))
    for source in learned:
        if (source.fingerprint, source.split) == (dataset.fingerprint, wanted.split):
            raise RecipeError(
                f"{recipe.path}: develop.dataset = '{name}' with split '{wanted.split}' has the "
                f"very queries that data.train ('{source.name}') learns from, and would choose the "
                "weights that know them by heart; name another split or collection, or take "
                "develop.held_out = 0.1 in place of dataset and split."
            )
    pool = draw_pool(
        dataset,
        wanted.split,
        queries=wanted.queries,
        documents=wanted.documents,
        rng=np.random.default_rng([recipe.run.seed, 0x6465]),
        seed=recipe.run.seed,
    )
    if not pool.queries:
        raise RecipeError(
            f"{recipe.path}: develop.dataset = '{name}' has no query with a relevant "
            f"document in split '{wanted.split}'; it has {', '.join(dataset.splits()) or 'none'}."
        )
    row_of = {doc_id: str(row) for row, doc_id in enumerate(pool.texts)}
    return Development(
        name=name if name in known() else Path(name).name,
        split=wanted.split,
        fingerprint=dataset.fingerprint,
        queries=[query.text for query in pool.queries],
        documents=list(pool.texts.values()),
        qrels={
            str(row): {row_of[doc_id]: grade for doc_id, grade in graded.items()}
            for row, graded in enumerate(pool.qrels.values())
        },
    )


def _held_out(recipe: Recipe, pairs: Pairs) -> tuple[Development, Pairs]:
    wanted = recipe.develop
    assert wanted is not None
    firsts = np.asarray([rows[0] for rows in rows_of_texts(pairs.queries)])
    size = min(wanted.queries, max(1, round(wanted.held_out * len(firsts))))
    if size >= len(firsts):
        raise RecipeError(
            f"{recipe.path}: develop.held_out = {wanted.held_out} leaves nothing of "
            f"{len(firsts)} queries to learn from; lower it or name a develop.dataset."
        )
    rng = np.random.default_rng([recipe.run.seed, 0x6465])
    out = firsts[np.sort(rng.choice(len(firsts), size=size, replace=False))]
    judged = np.unique(np.concatenate([pairs.positives[row] for row in out]))
    rest = np.setdiff1d(np.arange(len(pairs.documents)), judged)
    n_others = min(len(rest), max(0, wanted.documents - len(judged)))
    others = rng.choice(rest, size=n_others, replace=False) if n_others else rest[:0]
    rows = np.sort(np.concatenate([judged, others]))
    place = {int(document): str(at) for at, document in enumerate(rows)}
    development = Development(
        name="held out of training",
        split=recipe.data.split,
        fingerprint=recipe.fingerprint(),
        queries=[pairs.queries[row] for row in out],
        documents=[pairs.documents[row] for row in rows],
        qrels={
            str(at): {place[int(document)]: 1 for document in pairs.positives[row]}
            for at, row in enumerate(out)
        },
    )
    asked = {same_text(pairs.queries[row]) for row in out}
    kept = [row for row, query in enumerate(pairs.queries) if same_text(query) not in asked]
    return development, _kept(pairs, kept)


def _kept(pairs: Pairs, rows: Sequence[int]) -> Pairs:
    """The pairs of some queries: of those that are held out nothing is learned, in any copy."""
    left = replace(
        pairs,
        queries=[pairs.queries[row] for row in rows],
        source_of=pairs.source_of[np.asarray(rows)],
        positives=[pairs.positives[row] for row in rows],
        negatives=[pairs.negatives[row] for row in rows],
    )
    return replace(left, sources=counted(left))


def mean_score(developments: Sequence[Development], encoder: SparseEncoder, measure: str) -> float:
    """The mean over collections, each ranked by itself and counting alike."""
    return float(np.mean([score(one, encoder, measure) for one in developments]))


def score(development: Development, encoder: SparseEncoder, measure: str) -> float:
    """The mean of `measure`, an ir_measures name, over exact scores of every document."""
    queries = encoder.encode_queries(development.queries)
    documents = encoder.encode_documents(development.documents)
    scores = (queries @ documents.T).tocsr()
    run: dict[str, dict[str, float]] = {}
    for row in range(scores.shape[0]):
        at = slice(scores.indptr[row], scores.indptr[row + 1])
        columns, values = scores.indices[at], scores.data[at]
        best = np.lexsort((columns, -values))[:_DEPTH]
        # Ranks instead of scores: ties are ours to break, by position, and not the measure's.
        run[str(row)] = {
            str(columns[place]): float(_DEPTH - rank) for rank, place in enumerate(best)
        }
    return evaluate(run, development.qrels, [measure]).means[measure]


@dataclass
class Progress:
    """The scores so far, as `develop.json` keeps them beside the checkpoints."""

    scores: list[tuple[int, float]] = field(default_factory=list)
    """(step, score), in order."""
    stopped: bool = False

    @property
    def best(self) -> tuple[int, float] | None:
        """The earliest of the highest scores."""
        return max(self.scores, key=lambda pair: (pair[1], -pair[0]), default=None)

    @property
    def looks_since_best(self) -> int:
        """How many looks brought nothing better."""
        best = self.best
        return 0 if best is None else sum(step > best[0] for step, _ in self.scores)

    @classmethod
    def read(cls, file: Path) -> "Progress":
        """What the file says; nothing yet if there is none."""
        if not file.is_file():
            return cls()
        content = read_object(file)
        return cls([(int(s), float(v)) for s, v in content["scores"]], bool(content["stopped"]))


class StopEarly(TrainerCallback):
    """Looks every so many steps; stops after `patience` looks without a better score.

    A better score is followed by a checkpoint, so that the checkpoints never lag behind the best
    weights: a run that dies goes on from a state that knows of them.
    """

    def __init__(
        self,
        objective: nn.Module,
        look: Callable[[], float],
        folder: Path,
        *,
        every: int,
        patience: int,
        exact: bool,
    ) -> None:
        self._objective, self._look = objective, look
        self._file, self._weights = folder / "develop.json", folder / "best"
        self._every, self._patience, self._exact = every, patience, exact
        self._note: Notes = {}
        self.progress = Progress.read(self._file)

    def say(self, _: int) -> Notes:
        """The score since the last line of the log, if there was a look."""
        note, self._note = self._note, {}
        return note

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Forget looks at steps that will be taken again, and what a kill left of the last."""
        old = self._weights.with_name("best.old")
        if state.is_world_process_zero and old.is_dir() and not self._weights.is_dir():
            old.rename(self._weights)  # that of the look which `develop.json` knows
        self.progress = Progress([p for p in self.progress.scores if p[0] <= state.global_step])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look if it is time, or the end."""
        step = state.global_step
        if step % self._every and step < state.max_steps:
            return
        collect(kwargs.get("model"), self._objective)
        better = stop = False
        if state.is_world_process_zero:
            better = self._looked(step)
            stop = 0 < self._patience <= self.progress.looks_since_best
        if anyone(better):
            control.should_save = True
        if anyone(stop) and step < state.max_steps:
            self.progress.stopped = True
            control.should_save = control.should_training_stop = True
        if state.is_world_process_zero:
            write_json(self._file, asdict(self.progress))

    def _looked(self, step: int) -> bool:
        """Score the network as it is; whether it is the best so far, which is then kept."""
        best, value = self.progress.best, self._look()
        self.progress.scores.append((step, value))
        self._note = {"develop": value}
        if best is not None and value <= best[1]:
            return False
        tensors = learned(self._objective)
        fresh = self._weights.with_name("best.partial")
        shutil.rmtree(fresh, ignore_errors=True)
        write_shards(tensors, fresh, exact=frozenset(tensors if self._exact else ()))
        if self._weights.is_dir():
            old = self._weights.with_name("best.old")
            shutil.rmtree(old, ignore_errors=True)
            self._weights.rename(old)
            fresh.rename(self._weights)
            shutil.rmtree(old, ignore_errors=True)
        else:
            fresh.rename(self._weights)
        return True

    def restore_best(self) -> None:
        """Put the weights of the best look back into the objective."""
        if (self._weights / INDEX).is_file():
            read_into(self._objective, self._weights)
