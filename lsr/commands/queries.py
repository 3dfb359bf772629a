"""`lsr queries`: a judged collection made of a corpus without labels."""

import time
from dataclasses import asdict
from pathlib import Path

import click

from ..errors import UsageError
from . import _completing as complete
from . import _printing as out

EXAMPLES = """\b
Examples:
  lsr queries corpus.jsonl.gz made
  lsr queries wikipedia.jsonl.gz made/wikipedia --most 12000 --held-out 0.02 --seed 1
  lsr queries corpus.jsonl.gz asked --most 5000 --generator HuggingFaceTB/SmolLM2-135M-Instruct
  lsr train inference-free-mini runs/mine --set 'data.train=["./made/wikipedia"]'
"""


@click.command(epilog=EXAMPLES)
@click.argument("corpus", shell_complete=complete.datasets)
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--most",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw N documents of the corpus. Default: all",
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Queries for the split held-out, 500 at most; the others are train.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--text-field",
    "text_fields",
    multiple=True,
    default=("title", "text"),
    show_default=True,
    metavar="NAME",
    help="Fields that are read; repeatable.",
)
@click.option(
    "--generator",
    default="",
    metavar="MODEL",
    help="A causal language model (folder, .gguf file or hub name) that writes the queries.",
)
@click.option(
    "--round-trip",
    type=click.IntRange(min=0),
    metavar="N",
    help="Keep written queries that find their document among BM25's first N, in English words; 0 "
    "keeps all. Default: 20",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def queries(
    *,
    corpus: str,
    output: Path,
    most: int | None,
    held_out: float,
    seed: int,
    text_fields: tuple[str, ...],
    generator: str,
    round_trip: int | None,
    json: bool,
) -> None:
    """Write into OUTPUT a collection in BEIR's layout whose queries are made from CORPUS.

    A title, a heading or the first sentence of each document becomes a query and is taken out of
    its text, so that finding it again is no copying. With --generator a language model writes a
    query for each, as people type them, and documents stay whole; a small one (135 million
    weights) writes a few a second on two cores, and a killed run goes on where it was. `lsr train`
    learns from the folder, named in data.train, `lsr evaluate` measures on it with `--split
    held-out`.
    """
    from training import pseudo_queries

    if round_trip is not None and not generator:
        raise UsageError("--round-trip tries queries that a --generator wrote; name one")
    started = time.perf_counter()
    try:
        made = pseudo_queries(
            corpus,
            output,
            most=most or 0,
            held_out=held_out,
            seed=seed,
            text_fields=text_fields,
            generator=generator,
            round_trip=20 if round_trip is None else round_trip,
        )
    except KeyboardInterrupt:
        if any(Path(f"{output}.work").glob("*/*.json")):
            out.note("kept", f"what was written, in {output}.work; the same command goes on")
        raise
    took = time.perf_counter() - started
    if json:
        out.as_json({**asdict(made), "seconds": took})
        return
    kinds = ", ".join(
        f"{n:,} {origin if origin == 'written' else f'of a {origin}'}"
        for origin, n in sorted(made.origins.items())
    )
    out.fact(
        "made",
        out.columns(
            out.counted(made.n_train + made.n_held_out, "query"),
            f"from {out.counted(made.n_documents, 'document')}: {kinds}; "
            f"{made.n_held_out:,} held out, {out.duration(took)}",
        ),
    )
    out.fact("wrote", str(output))
    out.next_step("lsr", "train", "RECIPE", "OUTPUT", "--set", f'data.train=["{output.resolve()}"]')
