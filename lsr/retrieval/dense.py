"""Dense retrieval: documents embedded once, searched by inner product.

Vectors come from the block cache of `lsr.vectors`, so a killed run goes on where it was; they are
rounded to float16 there. Long documents are cut at the encoder's length, or, with `Chunks`, into
overlapping stretches of which the best one counts.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import orjson

from ..encoders.folder import Fingerprint
from ..encoders.tokens import TextTokenizer
from ..encoders.windows import pieces
from ..errors import EncoderMismatch, ScoresError, UsageError
from ..files import atomic_write
from ..types import DenseMatrix, Document, Run
from ..vectors import update_vectors
from .dense_index import FLAT, DenseIndex, Flat, Hnsw, Search, load_faiss

FORMAT = 1


class TextEmbedder(Protocol):
    """What dense retrieval asks of an encoder; `lsr.encoders.dense.DenseEncoder` is one."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when its vectors do."""
        ...

    @property
    def document_prompt(self) -> str:
        """What is put before each document."""
        ...

    @property
    def tokenizer(self) -> TextTokenizer:
        """What counts the tokens of a chunk, with the encoder's length limit."""
        ...

    def embed_queries(self, texts: Sequence[str], *, progress: bool = False) -> DenseMatrix:
        """(len(texts), width) float32."""
        ...

    def embed_documents(self, texts: Sequence[str], *, progress: bool = False) -> DenseMatrix:
        """(len(texts), width) float32."""
        ...


