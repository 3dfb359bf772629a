"""The sparsity controller: the rule, its limits, its state, and that it gets where it is sent."""

import math

import pytest

torch = pytest.importorskip("torch")

from training.controller import SparsityController  # noqa: E402
from training.regularizers import active_terms, flops  # noqa: E402

SETTINGS = {
    "start": 0.1,
    "ramp_steps": 4,
    "rate": 0.05,
    "decay": 0.5,
    "lookahead": 8.0,
    "lowest": 0.01,
    "highest": 1.0,
}


def controller(target: float = 20, **changes: float) -> SparsityController:
    return SparsityController(target, **(SETTINGS | changes))  # type: ignore[arg-type]


def written_out(lengths: list[float]) -> list[float]:
    """The rule of the module's docstring, in plain numbers, for SETTINGS and the target 20."""
    weights: list[float] = []
    log_weight, mean, change, ramped = 0.0, 0.0, 0.0, False
    for step, length in enumerate(lengths):
        expected = mean + 8 * change
        if not ramped and (step >= 4 or (step > 1 and mean < 20)):
            ramped, log_weight = True, math.log(0.1 * min(1.0, (step + 1) / 4) ** 2)
        if ramped:
            log_weight += 0.05 * max(-1.0, min(1.0, (expected - 20) / 20))
            log_weight = max(math.log(0.01), min(0.0, log_weight))
        weights.append(math.exp(log_weight) if ramped else 0.1 * ((step + 1) / 4) ** 2)
        before = mean
        mean += max(0.5, 1 / (step + 1)) * (length - mean)
        change += (mean - before - change) / 2 if step else 0.0
    return weights


@pytest.mark.parametrize(
    "lengths",
    [
        [100.0, 90, 80, 70, 60, 40, 22, 20, 18, 5, 5, 30, 60],
        [30.0, 8, 5, 14, 13, 20, 22],  # below the target: the ramp ends before its fourth step
        [100.0, 40, 15, 14, 13, 20, 22],  # falls fast, and the ramp goes on
    ],
)
def test_the_weight_follows_the_written_rule(lengths: list[float]) -> None:
    """Ramp, then one move a step by the clipped relative error of the length to be expected."""
    control, got = controller(), []
    for step, length in enumerate(lengths):
        got.append(control.weight(step))
        control.observe(torch.tensor(length))
    # The state is float32.
    assert got == pytest.approx(written_out(lengths), rel=1e-5)


def test_several_batches_a_step_move_the_weight_once() -> None:
    control = controller(ramp_steps=0)
    control.observe(torch.tensor(100.0))
    first = control.weight(1)
    control.observe(torch.tensor(100.0))
    assert control.weight(1) == first
    assert control.weight(2) > first


def test_the_ramp_does_not_end_between_two_batches_of_a_step() -> None:
    control = controller(ramp_steps=9)
    for step, length in enumerate([25.0, 15.0, 15.0]):
        first = control.weight(step)
        control.observe(torch.tensor(length))
        assert control.weight(step) == first
    assert not bool(control.ramped)
    control.weight(3)
    assert bool(control.ramped), "the length is below the target of 20"


@pytest.mark.parametrize(("length", "limit"), [(1e6, 1.0), (0.0, 0.01)])
def test_the_weight_stays_between_floor_and_ceiling(length: float, limit: float) -> None:
    control = controller(ramp_steps=0)
    for step in range(200):
        weight = control.weight(step)
        control.observe(torch.tensor(length))
    assert weight == pytest.approx(limit)


def test_evaluation_moves_nothing() -> None:
    control = controller(ramp_steps=0).eval()
    before = {name: value.clone() for name, value in control.state_dict().items()}
    control.weight(3)
    control.observe(torch.tensor(100.0))
    assert all(torch.equal(before[name], value) for name, value in control.state_dict().items())


