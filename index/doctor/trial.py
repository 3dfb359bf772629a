"""A small index of a sample of a corpus, to examine an encoder that has no index yet."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lsr.encoders import SparseEncoder
from lsr.types import Document

from ..ingest import build_index
from ..store import Index

N_ENCODED = 256
"""Documents that go through the encoder: half a minute of a small network on two cores."""


def sample(documents: Iterable[Document], n: int, *, seed: int = 0) -> list[Document]:
    """`n` documents drawn evenly in one pass over a stream of unknown length (Vitter, 1985)."""
    rng = np.random.default_rng(seed)
    kept: list[Document] = []
    for number, document in enumerate(documents):
        if number < n:
            kept.append(document)
        elif (place := int(rng.integers(number + 1))) < n:
            kept[place] = document
    return kept


def trial_index(
    folder: Path, documents: Iterable[Document], encoder: SparseEncoder, *, name: str
) -> Index:
    """Build an index of these documents at `folder` and open it."""
    build_index(folder, documents, encoder, source=f"{name} sample")
    return Index.open(folder, read_only=True)
