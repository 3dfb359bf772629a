"""A new index of the documents of another, which goes on changing meanwhile.

`begun` makes the new one beside the old, `copy` reads every live document once and can be taken up
again after a kill, `catch_up` brings over what changed since; when it is called while nobody writes
to the old index, both hold the same documents. Weights come anew from an encoder, or from the
stored float16 vectors: then under another `max_weight`, order or pruning. Origins come along
(carrying.py).

A document that has weights but no text cannot be encoded anew: it would come back without a weight,
and no search would find it again. Such a rebuild is refused.

The new index never gives a document a version (docid) that it had in the old one: a client that
holds an old version must not be told that nothing has changed.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from scipy import sparse

from lsr.encoders.bm25 import BM25Encoder
from lsr.encoders.protocol import SparseEncoder
from lsr.errors import IndexCorrupt, UsageError
from lsr.types import Document, SparseMatrix

from .arrival import arrive, emptied, reserved, sync_tree
from .carrying import carry_origins, n_untraced
from .ingest import empty_index, texts_of
from .live_rows import StoredDocument, added_since, last_docid, live_after, missing
from .rows import Passage
from .segment import Segment
from .settings import Settings
from .store import Index
from .writer import Writer

KEY = "rebuild"
"""Under it the new index remembers how far it is: {"docid", "seen", "done"}."""
MARGIN = 1_000_000
"""Versions that the old index may still give while the new one is made."""
BATCH = 1024
_MARK = "begun"
NETWORK_BATCH = 256

Progress = Callable[[int, int], None]
"""Called with (documents done, documents in all); may raise to end the work."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the weights of the new index come from: `encoder`, or the stored vectors for None.

    With `windows`, (length, overlap) in words, texts are split anew; without, where they were
    split.
    """

    encoder: SparseEncoder | None = None
    windows: tuple[int, int] | None = None


def refitted(source: Index, path: Path) -> BM25Encoder:
    """The BM25 of `source` with the statistics of its live documents; that of the index begun at
    `path` if there is one.
    """
    if (path / _MARK).exists() and (path / "encoder" / "bm25.json").exists():
        return BM25Encoder.load(path / "encoder")
    old = BM25Encoder.load(source.encoder_folder)
    return BM25Encoder.fit(
        texts(source, old.text_fields),
        k1=old.k1,
        b=old.b,
        analyser=old.analyser,
        name=old.name,
        text_fields=old.text_fields,
    )


def split_anew(source: Index, encoder: SparseEncoder | None, windows: tuple[int, int]) -> Weights:
    """The weights of an index whose texts are split otherwise: those of new passages, which only
    its own encoder can give. Raises `UsageError` where there is none.
    """
    if encoder is None:
        raise UsageError(
            f"{source.path} was built from vectors, so nothing can weigh the terms of other "
            "passages; split the texts where the vectors are made, or name an encoder"
        )
    return Weights(encoder, windows)


def begun(
    source: Index,
    path: Path,
    weights: Weights,
    *,
    max_weight: float | None = None,
    settings: Settings | None = None,
) -> Index:
    """The index to be at `path`: new and empty, or the same that was begun there before a kill.

    `max_weight` belongs to stored vectors; an encoder's card has its own. Raises `UsageError`, also
    where documents have weights but no text that the encoder could read.
    """
    settings = settings or source.settings
    if weights.encoder is not None and max_weight is not None:
        raise UsageError(
            f"max_weight {max_weight:g}: an encoder's own card says it; leave one of them out"
        )
    wanted = orjson.dumps(
        {
            "source": _identity(source),
            "space": None if weights.encoder is None else weights.encoder.space,
            "max_weight": max_weight,
            "windows": weights.windows,
            "settings": settings.to_json(),
        }
    )
    mark = path / _MARK
    if mark.exists() and mark.read_bytes() == wanted:
        return Index.open(path)
    if weights.encoder is not None:
        _check_texts(source, weights.encoder.text_fields)
    path.mkdir(parents=True, exist_ok=True)
    emptied(path)
    if weights.encoder is not None:
        target = empty_index(path, weights.encoder, fields=source.fields, settings=settings)
    else:
        if source.encoder_folder.is_dir():
            shutil.copytree(source.encoder_folder, path / "encoder")
        target = Index.create(
            path,
            n_terms=source.n_terms,
            max_weight=source.max_weight if max_weight is None else max_weight,
            encoder=source.encoder,
            fields=source.fields,
            settings=settings,
        )
    target.skip_versions(last_docid(source.catalog) + MARGIN)
    if source.retained_seconds:
        target.retain(source.retained_seconds)
    mark.write_bytes(wanted)
    return target


def copy(
    source: Index, target: Index, weights: Weights, *, progress: Progress = lambda done, total: None
) -> None:
    """Read every live document of `source` into `target` once, from where an earlier call was
    killed.
    """
    state = target.remembered(KEY)
    if state is None:  # what comes later is for `catch_up`, or this might never end
        state = {
            "docid": 0,
            "source": _identity(source),
            "seen": source.generation,
            "done": 0,
            "until": last_docid(source.catalog),
        }
    total = source.n_docs
    while state["docid"] is not None:
        progress(state["done"], max(total, state["done"]))
        some = live_after(source, state["docid"], _batch_of(weights), until=state["until"])
        last = some[-1].rows[-1].docid if some else None
        state = {**state, "docid": last, "done": state["done"] + len(some)}
        with target.writer() as writer:
            if some:
                _add(writer, source, some, weights)
            writer.remember(KEY, state)


def catch_up(
    source: Index, target: Index, weights: Weights, *, progress: Progress = lambda done, total: None
) -> int:
    """Bring over what changed in `source` since `copy` began or since the last call; how much.

    May be called again and again: a document that is there already is replaced by itself.
    """
    state = target.remembered(KEY)
    if state is None or state["docid"] is not None:
        raise UsageError(f"{target.path}: the copy that this catches up with is not complete")
    if state["source"] != _identity(source):
        raise UsageError(
            f"{target.path}: was made of another index than the one that is at {source.path} now; "
            "begin anew"
        )
    # What comes after this is for the next call: behind a busy writer this one would never end.
    now, until = source.generation, last_docid(source.catalog)
    changed = 0
    if now != state["seen"]:
        for some in added_since(source, state["seen"], _batch_of(weights), until=until):
            with target.writer() as writer:
                _add(writer, source, some, weights)
            changed += len(some)
            progress(state["done"] + changed, state["done"] + changed)
    gone = missing(source, target) if now != state["seen"] else []
    with target.writer() as writer:
        if gone:
            writer.delete(gone)
        writer.remember(KEY, {**state, "seen": now})
    done = state["done"] + changed
    carry_origins(source, target, weights.encoder, tick=lambda: progress(done, done))
    return changed + len(gone)


def follow(source: Index, target: Index, weights: Weights, *, since: int) -> int:
    """Bring into `target`, an index of the same documents as `source` had at its commit `since`,
    what changed in `source` from then on; how much. What `target` gives from now on is newer than
    all that `source` gave.
    """
    target.skip_versions(last_docid(source.catalog) - last_docid(target.catalog))
    with target.writer() as writer:
        known = {"docid": None, "source": _identity(source), "seen": since, "done": 0}
        writer.remember(KEY, known)
    return catch_up(source, target, weights)


def finish(target: Index) -> None:
    """Forget how it was made; what is left is an index like any other."""
    with target.writer() as writer:
        writer.forget(KEY)
    (target.path / _MARK).unlink(missing_ok=True)


def texts(source: Index, fields: Sequence[str]) -> Iterator[str]:
    """The text of every live document, by which an encoder such as BM25 is fitted."""
    last, until = 0, last_docid(source.catalog)
    while some := live_after(source, last, BATCH, until=until):
        yield from (one.document.text(tuple(fields)) for one in some)
        last = some[-1].rows[-1].docid


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What `rebuild_index` did: documents of the new index, and how many came while it was made.

    `n_untraced` texts have no origins although the old index kept some.
    """

    n_docs: int
    n_caught_up: int
    n_untraced: int
    n_bytes: int
    seconds: float


