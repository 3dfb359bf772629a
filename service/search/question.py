"""A request in the terms of an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from index import Approximate

from .cursors import Place
from .queries import ReadQuery


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched for, among which documents, how hard, and from where on it is told."""

    query: ReadQuery
    filter: Mapping[str, Any] | None
    require: Sequence[int]
    exclude: Sequence[int]
    approximate: Approximate | None
    threshold: float | None
    place: Place | None
    first: int
    """Hits passed over."""
    limit: int

    @property
    def wanted(self) -> int:
        """How many hits are ranked: up to the last that is told, and the query's own document."""
        return self.first + self.limit + (self.query.skip is not None)
