"""Re-ranking with a model that scores one document at a time, such as a cross-encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


class PairScorer(Protocol):
    """Reads query and document together: `lsr.encoders.cross_encoder.CrossEncoder` is one."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n,) float32: the score of each query with the document at its place."""
        ...


@dataclass(frozen=True)
class PointwiseReranker:
    """One call of the model a document."""

    model: PairScorer

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.model.name

    def score(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """(n,) float64, comparable between calls."""
        return self.model.score([query] * len(texts), texts).astype(np.float64)
