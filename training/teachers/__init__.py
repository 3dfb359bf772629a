"""Teachers: cross-encoders, dense and sparse encoders and BM25 behind one small protocol."""

from .protocol import EmbeddingTeacher, PairTeacher, Teacher

__all__ = ["EmbeddingTeacher", "PairTeacher", "Teacher"]
