"""The judged collection this project ships: the documentation strings of the running Python."""

import hashlib
import platform
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from ..shipped import shipped
from ..types import Document, Qrels, Query
from .beir import BeirFolder
from .dataset import fingerprint_files
from .pydocs import python_docs

PYTHON_DOCS = "python-docs"


class PythonDocs:
    """Documents from the standard library at hand, queries and judgements from `data/`."""

    name = PYTHON_DOCS

    def __init__(self) -> None:
        self.path: Path | None = shipped(PYTHON_DOCS)
        self._judged = BeirFolder(PYTHON_DOCS, self.path)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the Python release, the shipped files and the code that collects."""
        folder = self._judged.path
        shipped_files = (p for p in folder.rglob("*") if p.is_file())
        here = Path(__file__).parent
        parts = [
            platform.python_version(),
            fingerprint_files(shipped_files, root=folder),
            fingerprint_files([here / "pydocs.py", here / "pysource.py"], root=here),
        ]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def documents(self) -> Iterator[Document]:
        """Collect the documentation strings of this interpreter's standard library."""
        return python_docs()

    def splits(self) -> list[str]:
        """The splits with judgements."""
        return self._judged.splits()

    def queries(self, split: str = "test") -> list[Query]:
        """The queries judged in this split."""
        return self._judged.queries(split)

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of this split."""
        return self._judged.qrels(split)
