"""`Reader`: an open index directory, as far as searching and reading go.

Left out: whatever changes the directory or looks after it (`store.py`).
"""

import os
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.errors import (
    IndexCorrupt,
    IndexFailure,
    QueryError,
    UsageError,
)
from lsr.types import Document, SparseMatrix, canonical

from .approximate import Approximate
from .card import EncoderCard
from .catalog import FILE_NAME, Catalog
from .columns import Kind
from .counting import n_matching
from .engine import Algorithm, Cancel
from .engine import search as search_one
from .engine import search_batch as search_many
from .explain import Explanation, explained
from .fidelity import float_overlap
from .filtering import Expression, Filter, matching, parsed
from .history import horizon, retained_seconds, snapshot_at
from .live import holds, positions_in
from .memory import recall
from .origins import Origins, stored_origins
from .quantize import IntegerQuery, integer_query, presence_query, scale_for
from .searching import Hits, hits_of, live_words
from .segment import Segment
from .settings import Settings
from .snapshot import Snapshot, SnapshotLoader
from .stored import (
    live_docids,
    live_document,
    live_version,
    stored_documents,
    stored_fields,
    stored_spans,
)

PLACE_TRIES = 5
SNAPSHOT_TRIES = 5
KEPT_SNAPSHOTS = 4
"""Snapshots of earlier commits that each process keeps for the next page: masks, and at most the
pending rows of their time."""


