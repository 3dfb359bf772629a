"""Every error this project raises on purpose, in one tree.

    LsrError                     exit 1
    + UsageError                 exit 2: the command or call cannot mean anything
    | + QueryError               a query, k or filter that cannot be answered
    | | + FilterError            a mistake in a filter, and where in it
    | |   + UnknownField         a field that the index did not declare
    | + RepeatedId               an id that two documents have
    | + VectorError              NaN, infinite or negative weights, a wrong shape or dtype
    | + RecipeError              an unknown key, a missing file or a bad value in a recipe
    | + MissingExtra             a package of an optional extra is not installed
    + SearchCancelled            a search that its caller called off
    + DatasetError               a corpus, queries, qrels or run file; says file and line
    + ScoresError                a score cache that is damaged or about other data
    + EncoderError               an encoder folder that cannot be loaded or used
    | + EncoderMismatch          an index was built by another encoder
    | + MissingHead              a checkpoint has no language-model head
    | + NotFinite                a network gives weights that are no finite numbers
    + ServiceError               a server refused or did not answer: lsr/client/errors.py
    + RefereeError               another engine, asked as a referee, did not run
    + IndexFailure               anything about an index directory
      + IndexNotFound            there is no index at this path
      + IndexExists              there already is one
      + IndexVersion             written by a version this one cannot read
      + IndexCorrupt             bytes that contradict the format; never searched
      + IndexLocked              another process is the maintainer
      + IndexReplaced            another index lies at the path since it was opened
      + ShardMissing             a shard of a set that does not answer, or is not there
      + SnapshotGone             a commit that can be searched no more
      + VersionConflict          a document is not in the version that a writer expected
      + DiskFull                 the disk has no room; the last commit is intact

A message says where, what was got, what was wanted, and what to do next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal


class LsrError(Exception):
    """The root: catching it catches every error raised on purpose."""

    exit_code = 1
    _may_pass = False

    @property
    def may_pass(self) -> bool:
        """Whether the same command may succeed later: a disk or a share that did not answer, a
        package that was not there. What was done until then is worth keeping.
        """
        cause = self.__cause__
        # A damaged gzip file is an OSError, too, but none of the system's.
        return self._may_pass or (isinstance(cause, OSError) and cause.errno is not None)

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with the message alone; some of ours are told more. A cause
        # stays behind.
        told = {"_may_pass": True} if self.may_pass else {}
        return _revived, (type(self), self.args, self.__dict__ | told)


def _revived(kind: type[LsrError], args: tuple[Any, ...], facts: dict[str, Any]) -> LsrError:
    """An error as it was in the process that raised it."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(facts)
    return error


class UsageError(LsrError):
    """The command or call cannot mean anything as it stands."""

    exit_code = 2


class QueryError(UsageError):
    """A query, a k or a filter that cannot be answered."""


class FilterError(QueryError):
    """A mistake in a filter: `path` leads to it, key by key, and `got` is what stands there.

    `allowed` are the words that could stand there, if they are few; `reason` leaves out the place.
    """

    def __init__(
        self,
        reason: str,
        *,
        path: Sequence[str | int] = (),
        got: object = None,
        allowed: Sequence[str] = (),
    ) -> None:
        place = "/".join(["filter", *map(str, path)])
        super().__init__(f"{place}: {reason}")
        self.reason = reason
        self.path = tuple(path)
        self.got = got
        self.allowed = tuple(allowed)


class UnknownField(FilterError):
    """A filter names a field that was not declared when the index was built."""

    def __init__(self, name: object, *, declared: Sequence[str], path: Sequence[str | int]) -> None:
        super().__init__(
            f"field {name!r} was not declared when the index was built (declared: "
            f"{', '.join(declared) or 'none'}); rebuild it with --field {name}:keyword",
            path=path,
            got=name,
            allowed=declared,
        )


class RepeatedId(UsageError):
    """Two documents of one corpus or batch have the id `doc_id`."""

    def __init__(self, message: str, *, doc_id: str) -> None:
        super().__init__(message)
        self.doc_id = doc_id


