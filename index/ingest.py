"""From a stream of documents to a finished index: passages, encoding, bulk build, atomic arrival.

The index is built in `NAME.building` beside its place and moved there when it is whole, so a kill
leaves what was there before, and the same command goes on from the last flushed batch.
"""

import math
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from lsr.encoders.protocol import SparseEncoder
from lsr.encoders.siamese import is_binary
from lsr.errors import (
    DatasetError,
    EncoderError,
    IndexCorrupt,
    IndexExists,
    IndexNotFound,
    IndexVersion,
    UsageError,
)
from lsr.files import changing, make_directory
from lsr.progress import Bar, bar
from lsr.types import Document, SparseMatrix

from .arrival import arrive, emptied, reserved
from .bulk import BulkBuild, parse_memory
from .card import copied_card, encoder_card
from .effort import Effort
from .rows import Passage
from .settings import Settings
from .shards import holds_index
from .store import Index

BATCH_DOCUMENTS = 2048
"""Documents encoded at a time by a table; a network takes an eighth of them: enough for batches of
like length, and few enough to see it move."""

MARK = "building"
"""An empty file that only a directory in the making holds."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did; times in seconds, sizes in bytes.

    `given_postings` were there before pruning, which kept `mass_kept` of the sum of their weights.
    Errors are those of impact x scale against the float16 weights, absolute, and of documents'
    norms, relative; `saturated_share` of the weights were too large for impact 255. `n_ordered`
    rows were put in order: none where they are few, or more than the memory could order. `n_empty`
    documents have no term, among those that this call encoded.
    """

    path: Path
    n_docs: int
    n_passages: int
    n_empty: int
    n_postings: int
    given_postings: int
    mass_kept: float
    saturated_share: float
    error_mean: float
    error_max: float
    norm_error: float
    n_ordered: int
    n_bytes: int
    n_resumed: int
    encode_s: float
    total_s: float


def build_index(
    path: str | Path,
    documents: Iterable[Document],
    encoder: SparseEncoder,
    *,
    source: str,
    memory: str = "1GiB",
    overwrite: bool = False,
    fields: Mapping[str, str] | None = None,
    passages: tuple[int, int] | None = None,
    settings: Settings | None = None,
    threads: int | None = None,
    order_seconds: float = math.inf,
    total: int | None = None,
    progress: bool = True,
) -> BuildReport:
    """Encode `documents` and build an index of them at `path`.

    `source` names the corpus: a build that was interrupted resumes when the same source, encoder
    and settings come again. `passages=(256, 32)` splits texts into windows of 256 words that
    overlap by 32; searches then return documents by their best passage. `settings` say how
    documents are ordered, what is pruned, and whether only presence is kept, as it always is of an
    encoder whose weights are all 1. What is read of a document are `encoder.text_fields`; others by
    `lsr.encoders.with_text_fields(encoder, ["body"])`. `memory` bounds the build, whatever the size
    of the corpus; `order_seconds` bounds the ordering.

    Raises `IndexExists` unless `overwrite`, `DatasetError` for a corpus without documents,
    `UsageError` for repeated ids. Whatever happens, `path` holds either what it held before or the
    whole new index.
    """
    started = time.perf_counter()
    path = Path(path).resolve()
    settings = settings or Settings()
    if is_binary(encoder):
        settings = replace(settings, binary=True)
    parse_memory(memory)
    if passages is not None and not 0 <= passages[1] < passages[0]:
        raise UsageError(
            f"passages {passages}: wanted (length, overlap) in words, overlap < length"
        )
    if path.exists() and not overwrite:
        raise IndexExists(f"{path} exists; choose another path, or give --overwrite to replace it")
    if path.exists() and not holds_index(path):
        raise IndexExists(f"{path} exists and is not an index; it will not be overwritten")
    with changing(path):
        make_directory(path.parent)
    staging = path.with_name(path.name + ".building")
    card = encoder_card(encoder)
    key = (
        f"{source} {encoder.space} {encoder.build} {encoder.max_weight} "
        f"{card.text_fields} {card.window_overlap} "
        f"{sorted((fields or {}).items())} {passages} {settings.to_json()}"
    )
    phases = _Phases(progress)
    effort = Effort(
        threads=threads, seconds=order_seconds, ordered=phases.ordered, merged=phases.merged
    )
    with changing(path), reserved(staging):
        try:
            with phases, _staged(staging, key, encoder, fields, settings) as index:
                state = index.last_build()
                if state is None or not state.published:
                    bulk = index.bulk(key, memory=memory, effort=effort)
                    counted = _encode_all(
                        bulk, documents, encoder, passages, source, total, progress
                    )
                else:  # killed after publishing, before arriving
                    index.merge(memory=memory)  # removes the runs' files, if they are left
                    counted = _Counted(state.n_done, 0, 0.0)
                info = index.info()
        except (DatasetError, EncoderError, UsageError) as error:
            if not error.may_pass:  # the same command would fail again: nothing to resume
                shutil.rmtree(staging)
            raise
        _arrive(staging, path)
    return BuildReport(
        path=path,
        n_docs=info["n_docs"],
        n_passages=info["n_passages"],
        n_empty=counted.n_empty,
        n_postings=info["n_postings"],
        given_postings=info["given_postings"],
        mass_kept=info["mass_kept"],
        saturated_share=info["saturated_share"],
        error_mean=info["error_mean"],
        error_max=info["error_max"],
        norm_error=info["norm_error"],
        n_ordered=info["n_ordered"],
        n_bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        n_resumed=counted.n_resumed,
        encode_s=counted.encode_s,
        total_s=time.perf_counter() - started,
    )


