"""Document vectors as a segment stores them, in memory or in a mapped file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .mapped import forget


@dataclass(frozen=True, slots=True)
class Forward:
    """Document vectors by position: (n + 1,) starts, terms u16 or u32, float16 bits u16.

    Row i has the postings starts[i] .. starts[i + 1] - 1 of the other two. `forgetful` says that
    mapped pages must not pile up while it is read.
    """

    starts: npt.NDArray[Any]
    terms: npt.NDArray[Any]
    bits: npt.NDArray[np.uint16]
    forgetful: bool = True

    @property
    def n_docs(self) -> int:
        """Documents."""
        return len(self.starts) - 1

    def part(self, first: int, last: int) -> "Forward":
        """Documents first..last-1, of the same postings."""
        return Forward(self.starts[first : last + 1], self.terms, self.bits, self.forgetful)

    def forget(self, first: int, last: int) -> None:
        """Documents first..last-1 were read and will not be for a while; see `mapped.forget`."""
        if not self.forgetful:
            return
        postings = slice(int(self.starts[first]), int(self.starts[last]))
        forget(self.terms[postings])
        forget(self.bits[postings])
