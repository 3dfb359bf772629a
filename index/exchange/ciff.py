"""CIFF: the common index file format that Lucene, PISA, BMP, JASS and Terrier read.

Protobuf messages, each behind its length: a header, a postings list a term in the order of their
bytes, a record a document. Term frequencies are our impacts, so that an engine that adds up
products ranks as we do. Lin et al., SIGIR 2020, arXiv 2003.08276.

    Header        1 version  2 postings lists here  3 documents here  4 and 5 the same, in all
                  6 terms in all  7 average length (double)  8 description
    PostingsList  1 term  2 df  3 cf  4 posting* { 1 gap to the docid before  2 tf }
    DocRecord     1 docid  2 the caller's id  3 length
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from scipy import sparse

from lsr.errors import DatasetError
from lsr.files import read_whole
from lsr.protobuf import counted, fields, number, read_varint, varint

from ..quantised import IntegerMatrix, quantised_documents
from ..rows import FLOAT16_MAX
from .formats.format import Facts, identifier, pretty
from .records import Numbering

if TYPE_CHECKING:
    from ..store import Index

FILE_NAME = "index.ciff"
_POSTINGS = 4


@dataclass(frozen=True, slots=True)
class Ciff:
    """A CIFF file in memory: (n docs, n terms) frequencies, the terms, the caller's ids."""

    counts: IntegerMatrix
    terms: list[str]
    doc_ids: list[str]


def write_ciff(index: "Index", folder: Path, facts: Facts) -> tuple[int, int]:
    """Write `index` into `folder`, a document a passage; (rows, postings).

    Held in memory: all postings, some 6 bytes each.
    """
    from .ciff_kernels import encode_postings

    documents = quantised_documents(index)
    split = len(set(documents.doc_ids)) < len(documents.doc_ids)
    ids = Numbering().of(documents.doc_ids) if split else documents.doc_ids
    lists = sparse.csc_array(documents.impacts)
    lists.sort_indices()
    starts = lists.indptr.astype(np.int64)
    used = np.flatnonzero(np.diff(starts))
    names = {int(term): facts.vocabulary[term].encode() for term in used.tolist()}
    lengths = np.bincount(
        lists.indices, weights=lists.data, minlength=len(documents.docids)
    ).astype(np.int64)
    n_docs, total = len(documents.docids), int(lengths.sum())
    with (folder / FILE_NAME).open("wb") as file:
        header = b"".join(
            number(field, value)
            for field, value in ((1, 1), (2, len(used)), (3, n_docs), (4, len(used)), (5, n_docs))
        )
        average = total / n_docs if n_docs else 0.0
        header += number(6, total) + b"\x39" + struct.pack("<d", average)
        _write(file, header + counted(8, f"{facts.name}, 8-bit impacts".encode()))
        for term in sorted(names, key=names.__getitem__):
            a, b = int(starts[term]), int(starts[term + 1])
            docids = lists.indices[a:b].astype(np.int64)
            gaps = docids - np.concatenate([[0], docids[:-1]])
            frequencies = lists.data[a:b].astype(np.int64)
            postings = encode_postings(gaps, frequencies).tobytes()
            head = counted(1, names[term]) + number(2, b - a) + number(3, int(frequencies.sum()))
            _write(file, head + postings)
        for at, (doc_id, length) in enumerate(zip(ids, lengths.tolist(), strict=True)):
            _write(file, number(1, at) + counted(2, doc_id.encode()) + number(3, length))
    pairs = zip(facts.example.terms, facts.example.weights, strict=True)
    query = {facts.vocabulary[term]: weight for term, weight in pairs}
    (folder / "query.json").write_text(pretty(query))
    (folder / "README.md").write_text(_page(facts))
    return n_docs, len(lists.data)


