"""Recipes: what a file may say, and how it is told that it may not."""

from pathlib import Path

import pytest

from lsr.errors import RecipeError
from training import load_recipe, shipped_recipes
from training.recipe import backbone_folder

MINIMAL = """
name = "x"
[model]
kind = "siamese"
backbone = "checkpoint"
[data]
train = ["scifact"]
[stage.ranking]
steps = 10
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_a_minimal_recipe_gets_documented_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL))
    assert recipe.stage.mlm is None
    assert recipe.stage.ranking.steps == 10
    assert recipe.stage.ranking.losses.info_nce == 1.0
    assert recipe.data.train == ("scifact",)
    assert recipe.path == tmp_path / "recipe.toml"


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("steps = 10", "stepz = 10"), "unknown key 'stepz' in [stage.ranking]; did you mean"),
        (("steps = 10", 'steps = "10"'), "stage.ranking.steps = '10' is a string; wanted a wh"),
        (("steps = 10", "steps = 0"), "stage.ranking.steps = 0; wanted 1 or more"),
        (("steps = 10", "steps = 1\nscale = inf"), "stage.ranking.scale = inf; wanted a finite"),
        (("steps = 10", "steps = 1\nlearning_rate = nan"), "learning_rate = nan; wanted a finite"),
        (('backbone = "checkpoint"', "[model.scratch]\nheads = 3"), "hidden = 64 is no multiple"),
        (("[stage", "mined_depth = 5\n[stage"), "data.mined_from = 10, the first rank taken, is"),
        (
            ("steps = 10", "steps = 1\nmax_length = 34\nwindows = 2"),
            "window_overlap = 32 leaves nothing new in a window of",
        ),
        (("steps = 10", "steps = true"), "stage.ranking.steps = True is true or false"),
        (("steps = 10", ""), "stage.ranking.steps is missing; it has no default"),
        (('"siamese"', '"siameze"'), "model.kind = 'siameze'; wanted one of \"inference-free\" or"),
        (('["scifact"]', '"scifact"'), "data.train = 'scifact'; wanted a list of strings"),
        (('["scifact"]', "[]"), "data.train is empty"),
        (('name = "x"', 'name = "x"\nlr = 1'), "unknown key 'lr' at the top"),
        (("[data]", "[data.repeat]\nnope = 2\n[data]"), "data.repeat names 'nope'"),
        (("[data]", "[data.repeat]\nscifact = 0\n[data]"), "wanted whole numbers above 0 by name"),
        (('backbone = "checkpoint"', ""), "either backbone (a checkpoint) or a section"),
        (("steps = 10", "steps = 10\nsampled_terms = 9"), "every term must be computed"),
        (("steps = 10", "steps = 10\nmax_length = 512"), "exceeds model.max_length = 256"),
        (
            ("[data]", 'query_table = "binary"\n[data]'),
            "only inference-free queries come from a ta",
        ),
        (("[data]", 'query_backbone = "x"\n[data]'), 'only kind = "separate" gives queries a net'),
        (
            ("[data]", '[data]\ndraw = "spread"\nnegatives = 2'),
            "orders given negatives by their te",
        ),
        (("[stage.r", "[stage.mlm]\nsteps = 1\nshifted = true\n[stage.r"), "use [stage.clm] for"),
        (
            ("[data]", "pool_special = false\n[model.decoder]\n[data]"),
            "say which positions are not pooled by model.decoder.exclude",
        ),
        (('"siamese"', '"inference-free"'), None),
        (("[model]", "[model"), "not a TOML file"),
    ],
)
def test_a_wrong_recipe_is_refused_with_file_key_and_wish(
    change: tuple[str, str], complaint: str | None, tmp_path: Path
) -> None:
    path = write(tmp_path, MINIMAL.replace(*change, 1))
    if complaint is None:
        load_recipe(path)
        return
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert complaint in str(error.value)
    assert str(path) in str(error.value)


def test_queries_from_a_table_cannot_be_regularised(tmp_path: Path) -> None:
    text = (
        MINIMAL.replace('"siamese"', '"inference-free"')
        + "[stage.ranking.sparsity]\nqueries = 0.1\n"
    )
    with pytest.raises(RecipeError, match="queries come from a table"):
        load_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("[stage.ranking.losses]\ninfo_nce = 0", "gives no loss a weight above 0"),
        ("[stage.ranking.losses]\nmse = 1", "unknown key 'mse' in [stage.ranking.losses]"),
        ("[stage.ranking.controller]\ndocuments = 9", "has no weight to start from"),
        ("[stage.ranking.controller]\nlowest = 1.0\nhighest = 0.1", "exceeds highest = 0.1"),
        (
            "controller.documents = 9\nsparsity = { documents = 1, l0_threshold = 9 }",
            "nothing presses on documents of up to",
        ),
        ("sampled_terms = 9\n[stage.ranking.sparsity]\nl0_threshold = 9", "whole length"),
        ("sampled_terms = 9\n[stage.ranking.sparsity]\nanti_zero = 0.1", "whole length"),
    ],
)
def test_losses_and_penalties_that_cannot_be_are_refused(
    lines: str, complaint: str, tmp_path: Path
) -> None:
    text = MINIMAL.replace('"siamese"', '"inference-free"') + lines
    with pytest.raises(RecipeError) as error:
        load_recipe(write(tmp_path, text))
    assert complaint in str(error.value)


def test_naming_a_loss_leaves_the_default_one(tmp_path: Path) -> None:
    losses = load_recipe(
        write(tmp_path, MINIMAL + '[stage.ranking.losses]\nkl = 1\n[[teachers]]\nkind = "bm25"')
    ).stage.ranking.losses
    assert (losses.kl, losses.info_nce) == (1.0, 0.0)
    assert losses.of_teacher == ("kl",)


def test_overrides_replace_values_and_are_checked_like_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    recipe = load_recipe(path, {"run.seed": 3, "stage.ranking.scale": 2})
    assert (recipe.run.seed, recipe.stage.ranking.scale) == (3, 2.0)
    assert load_recipe("smoke", {"stage.mlm": None, "run.nothing": None}).stage.mlm is None
    with pytest.raises(RecipeError, match="unknown key 'sed' in \\[run\\]; did you mean 'seed'"):
        load_recipe(path, {"run.sed": 3})
    with pytest.raises(RecipeError, match="name is a value, not a section"):
        load_recipe(path, {"name.sed": 3})


def test_a_missing_recipe_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'smoke'"):
        load_recipe("smok")
    with pytest.raises(RecipeError, match="no such recipe file"):
        load_recipe(tmp_path / "nothing.toml")


def test_the_fingerprint_ignores_names_places_and_logging(tmp_path: Path) -> None:
    """Moving a recipe or logging more often must not forbid resuming its run."""
    path = write(tmp_path, MINIMAL)
    same = load_recipe(path, {"name": "y", "run.log_every": 1, "run.checkpoint_every": 5})
    assert same.fingerprint() == load_recipe(path).fingerprint()
    assert load_recipe(path, {"run.seed": 1}).fingerprint() != same.fingerprint()


def test_a_key_that_came_later_does_not_orphan_unfinished_runs(tmp_path: Path) -> None:
    """What the release before the keys of `_LATER` wrote down for this recipe."""
    path = write(tmp_path, MINIMAL)
    assert load_recipe(path, {"stage.mlm.steps": 3}).fingerprint() == "9fbb3cf5e85982cc"
    teacher = {"teachers": [{"kind": "bm25"}], "data.negatives": 1}
    spread = load_recipe(path, {**teacher, "data.draw": "spread"})
    assert spread.fingerprint() != load_recipe(path, teacher).fingerprint()


def test_a_backbone_is_found_beside_the_recipe_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    with pytest.raises(RecipeError, match=r"model\.backbone = 'checkpoint' is no folder"):
        backbone_folder(load_recipe(path))
    (tmp_path / "checkpoint").mkdir()
    assert backbone_folder(load_recipe(path)) == tmp_path / "checkpoint"
