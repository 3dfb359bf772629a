"""Seismic in this process, `pyseismic-lsr`: approximate, so it is built and asked generously."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lsr.errors import imports_of

from ..formats.format import Facts
from .engine import Found, Query

HEAP_FACTOR = 1.0
"""1 skips a block only when its summary cannot beat the heap; below that, more is skipped."""


class Seismic:
    """An index of the export's JSON lines that keeps every posting."""

    name = "Seismic (pyseismic-lsr)"
    rescales = False

    def __init__(self, folder: Path, facts: Facts, scratch: Path) -> None:
        seismic = self.driver()
        self.version = version("pyseismic-lsr")
        self._names = facts.vocabulary
        self._string: Any = seismic.get_seismic_string()
        self._index: Any = seismic.SeismicIndex.build(
            str(folder / "documents.jsonl"),
            n_postings=facts.n_docs,
            summary_energy=1.0,
            max_fraction=10.0,
            nknn=0,
        )

    @staticmethod
    def driver() -> Any:
        """As `Engine.driver`."""
        with imports_of("Seismic", extra="engines", package="pyseismic-lsr"):
            import seismic
        return seismic

    def search(self, queries: Sequence[Query], k: int) -> Iterator[Found]:
        """As `Engine.search`."""
        for terms, weights in queries:
            yield self._one(terms, weights, k)

    def _one(self, terms: list[int], weights: list[int], k: int) -> Found:
        found = self._index.search(
            query_id="1",
            query_components=np.array([self._names[term] for term in terms], dtype=self._string),
            query_values=np.array(weights, dtype=np.float32),
            k=k,
            query_cut=len(terms),
            heap_factor=HEAP_FACTOR,
        )
        return [(row_id, float(score)) for _, score, row_id in found]

    def close(self) -> None:
        """As `Engine.close`."""
        del self._index
