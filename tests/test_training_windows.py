"""`stage.ranking.windows`: long documents are trained on as the encoder will read them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from lsr.encoders import SpladeEncoder, load_encoder  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.data import Pairs, load_pairs  # noqa: E402
from training.models import check_networks  # noqa: E402
from training.objectives import Ranking, largest_of_each  # noqa: E402
from training.queries import TableQueries  # noqa: E402
from training.recipe import Recipe  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402
from training.steps import RankingSteps  # noqa: E402

ANSWERS = ("heron", "badger", "salmon", "walnut", "copper", "violin")
HEAD = "a long text that begins like all of the others and goes on and on about"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Documents that differ in their last word alone, beyond 12 tokens; it is the query."""
    path = tmp_path / "tails.jsonl"
    lines = [orjson.dumps({"query": word, "pos": [f"{HEAD} {word}"]}) for word in ANSWERS]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def world(file: Path, windows: int) -> tuple[Recipe, Pairs, SpladeModel]:
    recipe = load_recipe(
        "smoke",
        {
            "data.train": [str(file)],
            "data.negatives": 0,
            "stage.ranking.batch": 6,
            "stage.ranking.max_length": 12,
            "stage.ranking.windows": windows,
            "stage.ranking.window_overlap": 2,
            "stage.ranking.sampled_terms": 0,
            "stage.ranking.losses.info_nce": 1.0,
        },
    )
    pairs = load_pairs(recipe)
    folder = file.parent / "backbone"
    if not folder.is_dir():
        words = Scratch(hidden=32, vocabulary=300)
        make_backbone(folder, words, list(pairs.documents), max_length=12, seed=0)
    return recipe, pairs, SpladeModel.from_checkpoint(folder, max_length=12).eval()


def steps_of(recipe: Recipe, pairs: Pairs, model: SpladeModel, parts: int = 1) -> RankingSteps:
    return RankingSteps(
        pairs, model.tokenizer, recipe, n_terms=model.n_terms, n_batches=40, parts=parts
    )


@torch.no_grad()
def test_a_document_weighs_in_training_what_the_encoder_gives_it(file: Path) -> None:
    recipe, pairs, model = world(file, windows=9)
    batch = steps_of(recipe, pairs, model)[0]
    rows = model.weights(batch["document_ids"], batch["document_mask"])
    assert len(rows) > len(ANSWERS)
    encoder = SpladeEncoder.of(model)
    encoder = replace(encoder, card=replace(encoder.card, window_overlap=2))
    wanted = encoder.encode_documents(list(pairs.documents)).toarray()
    got = largest_of_each(rows, batch["document_of"])
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-5)


def test_no_more_windows_are_read_than_asked_for(file: Path) -> None:
    recipe, pairs, model = world(file, windows=2)
    batch = steps_of(recipe, pairs, model)[0]
    assert batch["document_of"].tolist() == sorted([*range(6)] * 2)
    recipe, pairs, model = world(file, windows=1)
    batch = steps_of(recipe, pairs, model)[0]
    assert "document_of" not in batch
    assert len(batch["document_ids"]) == 6


def test_processes_share_whole_documents(file: Path) -> None:
    recipe, pairs, model = world(file, windows=9)
    alone = steps_of(recipe, pairs, model)[1]
    parts = [steps_of(recipe, pairs, model, parts=2)[item] for item in (2, 3)]
    assert torch.equal(torch.cat([part["document_ids"] for part in parts]), alone["document_ids"])
    first, second = (part["document_of"] for part in parts)
    assert torch.equal(torch.cat([first, second + int(first.max()) + 1]), alone["document_of"])


@pytest.mark.parametrize("windows", [1, 2])
def test_what_only_the_tail_says_is_learned_in_windows_alone(file: Path, windows: int) -> None:
    """Cut at 12 tokens the six documents are one: the loss of a guess, ln 6."""
    recipe, pairs, model = world(file, windows)
    torch.manual_seed(0)
    table = TableQueries(torch.ones(model.n_terms), specials=[0], learned=False)
    objective = Ranking(model, table, recipe.stage.ranking)
    steps = steps_of(recipe, pairs, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for number in range(40):
        optimizer.zero_grad()
        parts = objective(**steps[number], step=0)
        parts["loss"].backward()
        optimizer.step()
    if windows == 1:
        assert parts["info_nce"].item() == pytest.approx(np.log(6), rel=1e-3)
    else:
        assert parts["info_nce"].item() < 1.5  # 1.2 was measured


@pytest.mark.slow
def test_the_trained_encoder_reads_windows_too(tmp_path: Path) -> None:
    recipe = load_recipe(
        "smoke",
        {
            "stage.ranking.windows": 2,
            "stage.ranking.window_overlap": 4,
            "stage.ranking.steps": 2,
            "stage.mlm.steps": 2,
        },
    )
    train(recipe, tmp_path / "e", progress=False)
    assert load_encoder(tmp_path / "e").card.window_overlap == 4


@pytest.mark.parametrize("windows", [1, 2])
def test_the_windows_of_an_encoder_are_as_long_as_those_it_learned_from(
    file: Path, windows: int
) -> None:
    """An encoder of 128 tokens read one window where training had read four of 16."""
    recipe, pairs, _ = world(file, windows)
    words = Scratch(hidden=32, vocabulary=300)
    make_backbone(file.parent / "long", words, list(pairs.documents), max_length=30, seed=0)
    model = replace(recipe.model, backbone=str(file.parent / "long"), scratch=None, max_length=30)
    network = check_networks(replace(recipe, model=model))
    assert network is not None
    assert network.tokenizer.max_length == (30 if windows == 1 else 12)