def test_a_saved_state_continues_exactly() -> None:
    """Interrupted equals uninterrupted: the buffers are all there is to know."""
    lengths = [90.0, 70.0, 50.0, 45.0, 33.0, 31.0, 12.0]
    whole, first, second = (
        controller(ramp_steps=2),
        controller(ramp_steps=2),
        controller(ramp_steps=2),
    )
    expected = []
    for step, length in enumerate(lengths):
        expected.append(whole.weight(step))
        whole.observe(torch.tensor(length))
    got = []
    for step, length in enumerate(lengths):
        if step == 4:
            second.load_state_dict(first.state_dict())
        control = first if step < 4 else second
        got.append(control.weight(step))
        control.observe(torch.tensor(length))
    assert got == expected


@pytest.mark.parametrize(("start", "target"), [(1e-4, 40), (3e-2, 40), (1e-3, 100)])
def test_a_toy_reaches_its_target_from_any_start(start: float, target: int) -> None:
    """Free weights of 64 documents over 300 terms, each term worth its own gain, none sampled.

    A term is on while its gain exceeds what it costs. Whether the first weight is far too small or
    too large, the mean length ends within 20 % of what was asked.
    """
    torch.manual_seed(0)
    gains = torch.rand(64, 300) ** 2
    logits = torch.full((64, 300), 0.5, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=1.0)
    control = controller(target, start=start, ramp_steps=20, decay=0.9, lowest=1e-6, highest=1e3)
    for step in range(600):
        weights = torch.relu(logits)
        # softplus: a term that is off still feels what it would be worth.
        value = (gains * torch.nn.functional.softplus(logits)).sum() / 64
        loss = 10 * control.weight(step) * flops(weights) + 0.5 * logits.square().sum() / 64 - value
        control.observe(active_terms(weights).mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert active_terms(torch.relu(logits)).mean().item() == pytest.approx(target, rel=0.2)


def test_collections_of_short_and_long_texts_do_not_hide_the_length() -> None:
    """A batch is of one of twelve collections, whose lengths differ by an order of magnitude.

    The network answers a weight late, as training does: its length goes 2 % a batch to where the
    weight would leave it. A rule that trusts the last change alone needs 500 steps or more.
    """
    for start in (1e-6, 5e-4):
        generator = torch.Generator().manual_seed(3)
        control = controller(
            120, start=start, ramp_steps=30, rate=0.1, decay=0.9, lookahead=40.0, lowest=1e-8
        )
        length, measured = 400.0, list[float]()
        for step in range(600):
            settled = 600 / (1 + (control.weight(step) / 1e-4) ** 0.5)
            length += 0.02 * (settled - length)
            kind = int(torch.randint(12, (), generator=generator))
            control.observe(torch.tensor(length * (0.2 + 1.6 * kind / 11)))
            measured.append(length)
        assert sum(measured[300:]) / 300 == pytest.approx(120, rel=0.15)


def test_a_dip_in_the_first_steps_does_not_end_the_ramp() -> None:
    """A fresh network has 385, 310, 141 and 105 terms at first, under hardly any penalty.

    Forty batches ahead that fall was expected to leave none: the ramp of 60 steps ended in its
    third, at 1/400 of its weight, which 60 steps more did not make up for. The length here goes a
    tenth of the way a batch to where the weight would leave it.
    """
    control = controller(
        60, start=0.01, ramp_steps=60, rate=0.02, decay=0.9, lookahead=40.0, lowest=1e-8
    )
    weights, length = list[float](), 105.0
    transient = [385.0, 310.0, 141.0, 105.0]
    for step in range(600):
        weights.append(control.weight(step))
        settled = 350 / (1 + (weights[-1] / 0.01) ** 0.5)
        length = transient[step] if step < 4 else length + 0.1 * (settled - length)
        control.observe(torch.tensor(length))
    assert weights[:60] == pytest.approx([0.01 * ((step + 1) / 60) ** 2 for step in range(60)])
    assert length == pytest.approx(60, rel=0.1)
