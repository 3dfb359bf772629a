"""A batch of lines as vectors: as given where lines bring them, otherwise encoded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from index import Passage, texts_of
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
        rows = np.flatnonzero(np.diff(self.vectors.indptr))
        if self.passages is None:
            return len(self.documents) - len(rows)
        return len(self.documents) - len({self.passages[row].document for row in rows})


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
    terms = [_or_empty(line.terms, np.int32) for line in lines]
    weights = [_or_empty(line.weights, np.float32) for line in lines]
    if bare and encoder is not None:
        texts, _ = texts_of([documents[at] for at in bare], encoder.text_fields, None)
        rows = encoder.encode_documents(texts)
        for row, at in enumerate(bare):
            a, b = int(rows.indptr[row]), int(rows.indptr[row + 1])
            terms[at], weights[at] = rows.indices[a:b], rows.data[a:b]
    starts = np.zeros(len(lines) + 1, np.int64)
    np.cumsum([len(one) for one in terms], out=starts[1:])
    vectors: SparseMatrix = sparse.csr_array(
        (np.concatenate(weights), np.concatenate(terms), starts), shape=(len(lines), n_terms)
    )
    passages = None
    if windows is not None and encoder is not None:
        lengths = [len(document.text(encoder.text_fields)) for document in documents]
        passages = [Passage(at, 0, length) for at, length in enumerate(lengths)]
    return Batch(documents, vectors, passages)


def _or_empty(
    given: npt.NDArray[np.generic] | None, dtype: type[np.generic]
) -> npt.NDArray[np.generic]:
    return np.empty(0, dtype) if given is None else given
