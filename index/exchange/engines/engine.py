"""What a verification asks of another engine."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..formats.format import Facts

Query = tuple[list[int], list[int]]
"""Term numbers and integer weights."""
Found = list[tuple[str, float]]
"""Row ids and scores, best first."""


class Engine(Protocol):
    """Another engine, holding an export.

    One that `rescales` rounds query weights its own way, so that its scores are in a unit of its
    own.
    """

    name: str
    version: str
    rescales: bool

    def __init__(self, folder: Path, facts: Facts, scratch: Path) -> None:
        """Load the export in `folder`, working in the empty folder `scratch`."""
        ...

    @staticmethod
    def driver() -> Any:
        """The package it comes in. Raises `MissingExtra` where that is not installed."""
        ...

    def search(self, queries: Sequence[Query], k: int) -> Iterator[Found]:
        """For each query the k best row ids with their scores, best first."""
        ...

    def close(self) -> None:
        """Stop it and remove what it wrote."""
        ...