def rebuild_index(
    path: Path,
    weights: Weights,
    *,
    max_weight: float | None = None,
    settings: Settings | None = None,
    memory: str = "1GiB",
    progress: Progress = lambda done, total: None,
    admit: Callable[[Index, Index], None] = lambda old, new: None,
) -> Rebuilt:
    """Put a new index of the same documents in the place of the one at `path`, in one step.

    Others search and write meanwhile; writers wait for the last step, and find out then that the
    index was replaced. `admit` may look at both and raise: the old one then stays. A kill leaves
    the old one and, beside it, what the same call goes on from.
    """
    started = time.perf_counter()
    path = Path(path).resolve()
    staging = path.with_name(f"{path.name}.rebuilding")
    with (
        Index.open(path) as source,
        reserved(staging),
        begun(source, staging, weights, max_weight=max_weight, settings=settings) as target,
    ):
        copy(source, target, weights, progress=progress)
        caught_up = catch_up(source, target, weights)
        target.merge(memory=memory)
        problems = target.check().problems
        if problems:
            raise IndexCorrupt(f"{staging}: the new index is not sound: {problems[0]}")
        admit(source, target)
        with source.catalog.transaction():  # nobody else writes from here on
            caught_up += catch_up(source, target, weights)
            n_docs, silent = target.n_docs, n_untraced(source, target, weights.encoder)
            finish(target)
            target.close()  # one file again, before it moves
            sync_tree(staging)
            arrive(staging, path)
    n_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Rebuilt(n_docs, caught_up, silent, n_bytes, time.perf_counter() - started)


