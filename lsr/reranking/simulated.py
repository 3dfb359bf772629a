"""Preference models whose truth is known: an oracle that errs, and scores seen through noise.

They stand in for a trained pairwise network where the question is about samplers and aggregations.
Every random number is a hash of seed, query and the two texts in their order, so an answer does not
depend on when or how often it is asked, and the swapped pair errs on its own.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ..errors import UsageError

_UNITS = float(1 << 53)


@dataclass(frozen=True)
class NoisyOracle:
    """Knows the judgements, and answers wrongly with probability `error`; answers are 0 or 1.

    Two documents of one grade have no right answer: the oracle tosses a coin, as a network would
    have some opinion as well. Unjudged documents have grade 0.
    """

    grades: Mapping[str, Mapping[str, int]]
    """query text -> document text -> grade."""
    error: float
    position_bias: float = 0.0
    """How often it says "the first" without looking: the order effect of real rankers."""
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value in (("error", self.error), ("position bias", self.position_bias)):
            if not 0 <= value <= 1:
                raise UsageError(f"an oracle with {what} {value:g}; wanted 0 to 1")

    @property
    def name(self) -> str:
        """The error in its name: oracle:0.2, or oracle:0.2:0.1 with a position bias."""
        bias = f":{self.position_bias:g}" if self.position_bias else ""
        return f"oracle:{self.error:g}{bias}"

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over judgements, error, bias and seed."""
        digest = hashlib.sha256(f"{self.name} {self.seed}".encode())
        for query, grades in sorted(self.grades.items()):
            digest.update(f"\0{query}\0{sorted(grades.items())}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def prefer(
        self, query: str, first: Sequence[str], second: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """(n,) float32 answers, each 0 or 1."""
        grades = self.grades.get(query, {})
        gaps = np.array([grades.get(a, 0) - grades.get(b, 0) for a, b in _both(first, second)])
        errs = uniform(f"{self.seed} error", query, first, second) < self.error
        coin = uniform(f"{self.seed} coin", query, first, second) < 0.5
        answers = np.where(gaps == 0, coin, (gaps > 0) ^ errs)
        if self.position_bias:
            answers |= uniform(f"{self.seed} bias", query, first, second) < self.position_bias
        return answers.astype(np.float32)


@dataclass(frozen=True)
class ScorePreference:
    """σ((s_a - s_b) / temperature + noise) of pointwise scores, for example cosines of an encoder.

    Without noise the answers agree with one order of the documents, which no pairwise network does:
    `noise` is the standard deviation of a normal error, in units of the temperature, drawn afresh
    for every ordered pair.
    """

    name: str
    scores_of: Callable[[str, Sequence[str]], npt.NDArray[np.float32]] = field(repr=False)
    """From a query and documents to (n,) float32 scores."""
    scores_fingerprint: str
    """16 hex digits over all that decides the scores."""
    temperature: float = 0.05
    """Cosines of good and bad answers lie about so far apart."""
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature > 0 or self.noise < 0:
            raise UsageError(
                f"temperature {self.temperature:g} and noise {self.noise:g}; wanted a temperature "
                "above 0 and noise of 0 or more"
            )

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the scores' own fingerprint and the noise."""
        said = f"{self.scores_fingerprint} {self.temperature} {self.noise} {self.seed}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def prefer(
        self, query: str, first: Sequence[str], second: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """(n,) float32 probabilities; every distinct text is scored once."""
        texts = list(dict.fromkeys([*first, *second]))
        place = {text: i for i, text in enumerate(texts)}
        scores = self.scores_of(query, texts).astype(np.float64)
        a = scores[[place[text] for text in first]]
        b = scores[[place[text] for text in second]]
        gaps = (a - b) / self.temperature
        if self.noise:
            drawn = uniform(f"{self.seed} noise", query, first, second)
            normal = NormalDist(0.0, self.noise).inv_cdf
            gaps += np.array([normal(u) for u in drawn.tolist()])
        return (0.5 * (1.0 + np.tanh(0.5 * gaps))).astype(np.float32)


def uniform(
    salt: str, query: str, first: Sequence[str], second: Sequence[str]
) -> npt.NDArray[np.float64]:
    """(n,) float64 in (0, 1), each a hash of its own texts and nothing else."""
    start = hashlib.blake2b(f"{salt}\0{query}\0".encode("utf-8", "surrogatepass"), digest_size=8)
    drawn = np.empty(len(first), np.uint64)
    for i, (a, b) in enumerate(_both(first, second)):
        digest = start.copy()
        digest.update(f"{len(a)}\0{a}{b}".encode("utf-8", "surrogatepass"))
        drawn[i] = int.from_bytes(digest.digest(), "little")
    return ((drawn >> np.uint64(11)).astype(np.float64) + 0.5) / _UNITS


def _both(first: Sequence[str], second: Sequence[str]) -> "zip[tuple[str, str]]":
    return zip(first, second, strict=True)
