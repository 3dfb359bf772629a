"""From a name to a collection: a path, `$LSR_DATA`, the cache, ours, ir_datasets, an archive."""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import DatasetError, MissingExtra, UsageError
from .archives import fetch
from .beir import BeirFolder
from .catalogue import GROUPS, archive_of, irds_id
from .dataset import CorpusFile, Dataset
from .irds import IrDataset
from .records import SUFFIXES, record_format
from .shards import ShardFolder
from .shipped_sets import PYTHON_DOCS, PythonDocs
from .texts import TextFolder

IRDS_PREFIX = "irds:"


def load_dataset(name_or_path: str | Path) -> Dataset:
    """Find a collection; `DatasetError` lists where it was looked for and what there is instead.

    In order: a BEIR folder or corpus file at this path; `$LSR_DATA/<name>` and
    `$LSR_DATA/beir/<name>`; the cache; the sets this project ships (`python-docs`); ir_datasets, if
    installed; the archive that BEIR publishes, which is downloaded into the cache; a folder of
    Markdown or text files, or of .jsonl, .csv or .parquet, at this path. What begins with `.`, `~`
    or `/` is looked for at that path alone. `irds:<id>` asks ir_datasets alone.
    `catalogue.members` turns the name of a group into those of its members.
    """
    name = str(name_or_path)
    if not name:
        raise UsageError(
            "the name of the dataset is empty; wanted a name such as scifact, or a path"
        )
    if name.startswith(IRDS_PREFIX):
        return _from_ir_datasets(name.removeprefix(IRDS_PREFIX), name)
    passed: list[Path] = []
    looked: list[str] = []
    given = Path(name).expanduser()
    folders = () if name.startswith((".", "~", "/")) else _folders()
    for path in (given, *(folder / name for folder in folders)):
        if BeirFolder.is_one(path):
            return BeirFolder(_name_of(path) if path == given else name, path)
        if path.is_file() and record_format(path) is not None:
            return CorpusFile(path)
        passed.append(path)
    if name == PYTHON_DOCS:
        return PythonDocs()
    looked.append(f"  the sets that are shipped  ({PYTHON_DOCS})")
    if name in GROUPS:
        raise DatasetError(
            f"{name} is a group of {len(GROUPS[name])} collections: {', '.join(GROUPS[name])}; "
            "name one of them here (`lsr evaluate` takes the group)"
        )
    if importlib.util.find_spec("ir_datasets") is None:
        looked.append("  ir_datasets  (not installed: pip install 'lsr-search[datasets]')")
    elif not _is_path_like(name):
        try:
            return _from_ir_datasets(irds_id(name), name)
        except DatasetError:
            looked.append(f"  ir_datasets  (knows no {irds_id(name)}; ask for others as irds:<id>)")
    archive = archive_of(name)
    if archive is not None:
        try:
            return BeirFolder(name, fetch(archive, cache_folder() / "datasets"))
        except DatasetError as error:
            looked.append(f"  {error}")
    elif given.is_dir():
        if not TextFolder.why_not(given):
            return TextFolder(given)
        if not ShardFolder.why_not(given):
            return ShardFolder(given)
    looked = [*(f"  {path}  ({_what_is_at(path)})" for path in passed), *looked]
    names = available()
    raise DatasetError(
        f"no dataset {name!r}. Looked at\n"
        + "\n".join(looked)
        + f"\nAvailable by name: {', '.join(names)}."
        + ("" if "LSR_DATA" in os.environ else " Set LSR_DATA to a folder of datasets to add more.")
    )


def available() -> list[str]:
    """Names that `load_dataset` finds without a network, sorted."""
    found = {PYTHON_DOCS}
    for folder in _folders():
        if folder.is_dir():
            found.update(child.name for child in folder.iterdir() if BeirFolder.is_one(child))
    return sorted(found)


def cache_folder() -> Path:
    """Where this project keeps what it can make again: `$LSR_CACHE`, or ~/.cache/lsr."""
    chosen = os.environ.get("LSR_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lsr"


def _folders() -> Iterator[Path]:
    root = os.environ.get("LSR_DATA")
    if root:
        yield Path(root).expanduser()
        yield Path(root).expanduser() / "beir"
    yield cache_folder() / "datasets"


def _name_of(path: Path) -> str:
    """The folder's name; a part of CQADupStack is known by both its names."""
    *_, above, own = ("", *path.resolve().parts)
    return f"{above}/{own}" if above == "cqadupstack" else own


def _is_path_like(name: str) -> bool:
    return name.startswith((".", "~", "/")) or record_format(Path(name)) is not None


def _what_is_at(path: Path) -> str:
    if path.is_dir():
        if TextFolder.why_not(path) and (why := ShardFolder.why_not(path)):
            return why
        return "a folder of files: give its path, ./ and all"
    if path.is_file():
        return f"a file that is not named {SUFFIXES}"
    return "not there"


def _from_ir_datasets(irds_id: str, name: str) -> Dataset:
    try:
        module = importlib.import_module("ir_datasets")
    except ImportError as error:
        raise MissingExtra(
            f"the dataset {name}", extra="datasets", package="ir-datasets"
        ) from error
    try:
        return IrDataset(name, irds_id, module.load, docs_id=module.docs_parent_id(irds_id))
    except KeyError as error:
        raise DatasetError(
            f"ir_datasets knows no dataset {irds_id!r}; its catalogue lists the ids"
        ) from error
