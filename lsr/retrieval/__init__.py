"""Retrieval beside the inverted index: dense vectors through faiss, fusion, hybrids, their weights.

faiss is imported when a dense index is made or read, torch by the encoder that the caller brings.
"""

from .dense import Chunks, DenseRetriever, TextEmbedder
from .dense_index import DenseIndex, Flat, Hnsw
from .fusion import METHODS, Method, fuse
from .hybrid import HybridRetriever
from .rescoring import DenseRescorer
from .tuning import Development, tune

__all__ = [
    "METHODS",
    "Chunks",
    "DenseIndex",
    "DenseRescorer",
    "DenseRetriever",
    "Development",
    "Flat",
    "Hnsw",
    "HybridRetriever",
    "Method",
    "TextEmbedder",
    "fuse",
    "tune",
]
