"""Where an id occurs twice in a corpus: looked for when an index has refused it.

Whoever streams a corpus keeps no ids, which would take a hundred bytes a document; the index does.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DatasetError, RepeatedId
from .beir import BeirFolder
from .dataset import CorpusFile, Dataset
from .records import lines_of


@contextmanager
def located_in(source: Dataset) -> Iterator[None]:
    """Turn `RepeatedId` in the block into a `DatasetError` that says file and lines."""
    try:
        yield
    except RepeatedId as error:
        match source:
            case CorpusFile(path=path):
                file = path
            case BeirFolder():
                file = source.corpus_file
            case _:
                raise
        lines = lines_of(file, error.doc_id)
        if len(lines) < 2:  # changed in between
            raise
        raise DatasetError(
            f"{file}:{lines[1]}: the id {error.doc_id!r} occurs twice, first in line {lines[0]}; "
            "ids name documents, so each may occur once. Remove or rename one of them"
        ) from error
