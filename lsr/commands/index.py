"""`lsr index`: from a corpus to a searchable directory."""

import math
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import click

from ..errors import IndexExists, UsageError
from ..shipped import ENCODERS
from . import _completing as complete
from . import _printing as out
from ._built import tell_built
from ._census import note_read
from ._encoders import EncoderChoice, index_encoder_options
from ._fields import field_kind, field_option
from ._postings_kept import postings_kept
from ._ray_work import RayTasks, corpus_for_tasks, encoder_for_tasks, ray_options
from ._tracing import require_tracing, trace
from ._typed import refuse_given

EXAMPLES = """\b
Examples:
  lsr index scifact scifact.index
  lsr index scifact words.index --encoder bm25
  lsr index corpus.jsonl.gz my.index --encoder runs/encoder --field lang:keyword
  lsr index books/ books.index --passages 256/32
  lsr index wikipedia/20231101.en wiki.index --encoder bm25
  lsr index patents.jsonl patents.index --text-field abstract --text-field claims
  lsr index corpus.jsonl.gz small.index --prune-terms 64 --prune-postings 0.8
  lsr index corpus.jsonl.gz big.index --shards 4 --ray
"""

MANY = 50_000
"""From so many documents on, people are told that a network takes minutes or hours."""


@click.command(epilog=EXAMPLES)
@click.argument("corpus", shell_complete=complete.datasets)
@click.argument("index", type=click.Path(path_type=Path))
@index_encoder_options
@click.option(
    "--text-field",
    "text_fields",
    multiple=True,
    metavar="NAME",
    help="Fields that are read; repeatable. Default: those of the encoder's card, title and text "
    "unless it names others",
)
@field_option
@click.option(
    "--passages",
    metavar="LENGTH/OVERLAP",
    help="Split texts into passages of so many words; searches return documents.",
)
@click.option("--memory", default="1GiB", show_default=True, help="Bound on the build.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads to use, up to 4 a core; all cores by default.",
)
@click.option(
    "--order",
    type=click.Choice(["bp", "none"]),
    default="bp",
    show_default=True,
    help="Similar documents side by side, or as they come.",
)
@click.option(
    "--order-seconds",
    type=click.FloatRange(min=0),
    default=math.inf,
    metavar="SECONDS",
    help="Time for the ordering; what is not ordered by then stays.",
)
@click.option(
    "--prune-terms",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep the N heaviest terms of every document.",
)
@click.option(
    "--prune-mass",
    type=float,
    metavar="SHARE",
    help="Keep the heaviest terms that hold this share of a document's weight.",
)
@click.option(
    "--prune-ratio",
    type=float,
    metavar="SHARE",
    help="Keep the terms that weigh more than this share of a document's heaviest.",
)
@click.option(
    "--prune-postings",
    metavar="SHARE_OR_N",
    help="Keep the heaviest postings of every term: a share such as 0.8, or so many, such as 100.",
)
@click.option(
    "--binary",
    is_flag=True,
    help="Keep which terms a document has, not their weights: a score counts the terms it shares "
    "with the query. Always so for encoders without weights.",
)
@click.option(
    "--origins",
    is_flag=True,
    help="Also keep which words gave a document its expansion terms, for highlights: its network "
    "reads every document twice more, one at a time.",
)
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cut the documents into N indexes that are searched as one, with the same answers.",
)
@ray_options
@click.option("--overwrite", is_flag=True, help="Replace an existing index, in one step.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def index(
    *,
    corpus: str,
    index: Path,
    choice: EncoderChoice,
    text_fields: tuple[str, ...],
    fields: tuple[str, ...],
    passages: str | None,
    memory: str,
    threads: int | None,
    order: Literal["bp", "none"],
    order_seconds: float,
    prune_terms: int | None,
    prune_mass: float | None,
    prune_ratio: float | None,
    prune_postings: str | None,
    binary: bool,
    origins: bool,
    shards: int | None,
    tasks: RayTasks,
    overwrite: bool,
    json: bool,
) -> None:
    """Build INDEX, a directory, of the documents of CORPUS.

    CORPUS is a BEIR folder, a .jsonl file, a .tsv or .txt of id<TAB>text, a .csv with a header (all
    also .gz, .zst), a .parquet, a folder of several such files or of Markdown and text files, or
    the name of a dataset. The encoder lsr-mini comes with this package and reads some 200 short
    documents a second on two cores; `--encoder bm25` ten thousand, by words alone. A build that was
    interrupted goes on when the same command is given again. Of --shards, INDEX holds several
    indexes and the file shards.json.
    """
    from index import Pruning, Settings, build_index, build_shards, one_after_the_other

    from ..datasets import ShardFolder, TextFolder, load_dataset, located_in, typed_documents
    from ..encoders import is_binary

    postings = None if prune_postings is None else postings_kept(prune_postings)
    pruning = Pruning(prune_terms, prune_mass, postings, prune_ratio)
    settings = Settings(order, pruning, binary)
    kinds = dict(field_kind(text) for text in fields)
    windows = None if passages is None else windows_of(passages)
    source = load_dataset(corpus)
    documents = typed_documents(source, kinds)
    if isinstance(source, ShardFolder | TextFolder):
        note_read(source)
    if index.exists() and not overwrite:
        raise IndexExists(f"{index} exists; choose another path, or replace it with --overwrite")
    _refuse_idle(choice, order, order_seconds, tasks=tasks, shards=shards, origins=origins)
    choice = replace(choice, text_fields=tuple(dict.fromkeys(text_fields)))
    encoder, census = choice.load(source)
    n_documents = census.n_documents
    census.note_absent([*choice.text_fields, *kinds])
    if not choice.text_fields:
        census.note_unread(encoder.text_fields)
    if origins:
        require_tracing(encoder)
    if not choice.is_bm25 and n_documents >= MANY:
        out.note(
            "reads",
            f"{n_documents:,} documents through the network of {encoder.name}, which takes a while "
            "(time left below; what is done survives Ctrl-C); --encoder bm25 takes seconds",
        )
    whole = f"{source.name} {source.fingerprint}"
    if choice.precision != "float32":  # a build that goes on must not mix vectors of two precisions
        whole += f" {choice.precision}"
    try:
        with ExitStack() as stack:
            stack.enter_context(located_in(source))
            if shards is None:
                report = build_index(
                    index,
                    documents(),
                    encoder,
                    source=whole,
                    memory=memory,
                    overwrite=overwrite,
                    fields=kinds,
                    passages=windows,
                    settings=settings,
                    threads=threads,
                    order_seconds=order_seconds,
                    total=n_documents,
                )
            else:
                run = one_after_the_other(documents, encoder)
                if tasks.wanted:
                    from index.ray_building import on_ray

                    from ..ray_cluster import cluster

                    stack.enter_context(cluster("lsr index --ray"))
                    run = on_ray(
                        corpus_for_tasks(corpus, source, kinds),
                        encoder_for_tasks(choice, encoder),
                        cpus=tasks.cpus,
                        gpus=tasks.gpus,
                    )
                report = build_shards(
                    index,
                    encoder,
                    run,
                    source=whole,
                    n_docs=n_documents,
                    n_shards=shards,
                    memory=memory,
                    overwrite=overwrite,
                    fields=kinds,
                    passages=windows,
                    settings=settings,
                    threads=threads,
                    order_seconds=order_seconds,
                )
    except KeyboardInterrupt:
        out.note(
            "kept", f"what was flushed to {index}.building; the same command goes on from there"
        )
        raise
    n_traced = 0
    if origins:
        try:
            n_traced = trace(index, require_tracing(encoder))
        except KeyboardInterrupt:
            out.note(
                "kept", f"{index}, and what was traced; `lsr trace {index}` goes on from there"
            )
            raise
    if json:
        traced = {"n_traced": n_traced} if origins else {}
        out.as_json({**asdict(report), **traced, "encoder": encoder.name, "space": encoder.space})
        return
    tell_built(
        report,
        index,
        settings,
        in_passages=windows is not None,
        counts=binary or is_binary(encoder),
        max_weight=encoder.max_weight,
        changeable=choice.encoder not in ENCODERS,
        n_traced=n_traced if origins else None,
        n_shards=shards,
    )
    out.next_step("lsr", "search", str(index), "your question")


