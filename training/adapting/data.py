"""The collection that `adapt` learns from: documents drawn, queries taken out of them or given.

A folder in BEIR's layout: corpus.jsonl without what became queries, queries.jsonl, judgements in
qrels/train.tsv and qrels/held-out.tsv.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from lsr.datasets import Dataset, load_dataset, read_queries
from lsr.errors import DatasetError
from lsr.types import Query

from ..mining.judges import judged, open_judge
from ..mining.parts import Parts
from ..mining.rankers import Ranker
from ..rows import Rows
from .pseudo_queries import Passage, PseudoQuery, take_queries
from .written import Writing

HELD_OUT = "held-out"
MOST_HELD_OUT = 500
"""Held-out queries at most: their mean is then known to about .02."""
_POOLED = 10  # of each ranker's best documents, which a given query's answer is looked for among
_RRF = 60  # k of reciprocal rank fusion, Cormack et al., SIGIR 2009


@dataclass(frozen=True, slots=True)
class MadeCollection:
    """What `write_collection` made: numbers of documents, and of queries by split and origin."""

    n_documents: int
    n_train: int
    n_held_out: int
    origins: dict[str, int]
    """How many queries were a title, a heading, a sentence, or were written."""


@dataclass(frozen=True)
class AdaptData:
    """What lies in the folder, read."""

    doc_ids: list[str]
    texts: list[str]
    queries: dict[str, list[Query]]
    """By split, "train" and "held-out"."""


def write_collection(
    folder: Path,
    dataset: Dataset,
    text_fields: Sequence[str],
    *,
    max_documents: int,
    held_out: float,
    seed: int,
    writing: Writing | None = None,
) -> MadeCollection:
    """Draw documents, take a query out of each or write one, hold a share of the queries back.

    Which documents, queries and shares follows from the seed. Nothing is left half-written. Raises
    `DatasetError` where fewer than 4 documents have a query to give, `OutOfTimeError` as
    `Writing.queries`.
    """
    total = sum(1 for _ in dataset.documents())
    chosen: set[int] | None = None
    if max_documents and total > max_documents:
        rng = np.random.default_rng([seed, 0x6164])
        chosen = set(rng.choice(total, size=max_documents, replace=False).tolist())
    passages = [
        passage
        for number, document in enumerate(dataset.documents())
        if (chosen is None or number in chosen)
        and (passage := Passage.of(document, text_fields)).whole
    ]
    if writing is None:
        queries, left = take_queries(passages, seed=seed)
        return _placed(folder, dataset, queries, left, held_out=held_out, seed=seed)
    with writing.queries(passages, seed=seed, unless=folder) as queries:
        return _placed(
            folder, dataset, queries, passages, held_out=held_out, seed=seed, writing=writing
        )


def _placed(
    folder: Path,
    dataset: Dataset,
    queries: Sequence[PseudoQuery],
    left: Sequence[Passage],
    *,
    held_out: float,
    seed: int,
    writing: Writing | None = None,
) -> MadeCollection:
    if len(queries) < 4:
        what = (
            "have a title, heading or first sentence and text beside it; wanted at least 4. Give "
            "queries (--queries), or documents with titles or more than one sentence"
            if writing is None
            else "have a query that was written for them and kept; wanted at least 4. Give more "
            "documents, or another model"
            + (", or ask no round trip of queries (--round-trip 0)" if writing.round_trip else "")
        )
        raise DatasetError(f"{dataset.name}: {len(queries)} of {len(left):,} documents {what}")
    n_held = min(MOST_HELD_OUT, max(1, round(held_out * len(queries))))
    rng = np.random.default_rng([seed, 0x686F])
    held = set(rng.choice(len(queries), size=n_held, replace=False).tolist())
    fresh = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "qrels").mkdir(parents=True)
    _write_lines(
        fresh / "corpus.jsonl",
        [{"_id": p.doc_id, "title": p.title, "text": p.text} for p in left],
    )
    names = [f"q{number}" for number in range(len(queries))]
    _write_lines(
        fresh / "queries.jsonl",
        [
            {"_id": name, "text": query.text, "origin": query.origin}
            for name, query in zip(names, queries, strict=True)
        ],
    )
    for split in ("train", HELD_OUT):
        pairs = [
            (names[i], queries[i].doc_id)
            for i in range(len(queries))
            if (i in held) == (split == HELD_OUT)
        ]
        _write_qrels(fresh / "qrels" / f"{split}.tsv", pairs)
    fresh.rename(folder)
    origins = Counter[str](query.origin for query in queries)
    return MadeCollection(len(left), len(queries) - n_held, n_held, dict(origins))


def read_collection(folder: Path) -> AdaptData:
    """Read the folder that `write_collection` wrote."""
    dataset = load_dataset(str(folder))
    documents = [(d.doc_id, d.text()) for d in dataset.documents()]
    return AdaptData(
        [doc_id for doc_id, _ in documents],
        [text for _, text in documents],
        {split: dataset.queries(split) for split in ("train", HELD_OUT)},
    )


def use_given_queries(
    folder: Path,
    file: Path,
    data: AdaptData,
    rankers: Sequence[Ranker],
    *,
    teacher: str,
    parts: Parts,
) -> int:
    """Learn from the queries of `file` instead; the number of them that have an answer.

    Nobody judged them, so the best of the rankers' first documents is taken for the answer: by the
    teacher's score, which `parts` keeps, if there is one, else by reciprocal rank fusion.
    """
    given = [query for query in read_queries(file) if query.text.strip()]
    if not given:
        raise DatasetError(f"{file}: no query with text; wanted a query a line")
    texts = [query.text for query in given]
    fused: list[dict[int, float]] = [{} for _ in given]
    nothing: list[Rows] = [np.empty(0, np.int32)] * len(given)
    for ranker in rankers:
        for i, ranked in enumerate(ranker.search(texts, _POOLED, nothing)):
            for rank, row in enumerate(ranked.rows.tolist()):
                fused[i][row] = fused[i].get(row, 0.0) + 1 / (_RRF + rank + 1)
    pools = [np.asarray(sorted(scores), np.int32) for scores in fused]
    if teacher:
        scored = judged(open_judge(teacher, data.texts), texts, data.texts, pools, parts=parts)
    else:
        scored = [
            np.asarray([fused[i][row] for row in pool.tolist()], np.float32)
            for i, pool in enumerate(pools)
        ]
    lines: list[dict[str, str]] = []
    pairs: list[tuple[str, str]] = []
    for number, (query, pool, scores) in enumerate(zip(given, pools, scored, strict=True)):
        if len(pool):
            lines.append({"_id": f"g{number}", "text": query.text, "origin": "given"})
            pairs.append((f"g{number}", data.doc_ids[int(pool[int(np.argmax(scores))])]))
    if not pairs:
        raise DatasetError(f"{file}: no query shares a word or term with any document")
    path = folder / "queries.jsonl"
    old = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    # Queries that nothing judges any more stay: a kill between two files leaves none without text.
    _write_lines(path, [record for record in old if record["origin"] != "given"] + lines)
    _write_qrels(folder / "qrels" / "train.tsv", pairs)
    return len(pairs)


def _write_lines(path: Path, records: Sequence[dict[str, str]]) -> None:
    fresh = path.with_name(f"{path.name}.partial")
    fresh.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    fresh.rename(path)


def _write_qrels(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    lines = "".join(f"{query_id}\t{doc_id}\t1\n" for query_id, doc_id in pairs)
    fresh = path.with_name(f"{path.name}.partial")
    fresh.write_text(f"query-id\tcorpus-id\tscore\n{lines}", encoding="utf-8")
    fresh.rename(path)
