"""What lies below a folder that somebody names as a corpus, without what is ours or hidden."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import DatasetError

_OURS = (
    "modules.json", "config.json", "tokenizer.json", "catalog.sqlite", "shards.json",
    "service.sqlite", "qrels", "vectors.npz", "encoder.json",
)  # fmt: skip
"""What a model, an index, a data directory, judgements or encoded texts have among them."""
_OTHERS = ("node_modules",)
_UNFINISHED = (".building", ".parts", ".work")
DATA = frozenset(
    {".jsonl", ".ndjson", ".tsv", ".csv", ".parquet", ".arrow", ".npz", ".safetensors", ".gguf"}
)
"""Beside such files a README is about a collection or a model, and not a document of it."""


def is_ours(names: Iterable[str]) -> bool:
    """Whether a folder with these names in it is a model, an index or half a data set."""
    names = set(names)
    return any(name in names for name in _OURS)


def walk(path: Path) -> Iterator[Path]:
    """The files below a folder, in no order. Raises `DatasetError` for a name that is not UTF-8."""

    def fail(error: OSError) -> None:
        raise DatasetError(f"{error.filename}: cannot be read ({error.strerror or error})")

    for place, folders, names in os.walk(path, onerror=fail):
        here = Path(place)
        if here != path and (is_ours([*names, *folders]) or "pyvenv.cfg" in names):
            folders.clear()
            continue
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in _OTHERS and not name.endswith(_UNFINISHED)
        ]
        for name in names:
            file = here / name
            try:
                if name.startswith(".") or not file.is_file():
                    continue
            except OSError as error:
                fail(error)
            try:
                os.fspath(file).encode()
            except UnicodeEncodeError:
                raise DatasetError(
                    f"{os.fsencode(file)!r}: the name is not UTF-8, and would be the id of a "
                    "document; rename the file"
                ) from None
            yield file
