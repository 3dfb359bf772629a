"""Retrieval beside the inverted index: dense vectors through faiss, fusion, hybrids.

faiss is imported when a dense index is made or read, torch by the encoder that the caller brings.
"""

from .dense import Chunks, DenseRetriever, TextEmbedder
from .dense_index import DenseIndex, Flat, Hnsw
from .fusion import METHODS, Method, fuse
from .hybrid import HybridRetriever

__all__ = [
    "METHODS",
    "Chunks",
    "DenseIndex",
    "DenseRetriever",
    "Flat",
    "Hnsw",
    "HybridRetriever",
    "Method",
    "TextEmbedder",
    "fuse",
]
