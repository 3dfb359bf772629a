"""The documents that teachers score for each query: its positives, then its negatives.

Texts are known outside a run by fingerprints of their content, so that scores outlive the order of
rows and the names of collections.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .data import Pairs
from .rows import Rows

Keys = npt.NDArray[np.uint64]
"""Fingerprints of texts."""


def text_keys(texts: Sequence[str]) -> Keys:
    """(len(texts),) uint64: the first 8 bytes, little-endian, of BLAKE2b-64 of the UTF-8 text.

    Among ten million texts two are confused with probability 3e-6.

    >>> int(text_keys(["bees dance"])[0])
    5274566082599709511
    """
    digests = b"".join(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in texts
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def keys_fingerprint(*columns: npt.NDArray[np.generic]) -> str:
    """16 hex digits over whole columns, in order."""
    digest = hashlib.blake2b(digest_size=8)
    for column in columns:
        digest.update(hashlib.blake2b(np.ascontiguousarray(column).data).digest())
    return digest.hexdigest()


def limited(pairs: Pairs, n: int) -> Pairs:
    """Leave each query at most `n` candidates, but all of its positives; 0 leaves everything.

    Which negatives stay depends on the query's text alone, so adding data elsewhere keeps scores.
    """
    if n == 0:
        return pairs
    negatives: list[Rows] = []
    for query, positives, given in zip(
        pairs.queries, pairs.positives, pairs.negatives, strict=True
    ):
        room = max(0, n - len(positives))
        if len(given) > room:
            rng = np.random.default_rng(text_keys([query]).tolist())
            given = np.sort(rng.choice(given, size=room, replace=False)).astype(np.int32)
        negatives.append(given)
    return replace(pairs, negatives=negatives)


@dataclass(frozen=True)
class Candidates:
    """A list of documents per query, end to end."""

    documents: Rows
    """(n_pairs,) rows of `Pairs.documents`."""
    offsets: npt.NDArray[np.int64]
    """(n_queries + 1,) where each query's list starts and ends."""

    @classmethod
    def of(cls, pairs: Pairs) -> "Candidates":
        """Each query's positives, then its negatives."""
        lists = [
            np.concatenate(both) for both in zip(pairs.positives, pairs.negatives, strict=True)
        ]
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(rows) for rows in lists], out=offsets[1:])
        documents = np.concatenate(lists) if lists else np.empty(0, np.int32)
        return cls(documents.astype(np.int32, copy=False), offsets)

    @property
    def n_queries(self) -> int:
        """How many lists there are."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_queries,) candidates of each query."""
        return np.diff(self.offsets)

    def blocks(self, n_pairs: int) -> list[slice]:
        """Runs of whole queries with about `n_pairs` pairs each: the units of work and of loss."""
        blocks: list[slice] = []
        first = 0
        while first < self.n_queries:
            goal = self.offsets[first] + n_pairs
            last = int(np.searchsorted(self.offsets, goal, side="right")) - 1
            last = min(max(last, first + 1), self.n_queries)
            blocks.append(slice(first, last))
            first = last
        return blocks
