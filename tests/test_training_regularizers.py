"""Regularisers against written-out sums, and what they do to a network's objective."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.regularizers import (  # noqa: E402
    DocumentFrequencies,
    active_terms,
    anti_zero,
    flops,
    l1,
    long_only,
)

WEIGHTS = torch.tensor([[1.0, 0.0, 2.0, 3.0, 0.5], [0.0, 1.0, 2.0, 0.0, 0.5]])


def subsets():
    """Every draw of two of the last four columns, with inverse probabilities: the first is sure."""
    for i, j in itertools.combinations(range(1, 5), 2):
        yield torch.tensor([0, i, j]), torch.tensor([1.0, 2.0, 2.0])


def test_flops_is_the_sum_of_squared_mean_weights() -> None:
    weights = np.random.default_rng(1).random((7, 11)).astype(np.float32)
    emphasis = np.random.default_rng(2).random(11).astype(np.float32)
    means = [float(np.mean(weights[:, t], dtype=np.float64)) for t in range(11)]
    assert flops(torch.tensor(weights)).item() == pytest.approx(sum(m**2 for m in means), rel=1e-6)
    pressed = sum((float(w) * m) ** 2 for w, m in zip(emphasis, means, strict=True))
    got = flops(torch.tensor(weights), emphasis=torch.tensor(emphasis)).item()
    assert got == pytest.approx(pressed, rel=1e-6)


def test_flops_survives_half_precision_input() -> None:
    """30,522 terms all on: the sum exceeds what float16 holds, so it is made in float32."""
    weights = torch.full((4, 30_522), 3.0, dtype=torch.float16)
    assert flops(weights).item() == pytest.approx(9 * 30_522)
    assert l1(weights).item() == pytest.approx(3 * 30_522)


@pytest.mark.parametrize("measure", [flops, l1, active_terms])
def test_sampled_sums_are_unbiased(measure) -> None:
    """Every draw equally likely: the mean over draws is the full value."""
    estimates = [measure(WEIGHTS[:, terms], inverse).mean().item() for terms, inverse in subsets()]
    assert np.mean(estimates) == pytest.approx(measure(WEIGHTS).mean().item())


def test_short_documents_are_not_penalised_but_still_counted() -> None:
    """The mean runs over both documents; only the one with four terms is in it."""
    kept = long_only(WEIGHTS, 3)
    assert kept.tolist() == [WEIGHTS[0].tolist(), [0.0] * 5]
    by_hand = sum((float(w) / 2) ** 2 for w in WEIGHTS[0])
    assert flops(kept).item() == pytest.approx(by_hand)


def test_anti_zero_pushes_a_nearly_empty_vector_up() -> None:
    weights = torch.tensor([[0.1, 0.0], [9.0, 9.0]], requires_grad=True)
    anti_zero(weights).backward()
    assert (weights.grad[0] < 0).all()
    assert weights.grad[1].abs().max() < weights.grad[0].abs().min() / 100
    empty = torch.zeros(1, 3, requires_grad=True)
    anti_zero(empty).backward()
    assert torch.isfinite(empty.grad).all()


def frequencies(**changes: float) -> DocumentFrequencies:
    settings = {"alpha": 0.1, "beta": 10, "refresh": 1, "decay": 0.5} | changes
    return DocumentFrequencies(5, **settings)  # type: ignore[arg-type]


def test_df_weights_are_those_of_the_paper() -> None:
    """A half at alpha, nothing for rare terms, all for terms that are everywhere."""
    shares = torch.tensor([0.0, 0.05, 0.1, 0.3, 1.0])
    got = frequencies().weights_of(shares)
    power = np.log(2) / np.log(0.1)
    by_hand = [1 / (1 + (x**power - 1) ** 10) for x in (0.05, 0.1, 0.3, 1.0)]
    assert got.tolist() == pytest.approx([0.0, *by_hand], rel=1e-4)
    assert got[2].item() == pytest.approx(0.5, rel=1e-4)


def test_df_shares_are_averaged_and_refreshed_only_when_due() -> None:
    """Plain mean of the first two batches, then decay; emphasis stands still between refreshes."""
    counted = frequencies(refresh=3)
    full, none = torch.ones(2, 5), torch.zeros(2, 5)
    counted.update(full)
    first = counted.emphasis.clone()
    assert first.tolist() == [1.0] * 5
    counted.update(none)
    assert counted.shares.tolist() == [0.5] * 5
    counted.update(none)
    assert counted.shares.tolist() == [0.25] * 5
    assert torch.equal(counted.emphasis, first)
    counted.update(none)
    assert counted.shares.tolist() == [0.125] * 5
    assert torch.equal(counted.emphasis, counted.weights_of(counted.shares))
    assert set(counted.state_dict()) == {"shares", "emphasis", "n_batches"}


def test_df_shares_from_sampled_terms_are_right_on_average() -> None:
    whole, sums, n_draws = frequencies(), torch.zeros(5), 0
    whole.update(WEIGHTS)
    for terms, inverse in subsets():
        sampled = frequencies()
        sampled.update(WEIGHTS[:, terms], terms, inverse)
        sums, n_draws = sums + sampled.shares, n_draws + 1
    torch.testing.assert_close(sums / n_draws, whole.shares)
