"""Collections of documents, queries and judgements, read from disk as a stream."""

from .beir import BeirFolder
from .catalogue import members
from .cells import typed_documents
from .dataset import CorpusFile, Dataset, Unjudged
from .judged import JudgedBy
from .names import available, load_dataset
from .pools import draw_pool
from .records import read_documents, read_queries
from .repeated import located_in
from .shards import ShardFolder
from .texts import TextFolder

__all__ = [
    "BeirFolder",
    "CorpusFile",
    "Dataset",
    "JudgedBy",
    "ShardFolder",
    "TextFolder",
    "Unjudged",
    "available",
    "draw_pool",
    "load_dataset",
    "located_in",
    "members",
    "read_documents",
    "read_queries",
    "typed_documents",
]