class VectorError(UsageError):
    """A sparse matrix with NaN, infinite or negative weights, or of a wrong shape or dtype."""


class RecipeError(UsageError):
    """A training recipe with an unknown key, a bad value or a missing file."""


class MissingExtra(UsageError):
    """A package of an optional extra is not installed; the message holds the install line."""

    _may_pass = True

    def __init__(self, purpose: str, *, extra: str, package: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: "
            f"pip install 'lsr-search[{extra}]'"
        )


@contextmanager
def imports_of(purpose: str, *, extra: str, package: str) -> Iterator[None]:
    """Turn a failed import in the block into `MissingExtra`; `package` where none is named."""
    try:
        yield
    except ImportError as missing:
        name = (missing.name or package).partition(".")[0]
        raise MissingExtra(purpose, extra=extra, package=name) from None


class SearchCancelled(LsrError):
    """A search that was called off through its `Cancel` before it was done."""


class DatasetError(LsrError):
    """A corpus, queries, qrels or run file that cannot be read; names the file and the line."""


class ScoresError(LsrError):
    """A cache of teachers' scores or vectors that is damaged or about other data."""


class EncoderError(LsrError):
    """An encoder folder that cannot be loaded or used."""


class EncoderMismatch(EncoderError):
    """The index was built by an encoder of another space."""


class NotFinite(EncoderError):
    """A network gives weights that are no finite numbers."""


class MissingHead(EncoderError):
    """A checkpoint without language-model head; never re-initialised in silence."""


class ServiceError(LsrError):
    """A server of ours refused, failed or did not answer."""


class RefereeError(LsrError):
    """Another engine that was asked as a referee did not run; carries what it said."""


class IndexFailure(LsrError):
    """Anything about an index directory."""


class IndexNotFound(IndexFailure):
    """There is no index at this path."""


class IndexExists(IndexFailure):
    """There already is an index at this path."""

    exit_code = 2


class IndexVersion(IndexFailure):
    """The index was written in a format version that this release does not read."""


class IndexCorrupt(IndexFailure):
    """Bytes that contradict the format or their checksum; such a file is never searched.

    `what` is the message without the `remedy` that was given, a sentence or more on what to do.
    """

    def __init__(self, what: str, *, remedy: str = "") -> None:
        super().__init__(f"{what}. {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class IndexLocked(IndexFailure):
    """Another process holds the maintainer lock."""


class IndexReplaced(IndexFailure):
    """Another index lies at the path than the one that was opened."""


class ShardMissing(IndexFailure):
    """Shards of a set that do not answer or are not there: an answer would lack their documents."""

    def __init__(self, message: str, *, shards: Sequence[int]) -> None:
        super().__init__(message)
        self.shards = tuple(shards)


class SnapshotGone(IndexFailure):
    """A commit that can be searched no more: documents that it saw have left the index for good."""

    def __init__(self, generation: int, *, oldest: int, newest: int) -> None:
        super().__init__(
            f"commit {generation} can not be searched: those of {oldest} to {newest} can. Start "
            "again on the newest"
        )
        self.generation = generation
        self.oldest = oldest
        self.newest = newest


class VersionConflict(IndexFailure):
    """A document is not in the version that a writer expected; nothing was written.

    A version is the docid of the live document, None where there is none; any will do for "any".
    """

    def __init__(
        self, doc_id: str, *, expected: int | Literal["any"] | None, found: int | None
    ) -> None:
        version = "any version" if expected == "any" else f"version {expected}"
        wanted = "no such document" if expected is None else version
        got = "there is none" if found is None else f"it is version {found}"
        super().__init__(
            f"document {doc_id!r}: expected {wanted}, {got}; nothing was written. Read the "
            "document again and repeat the change."
        )
        self.doc_id = doc_id
        self.expected = expected
        self.found = found


class DiskFull(IndexFailure):
    """The disk has no room left; the last commit is intact and searchable."""
