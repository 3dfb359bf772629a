"""What an engine under measurement does, so that all meet the same vectors and the same clock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vectors import VectorSet

Terms = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]
Config = dict[str, Any]


class Engine:
    """A driver: `convert` and `build` in one process, then `open` and `searcher` in another.

    `package` is what pip installs. `approximate`: its points are tuned (`tune.py`) and chosen by
    recall. `compiles`: a first small build compiles something that is not to be timed.
    """

    package: str
    approximate: bool = False
    compiles: bool = False

    def configurations(self, set_name: str) -> tuple[Config, ...]:
        """The builds that tuning tries on this set; the first is the default."""
        return ({},)

    def modes(self, k: int) -> tuple[str, ...]:
        """Search settings at this k; of an approximate engine a grid."""
        return ("exact",)

    def convert(self, vectors: VectorSet, folder: Path) -> None:
        """Write the vectors in the form `build` reads, for all builds of a set; not timed."""

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        """Write an index into `folder`, a subfolder of that of `convert`; return notes."""
        raise NotImplementedError

    def open(self, folder: Path, config: Config) -> None:
        """Read the index again."""
        raise NotImplementedError

    def memory(self) -> int | None:
        """Bytes of the open index as the engine reports them, None where it does not."""
        return None

    def prepare(self, terms: Terms, weights: Weights) -> Any:
        """A query in the form the engine wants; not timed."""
        return terms, weights

    def searcher(self, k: int, mode: str) -> Callable[[Any], Any]:
        """What answers a prepared query; the call is timed, making it is not."""
        raise NotImplementedError

    def ids(self, answer: Any) -> Any:
        """The row numbers of an answer, best first; not timed."""
        return answer
