"""How a UHD head is cut: a bucket of latent terms for each chosen layer (no torch).

The terms of all buckets are numbered one after the other; for people they are `L6:1234`, the layer
and the number in its bucket.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EncoderError
from .folder import read_object, write_json

CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class Buckets:
    """Layer, size and winners of every bucket; layer 0 is the embeddings, 1 the first block."""

    layers: tuple[int, ...]
    dims: tuple[int, ...]
    """Latent terms of each bucket."""
    winners: tuple[int, ...]
    """Terms that each token may switch on in each bucket."""
    binary: bool = True
    """Weights are 1; otherwise log1p(relu(x)) of the winners."""

    def __post_init__(self) -> None:
        if not len(self.layers) == len(self.dims) == len(self.winners) > 0:
            raise EncoderError(
                f"buckets want as many layers as dims and winners, got {self.layers}, {self.dims}, "
                f"{self.winners}"
            )
        if (
            list(self.layers) != sorted(set(self.layers))
            or self.layers[0] < 0
            or not any(self.layers)
        ):
            raise EncoderError(
                f"bucket layers {self.layers} must ascend, from 0 or more, and name one above the "
                "embeddings"
            )
        for layer, dim, winners in zip(self.layers, self.dims, self.winners, strict=True):
            if not 1 <= winners <= dim:
                raise EncoderError(
                    f"the bucket of layer {layer} has {dim} terms and {winners} winners; wanted at "
                    "least 1 winner and as many terms"
                )

    @property
    def n_terms(self) -> int:
        """Latent terms of all buckets.

        >>> Buckets((6, 12), (100, 50), (5, 5)).n_terms
        150
        """
        return sum(self.dims)

    def names(self, terms: Sequence[int]) -> list[str]:
        """What people are shown.

        >>> Buckets((6, 12), (100, 50), (5, 5)).names([0, 99, 100])
        ['L6:0', 'L6:99', 'L12:0']
        """
        starts = np.array([0, *accumulate(self.dims)])
        numbers = np.asarray(terms, np.int64)
        bucket = np.searchsorted(starts, numbers, side="right") - 1
        return [
            f"L{self.layers[b]}:{term - starts[b]}" for b, term in zip(bucket, numbers, strict=True)
        ]

    def write(self, folder: Path) -> None:
        """Write `config.json`."""
        write_json(folder / CONFIG, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Buckets":
        """Read what `write` wrote; `EncoderError` for anything else."""
        path = folder / CONFIG
        raw = read_object(path)
        numbers: dict[str, tuple[int, ...]] = {}
        for key in ("layers", "dims", "winners"):
            value: Any = raw.pop(key, None)
            if not isinstance(value, list) or not all(type(number) is int for number in value):
                raise EncoderError(f"{path}: {key} = {value!r}, a list of whole numbers was wanted")
            numbers[key] = tuple(value)
        binary = raw.pop("binary", None)
        if type(binary) is not bool or raw:
            raise EncoderError(
                f"{path}: binary = {binary!r}, others {sorted(raw)}; the encoder needs a newer "
                "version of this package, or the file is damaged"
            )
        return cls(**numbers, binary=binary)
