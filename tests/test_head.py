"""The lean head gives the values and gradients of the plain one, which holds every logit."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from lsr.encoders.head import max_logits, sum_activated  # noqa: E402

WIDTH = 5


def plain(features, weight, bias, mask, terms=None):  # type: ignore[no-untyped-def]
    """Every logit at once, hidden positions at -inf, then the maximum."""
    logits = torch.nn.functional.linear(features, weight, bias)
    if terms is not None:
        logits = logits[..., terms]
    return logits.masked_fill((mask == 0).unsqueeze(-1), float("-inf")).max(dim=1).values


def world(batch: int, length: int, vocab: int, *, seed: int, whole: bool, dtype=torch.float64):  # type: ignore[no-untyped-def]
    """Random parameters; small whole numbers give many ties, and exact sums."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        values = torch.randn(*shape, generator=rng, dtype=dtype)
        return values.round().requires_grad_() if whole else values.requires_grad_()

    mask = (torch.rand(batch, length, generator=rng) < 0.7).long()
    mask[0] = 0  # one text without any position
    return draw(batch, length, WIDTH), draw(vocab, WIDTH), draw(vocab), mask, rng


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 4),
    length=st.integers(1, 7),
    vocab=st.integers(1, 30),
    block=st.integers(1, 31),
    whole=st.booleans(),
    biased=st.booleans(),
    subset=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_values_and_gradients_are_those_of_the_plain_head(
    batch: int,
    length: int,
    vocab: int,
    block: int,
    whole: bool,
    biased: bool,
    subset: bool,
    seed: int,
) -> None:
    """Whatever the blocks, masks with holes, ties, texts without positions, repeated terms."""
    features, weight, bias, mask, rng = world(batch, length, vocab, seed=seed, whole=whole)
    bias = bias if biased else None
    terms = torch.randint(vocab, (vocab + 1,), generator=rng) if subset else None
    parameters = [features, weight] + ([bias] if biased else [])
    wanted = plain(features, weight, bias, mask, terms)
    got = max_logits(features, weight, bias, mask, terms=terms, block=block)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    slope = torch.randn(wanted.shape, generator=rng, dtype=wanted.dtype)
    slope[torch.rand(wanted.shape, generator=rng) < 0.5] = 0
    grads = torch.autograd.grad(got, parameters, slope)
    for one, other in zip(grads, torch.autograd.grad(wanted, parameters, slope), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("biased", [True, False])
def test_gradients_agree_with_finite_differences(biased: bool) -> None:
    features, weight, bias, mask, _ = world(3, 4, 9, seed=1, whole=False)
    mask[0, 2] = 1  # differences of -inf are not numbers
    parameters = (features, weight, bias if biased else None)
    assert torch.autograd.gradcheck(lambda f, w, b: max_logits(f, w, b, mask, block=4), parameters)


def test_under_autocast_products_are_bfloat16_and_gradients_float32() -> None:
    features, weight, bias, mask, _ = world(3, 6, 40, seed=2, whole=False, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        got = max_logits(features, weight, bias, mask)
    assert got.dtype == torch.float32
    low = [x.detach().bfloat16() for x in (features, weight)]
    wanted = plain(*low, None, mask).float() + bias
    torch.testing.assert_close(got, wanted)
    got[1:].relu().sum().backward()
    exact = [x.detach().clone().requires_grad_() for x in (features, weight, bias)]
    plain(*exact, mask)[1:].relu().sum().backward()
    assert weight.grad.dtype == torch.float32
    # A bfloat16 product may let another position win where two are nearly equal.
    for one, other in zip((features, weight, bias), exact, strict=True):
        assert float((one.grad - other.grad).norm() / other.grad.norm()) < 0.2


def test_no_tensor_holds_the_logits_of_all_positions() -> None:
    """No tensor made forwards or backwards is larger than the logits of one text."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                largest = max(largest, made.numel())
            return made

    features, weight, bias, mask, _ = world(8, 16, 500, seed=3, whole=False, dtype=torch.float32)
    with Watch():
        max_logits(features, weight, bias, mask).relu().sum().backward()
    assert largest <= 16 * 500
    largest = 0
    with Watch():
        sum_activated(features, weight, bias, mask, torch.relu).sum().backward()
    assert largest <= 16 * 500


@pytest.mark.parametrize("subset", [False, True])
def test_sums_of_activated_logits_are_those_of_the_plain_head(subset: bool) -> None:
    features, weight, bias, mask, rng = world(3, 6, 20, seed=4, whole=False)
    terms = torch.randint(20, (7,), generator=rng) if subset else None
    logits = torch.nn.functional.linear(features, weight, bias)
    logits = logits if terms is None else logits[..., terms]
    wanted = (torch.log1p(torch.relu(logits)) * mask.unsqueeze(-1)).sum(dim=1)
    got = sum_activated(
        features, weight, bias, mask, lambda x: torch.log1p(torch.relu(x)), terms=terms
    )
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)
    parameters = (features, weight, bias)
    grads = torch.autograd.grad(got.sum(), parameters)
    for one, other in zip(grads, torch.autograd.grad(wanted.sum(), parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_a_frozen_head_or_network_gets_no_gradient(tiny_checkpoint: Path, pooling: str) -> None:
    from lsr.encoders.splade import SpladeModel

    model = SpladeModel.from_checkpoint(tiny_checkpoint, pooling=pooling)  # type: ignore[arg-type]
    model.requires_grad_(False)
    model.decoder.bias.requires_grad_(True)
    tokens = torch.tensor([[2, 31, 33, 3]])
    model(tokens, torch.ones_like(tokens)).sum().backward()
    assert float(model.decoder.bias.grad.abs().sum()) > 0
    assert model.decoder.weight.grad is None
