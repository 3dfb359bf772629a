"""`lsr adapt`: a better encoder for a corpus of one's own, without labels."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import UsageError
from ..systems import MINI
from . import _completing as complete
from . import _printing as out
from ._durations import Duration
from .train import recipe_setting

if TYPE_CHECKING:
    from training.adapting.run import AdaptReport

EXAMPLES = """\b
Examples:
  lsr adapt corpus.jsonl runs/mine
  lsr adapt corpus.jsonl runs/mine --encoder runs/encoder
  lsr adapt corpus.jsonl runs/mine --encoder runs/encoder --teacher dense:models/gte-small
  lsr adapt corpus.jsonl runs/mine --encoder runs/encoder --judged scifact --stop-after 8m
"""

_NAMES = {"bm25": "BM25", "before": "before", "idf": "idf refresh only", "after": "after"}


@click.command(epilog=EXAMPLES)
@click.argument("corpus", shell_complete=complete.datasets)
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    default=MINI,
    show_default=True,
    metavar="FOLDER",
    help="What to start from.",
    shell_complete=complete.encoders,
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Queries without judgements to learn from. Default: taken from the documents",
)
@click.option(
    "--generator",
    default="",
    metavar="MODEL",
    help="A causal language model (folder, .gguf file or hub name) that writes a query for each "
    "document, instead of the titles, headings and first sentences that are taken.",
)
@click.option(
    "--teacher",
    default="",
    metavar="TEACHER",
    help="Learn from its scores, too: bm25, dense:FOLDER, cross-encoder:FOLDER or a sparse "
    "encoder's folder.",
)
@click.option(
    "--judged",
    multiple=True,
    metavar="DATASET",
    help="Measure on this collection; its labels are not learned from. Repeatable.",
)
@click.option("--split", help="Whose judgements, of --judged. Default: each one's usual split.")
@click.option(
    "--documents",
    "max_documents",
    type=click.IntRange(min=0),
    default=5_000,
    show_default=True,
    help="Documents drawn to learn from and measure on; 0 takes all. The idf is of all.",
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 0.9, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of the queries that only measure, at most 500.",
)
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--batch", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(min=0), default=3e-5, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the recipe, e.g. stage.ranking.layers=4.",
)
@click.option(
    "--resume/--fresh", default=True, help="Go on where an earlier call was, or start over."
)
@click.option(
    "--stop-after",
    type=Duration(),
    metavar="TIME",
    help="End after so long (90s, 8m, 2h); the same command goes on.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def adapt(
    *,
    corpus: str,
    output: Path,
    encoder: str,
    queries: Path | None,
    generator: str,
    teacher: str,
    judged: tuple[str, ...],
    split: str | None,
    max_documents: int,
    held_out: float,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    settings: tuple[str, ...],
    resume: bool,
    stop_after: float | None,
    json: bool,
) -> None:
    """Adapt an encoder to CORPUS, which needs no labels, and write it to OUTPUT.

    The query table (of an encoder with words: the words' weights) becomes the idf of the corpus;
    titles, headings and first sentences become queries of the texts they are taken out of; BM25
    and the encoder find negatives; a short training follows. Then all is measured, before and
    after. Intermediate results lie in OUTPUT.adapt. An ONNX encoder comes out as one, and words
    stay beside it. Needs the extra `train`, and `onnx` for such an encoder.
    """
    if (Path(encoder) / "modules.json").is_file() and output.resolve() == Path(encoder).resolve():
        raise UsageError(f"{output} is the encoder to start from; choose another output")
    from training import adapt as run_adapt

    report = run_adapt(
        corpus,
        output,
        encoder=encoder,
        queries=queries,
        generator=generator,
        teacher=teacher,
        judged=judged,
        split=split,
        max_documents=max_documents,
        held_out=held_out,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        settings=dict(recipe_setting(text) for text in settings),
        resume=resume,
        stop_after=stop_after,
    )
    if json:
        out.as_json(asdict(report))
        return
    if not report.finished:
        out.fact("stopped", f"in step '{report.step}', after {out.duration(report.seconds)}")
        out.next_step(*_again(click.get_current_context()))
        return
    _print_table(report)
    out.fact("wrote", out.columns(str(output), f"report in {output}.adapt/report.json"))
    out.next_step("lsr", "index", corpus, "NEW.index", "--encoder", str(output))


def _again(ctx: click.Context) -> list[str]:
    """The command that goes on: what was given, without --fresh, which would start over."""
    words = ["lsr", "adapt"]
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE or name == "resume":
            continue
        value = ctx.params[name]
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        else:
            for one in value if isinstance(value, tuple) else (value,):
                seconds = f"{one:g}s" if name == "stop_after" else str(one)
                words += [parameter.opts[0], seconds]
    return words


def _print_table(report: "AdaptReport") -> None:
    for name, systems in report.table.items():
        first: dict[str, Any] = next(iter(systems.values()))
        n_queries, n_documents = first["n_queries"], first["n_documents"]
        measures = list(first["means"])
        out.fact("measured", f"{name}: {n_queries:,} queries, {n_documents:,} documents")
        out.table(
            ["system", *measures, "terms"],
            [
                [
                    _NAMES[system],
                    *(f"{row['means'][measure]:.4f}" for measure in measures),
                    f"{row['document_terms']:.0f}",
                ]
                for system, row in systems.items()
            ],
        )
        low, high = systems["after"]["gain_95"]
        gain = systems["after"]["means"]["nDCG@10"] - systems["before"]["means"]["nDCG@10"]
        out.fact(
            "gain", f"nDCG@10 {gain:+.4f}, 95 % of resampled queries {low:+.4f} to {high:+.4f}"
        )
