"""Pools: some test queries of a collection, with their judged documents and a sample of the rest.

For systems that cannot encode a whole corpus in a bench. A pool is easier than its collection, so
figures over pools compare systems with each other and with nothing else.
"""

import hashlib
import heapq
import json
from pathlib import Path

import numpy as np

from lsr.datasets import load_dataset


def write_pool(name: str, folder: Path, *, queries: int, documents: int, seed: int) -> Path:
    """The pool of collection `name`, as a collection in BEIR's layout in `folder`.

    It holds `queries` of the test queries, every document judged for one of them and others up to
    `documents` in all, both drawn by `seed` (of two equal calls the pools are equal). What is there
    already is kept.
    """
    judgements = folder / "qrels" / "test.tsv"
    if judgements.is_file():
        return folder
    dataset = load_dataset(name)
    judged = dataset.qrels("test")
    known = [query for query in dataset.queries("test") if any(judged[query.query_id].values())]
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(known), size=min(queries, len(known)), replace=False))
    drawn = [known[row] for row in rows]
    needed = {doc_id for query in drawn for doc_id in judged[query.query_id]}

    def rank(doc_id: str) -> bytes:
        # Hashes order documents at random, whatever their order in the corpus; judged ones first.
        key = hashlib.blake2b(f"{seed} {doc_id}".encode(), digest_size=8).digest()
        return bytes([doc_id not in needed]) + key

    ids = (document.doc_id for document in dataset.documents())
    kept = set(heapq.nsmallest(max(documents, len(needed)), ids, key=rank))
    judgements.parent.mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as lines:
        for document in dataset.documents():
            if document.doc_id in kept:
                record = {"_id": document.doc_id, "text": document.text(("title", "text"))}
                print(json.dumps(record), file=lines)
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as lines:
        for query in drawn:
            print(json.dumps({"_id": query.query_id, "text": query.text}), file=lines)
    # The judgements come last: where they lie, the pool is whole.
    table = ["query-id\tcorpus-id\tscore"]
    for query in drawn:
        graded = judged[query.query_id].items()
        table += [f"{query.query_id}\t{doc}\t{grade}" for doc, grade in graded if doc in kept]
    partial = judgements.with_suffix(".part")
    partial.write_text("\n".join(table) + "\n", encoding="utf-8")
    partial.rename(judgements)
    return folder
