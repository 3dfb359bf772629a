"""Some judged queries of a collection, with their documents and a sample of the others.

Ranked in seconds, and easier than the whole: scores compare systems over one pool with each other,
and with nothing else.
"""

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..types import Qrels, Query
from .dataset import Dataset


@dataclass(frozen=True, slots=True)
class Pool:
    """Queries in their order, text by document id, judgements of these documents by query id."""

    queries: list[Query]
    texts: dict[str, str]
    qrels: Qrels


def draw_pool(
    dataset: Dataset,
    split: str,
    *,
    queries: int,
    documents: int,
    rng: np.random.Generator,
    seed: int,
) -> Pool:
    """Up to `queries` of the queries that have a relevant document, by `rng`; every document judged
    for one of them, and others up to `documents` in all.

    Which others depends on `seed` and their ids alone, not on the order of the corpus.
    """
    judged = dataset.qrels(split)
    answerable = [
        query
        for query in dataset.queries(split)
        if any(grade > 0 for grade in judged[query.query_id].values())
    ]
    rows = rng.choice(len(answerable), size=min(queries, len(answerable)), replace=False)
    drawn = [answerable[row] for row in np.sort(rows)]
    needed = {doc_id for query in drawn for doc_id in judged[query.query_id]}
    texts: dict[str, str] = {}

    def others() -> Iterator[tuple[bytes, str, str]]:
        for document in dataset.documents():
            text = document.text(("title", "text"))
            if document.doc_id in needed:
                texts[document.doc_id] = text
            else:
                key = f"{seed} {document.doc_id}".encode()
                yield hashlib.blake2b(key, digest_size=8).digest(), document.doc_id, text

    # The smallest hashes are a random sample, whatever the order.
    sample = heapq.nsmallest(documents, others())
    for _, doc_id, text in sample[: max(0, documents - len(texts))]:
        texts[doc_id] = text
    qrels = {
        query.query_id: {
            doc_id: grade for doc_id, grade in judged[query.query_id].items() if doc_id in texts
        }
        for query in drawn
    }
    return Pool(drawn, texts, qrels)