def _identity(source: Index) -> str:
    """The same for one index as long as it lives: numbers of commits mean nothing to another."""
    place = source.catalog.path.stat()
    first = source.catalog.rows("SELECT at FROM commits ORDER BY number LIMIT 1")
    return f"{place.st_dev}:{place.st_ino}:{first[0][0] if first else None}"


def _batch_of(weights: Weights) -> int:
    network = weights.encoder is not None and weights.encoder.query_strategy != "bm25"
    return NETWORK_BATCH if network else BATCH


def _add(writer: Writer, source: Index, some: Sequence[StoredDocument], weights: Weights) -> None:
    documents, vectors, passages = _encoded(source, some, weights)
    if documents:
        writer.add(documents, vectors, passages=passages)


def _check_texts(source: Index, fields: tuple[str, ...]) -> None:
    """Raise `UsageError` with the number of documents that an encoder would leave without weights.

    Before the first is encoded; those that come later are looked at in their turn.
    """
    n, last, until = 0, 0, last_docid(source.catalog)
    while some := live_after(source, last, BATCH, until=until):
        n += _n_silent(source, some, fields)
        last = some[-1].rows[-1].docid
    if n:
        raise _silent(source, n, fields)


def _n_silent(source: Index, some: Sequence[StoredDocument], fields: tuple[str, ...]) -> int:
    """How many of these documents have weights but no text."""
    n = 0
    for one in some:
        if not one.document.text(fields).strip():
            _, places = _places(source, [one])
            n += any(segment.vectors(np.asarray([at])).nnz for segment, at in places)
    return n


def _silent(source: Index, n: int, fields: tuple[str, ...]) -> UsageError:
    what = "1 document has" if n == 1 else f"{n:,} documents have"
    return UsageError(
        f"{source.path.name}: {what} weights but no text in {', '.join(fields)}: encoded anew, no "
        "search would find them. Give them a text, delete them, or rebuild from the stored weights"
    )


def _encoded(
    source: Index, some: Sequence[StoredDocument], weights: Weights
) -> tuple[list[Document], SparseMatrix, list[Passage] | None]:
    documents = [one.document for one in some]
    split = any(row.start is not None for one in some for row in one.rows)
    if weights.encoder is None:
        some, places = _places(source, some)
        parts = [segment.vectors(np.asarray([at])) for segment, at in places]
        nothing: SparseMatrix = sparse.csr_array(np.zeros((0, source.n_terms), np.float32))
        vectors: SparseMatrix = sparse.csr_array(sparse.vstack([nothing, *parts], "csr"))
        passages = _passages(source, some) if split else None
        return [one.document for one in some], vectors, passages
    fields = weights.encoder.text_fields
    if n := _n_silent(source, some, fields):
        raise _silent(source, n, fields)
    if weights.windows is not None:
        pieces, passages = texts_of(documents, fields, weights.windows)
    elif not split:
        pieces, passages = texts_of(documents, fields, None)
    else:
        if source.encoder is not None and tuple(fields) != source.encoder.text_fields:
            raise UsageError(
                f"{source.path}: its passages are parts of the fields "
                f"{', '.join(source.encoder.text_fields)}, the new encoder reads "
                f"{', '.join(fields)}; say how to split with --passages LENGTH/OVERLAP"
            )
        passages = _passages(source, some)
        whole = [document.text(fields) for document in documents]
        pieces = [whole[one.document][one.start : one.end] for one in passages]
    return documents, weights.encoder.encode_documents(pieces), passages


def _places(
    source: Index, some: Sequence[StoredDocument]
) -> tuple[list[StoredDocument], list[tuple[Segment, int]]]:
    """Where the vectors of these documents lie; without the documents that are gone meanwhile."""
    snapshot = source.refresh()
    kept, places = [], []
    for one in some:
        try:
            found = snapshot.locate(np.asarray([row.docid for row in one.rows], np.uint32))
        except KeyError:  # deleted and merged away since we read of it: `catch_up` will know
            continue
        kept.append(one)
        places += found
    return kept, places


def _passages(source: Index, some: Sequence[StoredDocument]) -> list[Passage]:
    """Where these documents were split; one that was not is a single passage."""
    fields = ("title", "text") if source.encoder is None else source.encoder.text_fields
    return [
        Passage(number, 0, len(one.document.text(fields)))
        if row.start is None or row.end is None
        else Passage(number, row.start, row.end)
        for number, one in enumerate(some)
        for row in one.rows
    ]
