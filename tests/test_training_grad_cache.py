"""GradCache: pieces give the gradients of the whole batch and do not keep its activations."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lsr.encoders.splade import SpladeModel  # noqa: E402
from training import grad_cache  # noqa: E402
from training.grad_cache import in_pieces  # noqa: E402
from training.network import set_dropout  # noqa: E402
from training.objectives import Ranking  # noqa: E402
from training.queries import TableQueries  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402
from training.stage_sections import Controller, RankingStage, Sparsity  # noqa: E402
from training.steps import pad  # noqa: E402

TEXT = "the red fox runs and a blue whale swims in the green sea while frogs sit"
WORDS = TEXT.split(" ")
DOCUMENTS = [" ".join(WORDS[i : i + 2 + 3 * (i % 4)]) for i in range(12)]
QUERIES = [" ".join(WORDS[i : i + 2]) for i in range(6)]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    make_backbone(folder, Scratch(hidden=32, vocabulary=300), DOCUMENTS, max_length=32, seed=0)
    return folder


def make(backbone: Path, *, micro_batch: int, dropout: float = 0.0, table: bool = False) -> Ranking:
    model = SpladeModel.from_checkpoint(backbone, max_length=32)
    set_dropout(model, dropout)
    sparsity = Sparsity(documents=0.1, queries=0.2, penalty="df-flops", anti_zero=0.1)
    stage = RankingStage(
        steps=9, scale=0.1, micro_batch=micro_batch, sparsity=sparsity, controller=Controller(20)
    )
    queries = TableQueries(torch.ones(model.n_terms), learned=True) if table else model
    return Ranking(model, queries, stage).train()


def batch(objective: Ranking) -> dict[str, torch.Tensor]:
    tokenizer = objective.documents.tokenizer
    ids, mask = pad(tokenizer.ids(DOCUMENTS, special=True), tokenizer.pad_id)
    content = {
        "document_ids": ids,
        "document_mask": mask,
        "positives": torch.arange(6),
        "excluded": torch.eye(12, dtype=torch.bool)[:6],
    }
    if isinstance(objective.queries, TableQueries):
        present = torch.zeros(6, objective.documents.n_terms, dtype=torch.bool)
        for row, tokens in enumerate(tokenizer.ids(QUERIES, special=False)):
            present[row, tokens] = True
        return content | {"query_terms": present}
    ids, mask = pad(tokenizer.ids(QUERIES, special=True), tokenizer.pad_id)
    return content | {"query_ids": ids, "query_mask": mask}


def gradients(objective: Ranking, *, bf16: bool = False) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        parts = objective(**batch(objective), step=3)
    parts["loss"].backward()
    return {"loss": parts["loss"].detach()} | {
        name: p.grad for name, p in objective.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("table", [False, True])
def test_pieces_have_the_gradients_of_the_whole_batch(backbone: Path, table: bool) -> None:
    """Ranking loss, full-batch DF-FLOPS and anti-zero alike; learned query table included."""
    whole = gradients(make(backbone, micro_batch=0, table=table))
    pieces = gradients(make(backbone, micro_batch=5, table=table))
    assert whole.keys() == pieces.keys()
    assert len(whole) > 10
    for name in whole:
        # Products over other shapes add up in another order.
        torch.testing.assert_close(pieces[name], whole[name], rtol=1e-4, atol=1e-6)


def test_pieces_meet_the_same_dropout_again(
    backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the same pieces with every activation kept: equal to the last bit."""
    cached = gradients(make(backbone, micro_batch=5, dropout=0.3))

    def kept(encode, *inputs: torch.Tensor, use_reentrant: bool) -> torch.Tensor:
        return encode(*inputs)

    monkeypatch.setattr("training.grad_cache.checkpoint", kept)
    plain = gradients(make(backbone, micro_batch=5, dropout=0.3))
    assert all(torch.equal(cached[name], plain[name]) for name in plain)
    without = gradients(make(backbone, micro_batch=5, dropout=0.0))
    assert not torch.equal(plain["loss"], without["loss"])


def test_pieces_work_in_bf16(backbone: Path) -> None:
    whole = gradients(make(backbone, micro_batch=0), bf16=True)
    pieces = gradients(make(backbone, micro_batch=4), bf16=True)
    name = "documents.backbone.bert.embeddings.word_embeddings.weight"
    # bfloat16 has three digits; directions agree.
    cosine = torch.nn.functional.cosine_similarity(
        whole[name].flatten(), pieces[name].flatten(), dim=0
    )
    assert cosine > 0.99


def kept_bytes(objective: Ranking) -> int:
    """What autograd keeps for the backward pass outside of pieces, parameters not counted."""
    total, own = 0, {p.data_ptr() for p in objective.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        if tensor.data_ptr() not in own:
            total += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        objective(**batch(objective), step=0)
    return total


def test_pieces_do_not_keep_activations(backbone: Path) -> None:
    """Vectors and losses are left of the forward pass: under a quarter, on this tiny network."""
    whole, pieces = (kept_bytes(make(backbone, micro_batch=size)) for size in (0, 2))
    assert pieces < whole / 4


def test_rows_come_back_in_their_order_and_padding_is_cut() -> None:
    """Each row by itself; the longest text of a piece decides its width."""
    lengths = torch.tensor([5, 1, 3, 2, 4])
    mask = (torch.arange(6) < lengths.unsqueeze(1)).long()
    ids = torch.arange(30).reshape(5, 6)
    widths: list[int] = []

    def encode(some_ids: torch.Tensor, some_mask: torch.Tensor) -> torch.Tensor:
        widths.append(some_ids.shape[1])
        return (some_ids * some_mask).sum(dim=1, keepdim=True).float()

    assert torch.equal(
        in_pieces(encode, ids, mask, size=2), (ids * mask).sum(dim=1, keepdim=True).float()
    )
    assert widths == [2, 4, 5]


def test_a_process_with_fewer_texts_goes_through_the_network_as_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sharded parameters come together at each pass, of all processes or none; they hung."""
    ids, mask = torch.tensor([[1, 2], [3, 0], [4, 5]]), torch.tensor([[1, 1], [1, 0], [1, 1]])
    weight = torch.tensor(2.0, requires_grad=True)
    passes: list[int] = []

    def encode(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        passes.append(len(ids))
        return weight * (ids * mask).sum(dim=1, keepdim=True).float()

    monkeypatch.setattr(grad_cache, "most", lambda mine: 4)  # another process has eight texts
    rows = in_pieces(encode, ids, mask, size=2)
    assert passes == [2, 1, 1, 1]
    assert rows.squeeze(1).tolist() == [6.0, 6.0, 18.0]
    rows.sum().backward()
    assert len(passes) == 8  # again backwards, the idle passes too
    assert weight.grad is not None
    assert weight.grad.item() == 15.0
