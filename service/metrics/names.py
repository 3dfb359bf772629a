"""Every metric that `/metrics` tells, in base units; labels never hold texts, ids or paths.

The dashboard and the alert rules in `service/deploy/` name these and no others; a test holds them
together.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

REQUEST_BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
STAGE_BOUNDS = (1e-5, 1e-4, 2.5e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
_R10 = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
FINE_BOUNDS = tuple(round(step * 10.0**power, 9) for power in range(-4, 2) for step in _R10)
"""0.1 ms to 80 s in steps of a quarter, so that a percentile read off them is at most that far
off.
"""
COARSE = {round(step * 10.0**power, 9) for power in range(-4, 2) for step in (1.0, 2.5, 5.0)}
"""The fine bounds that are told to Prometheus."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One name. A histogram has `bounds`, of which those in `told` are exposed (all by default)."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    told: frozenset[float] | None = None

    @property
    def width(self) -> int:
        """Numbers a series has: a histogram's buckets, the one above them, and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


REQUESTS = Metric(
    "lsr_http_requests_total",
    "counter",
    "Answered requests by route template, method and status; 0 when the client left first.",
    ("route", "method", "status"),
)
REQUEST_SECONDS = Metric(
    "lsr_http_request_duration_seconds",
    "histogram",
    "Time from the request's head to the last byte of its answer.",
    ("route",),
    REQUEST_BOUNDS,
)
IN_FLIGHT = Metric("lsr_inflight_requests", "gauge", "Requests that are being answered.")
REJECTED = Metric(
    "lsr_rejected_total",
    "counter",
    "Requests that were answered with a problem, by its code.",
    ("reason",),
)
SEARCH_SECONDS = Metric(
    "lsr_search_duration_seconds",
    "histogram",
    "Searches by index, from the read request to the answer.",
    ("index",),
    FINE_BOUNDS,
    frozenset(COARSE),
)
STAGE_SECONDS = Metric(
    "lsr_search_stage_seconds",
    "histogram",
    "Searches by stage: encode, filter, score, fetch and whatever else an answer tells.",
    ("stage",),
    STAGE_BOUNDS,
)
ZERO_HITS = Metric(
    "lsr_zero_hit_queries_total", "counter", "Searches that found nothing.", ("index",)
)
SEARCH_ERRORS = Metric(
    "lsr_search_errors_total", "counter", "Searches that a fault of ours ended.", ("index",)
)
BLOCKS_SCORED = Metric(
    "lsr_blocks_scored_total", "counter", "Blocks of 32 documents that searches scored.", ("index",)
)
BLOCKS_SKIPPED = Metric(
    "lsr_blocks_skipped_total",
    "counter",
    "Blocks that searches proved to be of no use, or an approximate one left alone.",
    ("index",),
)
ENCODE_BATCH = Metric(
    "lsr_encode_batch_size",
    "histogram",
    "Texts that one call of an encoder was given.",
    (),
    (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
)
SERIES_DROPPED = Metric(
    "lsr_series_dropped_total", "counter", "Observations that found no room for their series."
)

COUNTED = (
    REQUESTS,
    REQUEST_SECONDS,
    IN_FLIGHT,
    REJECTED,
    SEARCH_SECONDS,
    STAGE_SECONDS,
    ZERO_HITS,
    SEARCH_ERRORS,
    BLOCKS_SCORED,
    BLOCKS_SKIPPED,
    ENCODE_BATCH,
    SERIES_DROPPED,
)
"""Counted as requests come, on the board of each process."""

INDEX_READY = Metric(
    "lsr_index_ready", "gauge", "1 where the index is open, 0 where it is not.", ("index",)
)
INDEX_DOCUMENTS = Metric("lsr_index_documents", "gauge", "Live documents.", ("index",))
INDEX_BYTES = Metric(
    "lsr_index_bytes",
    "gauge",
    "Bytes on disk by part: catalog (texts, fields, pending rows), its log, segments.",
    ("index", "part"),
)
GENERATION_AGE = Metric(
    "lsr_generation_age_seconds", "gauge", "Time since the newest commit of the index.", ("index",)
)
TASKS = Metric(
    "lsr_tasks", "gauge", "Tasks of the data directory by state; a 412 is a conflict.", ("state",)
)
LOG_BYTES = Metric(
    "lsr_wal_bytes", "gauge", "Acknowledged lines that the worker has not made searchable yet."
)
OLDEST_TASK = Metric(
    "lsr_oldest_waiting_task_seconds", "gauge", "Age of the oldest task that is not over; 0: none."
)
DISK_FREE = Metric("lsr_disk_free_bytes", "gauge", "Room on the disk of the data directory.")
EFFECTIVENESS = Metric(
    "lsr_effectiveness",
    "gauge",
    "Newest nDCG@10 of the judged queries of an index or an alias, under its name.",
    ("index",),
)
PROCESS_RESIDENT = Metric(
    "lsr_process_resident_bytes", "gauge", "Memory in use, shared pages included.", ("process",)
)
PROCESS_FILES = Metric("lsr_process_open_files", "gauge", "Open descriptors.", ("process",))
RESTARTS = Metric(
    "lsr_process_restarts_total", "counter", "Processes that died and were started again."
)
BUILD = Metric("lsr_build_info", "gauge", "1; the labels tell what runs.", ("version", "commit"))

LOOKED_UP = (
    INDEX_READY,
    INDEX_DOCUMENTS,
    INDEX_BYTES,
    GENERATION_AGE,
    TASKS,
    LOG_BYTES,
    OLDEST_TASK,
    DISK_FREE,
    EFFECTIVENESS,
    PROCESS_RESIDENT,
    PROCESS_FILES,
    RESTARTS,
    BUILD,
)
"""Looked up when somebody asks."""

METRICS = {metric.name: metric for metric in (*COUNTED, *LOOKED_UP)}
