"""Before and after: BM25 and three states of an encoder on the same queries and documents."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from lsr.conventions import Convention, conventional, depth
from lsr.encoders import SparseEncoder
from lsr.files import atomic_write
from lsr.measures import evaluate
from lsr.progress import Bar, bar
from lsr.types import Qrels, Query, Run, SparseMatrix

from ..mining.parts import OutOfTimeError
from ..mining.rankers import SparseRanker
from ..rows import Rows

MEASURES = ("nDCG@10", "RR@10", "R@100")
_PART = 1_024  # documents between two files of vectors: what a kill costs
_DEPTH = 1_000
_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time of `time.monotonic`, or none."""

    at: float | None = None

    def check(self) -> None:
        """Raise `OutOfTimeError` when it has passed."""
        if self.at is not None and time.monotonic() >= self.at:
            raise OutOfTimeError

    def left(self) -> float | None:
        """Seconds, at least 0."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())


def kept_vectors(
    folder: Path, encoder: SparseEncoder, texts: Sequence[str], *, deadline: Deadline, quiet: bool
) -> SparseMatrix:
    """The vectors of `texts`, in parts on disk, so that what was encoded once is not again.

    `folder` must belong to this encoder and these texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Any] = []
    counter: Bar[None] = bar(
        None, total=len(texts), unit="documents", desc="encoding", quiet=quiet or None
    )
    with counter:
        for at in range(0, len(texts), _PART):
            path = folder / f"{at // _PART:06}.npz"
            if not path.is_file():
                deadline.check()
                fresh = folder / "partial.npz"
                sparse.save_npz(fresh, encoder.encode_documents(texts[at : at + _PART]))
                fresh.rename(path)
            parts.append(sparse.load_npz(path))
            counter.update(min(_PART, len(texts) - at))
    return sparse.csr_array(sparse.vstack(parts, format="csr"), dtype=np.float32)


def kept_measures(
    path: Path,
    ranker: Callable[[], SparseRanker],
    queries: Sequence[Query],
    doc_ids: Sequence[str],
    qrels: Qrels,
    *,
    convention: Convention,
) -> dict[str, Any]:
    """Measures of a system, from `path` if they are there; means, and nDCG@10 of every query.

    The collection is measured as `lsr evaluate` does it.
    """
    if path.is_file():
        kept: dict[str, Any] = orjson.loads(path.read_bytes())
        return kept
    made = ranker()
    nothing: list[Rows] = [np.empty(0, np.int32)] * len(queries)
    found = made.search([query.text for query in queries], depth(convention, _DEPTH), nothing)
    run = Run.from_rows(
        (query.query_id, [doc_ids[row] for row in ranked.rows.tolist()], ranked.scores)
        for query, ranked in zip(queries, found, strict=True)
    )
    run = conventional(run, convention, _DEPTH)
    result = evaluate(run, qrels, MEASURES, relevant_from=convention.relevant_from)
    measured = {
        "means": result.means,
        "document_terms": float(np.diff(made.vectors.indptr).mean()),
        "n_queries": result.n_queries,
        "n_documents": len(doc_ids),
        "per_query": result.per_query["nDCG@10"],
    }
    with atomic_write(path) as file:
        file.write(orjson.dumps(measured))
    return measured


def interval(before: dict[str, float], after: dict[str, float]) -> tuple[float, float]:
    """95 % of the mean difference after - before, by resampling queries with a fixed seed."""
    differences = np.asarray([after[name] - before[name] for name in sorted(before)])
    rng = np.random.default_rng(0)
    rows = rng.integers(len(differences), size=(_RESAMPLES, len(differences)))
    low, high = np.percentile(differences[rows].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
