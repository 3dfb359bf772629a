"""Where the document weights of hits come from, for `lsr search --explain`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import LsrError
from . import _printing as out

if TYPE_CHECKING:
    from index import Index
    from lsr.encoders import SparseEncoder, Traces


def traced(
    index: "Index", encoder: "SparseEncoder", found: Sequence[list[dict[str, Any]]]
) -> str | None:
    """Give each matched term in `found` its `origin`, and say how; None for BM25, which needs none.

    The texts of the hits are encoded again by the network of the documents. Scores stay as they
    are: those of the index.
    """
    from ..encoders.analysis import word_places

    if encoder.query_strategy == "bm25":
        return None
    try:
        network = _network(index, encoder)
        n_texts = 0
        for row, text, start, terms in _texts(encoder, found):
            n_texts += 1
            places = word_places(text)
            origins = {origin.term: origin for origin in network.origins(text, terms)}
            for part in row["terms"]:
                if (origin := origins.get(part["index"])) is None:
                    continue
                part["origin"] = {
                    "kind": "literal" if origin.literal else "expansion",
                    "token": origin.token,
                    **_place(text, places, origin.span, start),
                    "window": origin.window,
                    "weight": origin.weight,
                }
            _spoken(encoder, row, text, start)
    except LsrError as error:
        for row, text, start, _ in _texts(encoder, found):
            _spoken(encoder, row, text, start)
        return f"<- names the word that says a term; where others come from is unavailable: {error}"
    return f"encoded {out.counted(n_texts, 'document')} again; <- names the word behind a weight"


def _texts(
    encoder: "SparseEncoder", found: Sequence[list[dict[str, Any]]]
) -> "Iterator[tuple[dict[str, Any], str, int, list[int]]]":
    """Each hit with what the encoder read of it, the whole text or the passage that was ranked,
    where that begins, and its terms; left out where it lacks either."""
    for row in (row for rows in found for row in rows):
        passage = row.get("passage")
        text = passage["text"] if passage else _text(row["fields"], encoder.text_fields)
        terms = [part["index"] for part in row["terms"]]
        if text and terms:
            yield row, text, passage["start"] if passage else 0, terms


def _spoken(encoder: "SparseEncoder", row: dict[str, Any], text: str, begin: int) -> None:
    """Give the terms without an origin that the text itself says the place where it first does."""
    from ..encoders import said
    from ..encoders.analysis import word_places

    places = word_places(text)
    spans: dict[int, tuple[int, int]] = {}
    for term, start, end in said(encoder, text) or ():
        spans.setdefault(term, (start, end))
    for part in row["terms"]:
        if "origin" in part or (span := spans.get(part["index"])) is None:
            continue
        part["origin"] = {
            "kind": "literal",
            "token": part["term"],
            **_place(text, places, span, begin),
            "window": None,
            "weight": None,
        }


def _place(
    text: str, places: Sequence[tuple[str, int, int]], span: tuple[int, int] | None, begin: int
) -> dict[str, Any]:
    """The characters of a token, the word that they are of, and where they stand in the document,
    of which `text` begins at `begin`."""
    from ..encoders.analysis import word_at

    if span is None:
        return {"text": None, "word": None, "span": None}
    where = (span[0] + begin, span[1] + begin)
    return {"text": text[slice(*span)], "word": word_at(places, text, *span), "span": where}


def described(part: dict[str, Any]) -> str:
    """` <- 'heart'` for a term with an origin, nothing for another."""
    origin = part.get("origin")
    if origin is None:
        return ""
    word = origin["word"] if origin["word"] is not None else origin["token"]
    window = f", window {origin['window']}" if origin["window"] else ""
    return f" <- {out.printable(word)!r} ({origin['kind']}{window})"


def _network(index: "Index", encoder: "SparseEncoder") -> "Traces":
    """The encoder with its document network: this one, or the one that built the index."""
    from index import as_built, check_same_space, whole_encoder
    from lsr.encoders import Learned, document_network, load_encoder

    assert isinstance(encoder, Learned)
    folder = whole_encoder(index.encoder)
    if document_network(encoder) is None and folder is not None:
        whole = as_built(index, load_encoder(folder))
        check_same_space(index, whole)
        assert isinstance(whole, Learned)
        return whole
    return encoder


def _text(fields: dict[str, Any], names: Sequence[str]) -> str:
    from ..types import Document

    return Document("", fields).text(names)
