"""What a verification asks of another engine."""

from collections.abc import Iterator, Sequence
from typing import Protocol

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

    def search(self, queries: Sequence[Query], k: int) -> Iterator[Found]:
        """For each query the k best row ids with their scores, best first."""
        ...

    def close(self) -> None:
        """Stop it and remove what it wrote."""
        ...
