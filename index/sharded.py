"""`ShardedIndex`: a set of shards that answers like one index of all their documents, bit for bit.

Every shard ranks its own documents by the same integers, so the k best of all are among the k best
of each. A docid of the set is that of the shard plus what lies before it, hence (score descending,
docid ascending) merges the rankings into the one that a single index gives (shards.py).

Where the shards are is somebody else's business: `Shards` asks them questions, functions of an
open index. Here they are open in this process; the service asks those of a Ray cluster. A set
cannot be written to: it is built again.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from lsr.errors import IndexCorrupt, SnapshotGone, UsageError
from lsr.types import Document, Ranking, SparseMatrix, canonical

from . import shard_facts as told
from .approximate import Approximate
from .check import CheckReport
from .columns import Kind
from .engine import Algorithm, Cancel
from .explain import Explanation
from .filtering import Filter, parsed
from .origins import Origins
from .quantize import scale_for
from .reading import Reader
from .searching import Hits
from .settings import Settings
from .shards import FILE_NAME, ShardSet, check_member, same_everywhere
from .store import Index

T = TypeVar("T")
Docids = npt.NDArray[np.uint32] | Sequence[int]


class Shards(Protocol):
    """Whoever can ask the shards of a set; safe between threads."""

    @property
    def in_process(self) -> bool:
        """Whether a question and its answer stay in this process: flags and threads are shared."""
        ...

    def ask(self, number: int, question: Callable[[Index], T]) -> T:
        """The answer of one shard. Raises `ShardMissing`, and what the question raises."""
        ...

    def ask_all(
        self,
        question: Callable[[Index], T],
        *,
        missing_ok: bool = False,
        cancel: Cancel | None = None,
    ) -> dict[int, T]:
        """The answers by shard, at the same time. Raises `ShardMissing` where one does not answer,
        unless `missing_ok` and another does; `SearchCancelled` once `cancel` is set.
        """
        ...

    def scrub(self, done: Callable[[int, int], None]) -> None:
        """Verify every byte; `done` hears how many bytes of how many are verified."""
        ...

    def close(self) -> None:
        """Let go of all shards."""
        ...


class ShardedIndex(Index):
    """A set of shards, for reading; open it with `Index.open` like any index."""

    def __init__(self, path: Path, members: ShardSet, shards: Shards) -> None:
        self.path = path
        self.members = members
        self.shards = shards
        self._starts = np.asarray(members.starts, np.int64)
        self._stat = (path / FILE_NAME).stat()
        answers = shards.ask_all(told.constants)
        constants = [answers[number] for number in sorted(answers)]
        of_all = partial(same_everywhere, where=path)
        self.n_terms = of_all("n_terms", [one.n_terms for one in constants])
        self.max_weight = of_all("max_weight", [one.max_weight for one in constants])
        self.scale = scale_for(self.max_weight)
        self.fields: dict[str, Kind] = of_all("fields", [one.fields for one in constants])
        self.settings: Settings = of_all("settings", [one.settings for one in constants])
        of_all("space", [one.encoder and one.encoder.space for one in constants])
        self.encoder = constants[0].encoder
        for number, (one, member) in enumerate(zip(constants, members.shards, strict=True)):
            if one.generation != member.generation:
                raise IndexCorrupt(
                    f"{path}: shard {number} is at commit {one.generation}, {FILE_NAME} names "
                    f"{member.generation}: somebody wrote to it. Restore a copy, or build again"
                )

    @classmethod
    def local(cls, path: Path) -> "ShardedIndex":
        """Open a set with all its shards in this process."""
        members = ShardSet.read(path)
        shards = LocalShards(path, members)
        try:
            return cls(path, members, shards)
        except BaseException:
            shards.close()
            raise

    def close(self) -> None:
        """Let go of all shards."""
        self.shards.close()

    # ---- searching -------------------------------------------------------------------------------

    def search_batch(
        self,
        queries: SparseMatrix,
        k: int = 10,
        *,
        threads: int | None = None,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        algorithm: Algorithm = "auto",
        approximate: Approximate | None = None,
        collapse: bool | None = None,
        at: int | None = None,
        timeout: float | None = None,
        cancel: Cancel | None = None,
        missing_ok: bool = False,
    ) -> list[Hits]:
        """As of one index. With `missing_ok` shards that do not answer are left out of the answer,
        which names them in `Hits.missing`. A budget of pages is each shard's.
        """
        self._check_at(at)
        here = self.shards.in_process
        if here and queries.shape[0] > 1:
            threads = max(1, (threads or os.cpu_count() or 1) // len(self.members.shards))
        question = partial(
            Index.search_batch,
            queries=queries,
            k=k,
            threads=threads,
            filter=filter,
            require=require,
            exclude=exclude,
            algorithm=algorithm,
            approximate=approximate,
            collapse=collapse,
            timeout=timeout,
            cancel=cancel if here else None,
        )
        answers = self.shards.ask_all(question, missing_ok=missing_ok, cancel=cancel)
        missing = tuple(n for n in range(len(self.members.shards)) if n not in answers)
        rows = zip(*(answers[number] for number in sorted(answers)), strict=True)
        starts = self._starts[sorted(answers)]
        return [merged(row, starts, k, self.generation, missing) for row in rows]

    def count(
        self,
        query: SparseMatrix,
        *,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        collapse: bool | None = None,
        at: int | None = None,
    ) -> int:
        """Matches in all shards."""
        self._check_at(at)
        question = partial(
            Index.count,
            query=query,
            filter=filter,
            require=require,
            exclude=exclude,
            collapse=collapse,
        )
        return sum(self.shards.ask_all(question).values())

    def allows(
        self,
        doc_id: str,
        *,
        filter: Filter | None = None,
        require: Sequence[int] = (),
        exclude: Sequence[int] = (),
        at: int | None = None,
    ) -> bool:
        """As of one index."""
        question = partial(
            Index.allows, doc_id=doc_id, filter=filter, require=require, exclude=exclude
        )
        return self.shards.ask(self._holder(doc_id, at=at), question)

    def n_passing(self, filter: Filter | None) -> int:
        """Documents of all shards that pass a filter."""
        return sum(self.shards.ask_all(partial(Index.n_passing, filter=filter)).values())

    def prepare(self, filter: Filter | None) -> None:
        """Check a filter; the shards make their masks when they search."""
        parsed(filter, self.fields)

    # ---- documents by docid ----------------------------------------------------------------------

    def documents(self, docids: Docids) -> list[Document]:
        """The stored documents of these docids, in order."""
        return self._routed(docids, lambda local: partial(Index.documents, docids=local))

    def stored_fields(self, docids: npt.NDArray[np.uint32]) -> list[bytes]:
        """The JSON of the stored fields of these docids, in order."""
        return self._routed(docids, lambda local: partial(Index.stored_fields, docids=local))

    def spans(self, docids: Sequence[int]) -> list[tuple[int, int] | None]:
        """The passages of these docids in their documents' texts."""
        return self._routed(docids, lambda local: partial(Index.spans, docids=local.tolist()))

    def origins_of(self, docids: Sequence[int]) -> list[Origins | None]:
        """Where these docids have their expansion terms from."""
        return self._routed(docids, lambda local: partial(Index.origins_of, docids=local.tolist()))

    def explain_docids(
        self, query: SparseMatrix, docids: npt.NDArray[np.uint32]
    ) -> tuple[list[Explanation], float]:
        """Why each of these docids scores as it does, and the score of one point."""
        explained = self._routed(
            docids, lambda local: partial(_explanations, query=query, docids=local)
        )
        csr = canonical(query, n_terms=self.n_terms)
        return explained, self.rounded(csr.indices, csr.data).unit

    def _routed(
        self,
        docids: Docids,
        question: Callable[[npt.NDArray[np.uint32]], Callable[[Index], list[T]]],
    ) -> list[T]:
        """Ask each shard about its own of these docids, and put the answers in their order."""
        given = np.asarray(docids, np.int64)
        holders = np.searchsorted(self._starts, given, side="left") - 1
        found: dict[int, T] = {}
        for number in np.unique(holders).tolist():
            places = np.flatnonzero(holders == number)
            local = (given[places] - self._starts[number]).astype(np.uint32)
            answers = self.shards.ask(max(0, number), question(local))
            found.update(zip(places.tolist(), answers, strict=True))
        return [found[place] for place in range(len(given))]

    # ---- documents by id -------------------------------------------------------------------------

    def get(self, doc_id: str, *, at: int | None = None) -> Document | None:
        """The document of this id, None when there is none."""
        self._check_at(at)
        found = self.shards.ask_all(partial(Index.get, doc_id=doc_id)).values()
        return next((document for document in found if document is not None), None)

    def version(self, doc_id: str, *, at: int | None = None) -> int | None:
        """The docid of the document of this id, None when there is none."""
        self._check_at(at)
        found = self.shards.ask_all(partial(Index.version, doc_id=doc_id))
        for number, docid in found.items():
            if docid is not None:
                return int(self._starts[number]) + docid
        return None

    def vectors_of(self, doc_id: str, *, at: int | None = None) -> SparseMatrix:
        """The stored weights of a document, one row per passage."""
        return self.shards.ask(
            self._holder(doc_id, at=at), partial(Index.vectors_of, doc_id=doc_id)
        )

    def explain(self, query: SparseMatrix, doc_id: str, *, at: int | None = None) -> Explanation:
        """Why this document scores as it does, retrieved or not."""
        question = partial(Index.explain, query=query, doc_id=doc_id)
        return self.shards.ask(self._holder(doc_id, at=at), question)

    def _holder(self, doc_id: str, *, at: int | None = None) -> int:
        """The shard that holds a document. Raises `UsageError` where none does."""
        docid = self.version(doc_id, at=at)
        if docid is None:
            raise UsageError(f"there is no document with id {doc_id!r} in {self.path}")
        return int(np.searchsorted(self._starts, docid, side="left")) - 1

    # ---- the whole set ---------------------------------------------------------------------------

    def term_probabilities(self) -> npt.NDArray[np.float64]:
        """(n_terms,) the share of stored passages in which each term weighs something."""
        return told.term_probabilities(self._of_all(told.frequencies))

    def heaviest(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """(len(terms),) the largest weight each term has in a document of any shard."""
        of_shards = self._of_all(partial(Index.heaviest, terms=terms))
        weights: npt.NDArray[np.float64] = np.max(of_shards, axis=0)
        return weights

    def info(self) -> dict[str, Any]:
        """Counts and sizes of all shards together, ready for JSON."""
        return told.info(self._of_all(Index.info)) | {
            "path": str(self.path),
            "generation": self.generation,
            "n_shards": len(self.members.shards),
            "set": self.members.name,
        }

    def check(self) -> CheckReport:
        """Read and verify every byte of every shard."""
        return told.checked(self._of_all(Index.check))

    def scrub(self, *, done: Callable[[int, int], None] = lambda n, of: None) -> None:
        """Verify every byte of every shard, as `Index.scrub`."""
        self.shards.scrub(done)

    def disk_parts(self) -> dict[str, int]:
        """Bytes on disk by what they are for, of all shards."""
        return told.added(self._of_all(Index.disk_parts))

    def fallbacks(self) -> list[dict[str, Any]]:
        """None: a shard is never merged again."""
        return []

    def float_overlap(self) -> float | None:
        """None: no shard knows the float rankings of all."""
        return None

    def committed_at(self) -> float | None:
        """When the newest shard was built."""
        return max((at for at in self._of_all(Index.committed_at) if at is not None), default=None)

    def _of_all(self, question: Callable[[Index], T]) -> list[T]:
        return list(self.shards.ask_all(question).values())

    def in_place(self) -> bool:
        """Whether the path still holds the set that was opened here."""
        try:
            return os.path.samestat((self.path / FILE_NAME).stat(), self._stat)
        except FileNotFoundError:
            return False

    @property
    def identity(self) -> str:
        """The name of the set: copies of it have the same."""
        return self.members.name

    @property
    def generation(self) -> int:
        """1: a set is built once, and another set has another name."""
        return 1

    @property
    def horizon(self) -> int:
        """The same."""
        return 1

    @property
    def n_docs(self) -> int:
        """Documents of all shards."""
        return self.members.n_docs

    @property
    def n_pending(self) -> int:
        """None."""
        return 0

    @property
    def n_segments(self) -> int:
        """Segment files that every search asks."""
        return sum(self._of_all(_n_segments))

    @property
    def retained_seconds(self) -> float:
        """0: nothing is ever deleted."""
        return 0.0

    @property
    def encoder_folder(self) -> Path:
        """The query side of the encoder, of which every shard has a copy."""
        return self.path / self.members.shards[0].name / "encoder"

    @property
    def _catalog(self) -> NoReturn:  # type: ignore[override]
        """What everything else needs: whatever writes, or looks into files."""
        self._fail()

    def _fail(self) -> NoReturn:
        shards = self.members.shards
        raise UsageError(
            f"{self.path} is a set of {len(shards)} shards, which can be searched and read; to "
            "change it build it again, and for anything else open the shards one by one, such as "
            f"{self.path / shards[0].name}"
        )

    def refresh(self) -> NoReturn:
        """No snapshot knows all shards. Raises `UsageError`."""
        self._fail()

    def parts(self) -> list[tuple[int, Reader]]:
        """(number of documents before, shard), in order."""
        if not isinstance(self.shards, LocalShards):
            self._fail()
        return list(zip(self.members.starts, self.shards.indexes, strict=True))

    def _check_at(self, at: int | None) -> None:
        if at is not None and at != self.generation:
            raise SnapshotGone(at, oldest=self.generation, newest=self.generation)


class LocalShards:
    """The shards of a set, open in this process and asked by a thread each."""

    in_process = True

    def __init__(self, path: Path, members: ShardSet) -> None:
        self._path = path
        self.indexes: list[Index] = []
        try:
            for number, shard in enumerate(members.shards):
                check_member(path / shard.name, set_name=members.name, number=number)
                self.indexes.append(Index.open(path / shard.name, read_only=True))
        except BaseException:
            self.close()
            raise
        beside = max(1, len(self.indexes) - 1, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(beside, "shard")

    def ask(self, number: int, question: Callable[[Index], T]) -> T:
        """The answer of one shard, in this thread."""
        return question(self.indexes[number])

    def ask_all(
        self,
        question: Callable[[Index], T],
        *,
        missing_ok: bool = False,
        cancel: Cancel | None = None,
    ) -> dict[int, T]:
        """The answers of all; this thread asks the first shard itself."""
        first, *others = self.indexes
        asked = [self._pool.submit(question, index) for index in others]
        answers = {0: question(first)}
        answers.update(enumerate((one.result() for one in asked), start=1))
        return answers

    def scrub(self, done: Callable[[int, int], None]) -> None:
        """Verify the shards one after the other."""
        sizes = [int(index.info()["segment_bytes"]) for index in self.indexes]
        before = 0
        for index, size in zip(self.indexes, sizes, strict=True):
            index.scrub(done=partial(_told, done, before, sum(sizes)))
            before += size

    def close(self) -> None:
        """Close every shard; searches that are running finish on what they hold."""
        if hasattr(self, "_pool"):
            self._pool.shutdown(wait=False)
        for index in self.indexes:
            index.close()


def merged(
    parts: Sequence[Hits],
    starts: npt.NDArray[np.int64],
    k: int,
    generation: int,
    missing: Sequence[int] = (),
) -> Hits:
    """The k best of rankings of one query, whose docids begin after `starts`.

    At equal scores an earlier shard's document comes first, and within a shard the smaller docid.
    """
    scores = np.concatenate([part.ranking.scores for part in parts])
    docids = np.concatenate(
        [part.ranking.docids + np.uint32(start) for part, start in zip(parts, starts, strict=True)]
    )
    # Each part is in order and parts follow each other, so a stable sort leaves ties by docid.
    best = np.argsort(-scores.astype(np.int64), kind="stable")[:k]
    names = [name for part in parts for name in part.doc_ids]
    return Hits(
        [names[place] for place in best.tolist()],
        Ranking(docids[best], scores[best], parts[0].ranking.unit),
        generation,
        told.report([part.report for part in parts], complete=not missing),
        any(part.split for part in parts),
        tuple(missing),
    )


def _explanations(
    index: Index, *, query: SparseMatrix, docids: npt.NDArray[np.uint32]
) -> list[Explanation]:
    return index.explain_docids(query, docids)[0]


def _n_segments(index: Index) -> int:
    return index.n_segments


def _told(done: Callable[[int, int], None], before: int, total: int, n: int, _: int) -> None:
    done(before + n, total)
