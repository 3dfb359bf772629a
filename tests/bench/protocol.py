"""What an engine under measurement does, so that all meet the same vectors and the same clock."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vectors import VectorSet

Terms = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]


class Engine:
    """A driver: `build` in one process, then `open` and `search` in another.

    `package` is what pip installs. `modes` are search settings; an approximate engine lists a grid,
    of which the table quotes the fastest setting that reaches an overlap.
    """

    package: str
    approximate: bool = False
    modes: tuple[str, ...]

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        """Write an index into `folder`; return notes for the table."""
        raise NotImplementedError

    def open(self, folder: Path) -> None:
        """Read the index again."""
        raise NotImplementedError

    def prepare(self, terms: Terms, weights: Weights) -> Any:
        """A query in the form the engine wants; not timed."""
        return terms, weights

    def search(self, query: Any, k: int, mode: str) -> Any:
        """Answer a prepared query; timed."""
        raise NotImplementedError

    def ids(self, answer: Any) -> Any:
        """The row numbers of an answer, best first; not timed."""
        return answer
