"""Teachers: cross-encoders, pairwise re-rankers, dense and sparse encoders and BM25."""

from .protocol import EmbeddingTeacher, Judge, ListTeacher, PairTeacher, Teacher

__all__ = ["EmbeddingTeacher", "Judge", "ListTeacher", "PairTeacher", "Teacher"]
