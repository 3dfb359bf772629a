"""`Index`: a durable, searchable set of documents in one directory.

    scifact.index/
      catalog.sqlite      documents, texts, pending vectors, tombstones, live segments  (catalog.py)
      segments/*.seg      immutable, checksummed, memory-mapped                         (FORMAT.md)
      encoder/            the query side, of encoders whose queries need no network
      maintainer.lock     held by the one process that seals, merges or builds

An index object is safe to share between threads. Any number of processes may open the same
directory; each sees every commit at its next search.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lsr.errors import (
    IndexCorrupt,
    IndexExists,
    IndexFailure,
    IndexNotFound,
    UsageError,
)
from lsr.files import changing, make_directory, sync_directory
from lsr.types import Document, SparseMatrix

from . import maintenance
from .backup import backup
from .bulk import BuildState, BulkBuild, parse_memory
from .card import EncoderCard, copy_damage
from .catalog import FILE_NAME, Catalog
from .changes import reserve_docids
from .check import CheckReport, check_index
from .columns import KINDS
from .effort import Effort
from .fallback import fall_back, fallbacks, undo_merge, undos
from .filtering import Filter
from .history import n_out_of_reach, retain
from .manifest import Manifest, is_snapshot
from .memory import forget_all
from .notes import facts, notes_of
from .parts import disk_parts
from .quantize import MAX_IMPACT, scale_for
from .reading import Reader
from .rows import Passage
from .settings import Settings
from .shards import FILE_NAME as SHARDS
from .writer import Commit, Writer

MOST_TERMS = 1 << 28
"""A segment says for each term where its postings begin: 2 GiB at this many."""
SEAL_AT = 20_000
"""Pending rows beyond which a commit seals them: every process holds them in memory of its own."""


class Index(Reader):
    """An open index directory; make one with `create` or `open`, close it or use `with`."""

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        n_terms: int,
        max_weight: float,
        encoder: EncoderCard | None = None,
        fields: Mapping[str, str] | None = None,
        settings: Settings | None = None,
    ) -> "Index":
        """Make an empty index; `fields` declares filter columns, e.g. {"lang": "keyword"}.

        `max_weight` is the document weight that impact 255 stands for; it is fixed for good (a
        binary index has weights of 1 alone, so that there it is 255). Raises `IndexExists` when the
        directory already holds an index.
        """
        path = Path(path).resolve()
        fields = dict(fields or {})
        for name, kind in fields.items():
            if kind not in KINDS:
                raise UsageError(f"field {name!r}: kind {kind!r} is none of {', '.join(KINDS)}")
        if not isinstance(n_terms, int | np.integer) or not 1 <= n_terms <= MOST_TERMS:
            raise UsageError(
                f"n_terms = {n_terms!r}: wanted a whole number of terms, from 1 to {MOST_TERMS:,}"
            )
        scale_for(max_weight)
        if (path / FILE_NAME).exists():
            raise IndexExists(f"{path}: there is an index already; open it, or choose another path")
        settings = settings or Settings()
        if settings.binary:
            max_weight = MAX_IMPACT
        with changing(path):
            make_directory(path / "segments")
        catalog = Catalog.create(
            path / FILE_NAME,
            {
                "n_terms": int(n_terms),
                "max_weight": float(max_weight),
                "fields": fields,
                "encoder": None if encoder is None else asdict(encoder),
                "build": settings.to_json(),
            },
        )
        try:
            with changing(path):
                sync_directory(path)
        except BaseException:
            catalog.close()
            raise
        return cls(path, catalog)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> "Index":
        """Open an existing index. Raises `IndexNotFound`, `IndexVersion` or `IndexCorrupt`.

        A set of shards opens as well, as an index that cannot be written to (`sharded.py`).
        """
        path = Path(path)
        if str(path).startswith(("http:/", "https:/")):
            raise UsageError(
                f"{path}: wanted the folder of an index; of addresses, `lsr search` alone takes one"
            )
        if path.exists() and not path.is_dir():
            raise IndexNotFound(
                f"{path} is a file, wanted the folder of an index; build one of it with "
                f"`lsr index {path} NAME.index`"
            )
        if not path.is_dir():
            raise IndexNotFound(
                f"{path}: no such directory; build an index with `lsr index CORPUS {path}`"
            )
        path = path.resolve()  # the index stays where it is when the caller changes directory
        if (path / SHARDS).is_file():
            from .sharded import ShardedIndex  # which is an Index

            return ShardedIndex.local(path)
        read_only = read_only or is_snapshot(path)  # to write would contradict its manifest
        index = cls(path, Catalog.open(path / FILE_NAME, read_only=read_only))
        try:
            try:
                index.refresh()
            except IndexCorrupt:
                if read_only or not index._fell_back():
                    raise
                index.refresh()
        except BaseException as error:
            if isinstance(error, IndexCorrupt):
                index.catalog.abandon()
            index.close()
            raise
        return index

    # ---- writing -------------------------------------------------------------------------------

    def add(
        self,
        documents: Sequence[Document],
        vectors: SparseMatrix,
        *,
        passages: Sequence[Passage] | None = None,
    ) -> Commit:
        """Add documents, replacing those whose id exists; durable and visible when it returns.

        `vectors` has a row per document, or per passage when `passages` says where each belongs.
        """
        with self.writer() as writer:
            writer.add(documents, vectors, passages=passages)
        assert writer.commit is not None
        return writer.commit

    def delete(self, doc_ids: Iterable[str]) -> Commit:
        """Delete documents by id; ids that are not there are counted out, not refused."""
        with self.writer() as writer:
            writer.delete(doc_ids)
        assert writer.commit is not None
        return writer.commit

    def delete_where(self, filter: Filter) -> Commit:
        """Delete all documents that pass a filter; `Commit.n_deleted` says how many they were."""
        with self.writer() as writer:
            writer.delete_where(filter)
        assert writer.commit is not None
        return writer.commit

    def writer(self) -> Writer:
        """Group several adds and deletes into one commit: `with index.writer() as writer: ...`."""
        return Writer(
            self._catalog,
            n_terms=self.n_terms,
            declared=self.fields,
            settings=self.settings,
            matching=self._docids_matching,
            committed=self._committed,
        )

    def forget_remembered(self) -> None:
        """Remove everything that was remembered, as a copy must that begins another life: pieces of
        work are numbered anew there.
        """
        with self._catalog.transaction() as connection:
            forget_all(connection)

    def skip_versions(self, count: int) -> None:
        """Never give the next `count` docids, which are the versions of documents: another index
        gives them, or has given them. Raises `IndexFailure` where fewer are left.
        """
        with self._catalog.transaction() as connection:
            if count > 0:
                reserve_docids(connection, count)

    def bulk(
        self,
        source: str,
        *,
        memory: str = "1GiB",
        settings: Settings | None = None,
        effort: Effort | None = None,
    ) -> BulkBuild:
        """A build of many batches, published at once and resumable by the same `source` name.

        It becomes one segment, within `memory` whatever its size. `settings` replace those that are
        recorded, for this and for all later builds, adds and merges; whether an index is binary is
        fixed when it is created.
        """
        if settings is not None and settings.binary != self.settings.binary:
            raise UsageError(
                f"{self.path}: binary = {self.settings.binary} was fixed when the index was "
                f"created, got binary = {settings.binary}; create another index"
            )
        self.settings = settings or self.settings
        return BulkBuild(
            self.path,
            self._catalog,
            source,
            n_terms=self.n_terms,
            scale=self.scale,
            fields=self.fields,
            memory=parse_memory(memory),
            settings=self.settings,
            effort=effort,
        )

    def seal(self, *, wait: float = 5.0) -> None:
        """Turn pending rows into a segment file. Raises `IndexLocked` when another process
        maintains.
        """
        with maintenance.maintainer(self.path, wait=wait):
            maintenance.seal(
                self.path,
                self._catalog,
                n_terms=self.n_terms,
                scale=self.scale,
                fields=self.fields,
                settings=self.settings,
            )

    def merge(
        self,
        *,
        everything: bool = True,
        memory: str = "1GiB",
        effort: Effort | None = None,
        settle: bool = True,
    ) -> None:
        """Seal, then merge segments, dropping deleted documents for good; then remove retired
        files.

        With `everything`, into one; otherwise only where many are alike. However large, it stays
        within `memory`, as long as that holds some 250 bytes a document. Without `settle` what was
        merged is kept, so that there is a way back, until the next merge, build or `scrub`.
        """
        self.seal()
        with maintenance.maintainer(self.path):
            maintenance.settle(self.path, self._catalog)
            maintenance.merge(
                self.path,
                self._catalog,
                self.refresh(),
                scale=self.scale,
                everything=everything,
                memory=parse_memory(memory),
                settings=self.settings,
                effort=effort,
            )
            self.refresh()
            if settle:
                maintenance.settle(self.path, self._catalog)
                self.refresh()

    def tidy(self, *, memory: str = "1GiB") -> bool:
        """Seal and merge if most rows are those of deleted documents, so that their texts leave the
        disk though nothing is added any more; whether it did.

        Versions that a commit in reach saw (see `retain`) are no reason, since they would stay.
        """
        n_rows = sum(view.segment.n_docs for view in self.refresh().views)
        with self._catalog.reading() as connection:
            n_gone = n_out_of_reach(connection)
        if 2 * n_gone <= n_rows or not n_gone:
            return False
        self.merge(everything=False, memory=memory)
        return True

    def undo_merge(self) -> int:
        """Go back to the segments before the last merge, without losing what came since; the new
        commit. Raises `IndexFailure` where no merge can be undone any more.
        """
        with maintenance.maintainer(self.path):
            with self._catalog.reading() as connection:
                open_ends = undos(connection)
            if not open_ends:
                raise IndexFailure(
                    f"{self.path}: no merge can be undone; what was merged was verified, and its "
                    "sources are gone"
                )
            number = undo_merge(self._catalog, open_ends[-1], "asked for")
            self.refresh()
            maintenance.collect(self.path, self._catalog)
        return number

    def fallbacks(self) -> list[dict[str, Any]]:
        """Every time that this index went back from a damaged segment to those it was made of, the
        newest last: {"at", "commit", "undone", "file", "why"}.
        """
        return fallbacks(self._catalog)

    # ---- looking after ---------------------------------------------------------------------------

    def retain(self, seconds: float) -> None:
        """Keep every commit of the last `seconds` in reach of `search(at=...)`, whichever process
        seals and merges; 0, as an index is made, lets deleted documents go at the next merge.
        """
        with self._catalog.transaction() as connection:
            retain(connection, seconds)

    def disk_parts(self) -> dict[str, int]:
        """Bytes on disk by what they are for; reads every page of the catalog (parts.py)."""
        return disk_parts(self._catalog, self.refresh())

    def info(self) -> dict[str, Any]:
        """Counts, sizes and origins of this index, ready for JSON."""
        settings = {
            "path": str(self.path),
            "n_terms": self.n_terms,
            "max_weight": self.max_weight,
            "scale": self.scale,
            "scores": "match counts" if self.settings.binary else "sums of 8-bit impacts",
            "catalog_bytes": self._catalog.n_bytes(),
            "fields": self.fields,
            "encoder": None if self.encoder is None else asdict(self.encoder),
        }
        snapshot = self.refresh()
        with self._catalog.reading() as connection:
            notes = notes_of(connection)
        files = [view.segment for view in snapshot.views if view.number >= 0]
        named = [notes[s.path.name] for s in files if s.path and s.path.name in notes]
        known = facts(named, n_postings=sum(segment.n_postings for segment in files))
        return settings | self.settings.to_json() | snapshot.summary() | known

    def last_build(self) -> BuildState | None:
        """The newest bulk build that was begun, None when there was none."""
        rows = self._catalog.rows(
            "SELECT source, n_done, published IS NOT NULL FROM builds ORDER BY build DESC LIMIT 1"
        )
        return BuildState(str(rows[0][0]), int(rows[0][1]), bool(rows[0][2])) if rows else None

    def scrub(self, *, done: Callable[[int, int], None] = lambda n, of: None) -> None:
        """Verify every byte of the open segments that was not verified yet; meant for a thread.

        `done` is told how many bytes of how many are verified.

        A segment that fails is given up for those it was merged of, where these are kept still;
        otherwise it takes the index out of service: from then on every search raises
        `IndexCorrupt`, since results without it would be wrong in silence.
        """
        views = [view for view in self.refresh().views if view.number >= 0]
        n_bytes = sum(view.segment.n_bytes for view in views)
        n_done = 0
        for view in views:
            if view.number not in self._verified:
                try:
                    view.segment.verify()
                except IndexCorrupt as error:
                    if self._fell_back():
                        self.scrub(done=done)
                        return
                    self._damage = str(error)
                    raise
                self._verified.add(view.number)
            n_done += view.segment.n_bytes
            done(n_done, n_bytes)
        sound = [view.segment.path.name for view in views if view.segment.path]
        with suppress(IndexFailure):  # read-only, or somebody maintains: they will do it
            self._settle(sound)

    def backup(self, target: str | Path, *, name: str | None = None, link: bool = True) -> Manifest:
        """Copy this index at its newest commit to `target`, a new snapshot; others write meanwhile.

        See `backup.backup`: every byte is read, verified and listed with its SHA-256.
        """
        return backup(self.path, Path(target), name=name, link=link)

    def check(self) -> CheckReport:
        """Read and verify every byte of the catalog and of every live segment."""
        report = check_index(self.path, n_terms=self.n_terms, scale=self.scale)
        damage = self.encoder_damage()
        return report if damage is None else replace(report, problems=(*report.problems, damage))

    def encoder_damage(self) -> str | None:
        """How the copy of the encoder differs from what was stored; None when it is as it was."""
        return copy_damage(self.encoder, self.encoder_folder)

    def _settle(self, sound: Sequence[str]) -> None:
        """Forget the ways back from segments that are sound."""
        with self._catalog.reading() as connection:
            if not undos(connection):
                return
        with maintenance.maintainer(self.path, wait=0.0):
            maintenance.settle(self.path, self._catalog, verified=sound)

    def _fell_back(self) -> bool:
        """Whether a damaged segment could be given up for those that it was merged of."""
        with self._catalog.reading() as connection:
            if not undos(connection):
                return False
        try:
            with maintenance.maintainer(self.path):
                return fall_back(self._catalog)[1] > 0
        except IndexFailure as error:
            logging.getLogger(__name__).error("%s: there is no way back: %s", self.path, error)
            return False

    def _committed(self) -> None:
        """After a commit: seal and merge when pending rows have become a burden.

        The commit stands whatever comes of that: locked, full or damaged is for the log. Rows are
        counted rather than made searchable here: who only writes never pays for that.
        """
        try:
            rows = self._catalog.rows("SELECT count(*) FROM pending INDEXED BY pending_added")
            if rows[0][0] > SEAL_AT:
                self.seal(wait=0.0)
                self.merge(everything=False, settle=False)
        except IndexFailure as error:
            logging.getLogger(__name__).warning("committed, but not sealed: %s", error)
