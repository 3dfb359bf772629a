"""What rounding weights to 8-bit impacts costs, counted exactly while a segment is made.

Every weight is one of 31,744 float16 numbers, so a count of each tells the error of all of them;
only the norms need a look at each vector.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .quantize import first_saturated, impact_table

NORM_UNIT = 2.0**-32


@dataclass(frozen=True, slots=True)
class Rounding:
    """Errors of impact x scale against float16 weights, as sums that add up over segments.

    `error_sum` and `error_max` are of |impact x scale - weight|; `norm_units` sums
    |norm after / norm before - 1| over documents, at most 1 each, in units of 2^-32; `mass` is the
    sum of the weights.
    """

    n_docs: int = 0
    n_postings: int = 0
    n_saturated: int = 0
    error_sum: float = 0.0
    error_max: float = 0.0
    norm_units: int = 0
    mass: float = 0.0

    @classmethod
    def of(
        cls, histogram: npt.NDArray[np.int64], norm_units: int, n_docs: int, scale: float
    ) -> "Rounding":
        """From `histogram`, (65536,): how many weights have these float16 bits."""
        seen = np.flatnonzero(histogram)
        weights = weight_table()[seen]
        errors = np.abs(rounded_table(scale)[seen] - weights)
        counts = histogram[seen]
        return cls(
            n_docs=n_docs,
            n_postings=int(counts.sum()),
            n_saturated=int(counts[seen >= first_saturated(scale)].sum()),
            error_sum=float(counts @ errors),
            error_max=float(errors.max(initial=0.0)),
            norm_units=norm_units,
            mass=float(counts @ weights),
        )

    @classmethod
    def together(cls, parts: Iterable["Rounding"]) -> "Rounding":
        """Of several segments."""
        listed = list(parts)
        return cls(
            n_docs=sum(one.n_docs for one in listed),
            n_postings=sum(one.n_postings for one in listed),
            n_saturated=sum(one.n_saturated for one in listed),
            error_sum=sum(one.error_sum for one in listed),
            error_max=max((one.error_max for one in listed), default=0.0),
            norm_units=sum(one.norm_units for one in listed),
            mass=sum(one.mass for one in listed),
        )

    @property
    def error_mean(self) -> float:
        """Mean absolute error of a weight."""
        return self.error_sum / self.n_postings if self.n_postings else 0.0

    @property
    def norm_error(self) -> float:
        """Mean relative error of a document's norm; an error above 1 counts as 1."""
        return self.norm_units * NORM_UNIT / self.n_docs if self.n_docs else 0.0

    @property
    def saturated_share(self) -> float:
        """Share of weights too large for impact 255."""
        return self.n_saturated / self.n_postings if self.n_postings else 0.0


def weight_table() -> npt.NDArray[np.float64]:
    """(65536,) the weight of float16 bits; 0 where they are not a finite number >= 0."""
    values = np.zeros(65536, np.float64)
    values[:0x7C00] = np.arange(0x7C00, dtype=np.uint16).view(np.float16)
    return values


def rounded_table(scale: float) -> npt.NDArray[np.float64]:
    """(65536,) the weight that the impact of float16 bits stands for."""
    return impact_table(scale) * np.float64(scale)
