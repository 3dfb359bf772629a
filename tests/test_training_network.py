"""Network, objectives and calibration on a random two-layer BERT: the shortcuts change nothing."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.numpy import load_file  # noqa: E402

from lsr.encoders.splade import SpladeModel  # noqa: E402
from training.calibrate import calibrate  # noqa: E402
from training.network import learn_last, silence_terms  # noqa: E402
from training.objectives import MaskedLanguageModel, Ranking  # noqa: E402
from training.queries import TableQueries  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402
from training.stage_sections import MlmStage, RankingStage, Sparsity  # noqa: E402
from training.steps import MlmSteps, pad  # noqa: E402

TEXTS = ["the red fox runs", "a blue whale swims in the sea", "green frogs sit", "the sea is blue"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    make_backbone(folder, Scratch(hidden=32, vocabulary=300), TEXTS * 3, max_length=16, seed=0)
    return folder


@pytest.fixture
def model(backbone: Path) -> SpladeModel:
    return SpladeModel.from_checkpoint(backbone, max_length=16).eval()


@pytest.fixture
def batch(model: SpladeModel):
    tokenizer = model.tokenizer
    return pad(tokenizer.ids(TEXTS, special=True), tokenizer.pad_id)


def test_the_same_texts_make_the_same_backbone(backbone: Path, tmp_path: Path) -> None:
    make_backbone(tmp_path, Scratch(hidden=32, vocabulary=300), TEXTS * 3, max_length=16, seed=0)
    assert (tmp_path / "vocab.txt").read_bytes() == (backbone / "vocab.txt").read_bytes()
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, backbone))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_split_head_gives_the_weights_of_the_encoder(model: SpladeModel, batch) -> None:
    """Training and encoding must agree, or what was trained is not what is indexed."""
    with torch.no_grad():
        ids, mask = batch
        logits = model.backbone(input_ids=ids, attention_mask=mask).logits
        pooled = torch.where(mask.unsqueeze(-1) == 1, logits, float("-inf")).amax(dim=1)
        whole = torch.log1p(torch.relu(pooled))
        split = model(*batch)
        columns = torch.tensor([7, 20, 41])
        some = model.weights(*batch, columns)
    # Products in blocks and narrower ones may add up in another order.
    torch.testing.assert_close(split, whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(some, whole[:, columns], atol=1e-6, rtol=1e-5)


def test_after_a_failed_forward_the_decoder_is_whole_again(model: SpladeModel, batch) -> None:
    with pytest.raises(ValueError, match="input_ids"):
        model.features(None, None)
    assert model(*batch).shape == (4, model.n_terms)


def test_frozen_layers_get_no_gradient(model: SpladeModel, batch) -> None:
    learn_last(model, 1)
    model.weights(*batch).sum().backward()
    learning = {name for name, p in model.named_parameters() if p.grad is not None}
    assert any("layer.1." in name for name in learning)
    assert any("transform" in name for name in learning)
    assert not any("layer.0." in name or "embeddings" in name for name in learning)
    learn_last(model, -1)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("layers", [-1, 2, 3, 5])
def test_more_layers_than_there_are_all_learn(backbone: Path, layers: int) -> None:
    """Three of two were counted from the wrong end, and the last one learned alone."""
    model = SpladeModel.from_checkpoint(backbone, max_length=16)
    learn_last(model, layers)
    named = [(name, p.requires_grad) for name, p in model.named_parameters() if "layer." in name]
    assert {name.split("layer.")[1][0] for name, _ in named} == {"0", "1"}
    assert all(learns for _, learns in named)


def test_masked_lm_names_hidden_and_visible_tokens(model: SpladeModel) -> None:
    steps = MlmSteps(
        TEXTS,
        model.tokenizer,
        MlmStage(steps=3, batch=4, max_length=16, masked=0.5, kept=0.25),
        seed=0,
        n_steps=3,
    )
    item = steps[1]
    again = steps[1]
    assert all(torch.equal(item[name], again[name]) for name in item)
    special = torch.tensor(model.tokenizer.special_ids())
    assert not torch.isin(item["targets"], special).any()
    given = item["input_ids"].ravel()[item["positions"]]
    mask_id = model.tokenizer.tokenizer.token_to_id("[MASK]")
    assert (given == mask_id).any()
    assert (given == item["targets"]).any()
    parts = MaskedLanguageModel(model)(**item)
    logits = model.backbone(
        input_ids=item["input_ids"], attention_mask=item["attention_mask"]
    ).logits.flatten(0, 1)[item["positions"]]
    expected = torch.nn.functional.cross_entropy(logits, item["targets"])
    assert parts["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_inference_free_scores_are_idf_times_document_weight(model: SpladeModel, batch) -> None:
    """The score is a sum over the query's tokens; FLOPS sees the document without idf."""
    n_terms = model.n_terms
    idf = torch.rand(n_terms) * 5
    marks = torch.zeros(2, n_terms, dtype=torch.bool)
    marks[0, [40, 41]] = True
    marks[1, [30]] = True
    positives = torch.tensor([1, 3])
    excluded = torch.zeros(2, 4, dtype=torch.bool)
    stage = RankingStage(steps=1, scale=0.5, sparsity=Sparsity(documents=0.1))
    parts = Ranking(model, TableQueries(idf), stage)(
        *batch, positives, excluded, 0, query_terms=marks
    )
    with torch.no_grad():
        d = model(*batch)
        scores = torch.stack([d[:, 40] * idf[40] + d[:, 41] * idf[41], d[:, 30] * idf[30]])
        rank = torch.nn.functional.cross_entropy(0.5 * scores, positives)
        flops = d.mean(dim=0).square().sum()
    assert parts["rank_loss"].item() == pytest.approx(rank.item(), rel=1e-5)
    assert parts["loss"].item() == pytest.approx((rank + 0.1 * flops).item(), rel=1e-5)
    assert parts["document_terms"].item() == pytest.approx((d > 0).sum(1).float().mean().item())


