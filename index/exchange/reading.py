"""Sparse vectors of other engines' files as (id, fields, weights by term).

    jsonl       {"id", "tokens": {entry: weight} | [[entry, weight], ...] | "vector", "fields"}
    anserini    {"id", "contents", "vector": {term: weight}}; Seismic's {"id", "content", "vector"}
    opensearch  bulk files (an action and a document in turn) and dumps ({"_id", "_source"})
    qdrant      {"points": [{"id", "vector": {name: {"indices", "values"}}, "payload"}]}
    ciff        the common index file format

Pairs of entry and weight are what `SparseEncoder.decode` of sentence-transformers returns.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from lsr.errors import DatasetError
from lsr.files import read_lines

from ..rows import FLOAT16_MAX
from .ciff import read_ciff
from .formats.elastic import FIELD

SOURCES = ("jsonl", "anserini", "seismic", "opensearch", "elasticsearch", "qdrant", "ciff")


@dataclass(frozen=True, slots=True)
class Imported:
    """One document. Terms are vocabulary entries, or numbers written as such."""

    doc_id: str
    fields: Mapping[str, Any]
    weights: Mapping[str, float]


class _UnfitError(Exception):
    """Why a line is no document; `read_imports` adds where."""


def read_imports(path: Path, source: str, *, field: str | None = None) -> Iterator[Imported]:
    """The documents of a file, streamed (CIFF, which lists terms first, is read whole).

    `field` names the vector where a document may hold several: of OpenSearch the mapped field, of
    Qdrant the named vector; by default the only one. Raises `DatasetError` with file and line.
    """
    if source == "ciff":
        yield from _of_ciff(path)
        return
    if source in ("opensearch", "elasticsearch"):
        yield from _of_elastic(path, field)
        return
    read: Callable[[Any], Iterator[Imported]] = {
        "jsonl": _of_jsonl,
        "anserini": _of_vectors,
        "seismic": _of_vectors,
        "qdrant": lambda line: _of_qdrant(line, field),
    }[source]
    for number, line in read_lines(path):
        try:
            yield from read(_object(line))
        except _UnfitError as error:
            raise DatasetError(f"{path}:{number}: {error}") from error


def _object(line: bytes) -> dict[str, Any]:
    try:
        read = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _UnfitError(f"no JSON ({error})") from error
    if not isinstance(read, dict):
        raise _UnfitError("wanted a JSON object")
    return read


def _of_jsonl(line: dict[str, Any]) -> Iterator[Imported]:
    fields = line.get("fields")
    if fields is None:
        taken = ("id", "_id", "tokens", "vector")
        fields = {name: value for name, value in line.items() if name not in taken}
    if not isinstance(fields, dict):
        raise _UnfitError("wanted fields that are a JSON object")
    weights = line.get("tokens", line.get("vector"))
    yield Imported(_doc_id(line.get("id", line.get("_id"))), fields, _weights(weights))


def _of_vectors(line: dict[str, Any]) -> Iterator[Imported]:
    text = line.get("contents", line.get("content"))
    fields = {"text": text} if isinstance(text, str) and text else {}
    yield Imported(_doc_id(line.get("id")), fields, _weights(line.get("vector")))


def _of_qdrant(line: dict[str, Any], field: str | None) -> Iterator[Imported]:
    points = line.get("points", [line] if "vector" in line else None)
    if not isinstance(points, list):
        raise _UnfitError("wanted {'points': [...]} or a point")
    for point in points:
        payload = point.get("payload") or {} if isinstance(point, dict) else None
        if not isinstance(payload, dict):
            raise _UnfitError("wanted points that are JSON objects, and so their payload")
        payload = dict(payload)
        doc_id = payload.pop("lsr_document", None)
        vectors = point.get("vector")
        if not isinstance(vectors, dict):
            raise _UnfitError("the point has no named sparse vector")
        name = field or next(
            (n for n, v in vectors.items() if isinstance(v, dict) and "indices" in v), None
        )
        if name is None or name not in vectors:
            raise _UnfitError(f"no sparse vector {name or ''} among {', '.join(vectors) or 'none'}")
        doc_id = point.get("id") if doc_id is None else doc_id
        yield Imported(_doc_id(doc_id), payload, _weights(vectors[name]))


def _of_elastic(path: Path, field: str | None) -> Iterator[Imported]:
    action: dict[str, Any] | None = None
    for number, line in read_lines(path):
        try:
            read = _object(line)
            if action is None and "_source" in read:
                yield _of_source(read["_source"], read.get("_id"), field)
            elif action is None:
                action = next((read[k] for k in ("index", "create") if k in read), None)
                if not isinstance(action, dict):
                    raise _UnfitError("wanted an 'index' or 'create' action, or a dumped document")
            else:
                yield _of_source(read, action.get("_id"), field)
                action = None
        except _UnfitError as error:
            raise DatasetError(f"{path}:{number}: {error}") from error
    if action is not None:
        raise DatasetError(f"{path}: ends after an action, without its document")


def _of_source(source: Any, doc_id: Any, field: str | None) -> Imported:
    if not isinstance(source, dict):
        raise _UnfitError("wanted a document, a JSON object")
    fields = dict(source)
    named = fields.pop("lsr_document", None)
    found = [
        name
        for name, value in fields.items()
        if isinstance(value, dict)
        and value
        and all(isinstance(w, int | float) and not isinstance(w, bool) for w in value.values())
    ]
    ours = FIELD if FIELD in fields else None  # which may be empty
    name = field or ours or (found[0] if len(found) == 1 else None)
    if name is None or not isinstance(fields.get(name), dict):
        raise _UnfitError(f"which field is the vector? Fields of weights: {', '.join(found)}")
    weights = fields.pop(name)
    return Imported(_doc_id(doc_id if doc_id is not None else named), fields, _weights(weights))


def _of_ciff(path: Path) -> Iterator[Imported]:
    read = read_ciff(path)
    rows = pairwise(read.counts.indptr.tolist())
    for doc_id, (a, b) in zip(read.doc_ids, rows, strict=True):
        terms = [read.terms[term] for term in read.counts.indices[a:b].tolist()]
        weights = map(float, read.counts.data[a:b].tolist())
        yield Imported(doc_id, {}, dict(zip(terms, weights, strict=True)))


def _doc_id(given: Any) -> str:
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if not isinstance(given, str) or not given:
        raise _UnfitError("the document has no id")
    return given


def _weights(given: Any) -> dict[str, float]:
    if (
        isinstance(given, dict)
        and given.keys() == {"indices", "values"}
        and any(isinstance(one, list) for one in given.values())
    ):
        indices, values = given["indices"], given["values"]
        if not isinstance(indices, list) or not isinstance(values, list):
            raise _UnfitError("wanted lists of indices and values")
        if len(indices) != len(values):
            raise _UnfitError("indices and values differ in length")
        given = list(zip(map(str, indices), values, strict=True))
    if isinstance(given, dict):
        given = list(given.items())
    if not isinstance(given, list):
        raise _UnfitError("the document has no vector of weights by term")
    weights: dict[str, float] = {}
    for pair in given:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise _UnfitError("wanted pairs of an entry and its weight")
        entry, weight = pair
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight <= FLOAT16_MAX:
            raise _UnfitError(
                f"the weight of {entry!r} is {weight!r}, wanted a number from 0 to {FLOAT16_MAX:g}"
            )
        if str(entry) in weights:
            raise _UnfitError(f"{entry!r} is weighed twice")
        weights[str(entry)] = float(weight)
    return weights
