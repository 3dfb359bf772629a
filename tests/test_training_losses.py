"""Losses against loops that a reader can check by eye, and their gradients."""

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.losses import (  # noqa: E402
    approx_ndcg,
    info_nce,
    kl,
    listwise,
    margin_mse,
    mixed,
    pairwise,
)
from training.schedule import quadratic  # noqa: E402
from training.stage_sections import Losses, RankingStage  # noqa: E402


class World:
    """Five queries, nine documents, a teacher that knows some of them; query 4 is unknown to it."""

    def __init__(self, n_queries: int = 5) -> None:
        rng = np.random.default_rng(3)
        n = n_queries
        self.scores = rng.normal(scale=2, size=(n, 9))
        self.positives = rng.integers(9, size=n)
        self.excluded = rng.random((n, 9)) < 0.3
        self.excluded[np.arange(n), self.positives] = True
        self.teacher = rng.normal(scale=5, size=(n, 9)).round(1).astype(np.float32)
        self.teacher[rng.random((n, 9)) < 0.4] = np.nan
        self.teacher[0, self.positives[0]] = 1.5
        if n > 4:
            self.teacher[4] = np.nan

    def known(self, q: int) -> list[int]:
        return [d for d in range(9) if not math.isnan(self.teacher[q, d])]

    def tensors(self):
        return (
            torch.tensor(self.scores, requires_grad=True),
            torch.tensor(self.positives),
            torch.tensor(self.excluded),
            torch.tensor(self.teacher),
        )


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def naive_info_nce(world: World, scale: float) -> float:
    total = 0.0
    for q, positive in enumerate(world.positives):
        row = world.scores[q]
        rivals = [d for d in range(9) if d == positive or not world.excluded[q, d]]
        total -= math.log(
            math.exp(scale * row[positive]) / sum(math.exp(scale * row[d]) for d in rivals)
        )
    return total / len(world.positives)


def naive_margin_mse(world: World, factor: float = 1.0) -> float:
    errors = []
    for q, positive in enumerate(world.positives):
        s, t = world.scores[q], world.teacher[q] * factor
        if positive in world.known(q):
            errors += [
                ((s[positive] - s[d]) - (t[positive] - t[d])) ** 2
                for d in world.known(q)
                if d != positive
            ]
    return sum(errors) / len(errors)


def naive_kl(world: World, student: float, teacher: float) -> float:
    found = []
    for q in range(len(world.positives)):
        known = world.known(q)
        if len(known) >= 2:
            p = softmax([world.teacher[q, d] / teacher for d in known])
            r = softmax([world.scores[q, d] / student for d in known])
            found.append(sum(a * math.log(a / b) for a, b in zip(p, r, strict=True)))
    return sum(found) / len(found)


def naive_pairwise(world: World, scale: float, *, taught: bool) -> float:
    found = []
    for q, positive in enumerate(world.positives):
        s, t = world.scores[q], world.teacher[q]
        if taught:
            pairs = [(i, j) for i, j in itertools.permutations(world.known(q), 2) if t[i] > t[j]]
        else:
            pairs = [(positive, j) for j in range(9) if j != positive and not world.excluded[q, j]]
        found += [math.log(1 + math.exp(-scale * (s[i] - s[j]))) for i, j in pairs]
    return sum(found) / len(found)


def naive_listwise(world: World, student: float, teacher: float, *, taught: bool) -> float:
    found = []
    for q in range(len(world.positives)):
        columns = world.known(q) if taught else list(range(9))
        if taught and len(columns) < 2:
            continue
        if taught:
            p = softmax([world.teacher[q, d] / teacher for d in columns])
        else:
            p = [float(world.excluded[q, d]) / world.excluded[q].sum() for d in columns]
        r = softmax([world.scores[q, d] / student for d in columns])
        found.append(-sum(a * math.log(b) for a, b in zip(p, r, strict=True)))
    return sum(found) / len(found)


