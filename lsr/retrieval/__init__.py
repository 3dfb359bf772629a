"""Retrieval beside the inverted index: dense vectors through faiss.

faiss is imported when a dense index is made or read, torch by the encoder that the caller brings.
"""

from .dense import Chunks, DenseRetriever, TextEmbedder
from .dense_index import DenseIndex, Flat, Hnsw

__all__ = ["Chunks", "DenseIndex", "DenseRetriever", "Flat", "Hnsw", "TextEmbedder"]
