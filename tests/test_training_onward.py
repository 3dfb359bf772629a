"""Training goes on from an encoder of our own, however its network is called in the folder."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from lsr.encoders import load_encoder
from training import load_recipe, train
from training.recipe import encoder_folder

QUICK = {
    "model.pool_special": False,
    "model.max_active_terms": 10,
    "stage.mlm.steps": 2,
    "stage.mlm.warmup_steps": 1,
    "stage.ranking.steps": 2,
    "stage.ranking.warmup_steps": 1,
    "stage.ranking.batch": 4,
    "run.checkpoint_every": 2,
}


def test_an_encoder_without_special_positions_is_trained_on(tmp_path: Path) -> None:
    """Its network lies in document_0_TextTransformer, and was not found there: rounds ended after
    the first. Its card counts the terms that it keeps, not those before the cap.
    """
    first = tmp_path / "first"
    assert train(load_recipe("smoke", QUICK), first, progress=False).finished
    assert (first / "document_0_TextTransformer").is_dir()
    terms = json.loads((first / "lsr.json").read_text())["training"]["measured"]["document_terms"]
    vectors = load_encoder(first).encode_documents(["a passage about bees and late fees"])
    assert terms == vectors.nnz == 10
    settings = {**QUICK, "model.backbone": str(first), "model.scratch": None, "stage.mlm": None}
    recipe = load_recipe("smoke", {**settings, "stage.calibrate": None})
    assert encoder_folder(recipe) == first
    assert train(recipe, tmp_path / "second", progress=False).finished
    assert load_encoder(tmp_path / "second").n_terms == load_encoder(first).n_terms
