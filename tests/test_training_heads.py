"""Recipes with heads of their own: what `lsr train` makes of [model.uhd] and literal_residual."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.numpy import load_file  # noqa: E402

from lsr.__main__ import run  # noqa: E402
from lsr.encoders import is_binary, load_encoder  # noqa: E402
from lsr.encoders.literal import LiteralResidual  # noqa: E402
from lsr.errors import RecipeError  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.data import load_pairs  # noqa: E402
from training.models import check_networks, make_encoder  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402

PAIRS = [
    ("red fox", "the fox has a red coat"),
    ("blue sea", "water of the sea looks blue"),
    ("green frog", "a frog in the pond is green"),
    ("white snow", "in winter the snow is white"),
    ("yellow sun", "at noon the sun is yellow"),
    ("black coal", "miners dig coal that is black"),
]
RECIPE = """
name = "toy"
[model]
kind = "{kind}"
max_length = 24
query_length = 12
dropout = 0.0
{model}
[model.scratch]
layers = 2
hidden = 32
vocabulary = 300
[data]
train = ["pairs.jsonl"]
[stage.ranking]
steps = {steps}
batch = 6
learning_rate = 3e-3
max_length = 24
{ranking}
[run]
log_every = 10
checkpoint_every = 5
"""
UHD = "[model.uhd]\nlayers = [1, 2]\ndims = [400, 300]\nwinners = [8, 6]\n"


def recipe(folder: Path, *, model: str, ranking: str = "", kind: str = "siamese", steps: int = 30):
    lines = [json.dumps({"query": query, "pos": positive}) for query, positive in PAIRS]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    path = folder / "toy.toml"
    path.write_text(RECIPE.format(kind=kind, model=model, ranking=ranking, steps=steps))
    return path


def test_uhd_learns_to_share_winners_with_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the recipe to match counts: training, index and search agree on what a score is."""
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(recipe(tmp_path, model=UHD, ranking="scale = 0.1")), "e"]) == 0
    encoder = load_encoder(tmp_path / "e", device="cpu")
    assert is_binary(encoder)
    assert encoder.n_terms == 700
    queries = encoder.encode_queries([query for query, _ in PAIRS])
    documents = encoder.encode_documents([positive for _, positive in PAIRS])
    assert set(queries.data.tolist()) == {1.0}
    counts = (queries @ documents.T).toarray()
    assert (counts.argmax(axis=1) == np.arange(len(PAIRS))).mean() > 0.8
    rows = [json.dumps({"_id": f"d{i}", "text": text}) for i, (_, text) in enumerate(PAIRS)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    assert run(["index", "corpus.jsonl", "i", "--encoder", "e"]) == 0
    capsys.readouterr()
    assert run(["search", "i", PAIRS[2][0], "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
    found = {hit["doc_id"]: hit["score"] for hit in hits}
    assert found == {f"d{i}": n for i, n in enumerate(counts[2].tolist()) if n}


@pytest.mark.parametrize(
    ("kind", "backbone"),
    [
        ("siamese", ""),
        ("inference-free", ""),
        ("siamese", '\npooling = "last"\n[model.decoder]'),
        ("siamese", '\npooling = "last"\n[model.decoder]\n[model.lora]\nrank = 2'),
    ],
)
def test_prosper_trains_both_heads_inside_its_window(
    tmp_path: Path, kind: str, backbone: str
) -> None:
    """For masked language models, and in its own form: a decoder's last token, or its adapters."""
    window = "normalize_queries = true\n[stage.ranking.window]\nqueries = 8\ndocuments = 12\n"
    window += "documents_start = 100\nsteps = 8\n"
    model = f"literal_residual = true{backbone}"
    path = recipe(tmp_path, model=model, ranking=window, kind=kind, steps=12)
    report = train(load_recipe(path), tmp_path / "e", progress=False)
    assert report.last_log["document_terms_seen"] <= 12
    assert report.last_log["query_terms_seen"] <= (8 if kind == "siamese" else 12)
    (place,) = (tmp_path / "e").glob("*LiteralResidual")
    trained = load_file(place / "model.safetensors")["guess.weight"]
    n_terms, width = trained.shape
    fresh = LiteralResidual(width, n_terms, [], position="first", seed=0).guess.weight
    assert np.abs(trained - fresh.detach().numpy()).max() > 1e-3
    encoder = load_encoder(tmp_path / "e", device="cpu")
    rows = encoder.encode_documents(["the fox is red"])
    words = {"the", "fox", "is", "red"}
    assert len(words - set(encoder.term_strings(rows.indices))) <= 1


@pytest.mark.slow
def test_an_interrupted_prosper_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """The window is a function of the step, and the second head is in the checkpoint."""
    window = "[stage.ranking.window]\ndocuments = 12\ndocuments_start = 100\nsteps = 4\n"
    path = recipe(tmp_path, model="literal_residual = true", ranking=window, steps=4)
    train(load_recipe(path), tmp_path / "whole", progress=False)
    times = 0
    while not train(load_recipe(path), tmp_path / "parts", progress=False, stop_after=0.0).finished:
        times += 1
        assert times < 40
    assert times > 1
    for name in ("model.safetensors", "2_LiteralResidual/model.safetensors"):
        whole, parts = (load_file(tmp_path / run / name) for run in ("whole", "parts"))
        assert all(np.array_equal(whole[key], parts[key]) for key in whole)


@pytest.mark.parametrize(
    ("model", "kind", "ranking", "complaint"),
    [
        (UHD, "inference-free", "", 'wanted "siamese"'),
        ("literal_residual = true\n" + UHD, "siamese", "", "literal_residual = true"),
        ("max_active_terms = 9\n" + UHD, "siamese", "", "no term is larger than another"),
        (UHD.replace("[8, 6]", "[8]"), "siamese", "", "as many layers as dims and winners"),
        (UHD, "siamese", "windows = 2\nwindow_overlap = 4", "winners of several windows are all 1"),
        (UHD, "siamese", "[stage.calibrate]", r"\[stage.calibrate\]"),
        (UHD, "siamese", '[stage.ranking.sparsity]\npenalty = "idf-flops"', "idf-flops"),
    ],
)
def test_what_latent_terms_cannot_do_is_refused(
    tmp_path: Path, model: str, kind: str, ranking: str, complaint: str
) -> Any:
    with pytest.raises(RecipeError, match=complaint):
        load_recipe(recipe(tmp_path, model=model, kind=kind, ranking=ranking))


@pytest.mark.parametrize("head", ["uhd", "literal"])
def test_a_run_goes_on_from_the_head_of_an_encoder(tmp_path: Path, head: str) -> None:
    """It was drawn anew, without a word: only the language model went on."""
    documents = load_pairs(load_recipe("smoke")).documents
    make_backbone(tmp_path / "bare", Scratch(vocabulary=400), documents, max_length=32, seed=0)
    uhd = {"model.uhd": {"layers": [1, 2], "dims": [50, 50], "winners": [3, 3]}}
    wanted = uhd if head == "uhd" else {"model.literal_residual": True}

    def starting(place: Path, seed: int) -> Any:
        settings = {
            "model.scratch": None, "model.kind": "siamese", "model.max_length": 32,
            "stage.mlm": None, "stage.calibrate": None, "run.seed": seed,
            "model.backbone": str(place),
        }  # fmt: skip
        return load_recipe("smoke", settings | wanted)

    def weight(model: Any) -> Any:
        return model.projections[0].weight if head == "uhd" else model.literal.guess.weight

    recipe = starting(tmp_path / "bare", 0)
    model = check_networks(recipe)
    assert model is not None
    with torch.no_grad():
        weight(model).fill_(0.5)  # what training taught
    make_encoder(recipe, model, model, 1.0).save(tmp_path / "trained")
    again = check_networks(starting(tmp_path / "trained", 3))
    assert bool((weight(again) == 0.5).all())
    assert not bool((weight(check_networks(starting(tmp_path / "bare", 3))) == 0.5).any())
