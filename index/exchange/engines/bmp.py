"""BMP in this process, loaded from CIFF by its own converter."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsr.errors import imports_of

from ..ciff import FILE_NAME
from ..formats.format import Facts
from .engine import Found, Query


class Bmp:
    """The export's CIFF file as an index of BMP, searched exactly (alpha 1, beta 1).

    BMP rounds the weights of each query to a few bits, the largest to a fixed number.
    """

    name = "BMP, from CIFF"
    rescales = True

    def __init__(self, folder: Path, facts: Facts, scratch: Path) -> None:
        bmp = self.driver()
        self.version = version("bmp")
        self._names = facts.vocabulary
        bmp.ciff2bmp(str(folder / FILE_NAME), str(scratch / "index.bmp"), 32, False)
        self._searcher: Any = bmp.Searcher(str(scratch / "index.bmp"))

    @staticmethod
    def driver() -> Any:
        """As `Engine.driver`."""
        with imports_of("BMP", extra="engines", package="bmp"):
            import bmp
        return bmp

    def search(self, queries: Sequence[Query], k: int) -> Iterator[Found]:
        """As `Engine.search`."""
        for terms, weights in queries:
            yield self._one(terms, weights, k)

    def _one(self, terms: list[int], weights: list[int], k: int) -> Found:
        query = {self._names[term]: weight for term, weight in zip(terms, weights, strict=True)}
        ids, scores = self._searcher.search(query, k, 1.0, 1.0)
        return [(row_id, float(score)) for row_id, score in zip(ids, scores, strict=True)]

    def close(self) -> None:
        """As `Engine.close`."""
        del self._searcher
