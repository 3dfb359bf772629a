"""From texts and teachers to an encoder: recipes in, encoder folders out."""

import os
from pathlib import Path

from lsr.errors import MissingExtra

from .recipe import Recipe, load_recipe, shipped_recipes
from .report import Measured, TrainReport

__all__ = ["Measured", "Recipe", "TrainReport", "load_recipe", "shipped_recipes", "train"]


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
