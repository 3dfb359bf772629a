"""Losses, regularisers and schedule against loops that a reader can check by eye."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.losses import info_nce  # noqa: E402
from training.regularizers import active_terms, flops  # noqa: E402
from training.schedule import quadratic  # noqa: E402


def naive_info_nce(scores, positives, excluded, scale):
    total = 0.0
    for q, positive in enumerate(positives):
        denominator = sum(
            math.exp(scale * scores[q][d])
            for d in range(len(scores[q]))
            if d == positive or not excluded[q][d]
        )
        total -= math.log(math.exp(scale * scores[q][positive]) / denominator)
    return total / len(positives)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_info_nce_equals_the_written_out_sum(scale: float) -> None:
    """In-batch and given negatives are the same thing, columns; excluded ones do not count."""
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(5, 9))
    positives = rng.integers(9, size=5)
    excluded = rng.random((5, 9)) < 0.3
    got = info_nce(
        torch.tensor(scores),
        torch.tensor(positives),
        excluded=torch.tensor(excluded),
        scale=scale,
    )
    # float32 inside: seven digits.
    assert got.item() == pytest.approx(naive_info_nce(scores, positives, excluded, scale), rel=1e-5)


def test_the_positive_counts_even_if_marked_as_excluded() -> None:
    scores = torch.tensor([[1.0, 2.0]])
    marked = info_nce(scores, torch.tensor([0]), excluded=torch.tensor([[True, False]]))
    assert marked.item() == info_nce(scores, torch.tensor([0])).item()


def test_info_nce_of_a_single_document_is_zero() -> None:
    assert info_nce(torch.tensor([[5.0]]), torch.tensor([0])).item() == 0.0


def test_flops_is_the_sum_of_squared_mean_weights() -> None:
    weights = np.random.default_rng(1).random((7, 11)).astype(np.float32)
    by_hand = sum(float(np.mean(weights[:, t], dtype=np.float64)) ** 2 for t in range(11))
    assert flops(torch.tensor(weights)).item() == pytest.approx(by_hand, rel=1e-6)


def test_flops_survives_half_precision_input() -> None:
    """30,522 terms all on: the sum exceeds what float16 holds, so it is made in float32."""
    weights = torch.full((4, 30_522), 3.0, dtype=torch.float16)
    assert flops(weights).item() == pytest.approx(9 * 30_522)


def test_sampled_flops_and_counts_are_unbiased() -> None:
    """Every subset of two of four optional terms, equally likely: the mean is the full value."""
    weights = torch.tensor([[1.0, 0.0, 2.0, 3.0, 0.5], [0.0, 1.0, 2.0, 0.0, 0.5]])
    estimates, counts = [], []
    for i in range(1, 5):
        for j in range(i + 1, 5):
            columns = torch.tensor([0, i, j])
            inverse = torch.tensor([1.0, 2.0, 2.0])
            estimates.append(flops(weights[:, columns], inverse).item())
            counts.append(active_terms(weights[:, columns], inverse).item())
    assert np.mean(estimates) == pytest.approx(flops(weights).item())
    assert np.mean(counts) == pytest.approx(active_terms(weights).item())


def test_the_ramp_is_quadratic_then_flat_and_knows_no_history() -> None:
    values = [quadratic(step, peak=0.5, ramp_steps=10) for step in range(12)]
    assert values[:10] == pytest.approx([0.5 * ((s + 1) / 10) ** 2 for s in range(10)])
    assert values[9:] == [0.5, 0.5, 0.5]
    assert quadratic(0, peak=0.5, ramp_steps=0) == 0.5