def naive_approx_ndcg(world: World, scale: float, *, taught: bool) -> float:
    found = []
    for q in range(len(world.positives)):
        columns = world.known(q) if taught else list(range(9))
        if not columns:
            continue
        if taught:
            t = [world.teacher[q, d] for d in columns]
            gains = [(x - min(t)) / (max(t) - min(t)) for x in t]
        else:
            gains = [float(world.excluded[q, d]) for d in columns]
        s = [world.scores[q, d] for d in columns]
        dcg = 0.0
        for i, gain in enumerate(gains):
            above = (1 / (1 + math.exp(-scale * (x - s[i]))) for j, x in enumerate(s) if j != i)
            dcg += gain / math.log2(2 + sum(above))
        best = sum(g / math.log2(2 + r) for r, g in enumerate(sorted(gains, reverse=True)))
        found.append(1 - dcg / best)
    return sum(found) / len(found)


def check(loss, scores, expected: float) -> None:
    # float32 inside: six digits of a sum of some dozen terms.
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert torch.isfinite(scores.grad).all()
    assert scores.grad.abs().sum() > 0


@pytest.mark.parametrize("n_queries", [5, 1])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_info_nce_equals_the_written_out_sum(scale: float, n_queries: int) -> None:
    """In-batch and given negatives are the same thing, columns; excluded ones do not count."""
    world = World(n_queries)
    scores, positives, excluded, _ = world.tensors()
    loss = info_nce(scores, positives, excluded=excluded, scale=scale)
    check(loss, scores, naive_info_nce(world, scale))


@pytest.mark.parametrize("n_queries", [5, 1])
def test_margin_mse_equals_the_written_out_sum(n_queries: int) -> None:
    world = World(n_queries)
    scores, positives, _, teacher = world.tensors()
    check(margin_mse(scores, positives, teacher), scores, naive_margin_mse(world))


def test_a_matched_teacher_has_the_wanted_spread_within_queries() -> None:
    """Rescaled by the ratio of spreads; whatever scale the teacher came on, the loss is one."""
    world = World()
    scores, positives, _, teacher = world.tensors()

    def spread(values: np.ndarray) -> float:
        rows = [values[q, world.known(q)] for q in range(4)]
        return math.sqrt(np.mean(np.concatenate([(row - row.mean()) ** 2 for row in rows])))

    factor = spread(world.scores) / spread(world.teacher)
    loss = margin_mse(scores, positives, 100 * teacher + 7, match="student")
    check(loss, scores, naive_margin_mse(world, factor))
    fixed = margin_mse(scores, positives, 100 * teacher + 7, match="spread", spread=3.0)
    expected = naive_margin_mse(world, 3.0 / spread(world.teacher))
    assert fixed.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n_queries", [5, 1])
def test_kl_equals_the_written_out_sum(n_queries: int) -> None:
    world = World(n_queries)
    scores, _, _, teacher = world.tensors()
    check(kl(scores, teacher, temperature=2, teacher_temperature=4), scores, naive_kl(world, 2, 4))


@pytest.mark.parametrize("taught", [True, False])
@pytest.mark.parametrize("n_queries", [5, 1])
def test_pairwise_listwise_and_ndcg_equal_the_written_out_sums(
    taught: bool, n_queries: int
) -> None:
    """Over the teacher's preferences and over the judged ones."""
    world = World(n_queries)
    for loss, settings, expected in (
        (pairwise, {"scale": 0.5}, naive_pairwise(world, 0.5, taught=taught)),
        (
            listwise,
            {"temperature": 2, "teacher_temperature": 3},
            naive_listwise(world, 2, 3, taught=taught),
        ),
        (approx_ndcg, {"scale": 0.5}, naive_approx_ndcg(world, 0.5, taught=taught)),
    ):
        scores, positives, excluded, teacher = world.tensors()
        given = teacher if taught else None
        check(
            loss(scores, positives, excluded=excluded, teacher=given, **settings), scores, expected
        )


