"""From float weights to the integers the engine adds: 8-bit impacts and 12-bit query weights.

A document weight is rounded to float16 first, because float16 is what the catalog and the segments
keep, and then to `clamp(round(weight / scale), 1, 255)`, halves up. So a vector has one set of
impacts, whether it comes from the encoder, from a pending row or from a segment that is merged, and
any order of additions and merges gives the same scores. `scale` is fixed when an index is created.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from lsr.errors import QueryError, UsageError, VectorError

from . import _core

MAX_IMPACT = 255
MAX_QUERY_WEIGHT = 4095
MAX_QUERY_TERMS = 4112
"""4,095 x 255 x 4,112 = 4,293,853,200 < 2^32: no score of such a query wraps."""

_LEAST_HALF = np.float32(2.0**-24)
_LARGEST_HALF = np.float32(65504.0)


@dataclass(frozen=True, slots=True)
class IntegerQuery:
    """Distinct terms ascending (u32), weights 1..4095 (u16), and the float value of score 1."""

    terms: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.uint16]
    unit: float

    def __len__(self) -> int:
        return len(self.terms)


def scale_for(max_weight: float) -> float:
    """The weight of impact 1, such that `max_weight` becomes 255; exactly a float32.

    >>> scale_for(255.0)
    1.0
    """
    with np.errstate(over="ignore"):
        scale = float(np.float32(max_weight / MAX_IMPACT))
    if not (scale > 0 and np.isfinite(scale)):
        raise UsageError(
            f"max_weight = {max_weight}: impacts need a largest weight that is finite and above 0, "
            "for example 4.0 for SPLADE"
        )
    return scale


def halves(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """`weights` (finite, > 0) as float16, kept in its positive range: none becomes 0 or inf."""
    if weights.dtype != np.float32:
        raise VectorError(f"weights must be float32, got {weights.dtype}")
    return np.clip(weights, _LEAST_HALF, _LARGEST_HALF).astype(np.float16)


def impacts(weights: npt.NDArray[np.float32], scale: float) -> tuple[npt.NDArray[np.uint8], int]:
    """The impact of every weight, and how many weights were too large for 255.

    >>> impacts(np.array([0.001, 1.0, 2.5, 300.0], np.float32), 1.0)
    (array([  1,   1,   3, 255], dtype=uint8), 1)
    """
    return impacts_of_halves(halves(weights), scale)


def impacts_of_halves(
    weights: npt.NDArray[np.float16], scale: float
) -> tuple[npt.NDArray[np.uint8], int]:
    """`impacts` of weights that are float16 already."""
    table, first_saturated = _table(float(scale))
    bits = weights.view(np.uint16)
    # Positive float16 numbers are ordered like their bits: one comparison finds the saturated.
    return table[bits], int(np.count_nonzero(bits >= first_saturated))


def impact_table(scale: float) -> npt.NDArray[np.uint8]:
    """The impact of every float16 by its bits, (65536,): the core scores stored vectors by it."""
    return _table(float(scale))[0]


def first_saturated(scale: float) -> int:
    """The bits of the least float16 whose impact would exceed 255; positive ones order alike."""
    return _table(float(scale))[1]


@lru_cache(maxsize=16)
def _table(scale: float) -> tuple[npt.NDArray[np.uint8], int]:
    """The impact of each of the 31,744 finite float16 numbers >= 0, and the first saturated one.

    There are so few of them that a table replaces all arithmetic per posting. The bits of negative
    numbers, infinities and NaN, which `lsr.types.canonical` keeps out, map to 1.
    """
    bits = np.arange(65536, dtype=np.uint16)
    values = bits.view(np.float16).astype(np.float64)
    table = np.ones(65536, np.uint8)
    valid = bits < 0x7C00
    with np.errstate(over="ignore"):
        steps = np.floor(values[valid] / scale + 0.5)
    table[valid] = np.clip(steps, 1, MAX_IMPACT).astype(np.uint8)
    return table, int(np.searchsorted(steps, MAX_IMPACT, side="right"))


def integer_query(
    terms: npt.NDArray[np.integer],
    weights: npt.NDArray[np.floating],
    *,
    n_terms: int,
    scale: float,
) -> IntegerQuery:
    """Round a float query to 12 bits: the heaviest term becomes 4,095, no positive one vanishes.

    Duplicate terms are summed and weights of 0 dropped. Raises `QueryError` for a term outside the
    vocabulary, a weight that is negative or not finite, and more than 4,112 terms.

    >>> integer_query(np.array([7, 3]), np.array([1.0, 2.0]), n_terms=10, scale=1.0).weights
    array([4095, 2048], dtype=uint16)
    """
    if terms.shape != weights.shape or terms.ndim != 1:
        raise QueryError(
            f"a query is one weight per term, got shapes {terms.shape} and {weights.shape}"
        )
    if terms.dtype == np.int32 and weights.dtype == np.float32:  # as encoders give it
        # The same rounding in 2 us instead of 7, or None for a query that needs more care.
        quick = _core.quantise(np.ascontiguousarray(terms), np.ascontiguousarray(weights), n_terms)
        if quick is not None:
            return IntegerQuery(quick[0], quick[1], quick[2] / MAX_QUERY_WEIGHT * scale)
    exact: npt.NDArray[np.float64] = weights.astype(np.float64)
    if not len(terms):
        return IntegerQuery(np.empty(0, np.uint32), np.empty(0, np.uint16), scale)
    low, heaviest = float(exact.min()), float(exact.max())
    ascending = bool((terms[1:] > terms[:-1]).all())
    first, last = (terms[0], terms[-1]) if ascending else (terms.min(), terms.max())
    # Comparisons with NaN are false, so these scalars decide every usual query.
    if not (low >= 0 and heaviest < np.inf and first >= 0 and last < n_terms):
        _refuse(terms, exact, n_terms)
    if not ascending or low == 0:
        terms, exact = _merged(terms, exact)
        if not len(terms):
            return IntegerQuery(np.empty(0, np.uint32), np.empty(0, np.uint16), scale)
        heaviest = float(exact.max())
        if not np.isfinite(heaviest):
            raise QueryError("the weights of a repeated query term add up to infinity")
    if len(terms) > MAX_QUERY_TERMS:
        raise QueryError(
            f"the query has {len(terms):,} terms, at most {MAX_QUERY_TERMS:,} keep its scores "
            "inside 32 bits; keep the heaviest ones"
        )
    # Divided first: the quotient is at most 1, so no sum exceeds 4,095.5 and none overflows.
    steps = np.maximum(exact / heaviest * MAX_QUERY_WEIGHT + 0.5, 1).astype(np.uint16)
    unit = heaviest / MAX_QUERY_WEIGHT * scale
    return IntegerQuery(np.ascontiguousarray(terms, np.uint32), steps, unit)


def presence_query(
    terms: npt.NDArray[np.integer], weights: npt.NDArray[np.floating], *, n_terms: int
) -> IntegerQuery:
    """A query of a binary index: every term of a positive weight counts 1, and so does its match.

    Raises as `integer_query`.

    >>> presence_query(np.array([3, 7]), np.array([0.5, 2.0]), n_terms=10)
    IntegerQuery(terms=array([3, 7], dtype=uint32), weights=array([1, 1], dtype=uint16), unit=1.0)
    """
    terms_alone = integer_query(terms, weights, n_terms=n_terms, scale=1.0).terms
    return IntegerQuery(terms_alone, np.ones(len(terms_alone), np.uint16), 1.0)


def _refuse(
    terms: npt.NDArray[np.integer], weights: npt.NDArray[np.float64], n_terms: int
) -> NoReturn:
    """Say which weight or term cannot be."""
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        at = int(bad[0])
        raise QueryError(
            f"query term {int(terms[at])} has the weight {weights[at]}; weights must be finite and "
            "not negative, because bounds only hold for such weights"
        )
    outside = int(terms[(terms < 0) | (terms >= n_terms)][0])
    raise QueryError(
        f"query term {outside} is outside the vocabulary of {n_terms} terms; "
        "encode the query with the encoder of this index"
    )


def _merged(
    terms: npt.NDArray[np.integer], weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.float64]]:
    """Ascending distinct terms with the sum of their weights, without those of weight 0."""
    distinct, inverse = np.unique(terms, return_inverse=True)
    summed = np.bincount(inverse, weights, minlength=len(distinct)).astype(np.float64)
    return distinct[summed > 0], summed[summed > 0]
