"""Cells of CSV and TSV as values: all are text there, and an empty one is no value."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..types import Document, Json
from .beir import BeirFolder
from .dataset import CorpusFile, Dataset
from .records import record_format
from .shards import ShardFolder

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_TRUTH = {"true": True, "false": False}


def typed_documents(source: Dataset, kinds: Mapping[str, str]) -> Callable[[], Iterator[Document]]:
    """`source.documents`, with the fields of `kinds` (name -> keyword, int, float, bool or date) as
    such values where its files are CSV or TSV. What is none stays text, which an index refuses.
    """
    if not kinds or not any(record_format(file) in ("csv", "tsv") for file in _files(source)):
        return source.documents
    return lambda: (_typed(document, kinds) for document in source.documents())


def _files(source: Dataset) -> tuple[Path, ...]:
    match source:
        case CorpusFile(path=path):
            return (path,)
        case BeirFolder():
            return source.corpus_files
        case ShardFolder():
            return source.files
    return ()


def _typed(document: Document, kinds: Mapping[str, str]) -> Document:
    fields = dict(document.fields)
    for name, kind in kinds.items():
        cell = fields.get(name)
        if isinstance(cell, str):
            value = value_of(cell, kind)
            if value is None:
                del fields[name]
            else:
                fields[name] = value
    return Document(document.doc_id, fields)


def value_of(cell: str, kind: str) -> Json:
    """The value of a cell, None for an empty one; the cell where it is no value of the kind.

    >>> value_of(" 1990", "int"), value_of("TRUE", "bool"), value_of("", "date")
    (1990, True, None)
    >>> value_of("soon", "int")
    'soon'
    """
    text = cell.strip()
    if not text:
        return None
    if kind == "int" and _WHOLE.fullmatch(text):
        return int(text)
    if kind == "bool":
        return _TRUTH.get(text.lower(), cell)
    if kind == "float":
        try:
            number = float(text)
        except ValueError:
            return cell
        return number if math.isfinite(number) else cell
    return text if kind == "date" else cell
