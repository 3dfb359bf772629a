"""Runs and judgements as files: TREC's six and four columns, and BEIR's three.

TREC files are separated by blanks, so an id that holds one cannot be written; BEIR's are separated
by tabs. Reading a run orders each query as trec_eval does: by score, then by doc_id, descending.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DatasetError
from .files import atomic_write, decode, read_lines
from .parquet import SUFFIX as PARQUET_SUFFIX
from .parquet import parquet_rows
from .types import MAX_GRADE, Qrels, Run

_LARGEST = float(np.finfo(np.float32).max)
_HEADER_NAMES = ("query-id", "query_id", "qid", "_id", "topic")
_DOCUMENT_NAMES = ("corpus-id", "corpus_id", "doc_id", "docid")
_GRADE_NAMES = ("score", "grade", "relevance", "label")


def read_run(path: str | Path) -> Run:
    """Read `query_id Q0 doc_id rank score tag` lines; the ranks are ignored, as trec_eval does."""
    path = Path(path)
    rows: dict[str, dict[str, float]] = {}
    for number, cells in _cells(path):
        if len(cells) != 6:
            raise DatasetError(
                f"{path}:{number}: got {len(cells)} columns, wanted 6: query_id Q0 doc_id rank "
                "score tag"
            )
        query_id, _, doc_id, _, text, _ = cells
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not abs(score) <= _LARGEST:  # which NaN is not, either
            raise DatasetError(f"{path}:{number}: score {text!r}, wanted a finite number")
        row = rows.setdefault(query_id, {})
        if doc_id in row:
            raise DatasetError(
                f"{path}:{number}: document {doc_id!r} occurs twice for query {query_id!r}"
            )
        row[doc_id] = score
    return Run.from_scores(rows)


def write_run(path: str | Path, run: Run, *, tag: str = "lsr") -> None:
    """Write the run atomically, ranks from 1; the scores read back as the same float32."""
    path = Path(path)
    if not tag or _has_blank(tag):
        raise DatasetError(f"{path}: run tag {tag!r}, wanted a word without blanks")
    with atomic_write(path) as out:
        for query_id in run:
            ranked = run.ranked(query_id)
            for rank, (doc_id, score) in enumerate(ranked, start=1):
                _refuse_blanks(path, query_id, doc_id)
                out.write(f"{query_id} Q0 {doc_id} {rank} {score:.9g} {tag}\n".encode())


def read_qrels(path: str | Path) -> Qrels:
    """Read BEIR's three columns, with or without header, or TREC's `query_id 0 doc_id grade`.

    A .parquet file has the columns by BEIR's names; without `score` every pair is relevant.
    """
    path = Path(path)
    qrels: Qrels = {}
    first = True
    for number, cells in _judgements(path) if path.suffix == PARQUET_SUFFIX else _cells(path):
        is_header, first = first and cells[0].lower() in _HEADER_NAMES, False
        if len(cells) not in (3, 4):
            raise DatasetError(
                f"{path}:{number}: got {len(cells)} columns, wanted 3 (query-id corpus-id score) "
                "or 4 (query_id 0 doc_id grade)"
            )
        query_id, doc_id, text = cells[0], cells[-2], cells[-1]
        try:
            grade = int(text)
        except ValueError:
            if is_header:
                continue
            raise DatasetError(f"{path}:{number}: grade {text!r}, wanted an integer") from None
        if abs(grade) > MAX_GRADE:
            raise DatasetError(
                f"{path}:{number}: grade {grade}, wanted one from {-MAX_GRADE:,} to {MAX_GRADE:,}"
            )
        known = qrels.setdefault(query_id, {}).setdefault(doc_id, grade)
        if known != grade:
            raise DatasetError(
                f"{path}:{number}: document {doc_id!r} of query {query_id!r} has grade {grade} "
                f"here and {known} above"
            )
    return qrels


def read_sources(path: str | Path) -> dict[str, dict[str, set[str]]]:
    """Read which documents stand in for one another: `sources[query_id][source]` of lsr.sources.

    Three columns (query-id corpus-id source), with or without header, or the four of TREC's
    diversity tasks (query_id source doc_id grade), of which grades below 1 are left out.
    """
    path = Path(path)
    sources: dict[str, dict[str, set[str]]] = {}
    for i, (number, cells) in enumerate(_cells(path)):
        if i == 0 and cells[0].lower() in _HEADER_NAMES:
            continue
        if len(cells) == 3:
            query_id, doc_id, source = cells
        elif len(cells) == 4 and cells[3].lstrip("-").isdigit():
            query_id, source, doc_id, grade = cells
            if int(grade) < 1:
                continue
        else:
            raise DatasetError(
                f"{path}:{number}: got {len(cells)} columns, wanted 3 (query-id corpus-id source) "
                "or 4 (query_id source doc_id grade, a whole number)"
            )
        sources.setdefault(query_id, {}).setdefault(source, set()).add(doc_id)
    return sources


def write_qrels(path: str | Path, qrels: Qrels) -> None:
    """Write judgements atomically: BEIR's three columns to a .tsv, TREC's four to any other."""
    path = Path(path)
    beir = ".tsv" in path.suffixes
    with atomic_write(path) as out:
        if beir:
            out.write(b"query-id\tcorpus-id\tscore\n")
        for query_id, grades in qrels.items():
            for doc_id, grade in grades.items():
                if beir:
                    _refuse_tabs(path, query_id, doc_id)
                    out.write(f"{query_id}\t{doc_id}\t{grade}\n".encode())
                else:
                    _refuse_blanks(path, query_id, doc_id)
                    out.write(f"{query_id} 0 {doc_id} {grade}\n".encode())


def _judgements(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Query, document and grade of each row of a Parquet file."""

    def named(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
        return next((str(row[name]) for name in names if name in row), None)

    for number, row in parquet_rows(path, needed=(*_HEADER_NAMES, *_DOCUMENT_NAMES)):
        query_id, doc_id = named(row, _HEADER_NAMES), named(row, _DOCUMENT_NAMES)
        if query_id is None or doc_id is None:
            raise DatasetError(
                f"{path}:{number}: got the columns {', '.join(row)}; wanted query-id, corpus-id "
                "and score"
            )
        yield number, [query_id, doc_id, named(row, _GRADE_NAMES) or "1"]


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path):
        text = decode(path, number, line)
        yield number, text.split("\t") if "\t" in text else text.split()


def require_plain_ids(ids: Iterable[str], *, whose: object, remedy: str) -> None:
    """Refuse ids that no TREC file can hold, maybe before one is made. Raises `DatasetError`."""
    for name in ids:
        if not name or _has_blank(name):
            raise DatasetError(
                f"{whose}: id {name!r} holds a blank or is empty, and blanks separate the columns "
                f"of a TREC file; {remedy}"
            )


def _refuse_blanks(path: Path, *ids: str) -> None:
    require_plain_ids(ids, whose=path, remedy="write JSON instead")


def _refuse_tabs(path: Path, *ids: str) -> None:
    for name in ids:
        if not name or any(c in name for c in "\t\r\n"):
            raise DatasetError(f"{path}: id {name!r} holds a tab or line end or is empty")


def _has_blank(name: str) -> bool:
    return name.split() != [name]
