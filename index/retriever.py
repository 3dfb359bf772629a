"""An index and its encoder behind the one question every retriever answers."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from lsr.encoders import learned_part, load_encoder, with_text_fields, with_windows
from lsr.encoders.protocol import SparseEncoder
from lsr.errors import EncoderError, EncoderMismatch, QueryError
from lsr.types import Run

from .card import whole_encoder
from .engine import Algorithm
from .store import Index


class SparseRetriever:
    """Texts in, ranked documents out: `lsr.types.Retriever` over an index."""

    def __init__(
        self,
        index: Index,
        encoder: SparseEncoder,
        *,
        threads: int | None = None,
        algorithm: Algorithm = "auto",
    ) -> None:
        check_same_space(index, encoder)
        self.index = index
        self.encoder = encoder
        self._threads = threads
        self._algorithm: Algorithm = algorithm

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: str | Path | None = None,
        threads: int | None = None,
        read_only: bool = False,
    ) -> "SparseRetriever":
        """Open an index with the encoder it was built by, or another folder of the same space."""
        index = Index.open(path, read_only=read_only)
        try:
            return cls(index, query_encoder(index, encoder), threads=threads)
        except BaseException:
            index.close()
            raise

    def search(self, texts: Mapping[str, str], k: int) -> Run:
        """Answer `{query_id: text}` with a run of the k best documents each."""
        if not isinstance(texts, Mapping):
            raise QueryError(
                f"wanted queries as {{query_id: text}}, got a {type(texts).__name__}; number them: "
                "{str(i): text for i, text in enumerate(texts)}"
            )
        queries = self.encoder.encode_queries(list(texts.values()))
        hits = self.index.search_batch(queries, k, threads=self._threads, algorithm=self._algorithm)
        return Run.from_rows(
            (query_id, one.doc_ids, one.ranking.weights())
            for query_id, one in zip(texts, hits, strict=True)
        )

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def __enter__(self) -> "SparseRetriever":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def query_encoder(index: Index, folder: str | Path | None = None) -> SparseEncoder:
    """The encoder for queries against `index`: `folder`, or what the index says it was built by."""
    if folder is not None:
        encoder = load_encoder(folder, queries_only=True)
    elif (damage := index.encoder_damage()) is not None:
        raise EncoderError(f"{damage}; restore a copy, rebuild the index, or name the encoder")
    elif index.encoder_folder.is_dir():
        encoder = load_encoder(index.encoder_folder, queries_only=True)
    elif index.encoder is not None and index.encoder.path is not None:
        if (folder := whole_encoder(index.encoder)) is None:
            raise EncoderError(
                f"{index.path} was built by the encoder '{index.encoder.name}' at "
                f"{index.encoder.path}, which is gone; name another copy with --encoder FOLDER"
            )
        encoder = load_encoder(folder, queries_only=True)
    else:
        raise EncoderError(
            f"{index.path} was built from vectors and names no encoder; "
            "search it with vectors, or name one with --encoder FOLDER"
        )
    check_same_space(index, encoder)
    return as_built(index, encoder)


def document_encoder(index: Index) -> SparseEncoder | None:
    """The encoder that the documents of `index` were encoded by, whole; None where it was built
    from vectors. Raises `EncoderError` where it is gone or has become another.
    """
    if (folder := document_folder(index)) is None:
        return None
    encoder = load_encoder(folder)
    check_same_space(index, encoder)
    return as_built(index, encoder)


def document_folder(index: Index) -> Path | None:
    """Where that encoder lies, as `document_encoder` finds it."""
    card = index.encoder
    if card is None:
        return None
    if card.query_strategy == "bm25" and index.encoder_folder.is_dir():
        return index.encoder_folder  # both sides of BM25 are one
    if card.path is None:
        raise EncoderError(
            f"{index.path}: its encoder '{card.name}' left no folder, only what reads queries, so "
            "documents cannot be encoded; name a copy with --encoder FOLDER"
        )
    if (folder := whole_encoder(card)) is None:
        raise EncoderError(
            f"{index.path}: its encoder '{card.name}' is not at {card.path} any more, so documents "
            "cannot be encoded; put it back, or name another copy with --encoder (of a server, "
            "--encoder NAME=FOLDER)"
        )
    return folder


def as_built(index: Index, encoder: SparseEncoder) -> SparseEncoder:
    """The encoder, for documents of `index`: it reads the fields that were read for it, in the
    windows that were, which may be others than the card in the encoder's folder says.
    """
    card = index.encoder
    if card is None:
        return encoder
    encoder = with_text_fields(encoder, card.text_fields)
    if card.window_overlap is None or learned_part(encoder) is None:
        return encoder
    return with_windows(encoder, card.window_overlap)


def check_same_space(index: Index, encoder: SparseEncoder) -> None:
    """Refuse an encoder whose vectors mean something else than those in the index."""
    if encoder.n_terms != index.n_terms:
        raise EncoderMismatch(
            f"encoder '{encoder.name}' has {encoder.n_terms:,} terms, {index.path} has "
            f"{index.n_terms:,}; search with the encoder that built the index"
        )
    if index.encoder is not None and encoder.space != index.encoder.space:
        raise EncoderMismatch(
            f"encoder '{encoder.name}' has space {encoder.space}, {index.path} was built in space "
            f"{index.encoder.space} by '{index.encoder.name}'; use that encoder or rebuild "
            "the index"
        )
