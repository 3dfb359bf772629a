"""Collections of documents, queries and judgements, read from disk as a stream."""

from .beir import BeirFolder
from .dataset import CorpusFile, Dataset
from .names import available, load_dataset
from .records import read_documents, read_queries

__all__ = [
    "BeirFolder",
    "CorpusFile",
    "Dataset",
    "available",
    "load_dataset",
    "read_documents",
    "read_queries",
]
