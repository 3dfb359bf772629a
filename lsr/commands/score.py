"""`lsr score`: what teachers think of a recipe's queries and candidates, in one Arrow file."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import click

from ..errors import MissingExtra, UsageError
from . import _completing as complete
from . import _printing as out
from ._durations import Duration
from .train import recipe_setting

EXAMPLES = """\b
Examples:
  lsr score recipe.toml scores.arrow
  lsr score recipe.toml scores.arrow --stop-after 8m
  lsr info scores.arrow
"""


@click.command(epilog=EXAMPLES)
@click.argument("recipe", shell_complete=complete.recipes)
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Replace a value of the recipe."
)
@click.option(
    "--stop-after",
    type=Duration(),
    metavar="TIME",
    help="End after so long (90s, 8m, 2h); the same command goes on.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def score(
    *,
    recipe: str,
    output: Path,
    settings: tuple[str, ...],
    stop_after: float | None,
    json: bool,
) -> None:
    """Score the candidates of RECIPE with its teachers and write the cache OUTPUT.

    Candidates are each query's positives and its negatives, given or mined; queries that [develop]
    holds out have none. A killed or stopped call goes on where it was; a teacher added to the
    recipe later is added to the file. Training reads it with `distillation.cache`. Needs the extra
    `train`.
    """
    started = time.monotonic()
    from training import load_recipe

    try:
        from training.develop import load_learned
        from training.distillation import teach
        from training.mining.parts import OutOfTimeError
    except ImportError as missing:
        package = (missing.name or "pyarrow").partition(".")[0]
        raise MissingExtra("scoring", extra="train", package=package) from None
    loaded = load_recipe(recipe, dict(recipe_setting(text) for text in settings))
    if not loaded.teachers:
        raise UsageError(f"{loaded.path}: the recipe has no [[teachers]]; add at least one")
    how = replace(loaded.distillation, cache=str(output.absolute()), in_batch=False)
    loaded = replace(loaded, distillation=how)
    work = output.with_name(f"{output.name}.work")
    deadline = None if stop_after is None else started + stop_after
    try:
        _, pairs = load_learned(loaded, cache=work / "mined", deadline=deadline, quiet=False)
        scores = teach(loaded, pairs, work, deadline=deadline)
    except OutOfTimeError:
        scores = None  # while mining
    seconds = time.monotonic() - started
    if scores is None or scores.cache is None:
        if json:
            out.as_json({"finished": False, "output": str(output), "seconds": seconds})
            return
        out.fact(
            "stopped",
            f"after {out.duration(seconds)}; what is mined and scored is kept beside {output}",
        )
        again = [word for text in settings for word in ("--set", text)]
        out.next_step("lsr", "score", recipe, str(output), *again)
        return
    shutil.rmtree(work, ignore_errors=True)
    facts = scores.cache.facts()
    if json:
        out.as_json({"finished": True, "output": str(output), "seconds": seconds, **facts})
        return
    out.fact(
        "scored",
        out.columns(
            out.counted(facts["pairs"], "pair"),
            f"of {out.counted(facts['queries'], 'query')}, {out.duration(seconds)}",
        ),
    )
    for teacher in scores.cache.teachers:
        out.fact("teacher", out.columns(teacher.name, f"{teacher.kind}, {teacher.fingerprint}"))
    out.fact("wrote", out.columns(str(output), out.size(facts["file_bytes"])))
    out.next_step("lsr", "info", str(output))
