"""Which words of a document gave it its terms: its network reads it again.

That takes the whole encoder, which is loaded when it is first asked, and torch unless its network
is an ONNX graph. One document is read at a time, because whoever looks at a hit can wait and a
search cannot.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from lsr.encoders import Learned, Origin
from lsr.errors import EncoderError, LsrError
from lsr.types import Document

from ..collection import Collection
from ..problems import ProblemError
from ..wire.origins import OriginsRequest
from .explaining import names_of
from .terms import term_numbers

MAX_CHARS = 100_000
"""A network reads windows of some 2,000 characters; fifty of them take seconds."""
WAIT_S = 2.0
_HINT = (
    "Serve the index with --encoder NAME=FOLDER, the whole encoder; torch must be installed unless "
    "its network is an ONNX graph, as that of lsr-mini is."
)
_one_at_a_time = threading.Lock()


def origins(collection: Collection, doc_id: str, request: OriginsRequest) -> dict[str, Any]:
    """The answer, as `wire.origins.OriginsResponse` describes it. Raises `ProblemError`."""
    if not isinstance(collection.encoder, Learned):
        raise ProblemError(
            "origins_unavailable",
            f"Index '{collection.name}' was not built by a network, so its documents have no terms "
            "but those of their texts.",
            hint="Ask a search for `highlight`.",
        )
    terms = term_numbers(collection, request.terms, "terms")
    document = collection.index.get(doc_id)
    if document is None:
        raise ProblemError(
            "unknown_document",
            f"Index '{collection.name}' holds no document with the id '{doc_id[:100]}'.",
            hint="Ids are the caller's own strings; percent-encode what addresses reserve.",
        )
    text = document.text(collection.encoder.text_fields)
    if len(text) > MAX_CHARS:
        raise ProblemError(
            "origins_unavailable",
            f"The document has {len(text):,} characters; at most {MAX_CHARS:,} are read again.",
        )
    # Not for long: whoever waits here keeps a thread from others.
    if not _one_at_a_time.acquire(timeout=WAIT_S):
        raise ProblemError(
            "too_busy",
            "Other documents are being read again, one at a time.",
            hint="Wait a moment, then try again.",
            headers={"Retry-After": "2"},
        )
    try:
        reader = _whole(collection)
        found = reader.origins(text, sorted(set(terms))) if text else []
    except LsrError as error:
        raise ProblemError(
            "origins_unavailable",
            f"The encoder of index '{collection.name}' cannot read documents here.",
            hint=_HINT,
        ) from error
    finally:
        _one_at_a_time.release()
    return {
        "index": collection.name,
        "id": doc_id,
        "encoder": f"{reader.name}@{reader.build}",
        "spans": _spans(collection, document, collection.encoder.text_fields, found),
    }


def _whole(collection: Collection) -> Learned:
    """The encoder with what reads documents. Raises `LsrError` where it is not at hand."""
    encoder = collection.document_encoder
    if not isinstance(encoder, Learned):
        raise EncoderError("the folder of the encoder is gone")
    return encoder


def _spans(
    collection: Collection, document: Document, names: Sequence[str], found: Sequence[Origin]
) -> list[dict[str, Any]]:
    """One span a place, in the order of the text, with all the terms it gave."""
    starts = _starts(document.fields, names)
    names_by_term = names_of(collection, [one.term for one in found])
    places: dict[tuple[int, int, bool], list[str]] = {}
    for one, name in zip(found, names_by_term, strict=True):
        if one.span is not None and name is not None:
            places.setdefault((*one.span, one.literal), []).append(name)
    spans = []
    for (start, end, literal), terms in sorted(places.items()):
        field = next(name for name, first in reversed(starts.items()) if first <= start)
        spans.append(
            {
                "field": field,
                "start": start - starts[field],
                "end": end - starts[field],
                "terms": terms,
                "origin": "literal" if literal else "expansion",
            }
        )
    return spans


def _starts(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    """Where each field begins in the text that the encoder reads, as `Document.text` joins them.

    >>> _starts({"title": "ab", "text": "c", "year": 1}, ["title", "year", "text"])
    {'title': 0, 'text': 3}
    """
    starts: dict[str, int] = {}
    at = 0
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            starts[name] = at
            at += len(value) + 1
    return starts
