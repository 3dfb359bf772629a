"""Encoders: texts in, sparse term weights out. Nothing here imports torch until it is needed."""

from .analysis import ENGLISH, Analyser
from .bm25 import BM25Encoder
from .card import Card
from .idf import blend_idf, idf_table
from .inference_free import InferenceFreeEncoder
from .joined import JoinedEncoder
from .layout import load_encoder
from .matching import Said, cut_off, said
from .origins import Origin, Traces
from .parts import (
    Learned,
    document_network,
    learned_part,
    query_idf,
    query_tokenizer,
    with_text_fields,
    with_windows,
    word_terms,
    words_part,
)
from .protocol import QueryStrategy, SparseEncoder
from .separate import SeparateEncoder
from .siamese import SpladeEncoder, is_binary
from .side import Settings, TransformerSide
from .table import QueryTable
from .token_counts import TokenCounts, count_tokens
from .tokens import TextTokenizer

__all__ = [
    "ENGLISH",
    "Analyser",
    "BM25Encoder",
    "Card",
    "InferenceFreeEncoder",
    "JoinedEncoder",
    "Learned",
    "Origin",
    "QueryStrategy",
    "QueryTable",
    "Said",
    "SeparateEncoder",
    "Settings",
    "SparseEncoder",
    "SpladeEncoder",
    "TextTokenizer",
    "TokenCounts",
    "Traces",
    "TransformerSide",
    "blend_idf",
    "count_tokens",
    "cut_off",
    "document_network",
    "idf_table",
    "is_binary",
    "learned_part",
    "load_encoder",
    "query_idf",
    "query_tokenizer",
    "said",
    "with_text_fields",
    "with_windows",
    "word_terms",
    "words_part",
]
