"""Whether what is to be measured and what it is measured on belong together.

Ids of one collection mean nothing in another: every measure would be 0, which looks like a finding.
"""

from collections.abc import Collection
from itertools import islice
from typing import TYPE_CHECKING

from ..errors import DatasetError
from . import _printing as out

if TYPE_CHECKING:
    from index import Index
    from lsr.datasets import Dataset
    from lsr.types import Qrels, Run

_ENOUGH = 100
"""Relevant documents looked up before an index is said to be of another collection."""

_LOOKED_AT = 1000
"""Relevant documents looked up to tell how many an index lacks."""


def require_relevant(qrels: "Qrels", name: str) -> None:
    """Raises `DatasetError` for judgements that call no document relevant."""
    grades = {grade for of_query in qrels.values() for grade in of_query.values()}
    if grades and max(grades) <= 0:
        raise DatasetError(
            f"{name}: none of the judgements of its {len(qrels)} queries has a grade above 0 "
            f"({min(grades)} to {max(grades)}), so that every measure would be 0; wanted the "
            "columns query, document and grade, with grades from 1 on for what is relevant"
        )


def require_answers(run: "Run", query_ids: Collection[str], *, place: str, name: str) -> None:
    """Raises `DatasetError` for a run without any of the judged queries."""
    if not any(query_id in query_ids for query_id in run):
        raise DatasetError(
            f"{place}: answers none of the {len(query_ids)} judged queries of {name}; its first "
            f"query is {next(iter(run), None)!r}, a judged one {next(iter(query_ids))!r}"
        )


def require_known(run: "Run", corpus: "Dataset", *, place: str) -> None:
    """Raises `DatasetError` for a run whose first documents are not in the corpus.

    The ids of queries are small numbers in many collections, those of documents less often. One
    document that is found ends the reading of the corpus.
    """
    firsts = [doc_id for query_id in run for doc_id, _ in run.ranked(query_id)[:1]][:_ENOUGH]
    wanted = set(firsts)
    if firsts and not any(document.doc_id in wanted for document in corpus.documents()):
        raise DatasetError(
            f"{place}: {corpus.name} has none of the documents that are first in its rankings, "
            f"such as {firsts[0]!r}; is it a run over this collection?"
        )


def note_unjudged(run: "Run", qrels: "Qrels", *, label: str, name: str) -> None:
    """Tell of a run that found no document that anybody judged: ids may mean something else."""
    if not any(
        run[query_id].keys() & grades.keys()
        for query_id, grades in qrels.items()
        if query_id in run
    ):
        out.note(
            "warning", f"{label}: nothing that it found on {name} is judged, so every measure is 0"
        )


def require_documents(index: "Index", qrels: "Qrels", name: str) -> None:
    """Raises `DatasetError` for an index without any of the first relevant documents."""
    relevant = list(
        dict.fromkeys(
            doc_id for grades in qrels.values() for doc_id, grade in grades.items() if grade > 0
        )
    )[:_LOOKED_AT]
    missing = [doc_id for doc_id in relevant if index.version(doc_id) is None]
    if relevant and missing[:_ENOUGH] == relevant[:_ENOUGH]:
        raise DatasetError(
            f"{index.path}: holds none of the first {min(_ENOUGH, len(relevant))} relevant "
            f"documents of {name}, such as {relevant[0]!r}; is it an index of it?"
        )
    if missing:
        first = "the first " if len(relevant) == _LOOKED_AT else ""
        out.note(
            "missing",
            f"{len(missing):,} of {first}{len(relevant):,} relevant documents of {name} are not in "
            f"{index.path}, such as {missing[0]!r}",
        )


def note_shallow(run: "Run", k: int, corpus: "Dataset", *, place: str) -> None:
    """Tell of a run that was cut before `k`: measures that look further see nothing there.

    Rankings that end by themselves differ in length, or hold the whole corpus.
    """
    lengths = [len(run[query_id]) for query_id in run]
    deepest = max(lengths, default=0)
    cut = deepest < k and 1 < lengths.count(deepest) > len(lengths) / 2
    if cut and len(list(islice(corpus.documents(), deepest + 1))) > deepest:
        out.note(
            "cut",
            f"{place}: its rankings end after {out.counted(deepest, 'document')}; measures that "
            f"look further, to {k}, see no more",
        )
