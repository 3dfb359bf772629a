"""
The compiled search core: exact top-k over segments that Python mapped and checked.
"""

from collections.abc import Sequence
import enum
from typing import Annotated

import numpy
from numpy.typing import NDArray


class Algorithm(enum.Enum):
    """How the top k is found."""

    automatic = 0

    exhaustive = 1

    blockmax = 2

class SegmentView:
    """
    Borrowed arrays of one segment; the constructor raises ValueError naming a bad one.
    """

    def __init__(self, n_docs: int, head_rank16: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], head_rank32: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], max_impact: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], codebook: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], grid: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], row_group: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], row_dir: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], row_base: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], rows: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], tail_start: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], tail_doc: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], tail_impact: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], external: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], group: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], forward_start: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], forward_term16: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], forward_term32: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], forward_weight: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], impact_of: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> None: ...

    @property
    def has_grid(self) -> bool: ...

class Cancel:
    """A flag that ends the searches that were given it."""

    def __init__(self) -> None: ...

    def set(self) -> None:
        """Raise the flag, from any thread."""

    def is_set(self) -> bool: ...

class Report:
    """How an answer came about."""

    @property
    def pages(self) -> int: ...

    @property
    def pages_scored(self) -> int: ...

    @property
    def blocks_scored(self) -> int: ...

    @property
    def skipped(self) -> int:
        """No document that was left alone scores more."""

    @property
    def blockmax(self) -> bool: ...

    @property
    def exhaustive(self) -> bool: ...

    @property
    def stopped(self) -> bool: ...

    @property
    def exact(self) -> bool: ...

def search(segments: Sequence[SegmentView], live: Sequence[Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None], terms: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], weights: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], k: int, algorithm: Algorithm, blocks: int = 0, by_group: bool = False, timeout: float | None = None, cancel: Cancel | None = None) -> tuple[Annotated[NDArray[numpy.uint32], dict(shape=(None,))], Annotated[NDArray[numpy.uint32], dict(shape=(None,))], Report]:
    """
    The k best (docids, scores, report), score descending, docid ascending. Releases the GIL.
    """

def search_batch(segments: Sequence[SegmentView], live: Sequence[Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None], offsets: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], terms: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], weights: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)], k: int, threads: int, algorithm: Algorithm, blocks: int = 0, by_group: bool = False, timeout: float | None = None, cancel: Cancel | None = None) -> list[tuple[Annotated[NDArray[numpy.uint32], dict(shape=(None,))], Annotated[NDArray[numpy.uint32], dict(shape=(None,))], Report]]:
    """
    One answer for each query terms[offsets[i]:offsets[i+1]]. Releases the GIL.
    """

def quantise(terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], weights: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], n_terms: int) -> tuple[Annotated[NDArray[numpy.uint32], dict(shape=(None,))], Annotated[NDArray[numpy.uint16], dict(shape=(None,))], float] | None:
    """
    (terms, 12-bit weights, heaviest weight) of a query whose terms ascend and whose weights are finite and positive; None for any other.
    """

def documents_with(segment: SegmentView, term: int) -> Annotated[NDArray[numpy.uint32], dict(shape=(None,))]:
    """The live words of the documents that hold a term. Releases the GIL."""

def order_documents(starts: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], terms: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], n_terms: int, threads: int) -> Annotated[NDArray[numpy.uint32], dict(shape=(None,))]:
    """
    A permutation that puts similar documents side by side: order[position] = document. Releases the GIL.
    """

def cpu() -> str:
    """The instruction set the searches use, one of cpus()."""

def cpus() -> list[str]:
    """
    The instruction sets this machine offers, best first: 'avx2' or 'neon', 'portable'.
    """

def set_cpu(name: str) -> None:
    """For tests: one of cpus() forces that path, 'auto' undoes it."""
