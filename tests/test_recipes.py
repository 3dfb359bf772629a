"""Every shipped recipe trains: the named systems at toy scale, on a CPU, with 48 pairs."""

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from index import Index, build_index
from lsr.encoders import load_encoder
from lsr.types import Document
from training import load_recipe, shipped_recipes, train
from training.card import read_record
from training.recipe import SHIPPED


def smoke_pairs() -> list[dict[str, str]]:
    """The 48 pairs that are shipped."""
    return [orjson.loads(line) for line in (SHIPPED / "smoke.jsonl").read_bytes().splitlines()]


def mines(name: str) -> bool:
    """Whether a recipe finds negatives by itself."""
    data = tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))["data"]
    return "mining" in data or bool(data.get("mined_depth"))


def toy(name: str, folder: Path) -> dict[str, Any]:
    """What makes a recipe small: random weights, the pairs of `smoke`, a few steps.

    A recipe that mines gets them without their negatives, as a file in `folder`.
    """
    table = tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
    model, stage = table["model"], table["stage"]
    changes: dict[str, Any] = {
        "model.backbone": "",
        "model.scratch": {"layers": 2, "hidden": 32, "vocabulary": 600},
        "model.new_head": False,
        "model.max_length": 32,
        "model.query_length": 16,
        "data.train": ["smoke.jsonl"],
        "data.repeat": {},
        "data.negatives": 1,
        "stage.ranking.steps": 6,
        "stage.ranking.batch": 8,
        "stage.ranking.max_length": 32,
        "stage.ranking.warmup_steps": 0,
        "stage.ranking.learning_rate": 1e-3,
        "stage.ranking.layers": -1,
        "run.bf16": False,
        "run.log_every": 2,
        "run.checkpoint_every": 3,
    }
    if "mining" in table["data"]:
        changes |= {"data.mining.miners": ["bm25"], "data.mining.windows": ["0-5:3"]}
    elif mines(name):
        changes |= {"data.mined_from": 0, "data.mined_depth": 5}
    if mines(name):
        bare = [{"query": pair["query"], "pos": pair["pos"]} for pair in smoke_pairs()]
        (folder / "bare.jsonl").write_bytes(b"".join(orjson.dumps(pair) + b"\n" for pair in bare))
        changes["data.train"] = [str(folder / "bare.jsonl")]
    if model.get("query_backbone"):
        changes["model.query_backbone"] = ""
    if "lora" in model:
        changes["model.lora.quantize"] = "none"
    if "uhd" in model:
        changes |= {"model.uhd.layers": [1, 2], "model.uhd.dims": [500, 500]}
        changes["model.uhd.winners"] = [3, 3]
    else:
        changes["stage.calibrate"] = {"active_terms": 100, "documents": 48}
    for warm in ("mlm", "clm"):
        if warm in stage:
            changes |= {f"stage.{warm}.steps": 3, f"stage.{warm}.batch": 8}
            changes |= {f"stage.{warm}.max_length": 32, f"stage.{warm}.warmup_steps": 0}
    for key in ("sampled_terms", "micro_batch"):
        if key in stage["ranking"]:
            changes[f"stage.ranking.{key}"] = 4
    if "sparsity" in stage["ranking"]:
        changes["stage.ranking.sparsity.ramp"] = 3
    if "teachers" in table:
        changes["teachers"] = [{"kind": "bm25"}, {"kind": "bm25", "name": "again", "weight": 2}]
        if table["distillation"].get("affine"):
            changes["distillation.affine"] = "bm25"
    return changes


def test_the_named_systems_are_shipped() -> None:
    named = (
        "splade-max splade-pp-selfdistil splade-pp-ensembledistil splade-v3 efficient-splade "
        "inference-free-idf l0-double-log li-lsr echo-llm bidirectional-llm prosper uhd smoke"
    )
    assert set(named.split()) <= set(shipped_recipes())


@pytest.mark.parametrize("name", [n for n in shipped_recipes() if n != "smoke"])
def test_a_recipe_says_how_to_run_it_and_what_to_expect(name: str) -> None:
    head = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").split("\nname =")[0]
    assert f"lsr train {name}" in head
    assert "mini" in name or "Published" in head


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_trains_an_encoder_that_searches(name: str, tmp_path: Path) -> None:
    report = train(load_recipe(name, toy(name, tmp_path)), tmp_path / "encoder", progress=False)
    assert report.measured is not None
    record = read_record(report.output)
    assert record is not None
    (source,) = record["data"]
    assert source["n_negatives"], "given, or mined where the recipe says so"
    assert source["name"] == ("bare.jsonl" if mines(name) else "smoke.jsonl")
    encoder = load_encoder(report.output)
    pairs = smoke_pairs()
    documents = [Document(str(i), {"text": pair["pos"]}) for i, pair in enumerate(pairs)]
    build_index(tmp_path / "toy.index", documents, encoder, source="toy")
    with Index.open(tmp_path / "toy.index") as index:
        hits = index.search_batch(encoder.encode_queries([pair["query"] for pair in pairs]), 5)
    assert sum(bool(one.doc_ids) for one in hits) > len(pairs) / 2