class Reader:
    """Searches and documents of the newest commit of any process, or of an earlier one."""

    def __init__(self, path: Path, catalog: Catalog) -> None:
        self.path = path
        self._catalog = catalog
        self.n_terms = int(catalog.meta("n_terms"))
        self.max_weight = float(catalog.meta("max_weight"))
        self.scale = scale_for(self.max_weight)
        self.fields: dict[str, Kind] = catalog.meta("fields")
        self.settings = Settings.from_json(catalog.meta("build"))
        """As recorded when this object was made, or by its newest `bulk`."""
        card = catalog.meta("encoder")
        self.encoder = (
            None
            if card is None
            else EncoderCard(**{**card, "text_fields": tuple(card["text_fields"])})
        )
        self._lock = threading.RLock()
        self._loader = SnapshotLoader(
            path, catalog, n_terms=self.n_terms, scale=self.scale, fields=self.fields
        )
        self._seen_version = -1
        self._snapshot: Snapshot | None = None
        self._earlier: dict[int, Snapshot] = {}
        self._verified: set[int] = set()
        self._damage: str | None = None

    def close(self) -> None:
        """Let go of every file; searches that are running finish first on what they hold."""
        with self._lock:
            self._snapshot = None
            self._earlier = {}
            self._loader.close()
        # Not under the lock: a transaction that holds the catalog may be waiting for it.
        self._catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def catalog(self) -> Catalog:
        """Its catalog, for modules of this package that read or write many rows at once."""
        return self._catalog

    def parts(self) -> "list[tuple[int, Reader]]":
        """What holds the rows: itself. Of a set (number before its docids, shard) for each shard.

        Raises `UsageError` where the shards of a set are not in this process.
        """
        return [(0, self)]

    def refresh(self) -> Snapshot:
        """The snapshot of the newest commit of any process; microseconds when nothing changed."""
        with self._lock:
            self._catalog.check_in_place()
            version = self._catalog.data_version()
            if self._snapshot is None or version != self._seen_version:
                self._snapshot = self._loader.load(self._snapshot)
                self._seen_version = version
            return self._snapshot

    def snapshot_at(self, generation: int) -> Snapshot:
        """What commit `generation` saw. Raises `SnapshotGone` when that is out of reach."""
        for _ in range(SNAPSHOT_TRIES):
            newest = self.refresh()
            if newest.generation == generation:
                return newest
            with self._lock:
                known = self._earlier.get(generation)
                if known is not None and known.layout == newest.layout:
                    return known
            made = snapshot_at(self._catalog, newest, generation)
            if made is not None:
                with self._lock:
                    # Those of another layout hold segments that nobody else needs any more.
                    same = [s for s in self._earlier.values() if s.layout == newest.layout]
                    kept = [*same[1 - KEPT_SNAPSHOTS :], made]
                    self._earlier = {snapshot.generation: snapshot for snapshot in kept}
                return made
        raise IndexFailure(f"{self.path}: changes faster than it can be read; try again")

    @property
    def horizon(self) -> int:
        """The oldest commit that `search(at=...)` can still answer from."""
        with self._catalog.reading() as connection:
            return horizon(connection)

    @property
    def retained_seconds(self) -> float:
        """For how long after their deletion documents stay in reach, see `Index.retain`."""
        with self._catalog.reading() as connection:
            return retained_seconds(connection)

    def in_place(self) -> bool:
        """Whether the path still holds the index that was opened here."""
        return self._catalog.in_place()

    @property
    def identity(self) -> str:
        """What no other index at this path has."""
        place = (self.path / FILE_NAME).stat()
        return f"{place.st_dev}:{place.st_ino}"

    @property
    def generation(self) -> int:
        """The newest commit number."""
        return self.refresh().generation

    def committed_at(self) -> float | None:
        """When the newest commit was made, in seconds since the epoch; None for a new index."""
        return self._catalog.committed_at()

    @property
    def n_docs(self) -> int:
        """Live documents (passages of one document count once)."""
        snapshot = self.refresh()
        return sum(view.n_live_groups for view in snapshot.views)

    @property
    def n_pending(self) -> int:
        """Rows that no segment holds yet, deleted ones included: each process has them in memory,
        and beyond `SEAL_AT` a commit seals them.
        """
        return self.refresh().n_pending

    @property
    def n_segments(self) -> int:
        """Segment files that every search asks."""
        return sum(view.number >= 0 for view in self.refresh().views)

    @property
    def encoder_folder(self) -> Path:
        """Where the query side of the encoder lies inside the index."""
        return self.path / "encoder"

    def search(
        self,
        query: SparseMatrix,
        k: int = 10,
        *,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        algorithm: Algorithm = "auto",
        approximate: Approximate | None = None,
        collapse: bool | None = None,
        at: int | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
        missing_ok: bool = False,
    ) -> Hits:
        """The top k of one query, a (1, n_terms) matrix; see `search_batch`."""
        if not hasattr(query, "shape"):
            canonical(query)  # which says what was wanted
        if query.shape[0] != 1:
            raise QueryError(f"expected one query, a (1, n_terms) matrix, got shape {query.shape}")
        return self.search_batch(
            query,
            k,
            threads=1,
            filter=filter,
            require=require,
            exclude=exclude,
            algorithm=algorithm,
            approximate=approximate,
            collapse=collapse,
            at=at,
            timeout=timeout,
            cancel=cancel,
            missing_ok=missing_ok,
        )[0]

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        threads: int | None = None,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        algorithm: Algorithm = "auto",
        approximate: Approximate | None = None,
        collapse: bool | None = None,
        at: int | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
        missing_ok: bool = False,
    ) -> list[Hits]:
        """The exact top k of each row: integer score descending, docid ascending, scores above 0.

        `filter` maps declared fields to a value, a list of values, or {"gte": a, "lt": b, "exists":
        True}; {"all": [...]}, {"any": [...]} and {"not": ...} combine such filters, see
        `filtering.py`. Documents must hold every term of `require` and none of `exclude`; always k
        results when k match. `collapse` keeps the best passage of each document; by default it does
        so when the index holds passages. `at` is the `generation` of an earlier answer: then this
        one is of the same documents, whatever was written since (see `retain`). `approximate` asks
        for less by name; each answer's `report` is its certificate. After `timeout` seconds (for
        all rows together) a search answers with the best it found; `cancel` ends it with
        `SearchCancelled`. `missing_ok` is for sets of shards (`sharded.py`): an index of its own
        misses none.

        Raises `QueryError` for a bad k, filter, term, timeout or matrix, `SnapshotGone` when `at`
        is out of reach.
        """
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise QueryError(f"k = {k!r}: wanted a whole number of at least 1")
        if self._damage is not None:
            raise IndexCorrupt(self._damage)
        csr = canonical(queries, n_terms=self.n_terms)
        snapshot = self.refresh() if at is None else self.snapshot_at(at)
        integer_queries = [
            self.rounded(csr.indices[a:b], csr.data[a:b]) for a, b in pairwise(csr.indptr.tolist())
        ]
        live = live_words(snapshot, self.fields, filter=filter, require=require, exclude=exclude)
        segments = [view.segment for view in snapshot.views]
        has_passages = any(segment.groups is not None for segment in segments)
        asked: dict[str, Any] = {
            "algorithm": algorithm,
            "approximate": approximate,
            "by_group": has_passages and collapse is not False,
            "timeout": timeout,
            "cancel": cancel,
        }
        if len(integer_queries) == 1:  # in this thread's own scratch memory, kept between searches
            found = [search_one(segments, live, integer_queries[0], int(k), **asked)]
        else:
            threads = threads or os.cpu_count() or 1
            found = search_many(segments, live, integer_queries, int(k), threads=threads, **asked)
        return hits_of(snapshot, found, integer_queries, approximate=approximate)

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
        """How many documents share a term with a (1, n_terms) query, exactly; the rest as in
        `search_batch`. A `search` for that many finds them all.
        """
        if query.shape[0] != 1:
            raise QueryError(f"expected one query, a (1, n_terms) matrix, got shape {query.shape}")
        csr = canonical(query, n_terms=self.n_terms)
        snapshot = self.refresh() if at is None else self.snapshot_at(at)
        live = live_words(snapshot, self.fields, filter=filter, require=require, exclude=exclude)
        integers = self.rounded(csr.indices, csr.data)
        return n_matching(snapshot, live, integers, by_group=collapse is not False)

    def allows(
        self,
        doc_id: str,
        *,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        at: int | None = None,
    ) -> bool:
        """Whether a `search` with these conditions may return this document, or a passage of it."""
        snapshot, places = self._located(doc_id, at=at)
        live = live_words(snapshot, self.fields, filter=filter, require=require, exclude=exclude)
        words = {id(v.segment): of_view for v, of_view in zip(snapshot.views, live, strict=True)}
        return any(holds(words[id(segment)], position) for segment, position in places)

    def prepare(self, filter: Filter | None) -> None:
        """Check a filter, and make the masks that a search with it will use: segments keep them."""
        if (expression := parsed(filter, self.fields)) is not None:
            for view in self.refresh().views:
                matching(expression, view.segment)

    def rounded(
        self, terms: npt.NDArray[np.integer], weights: npt.NDArray[np.floating]
    ) -> IntegerQuery:
        """A query as this index counts it: the integers that every search multiplies impacts by."""
        if self.settings.binary:
            return presence_query(terms, weights, n_terms=self.n_terms)
        return integer_query(terms, weights, n_terms=self.n_terms, scale=self.scale)

    def documents(self, docids: npt.NDArray[np.uint32] | Sequence[int]) -> list[Document]:
        """The stored documents of these docids (of a passage: its whole document), in order."""
        return stored_documents(self._catalog, docids)

    def stored_fields(self, docids: npt.NDArray[np.uint32]) -> list[bytes]:
        """The JSON of the stored fields of these docids, in order; cheaper than `documents`."""
        return stored_fields(self._catalog, docids.tolist())

    def spans(self, docids: Sequence[int]) -> list[tuple[int, int] | None]:
        """Characters [start, end) of each docid's passage in its document's text, None if whole."""
        return stored_spans(self._catalog, docids)

    def origins_of(self, docids: Sequence[int]) -> list[Origins | None]:
        """Which characters of its document gave each docid its expansion terms; None where
        `lsr index --origins` did not look.
        """
        return stored_origins(self._catalog, docids)

    def get(self, doc_id: str, *, at: int | None = None) -> Document | None:
        """The live document of this id (as of commit `at`), None when there is none."""
        return live_document(self._catalog, doc_id, at=at)

    def version(self, doc_id: str, *, at: int | None = None) -> int | None:
        """The version of the live document of this id (as of commit `at`), a docid that no other
        ever has; None when there is none. `Writer.expect` takes it.
        """
        with self._catalog.reading() as connection:
            return live_version(connection, doc_id, at=at)

    def n_passing(self, filter: Filter | None) -> int:
        """How many documents pass a filter."""
        snapshot = self.refresh()
        live = live_words(snapshot, self.fields, filter=filter)
        return sum(
            view.segment.n_groups_in(words)
            for view, words in zip(snapshot.views, live, strict=True)
        )

    def remembered(self, key: str) -> Any:
        """What `Writer.remember` last stored under a key, None when nothing is."""
        return recall(self._catalog, key)

    def vectors_of(self, doc_id: str, *, at: int | None = None) -> SparseMatrix:
        """The stored float16 weights of a document (as of commit `at`), one row per passage, as
        float32.
        """
        _, places = self._located(doc_id, at=at)
        rows = [segment.vectors(np.asarray([position])) for segment, position in places]
        stacked: SparseMatrix = sparse.csr_array(sparse.vstack(rows, "csr"))
        return stacked

    def explain(self, query: SparseMatrix, doc_id: str, *, at: int | None = None) -> Explanation:
        """Why this document (as of commit `at`) scores as it does, retrieved or not; its best
        passage when it has several.
        """
        csr = canonical(query, n_terms=self.n_terms)
        integers = self.rounded(csr.indices, csr.data)
        _, places = self._located(doc_id, at=at)
        candidates = [explained(segment, position, integers) for segment, position in places]
        return max(candidates, key=lambda one: one.integer_score)

    def explain_docids(
        self, query: SparseMatrix, docids: npt.NDArray[np.uint32]
    ) -> tuple[list[Explanation], float]:
        """Why each of these versions scores as it does, and the score of one point.

        For the docids of a ranking: what was ranked is explained, even if it was replaced since.
        Raises `UsageError` for a docid that is in no segment any more.
        """
        csr = canonical(query, n_terms=self.n_terms)
        integers = self.rounded(csr.indices, csr.data)
        try:
            places = self.refresh().locate(docids)
        except KeyError as error:
            raise UsageError(f"docid {error.args[0]} is not in this index any more") from error
        return [explained(segment, at, integers) for segment, at in places], integers.unit

    def term_probabilities(self) -> npt.NDArray[np.float64]:
        """(n_terms,) the share of stored passages in which each term weighs something."""
        segments = [view.segment for view in self.refresh().views]
        counts = sum((s.document_frequencies() for s in segments), np.zeros(self.n_terms, np.int64))
        return counts / max(1, sum(segment.n_docs for segment in segments))

    def heaviest(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """(len(terms),) the largest weight each term has in a document, as rounded to 8 bits.

        A deleted document counts until its segment is merged, so this is an upper bound. Raises
        `QueryError` for a term outside the vocabulary.
        """
        wanted = np.asarray(terms, np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.n_terms:
            outside = wanted[(wanted < 0) | (wanted >= self.n_terms)][0]
            raise QueryError(f"term {outside} is outside the vocabulary of {self.n_terms} terms")
        of_segments = [view.segment.max_impacts() for view in self.refresh().views]
        impacts = np.max([np.zeros(self.n_terms, np.uint8), *of_segments], axis=0)
        weights: npt.NDArray[np.float64] = impacts[wanted] * float(self.scale)
        return weights

    def float_overlap(self) -> float | None:
        """Share of float top tens that exact search over 8-bit impacts returns; None if too
        large.
        """
        return float_overlap(self.refresh(), n_terms=self.n_terms, scale=self.scale)

    def _docids_matching(self, expression: Expression) -> npt.NDArray[np.uint32]:
        chosen = [np.empty(0, np.uint32)]
        for view in self.refresh().views:
            segment = view.segment
            words = matching(expression, segment)
            live = words if view.live is None else words & view.live
            chosen.append(segment.docids[positions_in(live, segment.n_docs)])
        return np.concatenate(chosen)

    def _located(
        self, doc_id: str, *, at: int | None = None
    ) -> tuple[Snapshot, list[tuple[Segment, int]]]:
        """A snapshot, of commit `at` or the newest, and where in it the document lies: pending rows
        are in other segments of each.
        """
        for _ in range(PLACE_TRIES):
            docids = live_docids(self._catalog, doc_id, at=at)
            if not docids:
                raise UsageError(f"there is no document with id {doc_id!r} in {self.path}")
            try:
                snapshot = self.refresh() if at is None else self.snapshot_at(at)
                return snapshot, snapshot.locate(np.asarray(docids, np.uint32))
            except KeyError:
                continue  # replaced between the two looks: look again
        raise IndexFailure(f"{self.path}: {doc_id!r} changes faster than it can be read; try again")
