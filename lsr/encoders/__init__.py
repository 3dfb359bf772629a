"""Encoders: texts in, sparse term weights out. Nothing here imports torch until it is needed."""

from .protocol import QueryStrategy, SparseEncoder

__all__ = ["QueryStrategy", "SparseEncoder"]