def read_ciff(path: Path) -> Ciff:
    """Read a whole CIFF file, plain or compressed.

    Raises `DatasetError` for one that is cut off or damaged, and for what is no CIFF.
    """
    try:
        return _parsed(memoryview(read_whole(path)), path)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def _parsed(data: memoryview, path: Path) -> Ciff:
    """Raises `ValueError` for bytes that are no messages, else as `read_ciff`."""
    from .ciff_kernels import decode_postings

    messages = _messages(data)
    header = dict(fields(next(messages, data[:0])))
    if header.get(1) != 1:
        raise DatasetError(f"{path}: no CIFF file of version 1 (its header says {header.get(1)!r})")
    n_lists, n_docs = (_whole(header.get(field, 0), path, below=len(data)) for field in (2, 3))
    terms: list[str] = []
    docids, counts, sizes = [], [], [0]
    for _ in range(n_lists):
        message = next(messages, None)
        if message is None:
            raise DatasetError(f"{path}: cut off after {len(terms):,} of {n_lists:,} lists")
        members = _head(message)
        numbers, frequencies = decode_postings(np.frombuffer(message, np.uint8))
        if len(numbers) != members.get(2, 0):
            raise DatasetError(f"{path}: list {len(terms)} has {len(numbers)} postings, not its df")
        if len(numbers) and not (
            int(numbers.min()) >= 0
            and int(numbers.max()) < n_docs
            and bool((numbers[1:] > numbers[:-1]).all())
        ):
            raise DatasetError(
                f"{path}: list {len(terms)} names documents {numbers.min():,} to "
                f"{numbers.max():,}, wanted 0 to {n_docs - 1:,} in ascending order"
            )
        if len(numbers) and not 0 <= int(frequencies.min()) <= int(frequencies.max()) < FLOAT16_MAX:
            raise DatasetError(
                f"{path}: list {len(terms)} has frequencies from {frequencies.min():,} to "
                f"{frequencies.max():,}, wanted 0 to {FLOAT16_MAX - 1:,.0f}"
            )
        terms.append(_string(members.get(1, data[:0]), path))
        docids.append(numbers)
        counts.append(frequencies)
        sizes.append(len(numbers))
    doc_ids = [""] * n_docs
    for _ in range(n_docs):
        message = next(messages, None)
        if message is None:
            raise DatasetError(f"{path}: cut off within its {n_docs:,} documents")
        members = dict(fields(message))
        at = _whole(members.get(1, 0), path, below=n_docs)
        doc_ids[at] = _string(members.get(2, data[:0]), path)
    nothing = [np.empty(0, np.int64)]
    matrix = sparse.csc_array(
        (np.concatenate(counts or nothing), np.concatenate(docids or nothing), np.cumsum(sizes)),
        shape=(n_docs, n_lists),
    )
    rows: IntegerMatrix = sparse.csr_array(matrix)
    return Ciff(rows, terms, doc_ids)


def _whole(value: int | memoryview, path: Path, *, below: int) -> int:
    if isinstance(value, memoryview) or not 0 <= value < max(1, below):
        got = bytes(value) if isinstance(value, memoryview) else value
        raise DatasetError(f"{path}: damaged: {got!r} where a number below {below:,} belongs")
    return value


def _string(value: int | memoryview, path: Path) -> str:
    if isinstance(value, int):
        raise DatasetError(f"{path}: damaged: {value} where a term or an id belongs")
    return str(value, "utf-8", "replace")


def _write(file: IO[bytes], message: bytes) -> None:
    file.write(varint(len(message)) + message)


def _messages(data: memoryview) -> Iterator[memoryview]:
    at = 0
    while at < len(data):
        length, at = read_varint(data, at)
        if at + length > len(data):
            raise ValueError(f"cut off at byte {len(data):,}")
        yield data[at : at + length]
        at += length


def _head(message: memoryview) -> dict[int, int | memoryview]:
    """The fields before the postings, which come last."""
    return dict(takewhile(lambda one: one[0] != _POSTINGS, fields(message)))


def _page(facts: Facts) -> str:
    return f"""# {facts.name} as CIFF

`{FILE_NAME}` holds {facts.n_docs:,} documents; term frequencies are 8-bit impacts, query weights in
`query.json` are integers, so an engine that adds up their products scores as we do.

```
ciff2bmp --ciff-file {FILE_NAME} --output {identifier(facts.name)}.bmp      # BMP
ciff2pisa --ciff-file {FILE_NAME} --output {identifier(facts.name)}         # PISA
lsr import {FILE_NAME} {identifier(facts.name)}.index --from ciff           # here
```
"""
