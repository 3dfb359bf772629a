"""What a system is made of: retrievers, how their answers are fused, what re-ranks them.

A system is a value, read from a `[[system]]` table of a TOML file or from options of a command;
`lsr.commands` opens it over a collection. A retriever is named as everywhere: `bm25`, the folder or
hub name of a sparse encoder, or `dense:` and the folder of a sentence-transformers bi-encoder.
"""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import orjson

from .errors import RecipeError, UsageError
from .files import atomic_write
from .typed_toml import build, number

BM25 = "bm25"
MINI = "lsr-mini"
"""The encoder that comes with this package."""
DENSE = "dense:"
CROSS_ENCODER = "cross-encoder:"

Fusion = Literal["rrf", "minmax", "zscore"]
"""Reciprocal rank, or a weighted sum of scores brought to [0, 1] or to mean 0 and deviation 1."""


@dataclass(frozen=True)
class Tuning:
    """What weights were chosen on, and what came of it there; see `lsr.retrieval.tune`."""

    dataset: str
    split: str
    fingerprint: str
    """Of the collection."""
    n_queries: int
    measure: str
    value: float
    """Under the weights, on the queries they were chosen on: it flatters."""
    held_out: float
    """Each query under the weights that were best on the other folds."""
    alike: float
    """Under equal weights."""
    alone: tuple[float, ...]
    """Each retriever by itself."""


@dataclass(frozen=True)
class System:
    """One way to answer questions; with several retrievers it is a hybrid."""

    name: str
    retrievers: tuple[str, ...]
    fuse: Fusion = "rrf"
    weights: tuple[float, ...] = ()
    """One a retriever; empty: all alike."""
    depth: int = number(1000, low=1)
    """Documents that each retriever gives to the fusion."""
    rerank: str | None = None
    """`dense:FOLDER` or `cross-encoder:FOLDER`: what orders the first documents anew."""
    rerank_depth: int = number(100, low=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    """What networks multiply in, but for ONNX graphs, which have the precision of their export."""
    max_length: int | None = number(None, low=3)
    """Tokens a text that dense and cross-encoders read; None leaves it to their folders."""
    chunk: int | None = number(None, low=8)
    """Dense: cut documents into overlapping stretches of so many tokens, of which the best counts;
    None reads the beginning of a document alone."""
    overlap: int = number(32, low=0)
    """Tokens that neighbouring stretches share."""
    dense_index: Literal["flat", "hnsw"] = "flat"
    """Exact, or approximate through a graph of neighbours."""
    tuned: Tuning | None = None
    """Where the weights come from, if `lsr tune` chose them."""

    def __post_init__(self) -> None:
        if not self.name or not self.retrievers:
            raise UsageError(f"system {self.name!r}: wanted a name and at least one retriever")
        if len(set(self.retrievers)) < len(self.retrievers):
            raise UsageError(f"system {self.name!r} names a retriever twice: {self.retrievers}")
        if self.weights and len(self.weights) != len(self.retrievers):
            raise UsageError(
                f"system {self.name!r}: {len(self.weights)} weights for {len(self.retrievers)} "
                "retrievers; wanted one each, or none"
            )
        if any(not 0 <= weight < float("inf") for weight in self.weights) or (
            self.weights and not any(self.weights)
        ):
            raise UsageError(f"system {self.name!r}: weights {self.weights}, wanted them above 0")
        if self.rerank is not None and not self.rerank.startswith((DENSE, CROSS_ENCODER)):
            raise UsageError(
                f"system {self.name!r}: rerank = {self.rerank!r}; wanted {DENSE}FOLDER or "
                f"{CROSS_ENCODER}FOLDER"
            )


@dataclass(frozen=True)
class _Systems:
    system: tuple[System, ...]


def read_systems(path: Path) -> list[System]:
    """The `[[system]]` tables of a TOML file, in order.

    Variables such as $LSR_MODELS in names of folders are replaced from the environment. Raises
    `RecipeError`, which names file and key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML: {error}") from error
    systems = [_expanded(system) for system in build(_Systems, table, str(path)).system]
    names = [system.name for system in systems]
    if not systems or len(set(names)) < len(names):
        raise RecipeError(f"{path}: systems {names}; wanted at least one, each name once")
    return systems


def write_systems(path: Path, systems: Sequence[System]) -> None:
    """Write TOML that `read_systems` reads, atomically; what is as by default is left out."""
    lines: list[str] = []
    for system in systems:
        lines += ["[[system]]", *_lines(system), ""]
        if system.tuned is not None:
            lines += ["[system.tuned]", *_lines(system.tuned), ""]
    with atomic_write(path) as out:
        out.write("\n".join(lines).encode())


def _lines(table: System | Tuning) -> list[str]:
    # JSON's strings, numbers and arrays are TOML's as well.
    return [
        f"{field.name} = {orjson.dumps(getattr(table, field.name)).decode()}"
        for field in fields(table)
        if field.name != "tuned" and getattr(table, field.name) != field.default
    ]


def _expanded(system: System) -> System:
    return replace(
        system,
        retrievers=tuple(os.path.expandvars(name) for name in system.retrievers),
        rerank=None if system.rerank is None else os.path.expandvars(system.rerank),
    )


def is_dense(retriever: str) -> bool:
    """Whether a retriever's name asks for a dense encoder."""
    return retriever.startswith(DENSE)
