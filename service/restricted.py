"""An index of which some documents are all there is: what a key with a filter sees.

It stands where the index stands, so that whoever searches, counts, explains or reads through it
cannot leave the filter out. What is not written here fails: it has no index to look at.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from index import Approximate, Cancel, Explanation, Hits, Index
from lsr.errors import FilterError, UsageError
from lsr.types import Document, SparseMatrix

from .problems import ProblemError

Filter = Mapping[str, Any]


class RestrictedIndex(Index):
    """The documents of `whole` that pass `forced`, for reading.

    Raises the problem `forbidden` where the index does not declare what the filter asks about:
    nobody can tell then which documents are meant.
    """

    def __init__(self, whole: Index, forced: Filter) -> None:
        self._whole = whole
        self._forced = forced
        self.path = whole.path / "as a key sees it"  # which is not there: for messages only
        self.n_terms = whole.n_terms
        self.max_weight = whole.max_weight
        self.scale = whole.scale
        self.fields = whole.fields
        self.settings = whole.settings
        self.encoder = whole.encoder
        try:
            whole.n_passing(forced)
        except FilterError as error:
            raise ProblemError(
                "forbidden",
                "The key's filter does not suit the fields that this index declares.",
                hint="Use a key that was made for this index.",
            ) from error

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        threads: int | None = None,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        algorithm: Any = "auto",
        approximate: Approximate | None = None,
        collapse: bool | None = None,
        at: int | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
        missing_ok: bool = False,
    ) -> list[Hits]:
        """As of an index that holds these documents alone; `search` comes here as well."""
        return self._whole.search_batch(
            queries,
            k,
            threads=threads,
            filter=self._both(filter),
            require=require,
            exclude=exclude,
            algorithm=algorithm,
            approximate=approximate,
            collapse=collapse,
            at=at,
            timeout=timeout,
            cancel=cancel,
            missing_ok=missing_ok,
        )

    def count(
        self,
        query: SparseMatrix,
        *,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        collapse: bool | None = None,
        at: int | None = None,
    ) -> int:
        """Matches among these documents."""
        return self._whole.count(
            query,
            filter=self._both(filter),
            require=require,
            exclude=exclude,
            collapse=collapse,
            at=at,
        )

    def get(self, doc_id: str, *, at: int | None = None) -> Document | None:
        """The document if it is one of these."""
        while True:
            version = self.version(doc_id, at=at)
            if version is None:
                return None
            document = self._whole.get(doc_id, at=at)
            # Else another version came between the two looks, which may be somebody else's.
            if self.version(doc_id, at=at) == version:
                return document

    def version(self, doc_id: str, *, at: int | None = None) -> int | None:
        """The version of the document if it is one of these."""
        while True:
            version = self._whole.version(doc_id, at=at)
            if version is None:
                return None
            try:
                seen = self._whole.allows(doc_id, filter=self._forced, at=at)
            except UsageError:  # deleted since
                continue
            if self._whole.version(doc_id, at=at) == version:
                return version if seen else None

    def allows(
        self,
        doc_id: str,
        *,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        at: int | None = None,
    ) -> bool:
        """Whether a search may return the document if it is one of these."""
        self._version_of(doc_id, at=at)
        both = self._both(filter)
        return self._whole.allows(doc_id, filter=both, require=require, exclude=exclude, at=at)

    def vectors_of(self, doc_id: str, *, at: int | None = None) -> SparseMatrix:
        """The stored weights of the document if it is one of these."""
        while True:
            version = self._version_of(doc_id, at=at)
            vectors = self._whole.vectors_of(doc_id, at=at)
            if self._whole.version(doc_id, at=at) == version:
                return vectors

    def explain(self, query: SparseMatrix, doc_id: str, *, at: int | None = None) -> Explanation:
        """The score of the document if it is one of these."""
        while True:
            version = self._version_of(doc_id, at=at)
            explanation = self._whole.explain(query, doc_id, at=at)
            if self._whole.version(doc_id, at=at) == version:
                return explanation

    # Docids come out of the methods above, never out of a request.

    def documents(self, docids: npt.NDArray[np.uint32] | Sequence[int]) -> list[Document]:
        """As of the whole index."""
        return self._whole.documents(docids)

    def stored_fields(self, docids: npt.NDArray[np.uint32]) -> list[bytes]:
        """As of the whole index."""
        return self._whole.stored_fields(docids)

    def spans(self, docids: Sequence[int]) -> list[tuple[int, int] | None]:
        """As of the whole index."""
        return self._whole.spans(docids)

    def origins_of(self, docids: Sequence[int]) -> Any:
        """As of the whole index."""
        return self._whole.origins_of(docids)

    def explain_docids(
        self, query: SparseMatrix, docids: npt.NDArray[np.uint32]
    ) -> tuple[list[Explanation], float]:
        """As of the whole index."""
        return self._whole.explain_docids(query, docids)

    def heaviest(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """The largest weight that each term has in one of these documents: a search a term."""
        weights = np.zeros(len(terms))
        for at, term in enumerate(terms):
            alone = sparse.csr_array(
                (np.ones(1, np.float32), np.array([term], np.int32), np.array([0, 1])),
                shape=(1, self.n_terms),
            )
            for _, weight in self._whole.search(alone, 1, filter=self._forced):
                weights[at] = weight
        return weights

    def prepare(self, filter: Filter | None) -> None:
        """As of the whole index."""
        self._whole.prepare(filter)

    def refresh(self) -> Any:
        """As of the whole index: a snapshot is asked for its shape."""
        return self._whole.refresh()

    def snapshot_at(self, generation: int) -> Any:
        """As of the whole index."""
        return self._whole.snapshot_at(generation)

    @property
    def generation(self) -> int:
        """As of the whole index."""
        return self._whole.generation

    @property
    def horizon(self) -> int:
        """As of the whole index."""
        return self._whole.horizon

    @property
    def n_docs(self) -> int:
        """How many documents there are to see."""
        return self._whole.n_passing(self._forced)

    def n_passing(self, filter: Filter | None) -> int:
        """How many of these documents pass a filter."""
        return self._whole.n_passing(self._both(filter))

    def _both(self, filter: Filter | None) -> Filter:
        return {"all": [self._forced, filter]} if filter else self._forced

    def _version_of(self, doc_id: str, *, at: int | None = None) -> int:
        version = self.version(doc_id, at=at)
        if version is None:
            raise UsageError(f"there is no document with id {doc_id!r} in {self.path}")
        return version
