"""Candidates that nobody judged: any questions to any corpus, for teachers to say what answers.

Judged pairs teach what people asked where they asked it. A teacher can say as much of a question
and texts that never met, so distillation (KL, `training.losses`) needs no labels, only candidates
that are hard to tell apart (pseudo-labels of candidates: GPL, Wang et al., arXiv 2112.07577). Where
queries are asked of their own corpus, relevant documents are left out: the others differ in shades,
where a known item stands out from all.
"""

from collections.abc import Sequence
from pathlib import Path

import orjson

from lsr.datasets import Dataset
from lsr.files import atomic_write
from lsr.types import Query

from .collections import MiningReport, searched
from .negatives import MiningPlan

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
    queries = [query for query in asking if query.text.strip()]
    n_documents = n_without = 0
    with searched(
        dataset,
        queries,
        output,
        plan,
        whose="what is asked",
        relevant={} if split is None else dataset.qrels(split),
        text_fields=text_fields,
        deadline=deadline,
        quiet=quiet,
    ) as found:
        if found.mined is None:
            return MiningReport(output, len(queries), 0, 0, finished=False)
        with atomic_write(output) as file:
            for query, candidates in zip(queries, found.mined, strict=True):
                texts = [found.texts[row] for row in candidates.rows.tolist()]
                if len(texts) < _LEAST:
                    n_without += 1
                    continue
                n_documents += len(texts)
                pair = {"query": query.text, "pos": texts[:1], "neg": texts[1:]}
                file.write(orjson.dumps(pair) + b"\n")
    return MiningReport(output, len(queries), n_documents, n_without)
