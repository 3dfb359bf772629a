"""Pools of collections as collections in BEIR's layout: what a core can encode in minutes."""

import json
from pathlib import Path

import numpy as np

from lsr.datasets import draw_pool, load_dataset


def write_pool(name: str, folder: Path, *, queries: int, documents: int, seed: int) -> Path:
    """The pool of test queries of collection `name` (`lsr.datasets.pools`) in `folder`.

    Drawn by `seed`: of two equal calls the pools are equal. What is there already is kept.
    """
    judgements = folder / "qrels" / "test.tsv"
    if judgements.is_file():
        return folder
    dataset = load_dataset(name)
    rng = np.random.default_rng(seed)
    pool = draw_pool(dataset, "test", queries=queries, documents=documents, rng=rng, seed=seed)
    judgements.parent.mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as lines:
        for document in dataset.documents():  # in the order of the corpus, which breaks ties
            if (text := pool.texts.get(document.doc_id)) is not None:
                print(json.dumps({"_id": document.doc_id, "text": text}), file=lines)
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as lines:
        for query in pool.queries:
            print(json.dumps({"_id": query.query_id, "text": query.text}), file=lines)
    # The judgements come last: where they lie, the pool is whole.
    table = ["query-id\tcorpus-id\tscore"]
    for query_id, graded in pool.qrels.items():
        table += [f"{query_id}\t{doc_id}\t{grade}" for doc_id, grade in graded.items()]
    partial = judgements.with_suffix(".part")
    partial.write_text("\n".join(table) + "\n", encoding="utf-8")
    partial.rename(judgements)
    return folder
