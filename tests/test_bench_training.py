"""The verdicts of the training bench: a difference within the noise must not be sold as one."""

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parent / "bench"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    path = BENCH / "training_tables.py"
    spec = importlib.util.spec_from_file_location("bench_training_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_difference_counts_from_two_deviations_of_itself(tables: ModuleType) -> None:
    assert tables.verdict([0.50, 0.51, 0.49], [0.60, 0.61, 0.59]) == "+.1000"
    assert tables.verdict([0.60, 0.61, 0.59], [0.50, 0.51, 0.49]) == "-.1000"
    # Each deviates by .01, their difference by .0141: .02 is no difference, .03 is one.
    assert tables.verdict([0.50, 0.51, 0.49], [0.52, 0.53, 0.51]) == "none"
    assert tables.verdict([0.50, 0.51, 0.49], [0.53, 0.54, 0.52]) == "+.0300"
    assert tables.verdict([0.5], [0.9]) == "one seed"


def test_an_ablation_compares_every_arm_with_the_first(tables: ModuleType) -> None:
    def run(name: str, seed: int, ndcg: float) -> object:
        row = {"ndcg": ndcg, "recall": 1.0, "document_terms": 10, "query_terms": 2, "flops": 0.5}
        return tables.Run(name, seed, 5, {"a": row, "b": row}, 60.0, {})

    runs = [run("q/x", s, 0.5 + s / 1000) for s in (1, 2)]
    runs += [run("q/y", s, 0.6 + s / 1000) for s in (1, 2)]
    lines = tables.ablation_table(runs).splitlines()
    assert lines[2] == "| q | x | .5015 ± .0007 | 2 | 10 | 0.50 |  |"
    assert lines[3] == "| q | y | .6015 ± .0007 | 2 | 10 | 0.50 | +.1000 |"


def test_every_named_system_and_arm_of_the_plan_is_a_recipe_that_loads(tmp_path: Path) -> None:
    """The plan is read months after it was written: its keys must still be those of recipes."""
    pytest.importorskip("torch")
    from training import load_recipe

    plan = tomllib.loads((BENCH / "training.toml").read_text(encoding="utf-8"))
    systems = {entry["name"] for entry in plan["system"]}
    named = "splade-max splade-pp-selfdistil splade-pp-ensembledistil splade-v3 efficient-splade"
    named += " inference-free-idf l0-double-log li-lsr echo-llm bidirectional-llm prosper uhd"
    assert systems == set(named.split())
    for entries in (
        *([plan["systems"], entry] for entry in plan["system"]),
        *([plan["ablations"], one, arm] for one in plan["ablation"] for arm in one["arms"]),
    ):
        settings = dict(plan["common"])
        for entry in entries:
            settings |= entry.get("set", {}) | dict.fromkeys(entry.get("drop", ()))
        recipe = next(e["recipe"] for e in reversed(entries) if "recipe" in e)
        settings["model.backbone"] = str(tmp_path)
        made = load_recipe(recipe, settings)
        assert made.stage.ranking.steps in (60, 100, 120)
