"""The sparsity controller: the user states how many terms are active, the penalty finds its weight.

After the quadratic ramp, which ends early where the length is below the target, the weight lambda
follows

    log lambda += rate * clip((expected length - target) / target, -1, 1)      once a step

between a floor and a ceiling. The length is an exponential moving average of the active terms per
vector, and the one expected `lookahead` batches ahead goes on changing as it did over the last
quarter of so many: a weight that grew until the length was right would press on long after, and
terms that are off seldom come back. A batch is of one collection, and texts of one may be three
times as long as another's: the last change alone, times 40, was noise whose sign moved the weight
(480 terms after 500 steps of twelve collections, 130 wanted). Published weights do not transfer
between batch sizes, losses and backbones; a length does. The state is in buffers, so checkpoints
hold it and a resumed run goes on exactly.
"""

import math

import torch
from torch import Tensor, nn

from .schedule import quadratic

_SPAN = 4
"""The change is averaged over one batch for so many that it is expected to last. On the smoke
recipe, which was asked for 60 terms, 1 ended at 79 and 69, 2 at 68 and 59, 4 at 62 and 58."""


class SparsityController(nn.Module):
    """The weight of one penalty. Ask `weight` before a batch, tell `observe` after it."""

    def __init__(
        self,
        target: float,
        *,
        start: float,
        ramp_steps: int,
        rate: float,
        decay: float,
        lookahead: float,
        lowest: float,
        highest: float,
    ) -> None:
        """`start` is the weight at the end of the ramp; `decay` is that of the moving average."""
        super().__init__()
        self.target, self.start, self.ramp_steps = target, start, ramp_steps
        self.rate, self.decay, self.lookahead = rate, decay, lookahead
        self.lowest, self.highest = math.log(lowest), math.log(highest)
        self.log_weight: Tensor
        self.length: Tensor
        self.change: Tensor
        self.ramped: Tensor
        self.n_batches: Tensor
        self.last_step: Tensor
        self.register_buffer("log_weight", torch.tensor(math.log(start)))
        self.register_buffer("length", torch.zeros(()))
        self.register_buffer("change", torch.zeros(()))
        self.register_buffer("ramped", torch.tensor(False))
        self.register_buffer("n_batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("last_step", torch.full((), -1, dtype=torch.int64))

    @torch.no_grad()
    def weight(self, step: int) -> float:
        """The weight for this 0-based step: the same however many batches the step has."""
        expected = self.length + self.lookahead * self.change
        if not bool(self.ramped):
            ramp = quadratic(step, peak=self.start, ramp_steps=self.ramp_steps)
            if self.training and step == int(self.last_step):
                return ramp
            # The length itself: the one expected goes on falling as it does in the first batches,
            # whatever the weight. That ended a ramp of 60 steps in its third, at 1/400 of its peak,
            # with 340 terms active and 60 wanted.
            short = int(self.n_batches) > 1 and bool(self.length < self.target)
            if step < self.ramp_steps and not (short and self.training):
                if self.training:
                    self.last_step.fill_(step)
                return ramp
            if self.training:
                self.ramped.fill_(True)
                self.log_weight.fill_(math.log(ramp)).clamp_(self.lowest, self.highest)
        if self.training and step > int(self.last_step) and int(self.n_batches):
            error = ((expected - self.target) / self.target).clamp(-1, 1)
            self.log_weight.add_(self.rate * error).clamp_(self.lowest, self.highest)
            self.last_step.fill_(step)
        return math.exp(float(self.log_weight))

    @torch.no_grad()
    def observe(self, length: Tensor) -> None:
        """Count a batch whose vectors have `length` active terms on average, a scalar."""
        if not self.training:
            return
        # The plain average of the batches so far until there are enough of them for the decay.
        rate = max(1 - self.decay, 1 / (int(self.n_batches) + 1))
        before = self.length.clone()
        self.length.lerp_(length.to(self.length), rate)
        if int(self.n_batches):
            self.change.lerp_(self.length - before, 1 / max(self.lookahead / _SPAN, 1))
        self.n_batches += 1
