"""The durable inverted index: build it from vectors, add to it, search it exactly."""

from .approximate import Approximate, SearchReport
from .archive import pack, unpack, verify_archive
from .backup import backup_into
from .card import EncoderCard, encoder_card, whole_encoder
from .check import CheckReport
from .database import Database
from .effort import Effort
from .engine import Cancel
from .explain import Contribution, Explanation, Missing
from .ingest import BuildReport, build_index, empty_index, n_without_terms, texts_of
from .manifest import Manifest
from .quantised import Quantised, quantised_documents, quantised_queries
from .quantize import MAX_QUERY_TERMS
from .restoring import Verdict, restore, snapshots_in, verify_backup
from .retriever import (
    SparseRetriever,
    as_built,
    check_same_space,
    document_encoder,
    document_folder,
    query_encoder,
)
from .rows import Passage, is_doc_id
from .searching import Hits
from .settings import Pruning, Settings
from .sharded import ShardedIndex, Shards
from .sharding import ShardPlan, build_shard, build_shards, one_after_the_other
from .shards import ShardSet
from .store import Index
from .tracing import TracingEncoder, trace_all
from .writer import Commit, Writer

__all__ = [
    "MAX_QUERY_TERMS",
    "Approximate",
    "BuildReport",
    "Cancel",
    "CheckReport",
    "Commit",
    "Contribution",
    "Database",
    "Effort",
    "EncoderCard",
    "Explanation",
    "Hits",
    "Index",
    "Manifest",
    "Missing",
    "Passage",
    "Pruning",
    "Quantised",
    "SearchReport",
    "Settings",
    "ShardPlan",
    "ShardSet",
    "ShardedIndex",
    "Shards",
    "SparseRetriever",
    "TracingEncoder",
    "Verdict",
    "Writer",
    "as_built",
    "backup_into",
    "build_index",
    "build_shard",
    "build_shards",
    "check_same_space",
    "document_encoder",
    "document_folder",
    "empty_index",
    "encoder_card",
    "is_doc_id",
    "n_without_terms",
    "one_after_the_other",
    "pack",
    "quantised_documents",
    "quantised_queries",
    "query_encoder",
    "restore",
    "snapshots_in",
    "texts_of",
    "trace_all",
    "unpack",
    "verify_archive",
    "verify_backup",
    "whole_encoder",
]