def test_a_siamese_query_goes_through_the_network(model: SpladeModel, batch) -> None:
    ids, mask = batch
    stage = RankingStage(steps=1, sparsity=Sparsity(documents=0.1, queries=0.2))
    parts = Ranking(model, model, stage)(
        ids,
        mask,
        torch.arange(4),
        torch.eye(4, dtype=torch.bool),
        0,
        query_ids=ids,
        query_mask=mask,
    )
    with torch.no_grad():
        d = model(ids, mask)
        rank = torch.nn.functional.cross_entropy(d @ d.T, torch.arange(4))
        flops = d.mean(dim=0).square().sum()
    assert parts["loss"].item() == pytest.approx((rank + 0.3 * flops).item(), rel=1e-5)


def test_calibration_leaves_the_wanted_number_of_terms(model: SpladeModel, batch) -> None:
    calibrate(model, TEXTS, active_terms=25, max_length=16, bf16=False)
    with torch.no_grad():
        active = (model.weights(*batch) > 0).sum().item()
    # Ties at the threshold and sums in another order may move a term or two.
    assert active == pytest.approx(4 * 25, abs=2)


def test_calibration_leaves_silenced_terms_silent(model: SpladeModel, batch) -> None:
    """Asked for nearly all of a vocabulary it shifted by -1e4, and special tokens were postings."""
    silence_terms(model, model.tokenizer.special_ids())
    silent = model.decoder.bias.detach()[model.tokenizer.special_ids()].clone()
    for wanted in (model.n_terms - len(silent) - 1, 10 * model.n_terms):
        assert abs(calibrate(model, TEXTS, active_terms=wanted, max_length=16, bf16=False)) < 100
        assert torch.equal(model.decoder.bias.detach()[model.tokenizer.special_ids()], silent)
    with torch.no_grad():
        active = (model.weights(*batch) > 0).sum(dim=1)
    # The least logit of all is at zero.
    assert bool((active >= model.n_terms - len(silent) - 1).all())


def test_calibration_reads_documents_as_they_will_be_read(model: SpladeModel, batch) -> None:
    calibrate(model, TEXTS, active_terms=25, max_length=16, bf16=False, prompt="the cat: ")
    prompted = ["the cat: " + text for text in TEXTS]
    ids = model.tokenizer.limited(16).ids(prompted, special=True)
    with torch.no_grad():
        rows = [model.weights(torch.tensor([one]), torch.ones(1, len(one))) for one in ids]
    assert sum((row > 0).sum().item() for row in rows) == pytest.approx(len(ids) * 25, abs=3)


def test_silenced_terms_never_weigh_anything(model: SpladeModel, batch) -> None:
    special = model.tokenizer.special_ids()
    silence_terms(model, special)
    with torch.no_grad():
        assert not model.weights(*batch)[:, special].any()
        assert np.count_nonzero(model.weights(*batch).numpy()) > 0
