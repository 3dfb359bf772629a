"""Lucene through Anserini's command line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from lsr.referees.lucene import Lucene

from ..formats.format import Facts
from .engine import Found, Query


class Anserini:
    """Lucene's impact search over the lines of the export's `vectors.jsonl`.

    Rows get their line number as id, so that Lucene breaks ties by it as we do by docid.
    """

    name = "Lucene (Anserini)"
    rescales = False

    def __init__(self, folder: Path, facts: Facts, scratch: Path) -> None:
        self._lucene = Lucene.find(scratch)
        self.version = self._lucene.version
        self._n_terms = facts.n_terms
        self._ids: list[str] = []
        terms: list[int] = []
        weights: list[int] = []
        starts = [0]
        with (folder / "vectors.jsonl").open("rb") as file:
            for line in file:
                row = orjson.loads(line)
                self._ids.append(row["id"])
                terms += map(int, row["vector"])
                weights += row["vector"].values()
                starts.append(len(terms))
        self._impacts = _matrix(starts, terms, weights, facts.n_terms)

    @staticmethod
    def driver() -> Any:
        """As `Engine.driver`."""
        return Lucene.find(Path())

    def search(self, queries: Sequence[Query], k: int) -> Iterator[Found]:
        """As `Engine.search`, all in one run of the searcher."""
        starts = np.cumsum([0, *(len(terms) for terms, _ in queries)]).tolist()
        terms = [term for one, _ in queries for term in one]
        weights = [weight for _, one in queries for weight in one]
        asked = _matrix(starts, terms, weights, self._n_terms)
        numbers = np.arange(len(self._ids), dtype=np.uint32)
        for ranked in self._lucene.impact_search(self._impacts, numbers, asked, k):
            ids = [self._ids[number] for number in ranked.docids.tolist()]
            yield list(zip(ids, ranked.scores.tolist(), strict=True))

    def close(self) -> None:
        """As `Engine.close`: its files go with the scratch folder."""


def _matrix(
    starts: list[int], terms: list[int], weights: list[int], n_terms: int
) -> "sparse.csr_array[np.uint16, tuple[int, int]]":
    return sparse.csr_array(
        (np.array(weights, np.uint16), np.array(terms, np.int64), np.array(starts, np.int64)),
        shape=(len(starts) - 1, n_terms),
    )
