"""One batch over two processes (gloo): the same step as one process with the whole batch."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch import distributed, nn  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from lsr.encoders.splade import SpladeModel  # noqa: E402
from lsr.errors import RecipeError  # noqa: E402
from training import load_recipe  # noqa: E402
from training.data import load_pairs  # noqa: E402
from training.gather import gathered, shared  # noqa: E402
from training.network import set_dropout  # noqa: E402
from training.objectives import Ranking  # noqa: E402
from training.queries import TableQueries  # noqa: E402
from training.recipe import Recipe  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402
from training.steps import RankingSteps  # noqa: E402

LOSSES = {"info_nce": 1.0, "kl": 0.5, "margin_mse": 0.01, "pairwise": 0.1, "approx_ndcg": 0.1}
COMMON = {
    "teachers": [{"kind": "bm25"}],  # that there is one; what it thinks is `Opinions`
    "stage.ranking.batch": 7,  # an odd number: parts of three and four
    "stage.ranking.losses": LOSSES,
    "stage.ranking.sparsity.penalty": "df-flops",
    "stage.ranking.controller.documents": 30,
    "stage.ranking.sparsity.ramp": 0,
}
SIAMESE = COMMON | {
    "model.kind": "siamese",
    "stage.ranking.micro_batch": 3,
    "stage.ranking.sparsity.queries": 0.1,
    "stage.ranking.sparsity.anti_zero": 0.1,
}
TABLE = COMMON | {"stage.ranking.sampled_terms": 50}


class Opinions:
    """A teacher that has an opinion on two pairs of three, by their numbers."""

    def matrix(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        mixed = (queries[:, None] * 7 + documents[None, :] * 13) % 17
        return np.where(mixed % 3 == 0, np.nan, mixed).astype(np.float32)


def after_two_steps(
    recipe: Recipe, backbone: Path, *, part: int, parts: int
) -> dict[str, torch.Tensor]:
    """Plain SGD, so that parameters show gradients as they are and not only their signs."""
    pairs = load_pairs(recipe)
    model = SpladeModel.from_checkpoint(backbone, max_length=32)
    set_dropout(model, 0.0)
    table = TableQueries(torch.linspace(0, 3, model.n_terms), specials=[0], learned=True)
    queries = model if recipe.model.kind == "siamese" else table
    objective = Ranking(model, queries, recipe.stage.ranking).train()
    steps = RankingSteps(
        pairs,
        model.tokenizer,
        recipe,
        n_terms=model.n_terms,
        n_batches=2,
        teachers=Opinions(),
        parts=parts,
    )
    wrapped: nn.Module = objective
    if parts > 1:
        wrapped = DistributedDataParallel(objective, find_unused_parameters=True)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
    for step in range(2):
        loss = wrapped(**steps[step * parts + part], step=step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return objective.state_dict() | {"last loss": loss.detach()}


def work(part: int, folder: str) -> None:
    """What each of the two processes does; it writes the state it ends with."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=part, world_size=2)
    for name, changes in (("siamese", SIAMESE), ("table", TABLE)):
        state = after_two_steps(
            load_recipe("smoke", changes), Path(folder) / "backbone", part=part, parts=2
        )
        torch.save(state, f"{folder}/{name}-{part}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    documents = load_pairs(load_recipe("smoke")).documents
    sizes = Scratch(hidden=32, vocabulary=400)
    make_backbone(folder / "backbone", sizes, documents, max_length=32, seed=0)
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes"), [("siamese", SIAMESE), ("table", TABLE)])
def test_two_processes_take_the_step_of_one(name: str, changes: dict, two: Path) -> None:
    """Losses of a teacher, DF-FLOPS of all documents, controller, GradCache, a learned table.

    Parts of unequal size. Sums in another order: relative 1e-4 of float32 after two steps.
    """
    whole = after_two_steps(load_recipe("smoke", changes), two / "backbone", part=0, parts=1)
    first, second = (torch.load(two / f"{name}-{part}.pt") for part in (0, 1))
    start = SpladeModel.from_checkpoint(two / "backbone", max_length=32).state_dict()
    moved = "backbone.bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(whole[f"documents.{moved}"], start[moved])
    for key in whole:
        assert key == "last loss" or torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], whole[key], rtol=1e-4, atol=1e-6, msg=key)


def test_parts_of_a_batch_put_together_are_the_batch(two_parts) -> None:
    """Every query and document is encoded once; the matrices are those of the whole batch."""
    whole, *parts = two_parts
    for name in ("document_ids", "query_ids"):
        texts = [row[row > 0].tolist() for part in parts for row in part[name]]
        assert texts == [row[row > 0].tolist() for row in whole[name]]
    for part in parts:
        assert torch.equal(part["positives"], whole["positives"])
        assert torch.equal(part["excluded"], whole["excluded"])
        assert torch.equal(part["teacher"].nan_to_num(-1), whole["teacher"].nan_to_num(-1))


@pytest.fixture
def two_parts(tmp_path: Path):
    recipe = load_recipe("smoke", SIAMESE)
    pairs = load_pairs(recipe)
    sizes = Scratch(hidden=8, vocabulary=300)
    make_backbone(tmp_path, sizes, pairs.documents, max_length=32, seed=0)
    tokenizer = SpladeModel.from_checkpoint(tmp_path, max_length=32).tokenizer

    def steps(parts: int) -> RankingSteps:
        return RankingSteps(
            pairs, tokenizer, recipe, n_terms=300, n_batches=2, teachers=Opinions(), parts=parts
        )

    assert (len(steps(1)), len(steps(2))) == (2, 4)
    with pytest.raises(RecipeError, match="cannot be shared by 8 processes"):
        steps(8)
    return steps(1)[1], steps(2)[2], steps(2)[3]


def test_one_process_gathers_nothing() -> None:
    rows = torch.ones(2, 3, requires_grad=True)
    assert gathered(rows) is rows
    assert shared(rows) is rows
