"""A dense encoder as re-ranker: it embeds queries only, the documents' vectors are in the cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..errors import DatasetError
from ..reranking import reorder
from ..types import Retriever, Run
from .dense import DenseRetriever


@dataclass(frozen=True)
class DenseRescorer:
    """A retriever whose first `depth` documents are ordered by their dense scores."""

    first: Retriever
    dense: DenseRetriever
    depth: int = 100

    def search(self, texts: Mapping[str, str], k: int) -> Run:
        """Answer `{query_id: text}`; finds max(k, depth) documents and returns the best k."""
        found = self.first.search(texts, max(k, self.depth))
        vectors = self.dense.encoder.embed_queries(list(texts.values())) if texts else None
        rows = {query_id: i for i, query_id in enumerate(texts)}

        def scores(query_id: str, doc_ids: Sequence[str]) -> npt.NDArray[np.float64]:
            assert vectors is not None, "a run of no queries has no rows"
            documents = np.array([self._place(doc_id) for doc_id in doc_ids], np.int64)
            return self.dense.index.scores(vectors[rows[query_id]], documents).astype(np.float64)

        return reorder(found, scores, depth=self.depth).cut(k)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {doc_id: i for i, doc_id in enumerate(self.dense.doc_ids)}

    def _place(self, doc_id: str) -> int:
        try:
            return self._places[doc_id]
        except KeyError:
            raise DatasetError(
                f"document {doc_id!r} has no dense vector; wanted a first stage over the same "
                "collection"
            ) from None