class _Phases:
    """A bar for each phase of a build's end, shown once the phase has begun."""

    def __init__(self, progress: bool) -> None:
        self._progress = progress
        self._bar: Bar[None] | None = None

    def __enter__(self) -> "_Phases":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def ordered(self, done: int, total: int) -> None:
        self._reach("ordered", "documents x halvings", done, total)

    def merged(self, done: int, total: int) -> None:
        self._reach("merged", "postings", done, total)

    def _reach(self, desc: str, unit: str, done: int, total: int) -> None:
        if self._bar is None or self._bar.desc != desc:
            self.__exit__()
            quiet = None if self._progress else True
            self._bar = bar(total=total, unit=unit, desc=desc, quiet=quiet)
        self._bar.update(done - self._bar.n)


@dataclass(frozen=True, slots=True)
class _Counted:
    n_resumed: int
    n_empty: int
    encode_s: float


def _encode_all(
    bulk: BulkBuild,
    documents: Iterable[Document],
    encoder: SparseEncoder,
    passages: tuple[int, int] | None,
    source: str,
    total: int | None,
    progress: bool,
) -> _Counted:
    """Feed the build from where it stands to the end of the corpus, and publish it."""
    n_empty = 0
    encode_s = 0.0
    counter: Bar[None] = bar(
        total=total, unit="documents", desc="indexed", quiet=None if progress else True
    )
    with bulk as build, counter:
        n_resumed = build.n_done
        counter.update(n_resumed)
        size = BATCH_DOCUMENTS if encoder.query_strategy == "bm25" else BATCH_DOCUMENTS // 8
        for batch in _batches(islice(iter(documents), n_resumed, None), size):
            texts, spans = texts_of(batch, encoder.text_fields, passages)
            before = time.perf_counter()
            vectors = encoder.encode_documents(texts)
            encode_s += time.perf_counter() - before
            n_empty += n_without_terms(vectors, len(batch), spans)
            build.add(batch, vectors, passages=spans)
            counter.update(len(batch))
        build.flush()
        if not build.n_done:
            raise DatasetError(
                f"{source}: the corpus has no documents, so there is nothing to index"
            )
    return _Counted(n_resumed, n_empty, encode_s)


def split_words(text: str, length: int, overlap: int) -> list[tuple[int, int]]:
    """Character spans of windows of `length` words, each sharing `overlap` with the one before.

    >>> split_words("one two three four", 3, 1)
    [(0, 13), (8, 18)]
    """
    words = [match.span() for match in re.finditer(r"\S+", text)]
    if len(words) <= length:
        return [(0, len(text))]
    step = length - overlap
    starts = range(0, len(words) - overlap, step)
    return [(words[a][0], words[min(a + length, len(words)) - 1][1]) for a in starts]


def texts_of(
    batch: Sequence[Document], text_fields: Sequence[str], passages: tuple[int, int] | None
) -> tuple[list[str], list[Passage] | None]:
    """What the encoder reads, and where each piece belongs when documents are split into windows
    of `passages` = (length, overlap) words.
    """
    whole = [document.text(text_fields) for document in batch]
    if passages is None:
        return whole, None
    spans = [
        Passage(number, start, end)
        for number, text in enumerate(whole)
        for start, end in split_words(text, *passages)
    ]
    return [whole[span.document][span.start : span.end] for span in spans], spans


def n_without_terms(vectors: SparseMatrix, n_docs: int, passages: Sequence[Passage] | None) -> int:
    """How many of the documents have no term at all, in no passage: no search finds them."""
    rows = np.flatnonzero(np.diff(vectors.indptr))
    found = (
        len(rows) if passages is None else len({passages[row].document for row in rows.tolist()})
    )
    return n_docs - found


def _batches(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(islice(iterator, size)):
        yield batch


def _staged(
    staging: Path,
    key: str,
    encoder: SparseEncoder,
    fields: Mapping[str, str] | None,
    settings: Settings,
) -> Index:
    """The index in the making: what an interrupted build of the same things left, or a new one.

    Only a directory with the mark is ever resumed. It is removed before the directory arrives, so
    an index that `_arrive` put aside, killed before deleting it, is not mistaken for one in the
    making.
    """
    mark = staging / MARK
    if mark.exists():
        with suppress(IndexNotFound, IndexCorrupt, IndexVersion):  # killed while it was created
            index = Index.open(staging)
            state = index.last_build()
            if state is not None and state.source == key:
                return index
            index.close()
    emptied(staging)
    mark.touch()
    return empty_index(staging, encoder, fields=fields, settings=settings)


def empty_index(
    path: Path,
    encoder: SparseEncoder,
    *,
    fields: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Index:
    """An index without documents for the vectors of `encoder`, with a copy of its query side.

    Raises what `Index.create` raises.
    """
    settings = settings or Settings()
    if is_binary(encoder):
        settings = replace(settings, binary=True)
    card = copied_card(encoder, path)
    return Index.create(
        path,
        n_terms=encoder.n_terms,
        max_weight=encoder.max_weight,
        encoder=card,
        fields=fields,
        settings=settings,
    )


def _arrive(staging: Path, path: Path) -> None:
    """Put the finished directory in its place; from then on it is no directory in the making."""
    (staging / MARK).unlink()
    arrive(staging, path)
