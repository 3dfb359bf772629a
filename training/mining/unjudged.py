"""Candidates that nobody judged: any questions to any corpus, for teachers to say what answers.

Judged pairs teach what people asked where they asked it. A teacher can say as much of a question
and texts that never met, so distillation (KL, `training.losses`) needs no labels, only candidates
that are hard to tell apart (pseudo-labels of candidates: GPL, Wang et al., arXiv 2112.07577). Where
queries are asked of their own corpus, relevant documents are left out: the others differ in shades,
where a known item stands out from all.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from lsr.datasets import Dataset
from lsr.errors import DatasetError
from lsr.files import atomic_write
from lsr.types import Query

from ..rows import Rows
from .collections import MiningReport, read_texts
from .negatives import MiningPlan, mine_texts, mining_key
from .parts import OutOfTimeError, Parts

_LEAST = 2
"""Documents a query must have found: of one there is nothing to tell."""


def mine_unjudged(
    dataset: Dataset,
    asking: Sequence[Query],
    output: Path,
    plan: MiningPlan,
    *,
    split: str | None = None,
    text_fields: Sequence[str] = ("title", "text"),
    deadline: float | None = None,
    quiet: bool = False,
) -> MiningReport:
    """Write a line {"query": text, "pos": [text], "neg": [texts]} for each query: a pair file.

    "pos" is what stands first in the windows and no more: learn from teachers, not from it. With
    `split` the queries are those of `dataset` in that split, and their relevant documents and near
    copies of them are left out, as are documents with a query's own id. Queries with fewer than two
    documents are left out and counted in `n_without`. The file appears when all is done, as in
    `mine_collection`.
    """
    doc_ids, texts = read_texts(dataset, text_fields)
    queries = [query for query in asking if query.text.strip()]
    if not queries or not texts:
        raise DatasetError(
            f"{dataset.name}: {len(queries)} queries with text and {len(texts)} documents; wanted "
            "at least one of each"
        )
    row_of = {doc_id: row for row, doc_id in enumerate(doc_ids)}
    judged = {} if split is None else dataset.qrels(split)
    answers = [[d for d, grade in judged.get(q.query_id, {}).items() if grade > 0] for q in queries]
    relevant = [_rows([row_of[d] for d in ids if d in row_of]) for ids in answers]
    own = [
        _rows([row_of[q.query_id]] if split is not None and q.query_id in row_of else [])
        for q in queries
    ]
    asked, work = [q.text for q in queries], output.with_name(f"{output.name}.work")
    key = mining_key(plan, asked, [rows.tolist() for rows in (*relevant, *own)], texts)
    parts = Parts(work / key, deadline)
    try:
        mined = mine_texts(plan, asked, relevant, texts, forbidden=own, quiet=quiet, parts=parts)
    except OutOfTimeError:
        return MiningReport(output, len(queries), 0, 0, finished=False)
    n_documents = n_without = 0
    with atomic_write(output) as file:
        for text, found in zip(asked, mined, strict=True):
            first, *others = [texts[row] for row in found.rows.tolist()] or [""]
            if len(others) + 1 < _LEAST:
                n_without += 1
                continue
            n_documents += len(others) + 1
            file.write(orjson.dumps({"query": text, "pos": [first], "neg": others}) + b"\n")
    shutil.rmtree(work, ignore_errors=True)
    return MiningReport(output, len(queries), n_documents, n_without)


def _rows(numbers: Sequence[int]) -> Rows:
    return np.asarray(numbers, np.int32)