@dataclass(frozen=True)
class Chunks:
    """Cut documents into stretches of `length` tokens that share `overlap` with their neighbour.

    `length` counts prompt and special tokens, and None is what the encoder reads at most.
    """

    length: int | None = None
    overlap: int = 32

    def cut(
        self, texts: Sequence[str], tokenizer: TextTokenizer, *, prompt: str
    ) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The stretches in order, and (n_stretches,) which text each is of; at least one a text."""
        limit = tokenizer.max_length
        if self.length is not None:
            if limit is not None and self.length > limit:
                raise UsageError(
                    f"chunks of {self.length} tokens, but the encoder reads {limit} at most"
                )
            tokenizer = tokenizer.limited(self.length)
        spans = pieces(texts, tokenizer, prompt=prompt, overlap=self.overlap)
        cut = [text[a:b] for text, own in zip(texts, spans, strict=True) for a, b in own]
        return cut, np.repeat(np.arange(len(texts)), [len(own) for own in spans])


@dataclass(frozen=True)
class DenseRetriever:
    """An encoder for queries and an index of document vectors: a `Retriever`.

    Scores are inner products, cosines where the encoder makes unit vectors; ties by insertion.
    """

    encoder: TextEmbedder
    index: DenseIndex
    doc_ids: tuple[str, ...]
    corpus: str
    """Fingerprint of what was indexed: documents, text fields and chunks."""

    @classmethod
    def over(
        cls,
        documents: Iterable[Document],
        encoder: TextEmbedder,
        *,
        folder: Path,
        search: Search = FLAT,
        chunks: Chunks | None = None,
        text_fields: Sequence[str] = ("title", "text"),
    ) -> "DenseRetriever":
        """Embed what `folder` does not hold yet and index it; HNSW graphs are kept there as well.

        The folder may serve any number of encoders and corpora.
        """
        load_faiss()  # before hours of embedding
        doc_ids: list[str] = []
        texts: list[str] = []
        fingerprint = Fingerprint()
        for document in documents:
            doc_ids.append(document.doc_id)
            texts.append(document.text(text_fields))
            fingerprint.add(document.doc_id, texts[-1].encode(errors="surrogatepass"))
        owners = np.arange(len(texts), dtype=np.int64)
        if chunks is not None:
            texts, owners = chunks.cut(texts, encoder.tokenizer, prompt=encoder.document_prompt)
            fingerprint.add("chunks", repr(chunks).encode())
        corpus = fingerprint.hex()
        home = folder / f"{encoder.fingerprint}-{corpus}"
        if isinstance(search, Hnsw):
            kept = home / f"hnsw-{search.m}-{search.ef_construction}.npz"
            if kept.is_file():
                return cls.load(kept, encoder, corpus=corpus, ef_search=search.ef_search)
        store = update_vectors(home, texts, partial(_embed, encoder), desc=encoder.name)
        assert store is not None, "no deadline was given"
        width = encoder.embed_queries([""]).shape[1] if not texts else 0
        vectors = store.rows(np.arange(len(texts))) if texts else np.empty((0, width), np.float32)
        assert isinstance(vectors, np.ndarray)
        index = DenseIndex.build(vectors, owners=owners, search=search)
        made = cls(encoder, index, tuple(doc_ids), corpus)
        if isinstance(search, Hnsw):
            made.save(kept)
        return made

    def search(self, texts: Mapping[str, str], k: int) -> Run:
        """Answer `{query_id: text}` with the k best documents of each query, best first."""
        if not texts:
            return Run.from_rows([])
        return self.nearest(list(texts), self.encoder.embed_queries(list(texts.values())), k)

    def nearest(self, query_ids: Sequence[str], queries: DenseMatrix, k: int) -> Run:
        """Answer queries that are embedded already, one row of `queries` each."""
        return Run.from_rows(
            (query_id, [self.doc_ids[i] for i in documents.tolist()], scores)
            for query_id, (documents, scores) in zip(
                query_ids, self.index.search(queries, k), strict=True
            )
        )

    def save(self, path: Path) -> None:
        """Write index, ids and fingerprints as one .npz file, in one step."""
        how = self.index.how
        header = {
            "format": FORMAT,
            "encoder": self.encoder.fingerprint,
            "encoder_name": self.encoder.name,
            "corpus": self.corpus,
            "kind": "hnsw" if isinstance(how, Hnsw) else "flat",
            "search": asdict(how),
        }
        buffer = io.BytesIO()
        np.savez(
            buffer,
            header=_bytes(header),
            doc_ids=_bytes(self.doc_ids),
            owners=self.index.owners,
            index=load_faiss().serialize_index(self.index.native),
        )
        with atomic_write(path) as out:
            out.write(buffer.getvalue())

    @classmethod
    def load(
        cls,
        path: Path,
        encoder: TextEmbedder,
        *,
        corpus: str | None = None,
        ef_search: int | None = None,
    ) -> "DenseRetriever":
        """Read what `save` wrote: refused where another encoder made it, or of another `corpus`.

        The checksums of the file are verified: a damaged one is a `ScoresError`.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
                parts = {name: held[name] for name in ("header", "doc_ids", "owners", "index")}
            header = orjson.loads(parts["header"].tobytes())
            doc_ids = tuple(orjson.loads(parts["doc_ids"].tobytes()))
        except FileNotFoundError:
            raise ScoresError(f"{path}: there is no dense index; save one there") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ScoresError(
                f"{path} is damaged or no dense index ({error}); remove it, it is made again from "
                "the vectors"
            ) from error
        if header.get("format") != FORMAT:
            raise ScoresError(
                f"{path} has format {header.get('format')}, this version reads {FORMAT}; remove it"
            )
        if header["encoder"] != encoder.fingerprint:
            raise EncoderMismatch(
                f"{path} was made by '{header['encoder_name']}' ({header['encoder']}), got "
                f"'{encoder.name}' ({encoder.fingerprint}); search with the encoder that made it"
            )
        if corpus is not None and header["corpus"] != corpus:
            raise ScoresError(
                f"{path} is of corpus {header['corpus']}, wanted {corpus}; index the documents anew"
            )
        search: Search = Flat() if header["kind"] == "flat" else Hnsw(**header["search"])
        if isinstance(search, Hnsw) and ef_search is not None:
            search = Hnsw(search.m, search.ef_construction, ef_search)
        native = load_faiss().deserialize_index(parts["index"])
        return cls(encoder, DenseIndex(native, parts["owners"], search), doc_ids, header["corpus"])


def _embed(encoder: TextEmbedder, texts: Sequence[str]) -> DenseMatrix:
    return encoder.embed_documents(texts)


def _bytes(value: object) -> npt.NDArray[np.uint8]:
    return np.frombuffer(orjson.dumps(value), np.uint8)
