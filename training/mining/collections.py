"""Mine a judged collection and write the file of negatives that training reads."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from lsr.datasets import Dataset
from lsr.errors import DatasetError
from lsr.files import atomic_write
from lsr.types import Qrels, Query

from ..rows import Rows
from .negatives import Mined, MiningPlan, mine_texts, mining_key
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
    relevant = dataset.qrels(split)
    asking = [query for query in dataset.queries(split) if query.text.strip()]
    with searched(
        dataset,
        asking,
        output,
        plan,
        whose=f"split '{split}'",
        relevant=relevant,
        text_fields=text_fields,
        deadline=deadline,
        quiet=quiet,
    ) as found:
        if found.mined is None:
            return MiningReport(output, len(asking), 0, 0, finished=False)
        with atomic_write(output) as file:
            for query, negatives in zip(asking, found.mined, strict=True):
                line = {
                    "_id": query.query_id,
                    "neg": [found.doc_ids[row] for row in negatives.rows.tolist()],
                    "scores": [round(score, 4) for score in negatives.scores.tolist()],
                }
                file.write(orjson.dumps(line) + b"\n")
        sizes = [len(negatives.rows) for negatives in found.mined]
    return MiningReport(output, len(asking), sum(sizes), sizes.count(0))


@dataclass(frozen=True, slots=True)
class Searched:
    """The documents of a collection that have text, and what was mined among them."""

    doc_ids: list[str]
    texts: list[str]
    mined: list[Mined] | None
    """For each query; None if the deadline came first."""


@contextmanager
def searched(
    dataset: Dataset,
    asking: Sequence[Query],
    output: Path,
    plan: MiningPlan,
    *,
    whose: str,
    relevant: Qrels,
    text_fields: Sequence[str],
    deadline: float | None,
    quiet: bool,
) -> Iterator[Searched]:
    """Mine `dataset` for queries with text; for the block, which writes down what was found.

    What is `relevant` to a query that is named in it is kept out, and the document of its own id.
    `whose` names the queries in the error for none of them.
    Parts lie in `<output>.work` until the block ends with everything found.
    """
    doc_ids: list[str] = []
    texts: list[str] = []
    for document in dataset.documents():
        if text := document.text(tuple(text_fields)).strip():
            doc_ids.append(document.doc_id)
            texts.append(text)
    if not asking or not texts:
        raise DatasetError(
            f"{dataset.name}: {whose} has {len(asking)} queries with text and "
            f"{len(texts)} documents; wanted at least one of each"
        )
    row_of = {doc_id: row for row, doc_id in enumerate(doc_ids)}

    def rows(ids: Iterable[str]) -> Rows:
        return np.asarray([row_of[doc_id] for doc_id in ids if doc_id in row_of], np.int32)

    answers = [relevant.get(query.query_id, {}) for query in asking]
    positives = [rows(d for d, grade in judged.items() if grade > 0) for judged in answers]
    own = [rows([q.query_id] if q.query_id in relevant else []) for q in asking]
    asked, work = [q.text for q in asking], output.with_name(f"{output.name}.work")
    key = mining_key(plan, asked, [found.tolist() for found in (*positives, *own)], texts)
    parts = Parts(work / key, deadline)
    try:
        mined = mine_texts(plan, asked, positives, texts, forbidden=own, quiet=quiet, parts=parts)
    except OutOfTimeError:
        yield Searched(doc_ids, texts, None)
        return
    yield Searched(doc_ids, texts, mined)
    shutil.rmtree(work / key, ignore_errors=True)
    with suppress(OSError):  # something else is there, such as what another mining left
        work.rmdir()
