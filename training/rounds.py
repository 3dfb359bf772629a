"""Iterative mining: train, mine with what was trained, train on from there.

Rounds but the last lie in `<output>.rounds/1`, 2, ... as whole encoder folders until all is done. A
round starts from the network, and the query table, of the one before, and asks its encoder for
negatives beside the recipe's miners. The card of every round tells of the recipe that was asked
for, and that of the last of the time of all.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lsr.encoders.card import CARD
from lsr.encoders.folder import read_object, write_json
from lsr.errors import RecipeError

from .gather import is_first, wait
from .recipe import Recipe
from .report import TrainReport

_SUMS = ("stages", "tokens", "resumes")
"""Parts of a record of training that hold numbers by name."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one run trains, and what its card tells; the same where a recipe has one round."""

    recipe: Recipe
    asked: Recipe
    before: tuple[Path, ...] = ()
    """The encoders of the rounds whose time the card counts as well, the first round's first."""

    def with_before(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record of this round's training with the seconds, tokens and resumes of all."""
        summed = dict(record)
        records = [*(read_object(place / CARD)["training"] for place in self.before), record]
        summed["seconds"] = sum(one["seconds"] for one in records)
        for part in _SUMS:
            names = dict.fromkeys(name for one in records for name in one[part])
            summed[part] = {name: sum(one[part].get(name, 0) for one in records) for name in names}
        return summed


RunOnce = Callable[[Round, Path, float | None], TrainReport]
"""Train one round into one folder, within so many seconds."""


def run_rounds(
    recipe: Recipe, output: Path, run: RunOnce, *, resume: bool, stop_after: float | None
) -> TrainReport:
    """Run every round that is left; the report is that of the last, with the seconds of all."""
    started = time.monotonic()
    folder = output.with_name(f"{output.name}.rounds")
    if not resume and is_first():
        shutil.rmtree(folder, ignore_errors=True)
    wait()
    _check_owner(folder, recipe)
    assert recipe.data.mining is not None
    n_rounds = recipe.data.mining.rounds
    earlier = tuple(folder / str(number) for number in range(1, n_rounds))
    before = 0.0
    for number, place in enumerate((*earlier, output), start=1):
        if number < n_rounds and (place / "modules.json").is_file():
            before += float(read_object(place / CARD)["training"]["seconds"])
            continue
        left = None if stop_after is None else max(0.0, stop_after + started - time.monotonic())
        counted = earlier if number == n_rounds else ()
        one = Round(round_recipe(recipe, folder, number), recipe, counted)
        report = run(one, place, left)
        if not report.finished:
            return replace(report, seconds=before + report.seconds)
        before += report.seconds
    if is_first():
        shutil.rmtree(folder)
    wait()
    return replace(report, seconds=before)


def round_recipe(recipe: Recipe, folder: Path, number: int) -> Recipe:
    """What round `number`, from 1, trains."""
    mining = recipe.data.mining
    assert mining is not None
    if number == 1:
        return replace(recipe, data=replace(recipe.data, mining=replace(mining, rounds=1)))
    last = str(folder / str(number - 1))
    mining = replace(mining, rounds=1, miners=(*mining.miners, last))
    model = replace(
        recipe.model,
        backbone=last,
        query_backbone=last if recipe.model.kind == "separate" else "",
        scratch=None,
        new_head=False,
    )
    return replace(
        recipe,
        model=model,
        data=replace(recipe.data, mining=mining),
        # Other candidates than the first round's: their scores lie in the round's own run folder.
        distillation=replace(recipe.distillation, cache=""),
        stage=replace(recipe.stage, mlm=None, clm=None, calibrate=None),
    )


def _check_owner(folder: Path, recipe: Recipe) -> None:
    """The rounds in `folder` are those of this recipe, or there are none yet."""
    path = folder / "rounds.json"
    mine = {"recipe": recipe.fingerprint()}
    if path.is_file() and read_object(path) != mine:
        raise RecipeError(
            f"{folder} holds rounds of another recipe than {recipe.path}; finish them as they "
            "were, or start over (--fresh)."
        )
    if is_first():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, mine)
    wait()
