"""A folder of Markdown and plain text files, a document a file, as notes and manuals lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import DatasetError
from ..types import Document
from .dataset import Unjudged, fingerprint_files
from .folders import DATA, is_ours, walk

SUFFIXES = (".md", ".markdown", ".rst", ".txt")
_MARKDOWN = (".md", ".markdown")
_FENCES = ("```", "~~~")


@dataclass(frozen=True)
class TextFolder(Unjudged):
    """The files below a folder as they are when it is first listed; names are told apart by case.

    A document's id is its path from the folder on, its `title` the first heading of a Markdown file
    (`# Title`), else the file's name, its `text` all of the file. Files are UTF-8. Left out is what
    is hidden, what linked folders hold, and folders of ours (an index that lies in its own source).
    """

    path: Path
    what = "text"
    """What one of its files is called."""

    @staticmethod
    def why_not(path: Path) -> str:
        """Why the folder is no corpus of texts; empty where it is one."""
        if is_ours([child.name for child in path.iterdir()]):
            return "a folder of a model, an index or half a data set"
        n_texts = 0
        for file in walk(path):
            if _suffix(file) in DATA or (_suffix(file.with_suffix("")) in DATA):
                return f"a folder with {file.relative_to(path)}, and without corpus.jsonl"
            n_texts += _suffix(file) in SUFFIXES
        return "" if n_texts else f"a folder without corpus.jsonl or any {', '.join(SUFFIXES)}"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """What is read, sorted by path. Raises `DatasetError` for a name that is not UTF-8."""
        return tuple(file for file in self._all if _suffix(file) in SUFFIXES)

    @property
    def others(self) -> tuple[Path, ...]:
        """What lies between them and is not read."""
        return tuple(file for file in self._all if _suffix(file) not in SUFFIXES)

    @cached_property
    def _all(self) -> tuple[Path, ...]:
        return tuple(sorted(walk(self.path)))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when a file changes, comes or goes."""
        return fingerprint_files(self.files, root=self.path)

    def documents(self) -> Iterator[Document]:
        """Stream the files in the order of their paths; an empty one has an empty text."""
        for file in self.files:
            text = _text(file)
            title = (_heading(text) if _suffix(file) in _MARKDOWN else "") or file.stem
            yield Document(file.relative_to(self.path).as_posix(), {"title": title, "text": text})

    def _no_judgements(self) -> DatasetError:
        return DatasetError(
            f"{self.path}: a folder of text files has no queries or judgements; wanted a folder "
            "with corpus.jsonl, queries.jsonl and qrels/test.tsv"
        )


def _suffix(file: Path) -> str:
    return file.suffix.lower()


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{file}: byte 0x{error.object[error.start]:02x} at offset {error.start} is not UTF-8; "
            "convert the file or take it out of the folder"
        ) from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror or error})") from error


def _heading(text: str) -> str:
    """The first `# Heading` outside of code and of what stands before a text between `---`."""
    lines = text.splitlines()
    if lines[:1] == ["---"] and "---" in lines[1:]:
        lines = lines[lines.index("---", 1) + 1 :]
    fence = ""
    for line in lines:
        mark = line.lstrip()[:3]
        if mark in _FENCES and fence in ("", mark):
            fence = "" if fence else mark
        elif not fence and line.startswith("# ") and line[2:].strip():
            return line[2:].strip()
    return ""
