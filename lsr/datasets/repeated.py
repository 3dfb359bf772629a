"""Where an id occurs twice in a corpus: looked for when an index has refused it.

Whoever streams a corpus keeps no ids, which would take a hundred bytes a document; the index does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DatasetError, RepeatedId
from .beir import BeirFolder
from .dataset import CorpusFile, Dataset
from .records import lines_of
from .shards import ShardFolder


@contextmanager
def located_in(source: Dataset) -> Iterator[None]:
    """Turn `RepeatedId` in the block into a `DatasetError` that says file and lines."""
    try:
        yield
    except RepeatedId as error:
        match source:
            case CorpusFile(path=path):
                files: tuple[Path, ...] = (path,)
            case BeirFolder():
                files = source.corpus_files
            case ShardFolder():
                files = source.files
            case _:
                raise
        found = [(file, line) for file in files for line in lines_of(file, error.doc_id)]
        if len(found) < 2:  # changed in between
            raise
        (first, at), (second, line) = found[:2]
        where = f"in line {at}" if first == second else f"in {first}:{at}"
        raise DatasetError(
            f"{second}:{line}: the id {error.doc_id!r} occurs twice, first {where}; ids name "
            "documents, so each may occur once. Remove or rename one of them"
        ) from error
