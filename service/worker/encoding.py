"""A batch of lines as vectors: as given where lines bring them, otherwise encoded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from index import Passage, n_without_terms, texts_of
from lsr.encoders import SparseEncoder
from lsr.types import Document, SparseMatrix

from .lines import Line


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents and their vectors, a row each, or a row per passage."""

    documents: list[Document]
    vectors: SparseMatrix
    passages: list[Passage] | None

    def n_empty(self) -> int:
        """How many documents have no term at all."""
        return n_without_terms(self.vectors, len(self.documents), self.passages)


def encoded(
    lines: Sequence[Line],
    n_terms: int,
    encoder: SparseEncoder | None,
    windows: tuple[int, int] | None,
) -> Batch:
    """The batch of `lines`; `windows` are (length, overlap) in words of an index of passages.

    A document of such an index that brings its own vector is one passage.
    """
    documents = [line.document for line in lines]
    bare = [at for at, line in enumerate(lines) if line.terms is None]
    if bare and encoder is not None and len(bare) == len(lines):
        texts, passages = texts_of(documents, encoder.text_fields, windows)
        return Batch(documents, encoder.encode_documents(texts), passages)
    rows = {at: [_given(line)] for at, line in enumerate(lines)}
    spans: dict[int, list[Passage]] = {}
    if windows is not None and encoder is not None:
        lengths = [len(document.text(encoder.text_fields)) for document in documents]
        spans = {at: [Passage(at, 0, length)] for at, length in enumerate(lengths)}
    if bare and encoder is not None:
        split = [documents[at] for at in bare]
        texts, passages = texts_of(split, encoder.text_fields, windows)
        made = encoder.encode_documents(texts)
        of = range(len(bare)) if passages is None else [one.document for one in passages]
        for at in bare:
            rows[at] = []
        for row, number in enumerate(of):
            a, b = int(made.indptr[row]), int(made.indptr[row + 1])
            rows[bare[number]].append((made.indices[a:b], made.data[a:b]))
        if passages is not None:
            for at in bare:
                spans[at] = []
            for one in passages:
                spans[bare[one.document]].append(replace(one, document=bare[one.document]))
    every = [row for at in range(len(lines)) for row in rows[at]]
    starts = np.zeros(len(every) + 1, np.int64)
    np.cumsum([len(terms) for terms, _ in every], out=starts[1:])
    vectors: SparseMatrix = sparse.csr_array(
        (
            np.concatenate([weights for _, weights in every]),
            np.concatenate([terms for terms, _ in every]),
            starts,
        ),
        shape=(len(every), n_terms),
    )
    passages = [one for at in range(len(lines)) for one in spans[at]] if spans else None
    return Batch(documents, vectors, passages)


def _given(line: Line) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The vector that a line brings, empty where it brings none."""
    if line.terms is None or line.weights is None:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    return line.terms, line.weights
