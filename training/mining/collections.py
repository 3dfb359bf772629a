"""Mine a judged collection and write the file of negatives that training reads."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from lsr.datasets import Dataset
from lsr.errors import DatasetError
from lsr.files import atomic_write

from ..rows import Rows
from .negatives import MiningPlan, mine_texts, mining_key
from .parts import OutOfTimeError, Parts


@dataclass(frozen=True, slots=True)
class MiningReport:
    """What `mine` found."""

    output: Path
    n_queries: int
    n_negatives: int
    n_without: int
    """Queries for which nothing was left."""
    finished: bool = True
    """False if the deadline came first; the same call continues."""


def mine_collection(
    dataset: Dataset,
    output: Path,
    plan: MiningPlan,
    *,
    split: str = "train",
    text_fields: Sequence[str] = ("title", "text"),
    deadline: float | None = None,
    quiet: bool = False,
) -> MiningReport:
    """Write a line {"_id": query id, "neg": [doc ids], "scores": [...]} for each judged query.

    The file appears when all is done; until then what was found lies in `<output>.work`, where the
    next call goes on, also after a kill. `deadline` is a time of `time.monotonic`. Every relevant
    document of a query is kept out, and the document that has the query's own id.
    """
    doc_ids, texts = read_texts(dataset, text_fields)
    row_of = {doc_id: row for row, doc_id in enumerate(doc_ids)}
    relevant = dataset.qrels(split)
    queries = [query for query in dataset.queries(split) if query.text.strip()]
    if not queries or not texts:
        raise DatasetError(
            f"{dataset.name}: split '{split}' has {len(queries)} queries with text and "
            f"{len(texts)} documents; wanted at least one of each"
        )
    positives = [
        np.asarray(
            [row_of[d] for d, grade in relevant[q.query_id].items() if grade > 0 and d in row_of],
            np.int32,
        )
        for q in queries
    ]
    own: list[Rows] = [
        np.asarray([row_of[q.query_id]] if q.query_id in row_of else [], np.int32) for q in queries
    ]
    asked, work = [q.text for q in queries], output.with_name(f"{output.name}.work")
    key = mining_key(plan, asked, [rows.tolist() for rows in (*positives, *own)], texts)
    parts = Parts(work / key, deadline)
    try:
        mined = mine_texts(plan, asked, positives, texts, forbidden=own, quiet=quiet, parts=parts)
    except OutOfTimeError:
        return MiningReport(output, len(queries), 0, 0, finished=False)
    with atomic_write(output) as file:
        for query, found in zip(queries, mined, strict=True):
            line = {
                "_id": query.query_id,
                "neg": [doc_ids[row] for row in found.rows.tolist()],
                "scores": [round(score, 4) for score in found.scores.tolist()],
            }
            file.write(orjson.dumps(line) + b"\n")
    shutil.rmtree(work, ignore_errors=True)
    sizes = [len(found.rows) for found in mined]
    return MiningReport(output, len(queries), sum(sizes), sizes.count(0))


def read_texts(dataset: Dataset, text_fields: Sequence[str]) -> tuple[list[str], list[str]]:
    """Ids and texts of the documents that have any text, in their order."""
    doc_ids: list[str] = []
    texts: list[str] = []
    for document in dataset.documents():
        if text := document.text(tuple(text_fields)).strip():
            doc_ids.append(document.doc_id)
            texts.append(text)
    return doc_ids, texts
