"""A line of NDJSON as a document: its id, its fields and, if it brings one, its vector.

    {"id": "d1", "fields": {"title": "Cats", "text": "cats sleep all day"}}
    {"id": "d1", "tokens": {"cat": 1.4, "sleep": 0.9}, "fields": {"title": "Cats"}}
    {"id": "d1", "vector": {"indices": [12, 907], "values": [1.4, 0.9]}, "fields": {}}
    {"_id": "d1", "title": "Cats", "text": "cats sleep all day"}

Where `fields` is absent every other member is a field, as in the collections of BEIR. What is to be
encoded must be strings, here as for `lsr index`: a document whose text is a number would be taken,
and never found.
"""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from lsr.datasets.records import kind_of
from lsr.types import Document
from lsr.whole_numbers import beyond_64_bits

from ..problems import did_you_mean

_OURS = {"id", "fields", "tokens", "vector"}
_WEIGHTS = {"tokens", "vector"}
_TOLD = 300
"""Characters of a reason: it may repeat what a line says, and is kept with its task."""


class RejectedError(Exception):
    """Why a line is no document of this index: `pointer` says where in it."""

    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        detail = detail if len(detail) <= _TOLD else detail[:_TOLD] + "…"
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.pointer = pointer[:_TOLD]


@dataclass(frozen=True, slots=True)
class Line:
    """A document and its weights by term number, None where it is to be encoded."""

    document: Document
    terms: npt.NDArray[np.int32] | None
    weights: npt.NDArray[np.float32] | None


def read_line(
    text: bytes,
    *,
    n_terms: int,
    numbers: Mapping[str, int] | None,
    max_terms: int,
    text_fields: Sequence[str] = (),
) -> Line:
    """One line. `numbers` maps vocabulary entries to term numbers, None where none are known;
    `text_fields` are what the encoder reads.

    Raises `RejectedError`.
    """
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RejectedError("malformed_json", f"not JSON in UTF-8: {error}") from error
    if not isinstance(read, dict):
        raise RejectedError("invalid_document", "wanted a JSON object")
    if digits := beyond_64_bits({k: v for k, v in read.items() if k not in _WEIGHTS}, text):
        raise RejectedError(
            "invalid_document",
            f"the whole number {digits} has more than 64 bits; write it as a string",
        )
    doc_id = _doc_id(read)
    if "fields" in read:
        if unknown := read.keys() - _OURS - {"_id"}:
            name = min(unknown)
            raise RejectedError(
                "unknown_field",
                f"{name[:100]!r} is no member of a document that has 'fields'; put it there",
                f"/{name[:100]}",
            )
        fields = read["fields"]
        if not isinstance(fields, dict):
            raise RejectedError("invalid_document", "'fields' must be an object", "/fields")
    else:
        fields = {
            name: value for name, value in read.items() if name not in _OURS and name != "_id"
        }
    if "tokens" in read and "vector" in read:
        raise RejectedError("invalid_document", "give 'tokens' or 'vector', not both", "/vector")
    terms: npt.NDArray[np.int32] | None = None
    weights: npt.NDArray[np.float32] | None = None
    if "tokens" in read:
        terms, weights = _tokens(read["tokens"], numbers, max_terms)
    elif "vector" in read:
        terms, weights = _vector(read["vector"], max_terms)
    if terms is not None and weights is not None:
        terms, weights = _checked(terms, weights, n_terms)
    else:
        _check_text(fields, text_fields, is_flat="fields" not in read)
    return Line(Document(doc_id, fields), terms, weights)


def _check_text(fields: Mapping[str, Any], text_fields: Sequence[str], *, is_flat: bool) -> None:
    """Refuse what was meant to be searched and would not be. Null is no text, and allowed."""
    for name in text_fields:
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            raise RejectedError(
                "invalid_document",
                f"{name!r} is {kind_of(value)}, wanted a string; only strings are searched",
                f"/{name}" if is_flat else f"/fields/{name}",
            )
    if is_flat and not any(fields.get(name) for name in text_fields):
        for name, value in fields.items():
            if isinstance(value, dict) and did_you_mean(name.lower(), ["fields"]):
                raise RejectedError(
                    "unknown_field",
                    f"{name[:100]!r} holds nothing that is searched; wanted 'fields'",
                    f"/{name[:100].replace('~', '~0').replace('/', '~1')}",
                )


