"""The focusing window: which terms stay, who gets a gradient, and how it shrinks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lsr.errors import RecipeError  # noqa: E402
from training import load_recipe  # noqa: E402
from training.objectives import Ranking  # noqa: E402
from training.regularizers import flops  # noqa: E402
from training.stage_sections import Controller, Losses, RankingStage, Sparsity, Window  # noqa: E402
from training.window import focused, in_window, window_size  # noqa: E402

# Few distinct values, so that ties and zeros are common.
ROWS = st.integers(1, 9).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), min_size=n, max_size=n),
        min_size=1,
        max_size=4,
    )
)


@given(rows=ROWS, k=st.integers(1, 10))
def test_the_window_keeps_the_k_largest_and_the_smaller_term_among_equals(
    rows: list[list[float]], k: int
) -> None:
    """The oracle sorts (-weight, term) in Python."""
    wanted = []
    for row in rows:
        order = sorted(range(len(row)), key=lambda t: (-row[t], t))[:k]
        wanted.append([value if t in order else 0.0 for t, value in enumerate(row)])
    assert focused(torch.tensor(rows), k).tolist() == wanted


def test_the_gradient_reaches_kept_terms_alone() -> None:
    weights = torch.tensor([[3.0, 1.0, 2.0, 0.5], [0.0, 1.0, 0.0, 2.0]], requires_grad=True)
    (focused(weights, 2) * torch.tensor([5.0, 6.0, 7.0, 8.0])).sum().backward()
    # The second row has two terms, no more than the window: it passes untouched, zeros included.
    assert weights.grad.tolist() == [[5.0, 0.0, 7.0, 0.0], [5.0, 6.0, 7.0, 8.0]]


def test_a_row_of_exactly_k_terms_is_untouched() -> None:
    weights = torch.tensor([[1.0, 0.0, 2.0]])
    assert torch.equal(focused(weights, 2), weights)


@given(
    start=st.integers(1, 100_000),
    share=st.floats(0.001, 1.0),
    steps=st.integers(1, 1_000),
)
def test_the_window_shrinks_from_start_to_end_and_never_grows(
    start: int, share: float, steps: int
) -> None:
    end = max(1, int(start * share))
    sizes = [window_size(s, start=start, end=end, steps=steps) for s in range(steps + 3)]
    assert sizes[0] == start
    assert sizes[steps:] == [end] * 3
    assert sizes == sorted(sizes, reverse=True)


def test_without_a_start_the_window_is_the_same_at_every_step() -> None:
    assert [window_size(step, start=0, end=7, steps=0) for step in (0, 5)] == [7, 7]


def test_a_side_of_zero_is_left_whole() -> None:
    weights = torch.rand(2, 9)
    window = Window(queries=0, documents=3)
    assert in_window(weights, window, "queries", 0) is weights
    assert in_window(weights, None, "documents", 0) is weights
    assert (in_window(weights, window, "documents", 0) > 0).sum(dim=1).tolist() == [3, 3]


class Fixed(torch.nn.Module):
    """A network whose vectors are a table, so that a step can be computed by hand."""

    def __init__(self, rows: "torch.Tensor") -> None:
        super().__init__()
        self.rows = torch.nn.Parameter(rows)
        self.n_terms = rows.shape[1]

    def weights(self, ids: "torch.Tensor", mask: "torch.Tensor", terms: None = None):
        return self.rows[ids[:, 0]]


def step_of(network: Fixed, stage: RankingStage, step: int) -> dict[str, "torch.Tensor"]:
    ids = torch.arange(2).unsqueeze(1)
    return Ranking(network, network, stage)(
        ids, ids, torch.arange(2), torch.zeros(2, 2, dtype=torch.bool), step, ids, ids
    )


def test_a_step_scores_and_penalises_what_the_window_shows() -> None:
    rng = np.random.default_rng(3)
    rows = torch.tensor(rng.random((2, 12)), dtype=torch.float32)
    stage = RankingStage(
        steps=1,
        losses=Losses(info_nce=1.0),
        sparsity=Sparsity(documents=0.5),
        window=Window(queries=3, documents=6, documents_start=12, steps=2),
        normalize_queries=True,
    )
    for step, k in ((0, 12), (1, 8), (2, 6)):
        network = Fixed(rows.clone())
        parts = step_of(network, stage, step)
        queries, documents = focused(rows, 3), focused(rows, k)
        scores = (queries / queries.norm(dim=1, keepdim=True)) @ documents.T
        rank = torch.nn.functional.cross_entropy(scores, torch.arange(2))
        wanted = rank + 0.5 * flops(documents)
        # The same sums in another order: float32 rounding.
        torch.testing.assert_close(parts["loss"], wanted)
        assert (parts["document_terms"], parts["query_terms"]) == (12, 12), "of whole vectors"
        assert (parts["document_terms_seen"], parts["query_terms_seen"]) == (k, 3)
        parts["loss"].backward()
        assert torch.equal(network.rows.grad != 0, documents > 0)


def test_the_controller_is_told_the_length_of_whole_vectors() -> None:
    """Told what a window as large as the target shows, it let the penalty go, and encoders, which
    have no window, kept three times the terms they were asked for.
    """
    stage = RankingStage(
        steps=1,
        losses=Losses(info_nce=1.0),
        sparsity=Sparsity(documents=0.1, queries=0.1),
        controller=Controller(documents=4.0, queries=4.0),
        window=Window(queries=3, documents=3),
    )
    network = Fixed(torch.rand(2, 12) + 0.1)
    objective = Ranking(network, network, stage).train()
    ids = torch.arange(2).unsqueeze(1)
    none = torch.zeros(2, 2, dtype=torch.bool)
    objective(ids, ids, torch.arange(2), none, 0, ids, ids)
    for side in ("documents", "queries"):
        assert objective.controllers[side].length == 12


MINIMAL = """
name = "x"
[model]
kind = "{kind}"
backbone = "checkpoint"
[data]
train = ["scifact"]
[stage.ranking]
steps = 10
{more}
[stage.ranking.window]
{window}
"""


def recipe(folder: Path, window: str, kind: str = "siamese", more: str = "") -> Path:
    path = folder / "recipe.toml"
    path.write_text(MINIMAL.format(kind=kind, window=window, more=more))
    return path


def test_an_empty_section_means_the_papers_window(tmp_path: Path) -> None:
    window = load_recipe(recipe(tmp_path, "")).stage.ranking.window
    assert window == Window(queries=256, documents=512)


@pytest.mark.parametrize(
    ("window", "kind", "more", "complaint"),
    [
        ("documents_start = 1024", "siamese", "", "documents_start = 1024 without steps"),
        ("queries_start = 9\nsteps = 5", "siamese", "", "goes from coarse to fine"),
        ("queries = 0\nqueries_start = 9\nsteps = 5", "siamese", "", "which is no window"),
        ("", "inference-free", "sampled_terms = 64", "where all are computed"),
    ],
)
def test_a_window_that_cannot_be_is_refused(
    tmp_path: Path, window: str, kind: str, more: str, complaint: str
) -> None:
    with pytest.raises(RecipeError, match=complaint):
        load_recipe(recipe(tmp_path, window, kind, more))
