"""An index on disk, or one that a server serves, behind the three questions of a seat."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from lsr.client import Client, Refused
from lsr.encoders import SparseEncoder
from lsr.encoders.card import DEFAULT_TEXT_FIELDS
from lsr.errors import UsageError
from lsr.types import Document

from ..retriever import query_encoder
from ..store import Index


@dataclass(frozen=True, slots=True)
class Found:
    """One hit: its id, score and stored fields, and its best passage if it was split."""

    doc_id: str
    score: float
    fields: Mapping[str, Any]
    passage: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One term's part of a score."""

    term: str
    score: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a document scores as it does: shared terms, largest first, and those it lacks."""

    doc_id: str
    score: float
    terms: tuple[Part, ...]
    missing: tuple[str, ...]


class Source(Protocol):
    """What a seat asks."""

    @property
    def name(self) -> str:
        """Short name of the index."""
        ...

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The fields that the encoder of the index reads, in its order."""
        ...

    def search(self, text: str, k: int, *, filter: Mapping[str, Any] | None = None) -> list[Found]:
        """The k best documents."""
        ...

    def document(self, doc_id: str) -> Mapping[str, Any] | None:
        """The stored fields of a document, None when there is none."""
        ...

    def explain(self, text: str, doc_id: str) -> Reason:
        """Why a document scores as it does for a query, retrieved or not."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class LocalSource:
    """An index directory, read in this process."""

    def __init__(self, index: Index, encoder: SparseEncoder) -> None:
        self.index = index
        self.encoder = encoder

    @property
    def name(self) -> str:
        """As `Source.name`."""
        return self.index.path.name.removesuffix(".index")

    @property
    def text_fields(self) -> tuple[str, ...]:
        """As `Source.text_fields`."""
        return tuple(self.encoder.text_fields)

    def search(self, text: str, k: int, *, filter: Mapping[str, Any] | None = None) -> list[Found]:
        """As `Source.search`."""
        hits = self.index.search(self.encoder.encode_queries([text]), k, filter=filter)
        docids = hits.ranking.docids
        documents = self.index.documents(docids)
        spans = self.index.spans(docids.tolist())
        return [
            Found(
                doc_id,
                score,
                dict(document.fields),
                None if span is None else document.text(self.text_fields)[slice(*span)],
            )
            for (doc_id, score), document, span in zip(hits, documents, spans, strict=True)
        ]

    def document(self, doc_id: str) -> Mapping[str, Any] | None:
        """As `Source.document`."""
        found = self.index.get(doc_id)
        return None if found is None else found.fields

    def explain(self, text: str, doc_id: str) -> Reason:
        """As `Source.explain`."""
        found = self.index.explain(self.encoder.encode_queries([text]), doc_id)
        names = self.encoder.term_strings([one.term for one in found.terms])
        missing = self.encoder.term_strings([one.term for one in found.missing])
        parts = zip(names, found.terms, strict=True)
        terms = tuple(Part(name, one.score) for name, one in parts)
        return Reason(doc_id, found.score, terms, tuple(missing))

    def close(self) -> None:
        """As `Source.close`."""
        self.index.close()


class RemoteSource:
    """An index of a running server."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self._name = name
        self._index = client.index(name)

    @property
    def name(self) -> str:
        """As `Source.name`."""
        return self._name

    @cached_property
    def text_fields(self) -> tuple[str, ...]:
        """As `Source.text_fields`; those of most where the server knows no encoder, or tells a key
        that sees some documents only nothing of the whole index.
        """
        try:
            encoder = self._index.info().encoder
        except Refused as refused:
            if refused.code != "forbidden":
                raise
            return DEFAULT_TEXT_FIELDS
        return DEFAULT_TEXT_FIELDS if encoder is None else tuple(encoder.text_fields)

    def search(self, text: str, k: int, *, filter: Mapping[str, Any] | None = None) -> list[Found]:
        """As `Source.search`."""
        result = self._index.search(text, limit=k, filter=filter)
        return [
            Found(
                hit.id,
                hit.score,
                hit.fields,
                None if hit.passage is None else hit.passage.text,
            )
            for hit in result.hits
        ]

    def document(self, doc_id: str) -> Mapping[str, Any] | None:
        """As `Source.document`."""
        try:
            return self._index.get(doc_id).fields
        except Refused as refused:
            if refused.code == "unknown_document":
                return None
            raise

    def explain(self, text: str, doc_id: str) -> Reason:
        """As `Source.explain`."""
        found = self._index.explain(doc_id, text)
        terms = tuple(Part(one.term or str(one.index), one.score) for one in found.explain.terms)
        missing = tuple(one.term or str(one.index) for one in found.missing)
        return Reason(doc_id, found.score, terms, missing)

    def close(self) -> None:
        """As `Source.close`."""
        self.client.close()


def open_source(
    where: str | Path, *, encoder: str | Path | None = None, api_key: str | None = None
) -> Source:
    """The index at a path, or at http://HOST:PORT/NAME of a running server.

    `encoder` is another folder of the encoder that built the index on disk. Raises what opening
    raises, `UsageError` for an address without a name.
    """
    text = str(where)
    if text.startswith(("http://", "https://")):
        address = urlsplit(text)
        name = unquote(address.path.strip("/").rpartition("/")[2])
        if not name:
            raise UsageError(
                f"{text}: wanted the name of an index behind it, http://HOST:PORT/NAME"
            )
        client = Client(f"{address.scheme}://{address.netloc}", api_key=api_key)
        return RemoteSource(client, name)
    index = Index.open(where)
    try:
        return LocalSource(index, query_encoder(index, encoder))
    except BaseException:
        index.close()
        raise


def text_of(found: Found, text_fields: tuple[str, ...]) -> str:
    """What a reader is shown of a hit: its best passage, or the whole of its text fields."""
    if found.passage is not None:
        return found.passage
    return Document(found.doc_id, found.fields).text(text_fields)
