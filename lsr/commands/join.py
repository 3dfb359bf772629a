"""`lsr join`: a learned encoder and the words of texts, in one encoder."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from ..errors import UsageError
from . import _completing as complete
from . import _printing as out
from ._census import Census

EXAMPLES = """\b
Examples:
  lsr join runs/mini runs/mini-words --words corpus.jsonl.gz
  lsr join runs/mini-int8 runs/joined --words boolq --words medquad --most 30000 --weight 2
  lsr evaluate scifact --encoder runs/joined
"""


@click.command(epilog=EXAMPLES)
@click.argument("encoder", shell_complete=complete.encoders)
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--words",
    "corpora",
    metavar="CORPUS",
    multiple=True,
    required=True,
    help="Count in how many of its documents each word occurs; may be given again.",
)
@click.option(
    "--weight",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="What BM25's score is multiplied by before it is added.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    metavar="N",
    help="Read at most N documents of a corpus, evenly spread.",
)
@click.option(
    "--least",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Words of fewer documents count as never seen.",
)
@click.option("--name", help="What the encoder is called. Default: the name of OUTPUT")
@click.option("--overwrite", is_flag=True, help="Replace an existing encoder.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def join(
    *,
    encoder: str,
    output: Path,
    corpora: tuple[str, ...],
    weight: float,
    most: int | None,
    least: int,
    name: str | None,
    overwrite: bool,
    json: bool,
) -> None:
    """Write into OUTPUT the inference-free ENCODER with BM25's words beside its terms.

    Scores are those of ENCODER plus --weight times BM25's. Nothing is trained; the frequencies of
    words are those of the corpora named here, whatever is searched later.
    """
    from ..encoders import InferenceFreeEncoder, load_encoder
    from ..encoders.joined import JoinedEncoder, count_words

    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; choose another path, or replace it with --overwrite")
    learned = load_encoder(encoder)
    if not isinstance(learned, InferenceFreeEncoder):
        raise UsageError(
            f"{encoder} is a {type(learned).__name__}, an inference-free encoder was wanted: the "
            "words of a query need no network, nor should the rest"
        )
    started = time.perf_counter()
    words = count_words(_texts(corpora, most, learned.text_fields), least=least)
    took = time.perf_counter() - started
    if not words.statistics.terms:
        read = out.counted(words.statistics.n_docs, "document")
        raise UsageError(
            f"no word occurs in {least} documents of {', '.join(corpora)} ({read}), so there is "
            "nothing to put beside the terms; name a larger corpus, or lower --least"
        )
    JoinedEncoder.of(learned, words, weight=weight, name=name or output.name).save(output)
    whole = load_encoder(output)
    counted = words.statistics
    if json:
        facts = {"n_docs": counted.n_docs, "words": len(counted.terms), "avgdl": counted.avgdl}
        sizes = {"n_terms": whole.n_terms, "max_weight": whole.max_weight, "space": whole.space}
        out.as_json({"output": output, "weight": weight, **facts, **sizes, "seconds": took})
        return
    known = out.counted(len(counted.terms), "word")
    out.fact(
        "counted",
        out.columns(
            out.counted(counted.n_docs, "document"),
            f"{known} in at least {least} of them, {counted.avgdl:.0f} a document, "
            f"{out.duration(took)}",
        ),
    )
    out.fact("wrote", out.columns(str(output), f"{whole.n_terms:,} terms, space {whole.space}"))
    out.next_step("lsr", "evaluate", "DATASET", "--encoder", str(output))


def _texts(corpora: Sequence[str], most: int | None, fields: Sequence[str]) -> Iterator[str]:
    """The texts of all corpora; of a large one every n-th document, so that `most` are read."""
    from ..datasets import load_dataset
    from ..progress import bar

    for name in corpora:
        corpus = load_dataset(name)
        step = 1
        if most is not None:
            step = max(1, -(-sum(1 for _ in corpus.documents()) // most))
        census = Census(names_fields=False)
        for number, text in enumerate(
            bar(census.texts(corpus, fields), unit="documents", desc=name)
        ):
            if number % step == 0:
                yield text
        census.require_strings(corpus, fields)
