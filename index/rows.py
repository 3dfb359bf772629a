"""Documents and their vectors, checked and laid out as the catalog stores them.

One row is one passage; a document that was not split is its only passage. Weights are kept as
float16: relative error 2^-11, a third of the step of an 8-bit impact, and half the bytes of
float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
from scipy import sparse

from lsr.errors import RepeatedId, UsageError, VectorError
from lsr.types import MAX_ID_BYTES, Document, SparseMatrix, canonical

from .columns import WANTED, Kind, belongs
from .quantize import halves

FLOAT16_MAX = 65504.0


@dataclass(frozen=True, slots=True)
class Passage:
    """Characters [start, end) of the text of `documents[document]`."""

    document: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rows:
    """A checked batch: `passages[i]` and row i of `vectors` (values rounded to float16) belong
    together.
    """

    documents: Sequence[Document]
    vectors: SparseMatrix
    passages: Sequence[Passage] | None
    fields: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.documents if self.passages is None else self.passages)

    def document_of(self, row: int) -> int:
        """Which of `documents` the row belongs to."""
        return row if self.passages is None else self.passages[row].document

    def terms_of(self, row: int) -> tuple[bytes, bytes]:
        """Row as (uint32 terms, float16 weights) in little-endian bytes."""
        a, b = int(self.vectors.indptr[row]), int(self.vectors.indptr[row + 1])
        return (
            self.vectors.indices[a:b].astype("<u4").tobytes(),
            self.vectors.data[a:b].astype("<f2").tobytes(),
        )


def checked_rows(
    documents: Sequence[Document],
    vectors: SparseMatrix,
    *,
    n_terms: int,
    declared: Mapping[str, Kind],
    passages: Sequence[Passage] | None = None,
) -> Rows:
    """Check ids, fields, shapes and weights of one batch before anything of it is written.

    `declared` are the filter columns: a document whose field has another type is refused here,
    since once it is stored every reader would stumble over it. Raises `UsageError` for bad or
    repeated ids, fields and passages, `VectorError` for weights.
    """
    csr = canonical(vectors, n_terms=n_terms)
    expected = len(documents) if passages is None else len(passages)
    if csr.shape[0] != expected:
        raise VectorError(
            f"{csr.shape[0]} vectors for {expected} "
            f"{'documents' if passages is None else 'passages'}; give one row each"
        )
    seen: set[str] = set()
    fields: list[bytes] = []
    for number, document in enumerate(documents):
        check_doc_id(document.doc_id, number)
        if document.doc_id in seen:
            raise RepeatedId(
                f"document {number}: the id {document.doc_id!r} occurs twice in one batch; "
                "ids name documents, so each may occur once",
                doc_id=document.doc_id,
            )
        seen.add(document.doc_id)
        try:
            # Copied, because orjson's result keeps the room it was written in: 4 kB a document.
            fields.append(memoryview(orjson.dumps(dict(document.fields))).tobytes())
        except TypeError as error:
            raise UsageError(
                f"document {document.doc_id!r}: fields must be JSON values ({error})"
            ) from error
        if declared:
            _check_declared(document.doc_id, fields[-1], declared)
    if passages is not None:
        _check_passages(passages, len(documents))
    return Rows(documents, rounded_to_float16(csr), passages, fields)


def _check_declared(doc_id: str, stored: bytes, declared: Mapping[str, Kind]) -> None:
    read_back = orjson.loads(stored)  # as every reader will see it
    for name, kind in declared.items():
        value = read_back.get(name)
        if value is not None and not belongs(kind, value):
            raise UsageError(
                f"document {doc_id!r}: field {name!r} is {repr(value)[:100]}; it was declared "
                f"{kind}, so it must be {WANTED[kind]} or absent"
            )


def _check_passages(passages: Sequence[Passage], n_documents: int) -> None:
    numbers = [passage.document for passage in passages]
    if numbers != sorted(numbers) or set(numbers) != set(range(n_documents)):
        raise UsageError(
            f"passages must name the documents 0 to {n_documents - 1} in order, each at "
            "least once; "
            f"they name {sorted(set(numbers))[:10]}"
        )
    for passage in passages:
        if not 0 <= passage.start <= passage.end:
            raise UsageError(f"{passage}: wanted 0 <= start <= end")


def check_doc_id(doc_id: object, number: int) -> None:
    """Ids are non-empty strings of valid Unicode, at most 4,096 bytes of UTF-8."""
    if not isinstance(doc_id, str):
        raise UsageError(f"document {number}: the id must be a string, got {doc_id!r}")
    try:
        n_bytes = len(doc_id.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UsageError(f"document {number}: the id {doc_id!r} is not valid Unicode") from error
    if not 0 < n_bytes <= MAX_ID_BYTES:
        raise UsageError(
            f"document {number}: the id has {n_bytes} bytes; wanted 1 to {MAX_ID_BYTES}"
        )


def is_doc_id(text: object) -> bool:
    """Whether a document may have this id."""
    try:
        check_doc_id(text, 0)
    except UsageError:
        return False
    return True


def rounded_to_float16(csr: SparseMatrix) -> SparseMatrix:
    """The matrix with each weight as float16 holds it; none vanishes, too large a one is
    refused.
    """
    if csr.nnz and float(csr.data.max()) > FLOAT16_MAX:
        raise VectorError(
            f"weight {float(csr.data.max()):g} exceeds {FLOAT16_MAX:g}, the largest that is "
            "stored; "
            "scale the encoder's output down"
        )
    # 32-bit indices whatever came: a batch never has 2^31 weights, and buffers halve.
    narrow = np.int32 if csr.nnz < 2**31 else np.int64
    rounded: SparseMatrix = sparse.csr_array(
        (
            halves(csr.data).astype(np.float32),
            csr.indices.astype(np.int32),
            csr.indptr.astype(narrow),
        ),
        shape=csr.shape,
    )
    return rounded


def vectors_from_bytes(rows: Sequence[tuple[bytes, bytes]], *, n_terms: int) -> SparseMatrix:
    """Inverse of `Rows.terms_of` for many rows."""
    terms = [np.frombuffer(t, "<u4") for t, _ in rows]
    lengths = np.fromiter((len(t) for t in terms), np.int64, len(rows))
    indptr: npt.NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    indices = np.concatenate(terms) if terms else np.empty(0, np.uint32)
    weights = (
        np.concatenate([np.frombuffer(w, "<f2") for _, w in rows])
        if rows
        else np.empty(0, np.float16)
    )
    matrix: SparseMatrix = sparse.csr_array(
        (weights.astype(np.float32), indices.astype(np.int32), indptr),
        shape=(len(rows), n_terms),
    )
    return matrix
