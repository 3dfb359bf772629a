"""Scores of several teachers, each on its own scale, become one score: normalise, average, rescale.

Rows are queries, columns their candidates, NaN is an unknown score and stays one. What is learned
from the result compares columns within a row, so a constant added to a row changes nothing.
Heterogeneous ensembles: arXiv 2411.04403 (min-max, mean, x 30); affine rescaling: SPLADE-v3,
arXiv 2403.06789.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]
Normalize = Literal["min-max", "z", "softmax", "none"]

FEW = 4
"""Below this many candidates min-max says little: of two, one is always 0 and the other 1."""

_EPSILON = 1e-6  # of the paper's code: a range of rounding errors is not blown up to [0, 1]


def normalise(scores: Scores, how: Normalize, *, temperature: float = 1.0) -> Scores:
    """Bring each row to a common scale over its known columns; NaN stays NaN.

    min-max   (s - min) / (max - min + 1e-6): in [0, 1]; a constant row and a single score are 0
    z         (s - mean) / standard deviation of the row; a constant row and a single score are 0
    softmax   exp(s / temperature) over its sum: a constant row is uniform, a single score is 1
    none      as they are

    >>> normalise(np.array([[1, 5, 3, np.nan]], np.float32), "min-max").round(3).tolist()
    [[0.0, 1.0, 0.5, nan]]
    """
    known = ~np.isnan(scores)
    wide = scores.astype(np.float64)
    if how == "none" or not known.any():
        return scores.astype(np.float32)
    n_known = known.sum(axis=1, keepdims=True)
    low = np.where(known, wide, np.inf).min(axis=1, keepdims=True)
    high = np.where(known, wide, -np.inf).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # rows without any known score: inf - inf
        if how == "min-max":
            result = (wide - low) / (high - low + _EPSILON)
        elif how == "z":
            n = np.maximum(n_known, 1)
            centred = wide - np.where(known, wide, 0.0).sum(axis=1, keepdims=True) / n
            deviation = np.sqrt(np.where(known, centred**2, 0.0).sum(axis=1, keepdims=True) / n)
            result = np.where(high > low, centred / np.where(deviation > 0, deviation, 1.0), 0.0)
        else:
            shares = np.exp((wide - high) / temperature)
            result = shares / np.where(known, shares, 0.0).sum(axis=1, keepdims=True)
    return np.where(known, result, np.nan).astype(np.float32)


def combine(teachers: Sequence[Scores], weights: Sequence[float], *, known_to_all: bool) -> Scores:
    """Weighted mean of normalised scores, all of one shape.

    With `known_to_all` a column is known only where every teacher knows it. Without, it is the mean
    over the teachers that do, which mixes opinions of different juries within a row: meant for
    in-batch documents, which a cross-encoder never saw.
    """
    total = np.zeros(teachers[0].shape, np.float64)
    weight = np.zeros(teachers[0].shape, np.float64)
    everyone = np.ones(teachers[0].shape, np.bool_)
    for scores, share in zip(teachers, weights, strict=True):
        known = ~np.isnan(scores)
        total += np.where(known, share * scores.astype(np.float64), 0.0)
        weight += share * known
        everyone &= known
    enough = everyone if known_to_all else weight > 0
    mean = total / np.where(weight > 0, weight, 1.0)
    return np.where(enough, mean, np.nan).astype(np.float32)


class Moments:
    """Count, mean and standard deviation of the known scores seen so far, block by block."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, scores: npt.NDArray[np.floating]) -> None:
        """Take in a block of any shape (Chan et al.'s pairwise update: no cancellation)."""
        known = scores[~np.isnan(scores)].astype(np.float64)
        if not len(known):
            return
        n, mean = len(known), float(known.mean())
        squares = float(((known - mean) ** 2).sum())
        shift = mean - self.mean
        both = self.n + n
        self._squares += squares + shift * shift * self.n * n / both
        self.mean += shift * n / both
        self.n = both

    @property
    def deviation(self) -> float:
        """Population standard deviation; 0 for nothing."""
        return math.sqrt(self._squares / self.n) if self.n else 0.0


def affine(*, of: Moments, onto: Moments) -> tuple[float, float]:
    """Factor and offset that give scores with moments `of` the mean and deviation of `onto`.

    SPLADE-v3 does so with its ensemble, so that MarginMSE meets margins on the scale of one known
    teacher. Scores without any spread keep it that way: factor 0 puts them at the mean.
    """
    factor = onto.deviation / of.deviation if of.deviation > 0 else 0.0
    return factor, onto.mean - factor * of.mean
