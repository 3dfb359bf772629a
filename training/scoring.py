"""Fill a score cache, resumably: in parts, each durable before the next is begun.

Parts lie in `<file>.parts/` until the file is whole: whoever is killed loses one part. A finished
file is replaced at once. A teacher is a column: those that are there are copied, never computed
again.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from lsr.errors import ScoresError
from lsr.files import atomic_write, locked
from lsr.progress import Bar, bar

from .candidates import Candidates, Keys, keys_fingerprint
from .scores import Column, ScoreCache, Scores, write_cache

PART_PAIRS = 4_096
"""Pairs a part: what a kill costs, about a minute of a small cross-encoder on one CPU core."""


@dataclass(frozen=True)
class NewScores:
    """A teacher about to be added: what it is called, and how to score a run of queries."""

    name: str
    kind: str
    fingerprint: str
    score: Callable[[slice], Scores]
    """From queries a to b to (pairs,) float32, the scores of their candidates end to end."""
    settings: dict[str, Any] = field(default_factory=dict)


def update_cache(
    path: Path,
    candidates: Candidates,
    query_keys: Keys,
    document_keys: Keys,
    new: Sequence[NewScores],
    *,
    sources: Sequence[dict[str, Any]] = (),
    deadline: float | None = None,
    quiet: bool = False,
    part_pairs: int = PART_PAIRS,
) -> ScoreCache | None:
    """Bring the file at `path` up to date with the teachers `new`; None if `deadline` came first.

    `document_keys` are those of `Pairs.documents`. What earlier calls finished, whole columns or
    parts, is kept. A file about other data is a `ScoresError`. `deadline` is a time of
    `time.monotonic`. A second process waits for the first and then finds everything done.
    """
    documents = document_keys[candidates.documents]
    data = keys_fingerprint(query_keys, candidates.lengths, documents)
    parts = path.with_name(f"{path.name}.parts")
    with locked(parts):
        old = ScoreCache.open(path) if path.exists() else None
        if old is not None and old.data != data:
            raise ScoresError(
                f"{path} holds scores of other queries or candidates (data {old.data}, wanted "
                f"{data}); name another file, or remove it"
            )
        missing = [t for t in new if old is None or old.teacher(t.fingerprint) is None]
        blocks = candidates.blocks(part_pairs)
        for teacher in missing:
            if not _compute(parts, data, teacher, candidates, blocks, deadline, quiet):
                return None
        if missing or old is None:
            columns, parted = _columns(old, missing)

            def scores(column: Column, i: int) -> Scores:
                if column.fingerprint in parted or old is None:
                    return _part_again(parts, data, column.fingerprint, i)
                return old.scores(column.column, blocks[i].start, blocks[i].stop)

            write_cache(
                path,
                data=data,
                sources=old.sources if old is not None else sources,
                columns=columns,
                candidates=candidates,
                blocks=blocks,
                query_keys=query_keys,
                documents=documents,
                scores=scores,
            )
            return _tidied(path, parts)
    return old


def _tidied(path: Path, parts: Path) -> ScoreCache:
    cache = ScoreCache.open(path)
    shutil.rmtree(parts, ignore_errors=True)
    return cache


def _compute(
    parts: Path,
    data: str,
    teacher: NewScores,
    candidates: Candidates,
    blocks: Sequence[slice],
    deadline: float | None,
    quiet: bool,
) -> bool:
    """Score what no part holds yet; False if the deadline came first."""
    left = [
        i for i in range(len(blocks)) if _read(_part(parts, data, teacher.fingerprint, i)) is None
    ]
    size = candidates.offsets
    total = sum(int(size[blocks[i].stop] - size[blocks[i].start]) for i in left)
    done: Bar[None] = bar(total=total, unit="pairs", desc=teacher.name, quiet=quiet or None)
    with done:
        for i in left:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            block = blocks[i]
            scores = np.ascontiguousarray(teacher.score(block), "<f4")
            if np.isinf(scores).any():
                raise ScoresError(
                    f"teacher '{teacher.name}' gave an infinite score to a candidate of queries "
                    f"{block.start} to {block.stop - 1}; score in float32"
                )
            raw = scores.tobytes()
            with atomic_write(_part(parts, data, teacher.fingerprint, i)) as out:
                out.write(raw + google_crc32c.value(raw).to_bytes(4, "little"))
            done.update(len(scores))
    return True


def _part(parts: Path, data: str, fingerprint: str, number: int) -> Path:
    return parts / f"{data}-{fingerprint}-{number:06}.f32"


def _read(part: Path) -> Scores | None:
    """A part's scores; None if it is missing or damaged, and so to be computed again."""
    try:
        raw = part.read_bytes()
    except FileNotFoundError:
        return None
    if len(raw) < 4 or google_crc32c.value(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        return None
    return np.frombuffer(raw[:-4], "<f4")


def _part_again(parts: Path, data: str, fingerprint: str, number: int) -> Scores:
    part = _part(parts, data, fingerprint, number)
    scores = _read(part)
    if scores is None:
        raise ScoresError(
            f"{part} was damaged since it was written; run it again, only this part is computed "
            "again"
        )
    return scores


def _columns(old: ScoreCache | None, missing: Sequence[NewScores]) -> tuple[list[Column], set[str]]:
    """Columns of the file to write, old ones first, and the fingerprints of the new ones."""
    columns = list(old.teachers) if old is not None else []
    taken = {"query", "documents", *(column.column for column in columns)}
    for new in missing:
        name = new.name if new.name not in taken else f"{new.name}-{new.fingerprint}"
        taken.add(name)
        columns.append(Column(name, new.name, new.kind, new.fingerprint, new.settings))
    return columns, {new.fingerprint for new in missing}