def test_listwise_pulls_where_kl_pulls() -> None:
    """With a teacher the two differ by its entropy, which no gradient sees."""
    gradients = []
    for loss in (
        lambda s, p, e, t: kl(s, t),
        lambda s, p, e, t: listwise(s, p, excluded=e, teacher=t),
    ):
        scores, *rest = World().tensors()
        loss(scores, *rest).backward()
        gradients.append(scores.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_batch_the_teacher_knows_nothing_of_teaches_nothing() -> None:
    """Zero and a gradient of zero, not the mean of an empty set."""
    scores = torch.randn(2, 4, requires_grad=True)
    positives, unknown = torch.tensor([0, 1]), torch.full((2, 4), float("nan"))
    excluded = torch.zeros(2, 4, dtype=torch.bool)
    for loss in (
        margin_mse(scores, positives, unknown),
        margin_mse(scores, positives, unknown, match="student"),
        kl(scores, unknown),
        pairwise(scores, positives, excluded=excluded, teacher=unknown),
        listwise(scores, positives, excluded=excluded, teacher=unknown),
        approx_ndcg(scores, positives, excluded=excluded, teacher=unknown),
    ):
        scores.grad = None
        loss.backward()
        assert loss.item() == 0
        assert scores.grad.abs().sum() == 0


def test_a_distilled_ranking_follows_the_teacher() -> None:
    """Each loss alone, minimised on free scores, orders documents as the teacher does."""
    teacher = torch.tensor([[0.0, 4.0, 2.0, 6.0]])
    excluded = torch.tensor([[True, False, False, False]])
    for name in ("margin_mse", "kl", "pairwise", "listwise", "approx_ndcg"):
        scores = torch.tensor([[0.3, 0.2, 0.1, 0.0]], requires_grad=True)
        stage = RankingStage(steps=1, losses=Losses(**{name: 1.0}))
        optimizer = torch.optim.Adam([scores], lr=0.05)
        for _ in range(200):
            total, _ = mixed(stage, scores, torch.tensor([0]), excluded=excluded, teacher=teacher)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        assert scores.argsort().tolist() == teacher.argsort().tolist(), name


def test_a_mix_is_the_weighted_sum_of_its_named_parts() -> None:
    scores, positives, excluded, teacher = World().tensors()
    stage = RankingStage(
        steps=1, losses=Losses(kl=1.0, margin_mse=0.05, info_nce=0.01), scale=0.5, temperature=2
    )
    total, parts = mixed(stage, scores, positives, excluded=excluded, teacher=teacher)
    assert set(parts) == {"kl", "margin_mse", "info_nce"}
    by_hand = naive_kl(World(), 2, 1) + 0.05 * naive_margin_mse(World())
    by_hand += 0.01 * naive_info_nce(World(), 0.5)
    assert total.item() == pytest.approx(by_hand, rel=1e-5)


def test_the_positive_counts_even_if_marked_as_excluded() -> None:
    scores = torch.tensor([[1.0, 2.0]])
    marked = info_nce(scores, torch.tensor([0]), excluded=torch.tensor([[True, False]]))
    assert marked.item() == info_nce(scores, torch.tensor([0])).item()


def test_info_nce_of_a_single_document_is_zero() -> None:
    assert info_nce(torch.tensor([[5.0]]), torch.tensor([0])).item() == 0.0


def test_the_ramp_is_quadratic_then_flat_and_knows_no_history() -> None:
    values = [quadratic(step, peak=0.5, ramp_steps=10) for step in range(12)]
    assert values[:10] == pytest.approx([0.5 * ((s + 1) / 10) ** 2 for s in range(10)])
    assert values[9:] == [0.5, 0.5, 0.5]
    assert quadratic(0, peak=0.5, ramp_steps=0) == 0.5
