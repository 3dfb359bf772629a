"""Where the document weights of hits come from, for `lsr search --explain`."""

from collections.abc import Sequence
from pathlib import Path
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
    if encoder.query_strategy == "bm25":
        return None
    try:
        network = _network(index, encoder)
        n_texts = 0
        for row in (row for rows in found for row in rows):
            text = _text(row["fields"], encoder.text_fields)
            terms = [part["index"] for part in row["terms"]]
            if not text or not terms:
                continue
            n_texts += 1
            origins = {origin.term: origin for origin in network.origins(text, terms)}
            for part in row["terms"]:
                if (origin := origins.get(part["index"])) is None:
                    continue
                part["origin"] = {
                    "kind": "literal" if origin.literal else "expansion",
                    "token": origin.token,
                    "text": None if origin.span is None else text[slice(*origin.span)],
                    "span": origin.span,
                    "window": origin.window,
                    "weight": origin.weight,
                }
    except LsrError as error:
        return f"unavailable: {error}"
    return f"encoded {out.counted(n_texts, 'document')} again; <- names the word behind a weight"


def described(part: dict[str, Any]) -> str:
    """` <- 'heart'` for a term with an origin, nothing for another."""
    origin = part.get("origin")
    if origin is None:
        return ""
    word = origin["text"] if origin["text"] is not None else origin["token"]
    window = f", window {origin['window']}" if origin["window"] else ""
    return f" <- {out.printable(word)!r} ({origin['kind']}{window})"


def _network(index: "Index", encoder: "SparseEncoder") -> "Traces":
    """The encoder with its document network: this one, or the one that built the index."""
    from index import check_same_space
    from lsr.encoders import (
        InferenceFreeEncoder,
        JoinedEncoder,
        SeparateEncoder,
        SpladeEncoder,
        load_encoder,
    )

    if isinstance(encoder, SpladeEncoder):
        return encoder
    assert isinstance(encoder, InferenceFreeEncoder | SeparateEncoder | JoinedEncoder)
    built_by = index.encoder.path if index.encoder is not None else None
    learned = encoder.learned if isinstance(encoder, JoinedEncoder) else encoder
    if learned.documents is None and built_by is not None and Path(built_by).is_dir():
        whole = load_encoder(built_by)
        check_same_space(index, whole)
        assert isinstance(whole, InferenceFreeEncoder | SeparateEncoder | JoinedEncoder)
        return whole
    return encoder


def _text(fields: dict[str, Any], names: Sequence[str]) -> str:
    from ..types import Document

    return Document("", fields).text(names)
