"""The verdicts of the training bench: a difference within the noise must not be sold as one."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    path = Path(__file__).parent / "bench" / "training_tables.py"
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
