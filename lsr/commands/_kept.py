"""Results that `lsr evaluate --output FOLDER` keeps: where they are from, and their runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ..errors import DatasetError, UsageError
from ._judged import Judged


def is_kept(folder: Path) -> bool:
    """Whether `lsr evaluate` wrote this folder."""
    return (folder / "cells").is_dir()


def marks_of(run: Path) -> tuple[str, ...] | None:
    """The marks for contamination of the result that a run belongs to, None for any other run."""
    path = run.parent.parent / "cells" / f"{run.name.removesuffix('.trec.gz')}.json"
    try:
        return tuple(_read_cell(path)["row"].get("contamination", []))
    except (OSError, DatasetError):  # others, too, call a folder "cells"
        return None


def collections_of(targets: Sequence[str]) -> list[str]:
    """The collections on which every target has a result, where all are results of `lsr evaluate`;
    none where one is something else. Unequal sets are a `UsageError`.
    """
    found: list[dict[str, None]] = []
    for target in targets:
        folder, _, system = target.rpartition(":")
        if not folder or not is_kept(Path(folder)):
            folder, system = target, ""
        if not is_kept(Path(folder)):
            return []
        cells = [cell for _, cell in _cells(Path(folder)) if not system or system in _systems(cell)]
        found.append(dict.fromkeys(cell["row"]["dataset"] for cell in cells))
    everything = {name: None for names in found for name in names}
    for target, names in zip(targets, found, strict=True):
        lacking = [name for name in everything if name not in names]
        if lacking:
            raise UsageError(
                f"{target} has no result on {', '.join(lacking)}, and means over unequal sets do "
                "not compare; name what they share with --on"
            )
    return list(everything)


def kept_run(folder: Path, system: str | None, judged: Judged) -> Path:
    """The run of a cell that `lsr evaluate --output` left in `folder`; of another state refused."""
    found: list[_Found] = []
    for path, cell in _cells(folder):
        row = cell["row"]
        here = (row["dataset"], row["split"]) == (judged.name, judged.split)
        if here and (system is None or system in _systems(cell)):
            run = folder / "runs" / f"{path.stem}.trec.gz"
            key = cell["key"]
            what, depth = str(key.get("system_key")), int(key.get("k", 0))
            found.append(_Found(key["system"], run, row["dataset_fingerprint"], what, depth))
    labels = {one.label for one in found}
    if len(labels) != 1:
        raise UsageError(
            f"{folder}: holds {len(labels)} results of {system or 'any system'} on {judged.name} "
            f"{judged.split} ({', '.join(sorted(labels)) or 'none'}); wanted one: {folder}:SYSTEM"
        )
    fresh = [one for one in found if judged.fingerprint in (None, one.made_on)]
    if not fresh:
        raise DatasetError(
            f"{found[0].run}: was made on {judged.name} {found[0].made_on}, and this is "
            f"{judged.fingerprint}; evaluate again"
        )
    if len({one.system_key for one in fresh}) > 1:
        runs = ", ".join(str(one.run) for one in fresh)
        raise UsageError(
            f"{folder}: holds {len(fresh)} results of different systems that are all called "
            f"{fresh[0].label} on {judged.name} {judged.split}; name one of their runs: {runs}"
        )
    # Measured twice, with another -k, or by an earlier release.
    return max(fresh, key=lambda one: (one.depth, one.run.stat().st_mtime)).run


class _Found(NamedTuple):
    """A cell's label, its run, the fingerprint of its collection, what it is, and how deep."""

    label: str
    run: Path
    made_on: str
    system_key: str
    depth: int


def _cells(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((folder / "cells").glob("*.json")):
        yield path, _read_cell(path)


def _read_cell(path: Path) -> dict[str, Any]:
    try:
        cell: dict[str, Any] = orjson.loads(path.read_bytes())
        for name in ("dataset", "split", "system", "dataset_fingerprint"):
            cell["row"][name]
        cell["key"]["system"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}: is no cell of an evaluation ({error!r}); run lsr evaluate again"
        ) from error
    return cell


def _systems(cell: dict[str, Any]) -> tuple[str, str]:
    """What a system is called in its TOML file or options, and what it calls itself."""
    return cell["key"]["system"], cell["row"]["system"]
