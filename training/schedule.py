"""How strong a penalty is at a given step: a function of the trainer's own step counter.

There is no private counter to restore, so a resumed run continues where the interrupted one was.
"""


def quadratic(step: int, *, peak: float, ramp_steps: int) -> float:
    """Penalty weight at `step` (0-based): peak * ((step + 1) / ramp_steps)^2, then constant.

    Zero ramp steps mean the peak from the start. Starting near zero keeps an untrained encoder from
    collapsing to empty vectors before it ranks anything (SPLADE, arXiv 2107.05720).

    >>> [quadratic(step, peak=1.0, ramp_steps=4) for step in (0, 1, 3, 9)]
    [0.0625, 0.25, 1.0, 1.0]
    """
    if ramp_steps <= 0:
        return peak
    return float(peak * min(1.0, (step + 1) / ramp_steps) ** 2)
