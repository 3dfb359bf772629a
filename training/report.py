"""What a training run tells its caller; free of torch, so that any caller can name the types."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measured:
    """Facts about the document vectors of a sample of the training texts."""

    max_weight: float
    """The 99.99th percentile of the weights, rounded up to a tenth: impact 255 of an index."""
    document_terms: float
    """Mean number of terms of a document."""
    empty_documents: int
    n_documents: int


@dataclass(frozen=True, slots=True)
class TrainReport:
    """How a call of `train` ended."""

    output: Path
    finished: bool
    """False if `stop_after` came first; the same call continues."""
    seconds: float
    """Training time over all calls; of this call if it ended while mining."""
    n_queries: int
    """0 if it ended while mining."""
    n_documents: int
    measured: Measured | None
    """None while unfinished."""
    last_log: Mapping[str, float]
    """Means of the loss parts over the last logged steps."""
