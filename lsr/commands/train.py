"""`lsr train`: from a recipe to an encoder folder."""

import os
import sys
import tomllib
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

import click

from ..errors import UsageError
from . import _completing as complete
from . import _printing as out
from ._durations import Duration

EXAMPLES = """\b
Examples:
  lsr train smoke runs/smoke
  lsr train recipe.toml runs/encoder --set run.seed=2
  lsr train recipe.toml runs/encoder --stop-after 8m --keep weights
"""


@click.command(epilog=EXAMPLES)
@click.argument("recipe", shell_complete=complete.recipes)
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--resume/--fresh",
    default=True,
    help="Go on with an unfinished run, or start over. Default: resume",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Replace a value of the recipe."
)
@click.option(
    "--stop-after",
    type=Duration(),
    metavar="TIME",
    help="Save the state after so long (90s, 8m, 2h) and end; the same command goes on.",
)
@click.option(
    "--keep",
    type=click.Choice(["full", "weights"]),
    help="What checkpoints hold: full, for an exact resume, or weights alone in files of at most "
    "15 MB. Default: as the recipe says (run.checkpoint), which is full",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def train(
    *,
    recipe: str,
    output: Path,
    resume: bool,
    settings: tuple[str, ...],
    stop_after: float | None,
    keep: str | None,
    json: bool,
) -> None:
    """Train the encoder that RECIPE describes and save it in the folder OUTPUT.

    RECIPE is a .toml file, or the name of a recipe that is shipped. Needs the extra `train`.
    """
    from training import load_recipe
    from training import train as run_training

    overrides = dict(recipe_setting(text) for text in settings)
    if keep is not None:
        overrides["run.checkpoint"] = keep
    loaded = load_recipe(recipe, overrides)
    with redirect_stdout(sys.stderr):  # where DeepSpeed talks; what is printed here is results
        report = run_training(loaded, output, resume=resume, stop_after=stop_after)
    if os.environ.get("RANK", "0") != "0":
        return  # of the processes that torchrun starts, the first speaks for all
    if json:
        out.as_json(asdict(report))
        return
    pairs = out.columns(
        out.counted(report.n_queries, "query"), out.counted(report.n_documents, "document")
    )
    if report.n_queries:
        verb = "trained" if report.finished else "stopped"
        out.fact(verb, f"{pairs}, {out.duration(report.seconds)} so far")
    else:
        out.fact("stopped", f"while mining, after {out.duration(report.seconds)}")
    if report.last_log:
        parts = (f"{name} {value:.4g}" for name, value in report.last_log.items())
        out.fact("last step", ", ".join(parts))
    if report.measured is None:
        out.next_step("lsr", "train", recipe, str(output), *_again(settings, keep))
        return
    measured = report.measured
    sample = out.counted(measured.n_documents, "document")
    out.fact(
        "measured",
        out.columns(
            sample,
            f"{measured.document_terms:.0f} terms each on average, {measured.empty_documents} "
            f"without any, max weight {measured.max_weight:g}",
        ),
    )
    out.fact("wrote", str(output))
    out.next_step("lsr", "evaluate", "DATASET", "--encoder", str(output))


def recipe_setting(text: str) -> tuple[str, object]:
    """`run.seed=2` with the value as TOML reads it; what is no TOML is a string."""
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise UsageError(f"--set {text}: wanted KEY=VALUE, for example run.seed=2")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _again(settings: tuple[str, ...], keep: str | None) -> list[str]:
    again = [word for text in settings for word in ("--set", text)]
    return again if keep is None else [*again, "--keep", keep]
