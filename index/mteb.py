"""Our index as a model of MTEB: encode, build, search, with the index kept in the cache."""

import hashlib
from pathlib import Path

from lsr import __version__
from lsr.datasets import Dataset
from lsr.datasets.names import cache_folder
from lsr.encoders import document_network, load_encoder
from lsr.encoders.bm25 import BM25Encoder
from lsr.encoders.protocol import SparseEncoder
from lsr.mteb import MtebSearch
from lsr.systems import BM25

from .card import encoder_card
from .ingest import build_index
from .retriever import SparseRetriever
from .store import Index


def mteb_search(encoder: str | Path | SparseEncoder = BM25) -> MtebSearch:
    """What `mteb.evaluate` takes as a model: an encoder, its folder, or bm25, over our index.

    The index of each corpus is built once, in the cache folder (LSR_CACHE), and found there again
    as long as neither the corpus nor the encoder changes.
    """
    if encoder == BM25:
        return MtebSearch(_bm25, name="lsr-search/bm25", revision=__version__)
    loaded = load_encoder(encoder) if isinstance(encoder, str | Path) else encoder
    return MtebSearch(
        lambda corpus: cached_retriever(corpus, loaded),
        name=f"lsr-search/{loaded.name.replace('/', '-')}",
        revision=loaded.build,
    )


def cached_retriever(corpus: Dataset, encoder: SparseEncoder) -> SparseRetriever:
    """Search `corpus` by `encoder` through an index in the cache, built when it is not there."""
    source = f"{corpus.name} {corpus.fingerprint}"
    card = encoder_card(encoder)
    read = f"{encoder.space} {encoder.build} {card.text_fields} {card.window_overlap}"
    precision = getattr(document_network(encoder), "precision", "")
    key = f"{__version__} {source} {read} {precision}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = cache_folder() / "indexes" / f"{corpus.name.replace('/', '-')}-{digest}"
    if not path.exists():
        build_index(path, corpus.documents(), encoder, source=source)
    return SparseRetriever(Index.open(path, read_only=True), encoder)


def _bm25(corpus: Dataset) -> SparseRetriever:
    # Fitting reads the corpus, seconds; so the statistics, and with them the index, are its own.
    return cached_retriever(
        corpus, BM25Encoder.fit(document.text() for document in corpus.documents())
    )