def _refuse_idle(
    choice: EncoderChoice,
    order: str,
    order_seconds: float,
    *,
    tasks: RayTasks,
    shards: int | None,
    origins: bool,
) -> None:
    """Raise `UsageError` for options that would do nothing beside the others, or cannot."""
    if choice.is_bm25:
        refuse_given(("precision",), "bm25 has no network that multiplies")
    if order == "none":
        refuse_given(("order_seconds",), "--order none takes no time for an order")
    if math.isnan(order_seconds):
        raise UsageError("--order-seconds nan: wanted a number of seconds from 0")
    if tasks.wanted and shards is None:
        raise UsageError("--ray builds shards, each in a task: say how many with --shards N")
    if shards is not None and origins:
        raise UsageError(
            "--origins writes to an index, and shards are not written to; leave out one of them"
        )


def windows_of(text: str) -> tuple[int, int]:
    """LENGTH/OVERLAP of passages. Raises `UsageError`."""
    length, _, overlap = text.partition("/")
    try:
        windows = int(length), int(overlap or 0)
    except ValueError:
        raise UsageError(
            f"--passages {text}: wanted LENGTH/OVERLAP in words, for example 256/32"
        ) from None
    if 2 * windows[1] > windows[0]:  # as over HTTP: more, and a text is stored many times
        raise UsageError(f"--passages {text}: the overlap may be half of the length at most")
    return windows
