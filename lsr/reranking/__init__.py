"""Re-ranking what a first stage found: one document at a time, or two and by preference."""

from .aggregation import AGGREGATIONS, Aggregation, aggregate, rank
from .kept import KeptPreferences
from .pairwise import PairwiseReranker
from .pointwise import PointwiseReranker
from .preferences import PreferenceModel, Preferences
from .reranker import RerankedRetriever, Reranker, reorder, rerank, texts_of
from .sampling import SAMPLERS, Sampler, sample_pairs
from .simulated import NoisyOracle, ScorePreference

__all__ = [
    "AGGREGATIONS",
    "SAMPLERS",
    "Aggregation",
    "KeptPreferences",
    "NoisyOracle",
    "PairwiseReranker",
    "PointwiseReranker",
    "PreferenceModel",
    "Preferences",
    "RerankedRetriever",
    "Reranker",
    "Sampler",
    "ScorePreference",
    "aggregate",
    "rank",
    "reorder",
    "rerank",
    "sample_pairs",
    "texts_of",
]
