"""The verdicts of the training bench: a difference within the noise must not be sold as one."""

import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from lsr.datasets import load_dataset

BENCH = Path(__file__).parent / "bench"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return _load("training_tables")


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
    pooled = [entry for entry in plan["system"] if entry["name"] in plan["pools"]["systems"]]
    assert len(pooled) == len(plan["pools"]["systems"])
    for entries in (
        *([plan["systems"], entry] for entry in plan["system"]),
        *([plan["systems"], entry, plan["pools"]] for entry in pooled),
        *([plan["ablations"], one, arm] for one in plan["ablation"] for arm in one["arms"]),
    ):
        settings = dict(plan["common"])
        for entry in entries:
            settings |= entry.get("set", {}) | dict.fromkeys(entry.get("drop", ()))
        recipe = next(e["recipe"] for e in reversed(entries) if "recipe" in e)
        settings["model.backbone"] = str(tmp_path)
        made = load_recipe(recipe, settings)
        assert made.stage.ranking.steps in (60, 100, 120)


def test_a_pool_holds_what_is_judged_and_a_sample_of_the_rest_drawn_alike(tmp_path: Path) -> None:
    """Systems are compared over pools made by different runs: equal seeds must give equal pools."""
    write_pool = _load("pools").write_pool
    whole = tmp_path / "whole"
    (whole / "qrels").mkdir(parents=True)

    def write(order: range) -> None:
        lines = [json.dumps({"_id": f"d{n}", "title": f"t{n}", "text": "x"}) for n in order]
        (whole / "corpus.jsonl").write_text("\n".join(lines))

    queries = [json.dumps({"_id": f"q{n}", "text": f"question {n}"}) for n in range(6)]
    (whole / "queries.jsonl").write_text("\n".join(queries))
    # q0 has no relevant document; of the others each has one relevant and one judged against.
    judged = ["query-id\tcorpus-id\tscore", "q0\td0\t0"]
    judged += [f"q{n}\td{n}\t1\nq{n}\td{n + 10}\t0" for n in range(1, 6)]
    (whole / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n")

    write(range(40))
    first = write_pool(str(whole), tmp_path / "a", queries=3, documents=12, seed=1)
    write(range(39, -1, -1))
    second = write_pool(str(whole), tmp_path / "b", queries=3, documents=12, seed=1)
    pools = [load_dataset(str(folder)) for folder in (first, second)]
    texts = [{d.doc_id: d.text(("text",)) for d in pool.documents()} for pool in pools]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 12
    assert all(text == f"t{doc_id[1:]} x" for doc_id, text in texts[0].items())
    drawn = {query.query_id for query in pools[0].queries()}
    assert len(drawn) == 3
    assert "q0" not in drawn
    assert pools[0].qrels() == pools[1].qrels()
    assert pools[0].qrels() == {
        query: {f"d{query[1:]}": 1, f"d{int(query[1:]) + 10}": 0} for query in drawn
    }
    judged_ids = {doc_id for found in pools[0].qrels().values() for doc_id in found}
    assert judged_ids <= set(texts[0])

    small = write_pool(str(whole), tmp_path / "c", queries=9, documents=2, seed=1)
    assert sum(1 for _ in load_dataset(str(small)).documents()) == 10  # all that is judged
    other = write_pool(str(whole), tmp_path / "d", queries=3, documents=12, seed=2)
    assert {d.doc_id for d in load_dataset(str(other)).documents()} != set(texts[0])
    (first / "corpus.jsonl").unlink()
    assert write_pool(str(whole), first, queries=3, documents=12, seed=1) == first  # kept, as it is
    assert not (first / "corpus.jsonl").exists()
