"""Run a plan against a real index, saying what was begun and what was acknowledged."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

import index.builder
import index.database
import index.external
import index.merging
from index import Index, build_index
from lsr.types import Document, SparseMatrix

from .model import Doc
from .plans import (
    MAX_WEIGHT,
    N_TERMS,
    Add,
    Build,
    Bulk,
    Create,
    Delete,
    Group,
    Merge,
    Reopen,
    Seal,
    Step,
    encoder_of,
)

FOLDER = "i"
"""The index's name below the root of the simulated disk."""

CHECKPOINT_PAGES = 6


def reorder_small_segments() -> None:
    """Put even tiny segments in order, so that merging goes the way that large ones go."""
    for module in (index.builder, index.external, index.merging):
        module.REORDER_MINIMUM = 12  # type: ignore[attr-defined]


def give_back_few_pages() -> None:
    """Give each free page back, two in a transaction, as half a gigabyte would be."""
    index.database.FREE_LEAST = 1
    index.database.FREE_SHARE = 1000
    index.database._PAGES_AT_ONCE = 2


class World:
    """The index of a plan, opened when a step first needs it."""

    def __init__(self, root: Path, *, checkpoints: bool = False) -> None:
        """With `checkpoints` the log is written back every few pages."""
        self.path = root / FOLDER
        self._checkpoints = checkpoints
        self._index: Index | None = None

    @property
    def index(self) -> Index:
        """The open index."""
        if self._index is None:
            self._keep(Index.open(self.path))
        assert self._index is not None
        return self._index

    @property
    def is_open(self) -> bool:
        """Whether a step has opened it and none has closed it."""
        return self._index is not None

    def close(self) -> None:
        """Let go of it."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _keep(self, opened: Index) -> None:
        self._index = opened
        if self._checkpoints:
            writer = opened._catalog._writer
            if writer is not None:  # None: it was opened on a full disk
                writer.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")

    def act(self, step: Step) -> None:
        """Do one step; when this returns, it was acknowledged."""
        if isinstance(step, Create):
            if self.path.exists():  # killed before it was acknowledged: begin again
                with contextlib.suppress(FileNotFoundError):
                    (self.path / "catalog.sqlite").unlink()
                for left in self.path.glob("catalog.sqlite-*"):
                    left.unlink()
            fields = {"lang": "keyword"}
            self._keep(
                Index.create(self.path, n_terms=N_TERMS, max_weight=MAX_WEIGHT, fields=fields)
            )
        elif isinstance(step, Add):
            self.index.add(*_arguments(step.docs))
        elif isinstance(step, Delete):
            self.index.delete(step.doc_ids)
        elif isinstance(step, Group):
            with self.index.writer() as writer:
                writer.add(*_arguments(step.docs))
                writer.delete(step.doc_ids)
                writer.remember("number", step.number)
        elif isinstance(step, Seal):
            self.index.seal()
        elif isinstance(step, Merge):
            self.index.merge()
        elif isinstance(step, Bulk):
            self._bulk(step)
        elif isinstance(step, Reopen):
            self.close()
            _ = self.index
        else:
            self._build(step)

    def _bulk(self, step: Bulk) -> None:
        with self.index.bulk(step.source) as build:
            done = build.n_done  # batches are flushed whole, so this is a batch's border
            for docs in step.batches:
                if done:
                    done -= len(docs)
                    continue
                build.add(*_arguments(docs))
                build.flush(last=False)

    def _build(self, step: Build) -> None:
        self.close()
        documents = [Document(doc_id, {"text": text}) for doc_id, text in step.texts]
        build_index(
            self.path,
            documents,
            encoder_of(step.texts),
            source=step.source,
            overwrite=True,
            progress=False,
        )


def _arguments(docs: Sequence[Doc]) -> tuple[list[Document], SparseMatrix]:
    indptr = np.cumsum([0, *(len(doc.vector) for doc in docs)])
    terms = np.array([term for doc in docs for term in sorted(doc.vector)], np.int32)
    weights = [doc.vector[term] for doc in docs for term in sorted(doc.vector)]
    matrix = sparse.csr_array(
        (np.array(weights, np.float32), terms, indptr), shape=(len(docs), N_TERMS)
    )
    return [Document(doc.doc_id, dict(doc.fields)) for doc in docs], matrix