def _doc_id(read: Mapping[str, Any]) -> str:
    name = "id" if "id" in read else "_id"
    doc_id = read.get(name)
    if isinstance(doc_id, int) and not isinstance(doc_id, bool):
        return str(doc_id)
    if not isinstance(doc_id, str) or not doc_id:
        raise RejectedError("invalid_document", "wanted an 'id', a string that is not empty", "/id")
    return doc_id


def _tokens(
    tokens: Any, numbers: Mapping[str, int] | None, max_terms: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    if numbers is None:
        raise RejectedError(
            "no_encoder", "this index knows no vocabulary; give 'vector' instead", "/tokens"
        )
    if not isinstance(tokens, dict):
        raise RejectedError("invalid_vector", "'tokens' must map entries to weights", "/tokens")
    _check_length(tokens, max_terms)
    for token in tokens:
        if token not in numbers:
            raise RejectedError(
                "unknown_token",
                f"{token[:100]!r} is no entry of the encoder's vocabulary",
                f"/tokens/{token[:100].replace('~', '~0').replace('/', '~1')}",
            )
    return (
        np.fromiter((numbers[token] for token in tokens), np.int32, len(tokens)),
        _weights(list(tokens.values()), "/tokens"),
    )


def _vector(vector: Any, max_terms: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    if not isinstance(vector, dict) or vector.keys() != {"indices", "values"}:
        raise RejectedError(
            "invalid_vector", "'vector' must be {'indices': [...], 'values': [...]}", "/vector"
        )
    indices, values = vector["indices"], vector["values"]
    if not isinstance(indices, list) or not isinstance(values, list):
        raise RejectedError("invalid_vector", "'indices' and 'values' must be lists", "/vector")
    if len(indices) != len(values):
        raise RejectedError(
            "invalid_vector", f"{len(indices)} indices and {len(values)} values", "/vector"
        )
    _check_length(indices, max_terms)
    numbers = _array(indices, "/vector/indices")
    if len(indices) and (numbers.dtype.kind != "i" or numbers.ndim != 1):
        raise RejectedError("invalid_vector", "'indices' must be whole numbers", "/vector/indices")
    if len(indices) and not (int(numbers.min()) >= 0 and int(numbers.max()) < 2**31):
        raise RejectedError("invalid_vector", "an index is out of range", "/vector/indices")
    return numbers.astype(np.int32), _weights(values, "/vector/values")


def _weights(values: list[Any], pointer: str) -> npt.NDArray[np.float32]:
    read = _array(values, pointer)
    if read.dtype.kind not in "if" or read.ndim != 1:
        raise RejectedError("invalid_vector", "weights must be numbers", pointer)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused below
        return read.astype(np.float32)


def _array(values: list[Any], pointer: str) -> npt.NDArray[Any]:
    if not set(map(type, values)) <= {int, float}:  # of strings numpy makes a matrix of letters
        raise RejectedError("invalid_vector", "wanted a list of numbers", pointer)
    return np.asarray(values) if values else np.empty(0)


def _check_length(terms: Sized, max_terms: int) -> None:
    if len(terms) > max_terms:
        raise RejectedError("invalid_vector", f"{len(terms):,} terms, at most {max_terms:,} fit")


def _checked(
    terms: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    n_terms: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """In the order of the terms, without zeros."""
    if not len(terms):
        return terms, weights
    lightest = float(weights.min())  # NaN is the least of all, and infinity makes the sum infinite
    if not lightest >= 0 or not np.isfinite(weights.sum(dtype=np.float64)):
        raise RejectedError("invalid_vector", "weights must be finite and not negative")
    if int(terms.max()) >= n_terms:
        raise RejectedError(
            "invalid_vector",
            f"term number {int(terms.max())} is outside the vocabulary of {n_terms} terms",
        )
    if not bool((terms[1:] > terms[:-1]).all()):  # else they come as they are to be stored
        order = np.argsort(terms, kind="stable")
        terms, weights = terms[order], weights[order]
        if bool((terms[1:] == terms[:-1]).any()):
            raise RejectedError("invalid_vector", "a term number is given more than once")
    if lightest > 0:
        return terms, weights
    kept = weights > 0
    return terms[kept], weights[kept]
