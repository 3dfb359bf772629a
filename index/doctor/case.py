"""What the checks look at: an open index, its encoder, and samples small enough for any index.

Rows are documents, or passages where documents were split. Counts of terms are those of the whole
index, rows deleted and not yet merged away included; texts and vectors are drawn at random by a
seed, from live rows alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.encoders import (
    SparseEncoder,
    TextTokenizer,
    document_network,
    learned_part,
    load_encoder,
    query_tokenizer,
)
from lsr.encoders.side import NetworkSide, TransformerSide
from lsr.errors import LsrError
from lsr.types import SparseMatrix, canonical

from ..card import encoder_argument, whole_encoder
from ..latency import sampled_queries
from ..live import positions_in
from ..retriever import check_same_space, query_encoder
from ..snapshot import Snapshot
from ..store import Index
from .questions import Questions, titles

N_ROWS = 5_000
"""Rows whose texts and vectors are looked at: some 5 s of tokenising for texts of 300 tokens."""
N_QUERIES = 200
_SOURCE = re.compile(r" [0-9a-f]{16} .*", re.DOTALL)
"""What `lsr index` puts behind the name of the corpus: its fingerprint and the settings."""
SMALL = 1_000
"""Rows below which neither unused terms nor latencies tell anything."""


@dataclass(frozen=True)
class Case:
    """An index and what was sampled of it.

    `texts` are what the encoder read of sampled rows, `vectors` (rows, n_terms) what is stored of
    sampled rows; `network` is the side that encodes documents, where it could be found. `corpus`
    and `encoder_name` are words for commands to type. A `trial` is an index of a few documents of
    a corpus, made to examine its encoder: what is rare in it need not be rare in the corpus.
    """

    index: Index
    encoder: SparseEncoder | None
    network: NetworkSide | None
    texts: Sequence[str]
    vectors: SparseMatrix
    docids: npt.NDArray[np.uint32]
    queries: Questions
    corpus: str
    encoder_name: str
    seed: int = 0
    trial: bool = False

    @property
    def place(self) -> str:
        """The index in a command to type."""
        return "NEW.index" if self.trial else str(self.index.path)

    @property
    def rows_noun(self) -> str:
        """What a row is."""
        split = any(view.segment.groups is not None for view in self.snapshot.views)
        return "passages" if split else "documents"

    def variant(self, of: str) -> str:
        """A name for this index built in another way."""
        return f"{Path(self.place).name.removesuffix('.index')}-{of}.index"

    @property
    def snapshot(self) -> Snapshot:
        """All that is stored at the newest commit."""
        return self.index.refresh()

    @cached_property
    def n_stored(self) -> int:
        """Rows of the index."""
        return sum(view.segment.n_docs for view in self.snapshot.views)

    @cached_property
    def frequencies(self) -> npt.NDArray[np.int64]:
        """(n_terms,) in how many stored rows each term weighs something."""
        counts = np.rint(self.index.term_probabilities() * max(1, self.n_stored))
        return counts.astype(np.int64)

    @property
    def tokenizer(self) -> TextTokenizer | None:
        """What cuts texts into numbered pieces; None for BM25, and where there is no encoder."""
        return query_tokenizer(self.encoder)

    def names(self, terms: npt.NDArray[np.integer]) -> list[str]:
        """Terms for people."""
        if self.encoder is None:
            return [f"term {term}" for term in terms.tolist()]
        return self.encoder.term_strings(terms)

    def rng(self) -> np.random.Generator:
        """Randomness of this case, from its beginning."""
        return np.random.default_rng(self.seed)


def open_case(
    index: Index,
    *,
    encoder: str | Path | SparseEncoder | None = None,
    queries: Questions | None = None,
    texts: Sequence[str] | None = None,
    corpus: str | None = None,
    n_rows: int = N_ROWS,
    n_queries: int = N_QUERIES,
    seed: int = 0,
    trial: bool = False,
) -> Case:
    """Sample an index. Without `queries`, titles or first sentences of its own texts are asked.

    `encoder` is needed where the index names none; `texts` replace those that are sampled. Raises
    what loading the encoder raises.
    """
    asks = _encoder(index, encoder)
    snapshot = index.refresh()
    docids, vectors = _rows(snapshot, n_rows, index.n_terms, seed)
    sampled = texts_of(index, docids)
    if queries is None and asks is not None:
        own = Questions(titles(index, docids[:n_queries]), "titles and first sentences", own=True)
        queries = own.encoded(asks).without_empty()  # those documents are reported as empty
    elif queries is None or (asks is None and queries.vectors is None):  # nobody can read them
        made = sampled_queries(snapshot.views, n_queries, n_terms=index.n_terms, seed=seed)
        from_documents = "heaviest terms of documents"
        if queries is not None:
            from_documents += ", as no encoder is there to read the queries given"
        queries = Questions((), from_documents, own=True, vectors=made)
    elif asks is not None:
        queries = queries.encoded(asks)
    build = index.last_build()
    return Case(
        index,
        asks,
        _network(index, asks, encoder),
        sampled if texts is None else texts,
        vectors,
        docids,
        queries,
        corpus or ("CORPUS" if build is None else _SOURCE.sub("", build.source)),
        _name(index, asks, encoder),
        seed,
        trial,
    )


def rows_at(snapshot: Snapshot, docids: npt.NDArray[np.uint32], n_terms: int) -> SparseMatrix:
    """(len(docids), n_terms) stored vectors of live docids, in their order."""
    parts: list[SparseMatrix] = []
    order: list[npt.NDArray[np.int64]] = []
    for view in snapshot.views:
        positions = view.segment.positions_of(docids)
        here = np.flatnonzero(positions >= 0)
        if len(here):
            parts.append(view.segment.vectors(positions[here]))
            order.append(here)
    if not parts:
        return canonical(sparse.csr_array((0, n_terms), dtype=np.float32))
    stacked = sparse.csr_array(sparse.vstack(parts, "csr"))
    rows: SparseMatrix = sparse.csr_array(stacked[np.argsort(np.concatenate(order))])
    return rows


def _rows(
    snapshot: Snapshot, n: int, n_terms: int, seed: int
) -> tuple[npt.NDArray[np.uint32], SparseMatrix]:
    """Docids of live rows in a random order, and their vectors."""
    live = [
        view.segment.docids[positions_in(view.live, view.segment.n_docs)] for view in snapshot.views
    ]
    docids = np.sort(np.concatenate(live)) if live else np.empty(0, np.uint32)
    chosen = np.random.default_rng(seed).permutation(docids)[:n]
    return chosen, rows_at(snapshot, chosen, n_terms)


def texts_of(index: Index, docids: npt.NDArray[np.uint32]) -> list[str]:
    """What the encoder read of each row: the text fields, of a passage its part."""
    fields = ("title", "text") if index.encoder is None else index.encoder.text_fields
    whole = [document.text(fields) for document in index.documents(docids)]
    spans = index.spans(docids.tolist())
    return [
        text if span is None else text[span[0] : span[1]]
        for text, span in zip(whole, spans, strict=True)
    ]


def _encoder(index: Index, encoder: str | Path | SparseEncoder | None) -> SparseEncoder | None:
    if encoder is None and (index.encoder is None or index.encoder_damage() is not None):
        return None  # an index of vectors, or a damaged copy, which the integrity check reports
    if encoder is None or isinstance(encoder, str | Path):
        return query_encoder(index, encoder)
    check_same_space(index, encoder)
    return encoder


def _network(
    index: Index, asks: SparseEncoder | None, encoder: str | Path | SparseEncoder | None
) -> NetworkSide | None:
    """The side that encodes documents; an index keeps only what queries need of most encoders."""
    network = document_network(asks)
    if network is not None or learned_part(asks) is None:
        return network
    place = encoder if isinstance(encoder, str | Path) else whole_encoder(index.encoder)
    try:
        whole = None if place is None else load_encoder(place)
        if whole is not None:
            check_same_space(index, whole)
    except LsrError:  # gone, changed or never there: the check that needs it says so
        return None
    return document_network(whole)


def length_limit(network: NetworkSide) -> int | None:
    """The most tokens of a text that the network reads, special ones included."""
    limits = [network.tokenizer.max_length]
    if isinstance(network, TransformerSide) and isinstance(network.source, Path):
        from lsr.encoders.folder import read_object

        limits.append(read_object(network.source / "config.json").get("max_position_embeddings"))
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return min(known, default=None)


def _name(
    index: Index, asks: SparseEncoder | None, encoder: str | Path | SparseEncoder | None
) -> str:
    if isinstance(encoder, str | Path):
        return str(encoder)
    if asks is not None and asks.query_strategy == "bm25":
        return "bm25"
    return encoder_argument(index.encoder) or "ENCODER"
