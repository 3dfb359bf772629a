"""What `lsr bench` measures: a row for each way of searching an index, on the same queries."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from index import Approximate, Index
from index.latency import (
    Latency,
    Timed,
    overlap,
    searcher,
    throughput,
    timed,
)
from index.live import positions_in
from index.pruning import prune_mass, prune_postings, prune_ratio, prune_terms
from index.quantize import IntegerQuery
from index.segment import Segment

from ..measures import evaluate
from ..types import Qrels, Run, SparseMatrix

RECALLS = (0.9, 0.95, 0.98, 0.99)
PRUNINGS: tuple[tuple[str, Callable[[SparseMatrix], SparseMatrix]], ...] = (
    ("unpruned", lambda vectors: vectors),
    ("128 terms", lambda vectors: prune_terms(vectors, 128)),
    ("64 terms", lambda vectors: prune_terms(vectors, 64)),
    ("32 terms", lambda vectors: prune_terms(vectors, 32)),
    ("95 % of mass", lambda vectors: prune_mass(vectors, 0.95)),
    ("above 0.1 of the largest", lambda vectors: prune_ratio(vectors, 0.1)),
    ("80 % of mass", lambda vectors: prune_mass(vectors, 0.8)),
    ("half of each list", lambda vectors: prune_postings(vectors, 0.5)),
)
BYTES_PER_POSTING = 60
"""Peak of rebuilding a posting in memory: vectors, their pruned copy, and the segment made."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way of searching: how long it takes, and how its answers compare with the exact ones.

    `overlap` is with the exact (unpruned) top k; `certified` the share of answers whose certificate
    says exact; `pages` the mean share of pages scored.
    """

    kind: str
    label: str
    k: int
    latency: Latency
    overlap: float
    ndcg_10: float | None
    certified: float
    pages: float
    n_bytes: int | None = None


@dataclass(frozen=True)
class Bench:
    """The queries and the index of one run; `done` is told of every answered query."""

    index: Index
    queries: SparseMatrix
    query_ids: Sequence[str]
    qrels: Qrels | None
    filter: Mapping[str, Any] | None
    done: Callable[[int], None]

    @cached_property
    def rows_of_queries(self) -> list[SparseMatrix]:
        """Each query as a matrix of its own, which is what `Index.search` takes."""
        return [self.queries[[i]] for i in range(self.queries.shape[0])]

    def whole(self, k: int, approximate: Approximate | None = None) -> Timed:
        """`Index.search` as users call it: commits, rounding, search, ids."""
        return timed(
            lambda query: self.index.search(query, k, filter=self.filter, approximate=approximate),
            self.rows_of_queries,
            done=self.done,
        )

    def row(self, timing: Timed, exact: Timed, k: int, kind: str, label: str) -> Row:
        """What one timing of `whole` says."""
        reports = [hits.report for hits in timing.answers]
        return Row(
            kind,
            label,
            k,
            timing.latency(),
            overlap(
                [hits.ranking.docids for hits in timing.answers],
                [hits.ranking.docids for hits in exact.answers],
            ),
            self.ndcg([(hits.doc_ids, hits.ranking.weights()) for hits in timing.answers]),
            float(np.mean([report.exact for report in reports])),
            float(np.mean([report.pages_scored / max(1, report.pages) for report in reports])),
        )

    def ndcg(self, answers: Sequence[tuple[list[str], npt.NDArray[np.floating]]]) -> float | None:
        """nDCG@10 of (ids, scores) over the judged queries, None without judgements."""
        if self.qrels is None:
            return None
        rows = zip(self.query_ids, answers, strict=True)
        run = Run.from_rows((query_id, ids, scores) for query_id, (ids, scores) in rows)
        return evaluate(run, self.qrels, ["nDCG@10"]).means["nDCG@10"]

    def searched(self, k: int) -> tuple[list[Row], dict[str, float], npt.NDArray[np.float64]]:
        """Exact and approximate rows; the stages of an exact search and its time for each query, in
        microseconds.
        """
        exact = self.whole(k)
        rows = [self.row(exact, exact, k, "exact", "exact")]
        for recall in RECALLS:
            less = self.whole(k, Approximate(recall=recall))
            rows.append(self.row(less, exact, k, "approximate", f"recall {recall:g}"))
        return rows, self.stages(k, exact), exact.wall

    def stages(self, k: int, whole: Timed) -> dict[str, float]:
        """Mean CPU microseconds: the compiled core, and all that `Index.search` adds."""
        parts = self.index.parts()
        if self.filter is not None or len(parts) > 1:  # the core searches one shard after another
            return {"whole": float(whole.cpu.mean())}
        snapshot = parts[0][1].refresh()
        segments = [view.segment for view in snapshot.views]
        grouped = any(segment.groups is not None for segment in segments)
        core = timed(
            searcher(segments, [view.live for view in snapshot.views], k, by_group=grouped),
            self._integers(),
            done=self.done,
        )
        return {
            "core": float(core.cpu.mean()),
            "rounding, commits, ids": float((whole.cpu - core.cpu).mean()),
            "whole": float(whole.cpu.mean()),
        }

    def _integers(self) -> list[IntegerQuery]:
        """The queries as the index counts them."""
        ends = pairwise(self.queries.indptr.tolist())
        rows = self.queries
        return [self.index.rounded(rows.indices[a:b], rows.data[a:b]) for a, b in ends]

    def throughput(self, k: int) -> dict[int, float]:
        """Queries a second of batches by threads."""
        cores = os.cpu_count() or 1
        threads = sorted({1, 2, cores} & set(range(1, cores + 1)))

        def answer_all(n: int) -> int:
            return len(self.index.search_batch(self.queries, k, threads=n, filter=self.filter))

        return throughput(answer_all, threads, done=lambda n: self.done(self.queries.shape[0]))

    def pruned(self, k: int, memory: int) -> tuple[list[Row], int]:
        """Rows of the same vectors rebuilt with less of them, and of how many documents.

        Documents beyond what `memory` rebuilds are left out at random, from the unpruned row, too.
        """
        vectors, docids, doc_ids = self._vectors(memory)
        queries = self._integers()
        rows: list[Row] = []
        wanted: list[npt.NDArray[np.uint32]] = []
        for label, prune in PRUNINGS:
            segment = Segment.in_memory(
                prune(vectors), docids, doc_ids, scale=self.index.scale, keep_vectors=False
            )
            timing = timed(searcher([segment], [None], k), queries, done=self.done)
            found = [answer.docids for answer in timing.answers]
            wanted = wanted or found
            reports = [answer.report for answer in timing.answers]
            named = [
                (segment.doc_ids(segment.positions_of(one.docids)), one.scores.astype(np.float64))
                for one in timing.answers
            ]
            rows.append(
                Row(
                    "pruned",
                    label,
                    k,
                    timing.latency(),
                    overlap(found, wanted),
                    self.ndcg(named),
                    float(np.mean([report.exact for report in reports])),
                    float(np.mean([r.pages_scored / max(1, r.pages) for r in reports])),
                    segment.search_bytes,
                )
            )
        return rows, len(docids)

    def _vectors(self, memory: int) -> tuple[SparseMatrix, npt.NDArray[np.uint32], list[str]]:
        """Live vectors, docids and ids, of as many documents as `memory` rebuilds."""
        views = [
            (before, view) for before, part in self.index.parts() for view in part.refresh().views
        ]
        n_postings = sum(view.segment.n_postings for _, view in views)
        share = min(1.0, memory / BYTES_PER_POSTING / max(1, n_postings))
        rng = np.random.default_rng(0)
        parts, docids, doc_ids = [], [], []
        for before, view in views:
            places = positions_in(view.live, view.segment.n_docs)
            if share < 1:
                places = places[rng.random(len(places)) < share]
            parts.append(view.segment.vectors(places))
            docids.append(view.segment.docids[places] + np.uint32(before))
            doc_ids += view.segment.doc_ids(places)
        stacked: SparseMatrix = sparse.csr_array(sparse.vstack(parts, "csr"))
        return stacked, np.concatenate(docids), doc_ids
