"""Where the document weights of hits come from, for `lsr search --explain`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import LsrError
from . import _printing as out

if TYPE_CHECKING:
    from index import Index
    from lsr.encoders import SparseEncoder, Traces


@dataclass(frozen=True)
class _Read:
    """What the encoder read of a hit: the whole text, or the passage that was ranked."""

    row: dict[str, Any]
    text: str
    begin: int
    """Where the text begins in the document."""

    @cached_property
    def _places(self) -> list[tuple[str, int, int]]:
        from ..encoders.analysis import word_places

        return word_places(self.text)

    def place(self, span: tuple[int, int] | None) -> dict[str, Any]:
        """The characters of a token, the word that they are of, and where the document has them."""
        from ..encoders.analysis import word_at

        if span is None:
            return {"text": None, "word": None, "span": None}
        where = (span[0] + self.begin, span[1] + self.begin)
        word = word_at(self._places, self.text, *span)
        return {"text": self.text[slice(*span)], "word": word, "span": where}


def traced(
    index: "Index", encoder: "SparseEncoder", found: Sequence[list[dict[str, Any]]]
) -> str | None:
    """Give each matched term in `found` its `origin`, and say how; None for BM25, which needs none.

    The texts of the hits are encoded again by the network of the documents. Scores stay as they
    are: those of the index.
    """
    if encoder.query_strategy == "bm25":
        return None
    texts = list(_texts(encoder, found))
    try:
        network = _network(index, encoder)
        for read in texts:
            terms = [part["index"] for part in read.row["terms"]]
            origins = {origin.term: origin for origin in network.origins(read.text, terms)}
            for part in read.row["terms"]:
                if (origin := origins.get(part["index"])) is None:
                    continue
                part["origin"] = {
                    "kind": "literal" if origin.literal else "expansion",
                    "token": origin.token,
                    **read.place(origin.span),
                    "window": origin.window,
                    "weight": origin.weight,
                }
            _spoken(encoder, read)
    except LsrError as error:
        for read in texts:
            _spoken(encoder, read)
        return f"<- names the word that says a term; where others come from is unavailable: {error}"
    n_texts = out.counted(len(texts), "document")
    return f"encoded {n_texts} again; <- names the word behind a weight"


def _texts(encoder: "SparseEncoder", found: Sequence[list[dict[str, Any]]]) -> "Iterator[_Read]":
    """Each hit that has a text and terms."""
    for row in (row for rows in found for row in rows):
        passage = row.get("passage")
        text = passage["text"] if passage else _text(row["fields"], encoder.text_fields)
        if text and row["terms"]:
            yield _Read(row, text, passage["start"] if passage else 0)


def _spoken(encoder: "SparseEncoder", read: _Read) -> None:
    """Give the terms without an origin that the text itself says the place where it first does."""
    from ..encoders import said

    spans: dict[int, tuple[int, int]] = {}
    for term, start, end in said(encoder, read.text) or ():
        spans.setdefault(term, (start, end))
    for part in read.row["terms"]:
        if "origin" in part or (span := spans.get(part["index"])) is None:
            continue
        part["origin"] = {
            "kind": "literal",
            "token": part["term"],
            **read.place(span),
            "window": None,
            "weight": None,
        }


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
