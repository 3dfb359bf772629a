"""What ails a data directory, beside a running server or without one; nothing is changed.

`examine_home` looks at `service.sqlite` and at what names point to, `examine_index` at one index:
is it whole, what does a document cost on disk, is its scale too small. `lsr doctor INDEX` looks
deeper into one index, with its encoder.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from index import Index, query_encoder
from index.doctor import Finding
from lsr.encoders import BM25Encoder
from lsr.errors import LsrError

from .home import Home, queue, registry
from .home.registry import Entry, Registry
from .limits import MIB
from .outgrown import outgrown
from .pressure import Pressure
from .problems import ProblemError

DAY_S = 24 * 3600.0
EXPIRES_SOON_S = 14 * DAY_S
STUCK_S = 600.0
"""A running task reports several times a second; ten minutes of nothing is no slow disk."""
ORPHAN_S = 3600.0
"""What the worker itself removes when it starts."""
WARN_SATURATED = 0.001
Progress = Callable[[str], None]


def examine(
    home: Home,
    *,
    quick: bool = False,
    now: float | None = None,
    doing: Progress = lambda name: None,
) -> list[Finding]:
    """Every check of the directory and of each index; `doing` hears the name of what is read.

    `quick` opens indexes without reading each byte of them.
    """
    now = time.time() if now is None else now
    names = Registry.read(home)
    doing("service.sqlite")
    found = [
        _integrity(home),
        _worker(home),
        _tasks(home, now),
        _aliases(home, names),
        _keys(home, now),
        _orphans(home),
        _versions(home),
        _room(home),
    ]
    for entry in names.entries.values():
        doing(entry.name)
        found.extend(examine_index(home, entry, quick=quick))
    return found


def examine_index(home: Home, entry: Entry, *, quick: bool) -> Iterator[Finding]:
    """The checks of one index, named INDEX/CHECK."""
    try:
        with Index.open(entry.path, read_only=True) as index:
            yield _whole(entry, index, quick=quick)
            yield _disk(home, entry, index)
            yield _saturation(home, entry, index)
            if index.encoder is not None and index.encoder.query_strategy == "bm25":
                yield _counted(home, entry, index)
    except LsrError as error:
        yield Finding(
            f"{entry.name}/integrity",
            "fail",
            f"cannot be opened: {error}",
            "searches of this index are answered with 503",
            ("lsr", "check", str(entry.path)),
        )


def _integrity(home: Home) -> Finding:
    problems = home.database.integrity_problems()
    if problems:
        return Finding(
            "store",
            "fail",
            "; ".join(problems[:3]),
            "names, keys and acknowledged documents are kept in it",
            ("lsr", "serve", "--data", "COPY"),
            {"problems": problems},
        )
    size = (home.path / "service.sqlite").stat().st_size
    return Finding(
        "store", "ok", f"service.sqlite, {size / MIB:.1f} MiB, every page and index fits"
    )


def _worker(home: Home) -> Finding:
    working = home.worked_in()
    counts = queue.counts(home)
    waiting = sum(counts.get(state, 0) for state in ("queued", "running"))
    numbers = {"working": working, "waiting": waiting}
    if working is False and waiting:
        return Finding(
            "worker",
            "warn",
            f"no server runs here, and {waiting} acknowledged tasks wait",
            "what they bring is durable and not searchable until a server runs them",
            ("lsr", "serve", "--data", str(home.path)),
            numbers,
        )
    state = {True: "a server runs here", False: "no server runs here", None: "not told here"}
    return Finding("worker", "ok", f"{state[working]}; {waiting} tasks wait", numbers=numbers)


def _tasks(home: Home, now: float) -> Finding:
    stuck = [
        (number, kind, now - since)
        for number, kind, since in home.rows(
            "SELECT id, kind, coalesce(started, created) FROM tasks WHERE finished IS NULL"
        )
        if now - since > STUCK_S
    ]
    failed = home.rows(
        "SELECT count(*), max(id), coalesce(sum(json_extract(CAST(details AS TEXT), '$.indexed')), "
        f"0) FROM tasks WHERE state='failed' AND finished>? AND NOT {queue.FORESTALLED}",
        now - DAY_S,
    )[0]
    numbers = {
        "stuck": [number for number, _, _ in stuck],
        "failed_today": failed[0],
        "indexed_before_failing": failed[2],
    }
    if stuck:
        number, kind, age = stuck[0]
        return Finding(
            "tasks",
            "warn",
            f"{len(stuck)} tasks are unfinished for more than {STUCK_S / 60:.0f} minutes, the "
            f"first is {number} ({kind}, {age / 60:.0f} min)",
            "later tasks of the same index wait for it",
            ("lsr", "tasks", "show", str(number), "--data", str(home.path)),
            numbers,
        )
    if failed[0]:
        return Finding(
            "tasks",
            "warn",
            f"{failed[0]} tasks failed in the last 24 hours, the last is {failed[1]}",
            # A task tells its counts some times a second, so that there may be a few more.
            f"at least {failed[2]:,} lines were committed before their ingestion failed, and "
            "stay in the index; the task's error says what to change before you send the rest"
            if failed[2]
            else "what an ingestion commits before it fails stays in the index (no failed task "
            "told of such lines); the task's error says what to change",
            ("lsr", "tasks", "show", str(failed[1]), "--data", str(home.path)),
            numbers,
        )
    return Finding(
        "tasks", "ok", "none is stuck, none failed in the last 24 hours", numbers=numbers
    )


def _aliases(home: Home, names: Registry) -> Finding:
    lost = {alias: to for alias, to in names.aliases.items() if to not in names.entries}
    numbers = {"aliases": len(names.aliases), "lost": sorted(lost)}
    if lost:
        alias, target = next(iter(sorted(lost.items())))
        return Finding(
            "aliases",
            "fail",
            f"{len(lost)} aliases mean an index that is gone, such as '{alias}' ('{target}')",
            "whoever searches them gets 404",
            ("lsr", "rollback", alias, "--data", str(home.path)),
            numbers,
        )
    return Finding("aliases", "ok", f"{len(names.aliases)}, each means an index", numbers=numbers)


def _keys(home: Home, now: float) -> Finding:
    rows = home.rows("SELECT id, name, expires FROM keys WHERE revoked IS NULL ORDER BY expires")
    dead = [name for _, name, expires in rows if expires is not None and expires <= now]
    soon = [
        (name, expires - now)
        for _, name, expires in rows
        if expires is not None and 0 < expires - now < EXPIRES_SOON_S
    ]
    numbers = {"keys": len(rows), "expired": dead, "expiring": [name for name, _ in soon]}
    if soon or dead:
        what = [f"'{name}' ends in {left / DAY_S:.1f} days" for name, left in soon]
        what += [f"'{name}' has expired" for name in dead]
        return Finding(
            "keys",
            "warn",
            "; ".join(what[:5]),
            "its users get 401 from then on",
            ("lsr", "keys", "list", "--data", str(home.path)),
            numbers,
        )
    return Finding("keys", "ok", f"{len(rows)}, none ends within 14 days", numbers=numbers)


def _orphans(home: Home) -> Finding:
    left = registry.orphans(home, older_than_s=ORPHAN_S)
    n_bytes = sum(_size(path) for path in left)
    numbers = {"folders": [path.name for path in left], "bytes": n_bytes}
    if left:
        return Finding(
            "orphans",
            "warn",
            f"{len(left)} folders in indexes/ belong to no index ({n_bytes / MIB:.1f} MiB): "
            f"{', '.join(path.name for path in left[:3])}",
            "the worker removes them when it starts",
            ("lsr", "serve", "--data", str(home.path)),
            numbers,
        )
    return Finding("orphans", "ok", "every folder in indexes/ belongs to an index", numbers=numbers)


def _versions(home: Home) -> Finding:
    """What rollback could go back to, and what that costs; `lsr rollback --forget` frees it."""
    kept: dict[str, int] = {}
    for name, folder in home.rows("SELECT index_name, folder FROM versions"):
        kept[name] = kept.get(name, 0) + _size(home.path / "indexes" / folder)
    told = ", ".join(f"{name} {n_bytes / MIB:.1f} MiB" for name, n_bytes in kept.items())
    return Finding(
        "versions",
        "ok",
        f"earlier versions are kept of {len(kept)} indexes{': ' * bool(kept)}{told}",
        numbers={"bytes": kept},
    )


def _room(home: Home) -> Finding:
    free = home.free_bytes()
    numbers = {"free_bytes": free}
    try:
        Pressure(home).check_room()
    except ProblemError as problem:
        return Finding("room", "fail", problem.detail, problem.hint or "", (), numbers)
    return Finding("room", "ok", f"{free / 2**30:.1f} GiB free", numbers=numbers)


def _whole(entry: Entry, index: Index, *, quick: bool) -> Finding:
    name = f"{entry.name}/integrity"
    damage = index.encoder_damage()
    if quick:
        problems: Sequence[str] = () if damage is None else (damage,)
        read = "headers, sizes and directories"
    else:
        report = index.check()
        problems, read = report.problems, f"{report.n_bytes:,} bytes"
    if problems:
        return Finding(
            name,
            "fail",
            "; ".join(problems[:3]),
            "an index that contradicts its checksums is never searched",
            ("lsr", "check", str(entry.path)),
            {"problems": list(problems)},
        )
    return Finding(
        name, "ok", f"{index.n_docs:,} documents at commit {index.generation}; {read} fit"
    )


def _disk(home: Home, entry: Entry, index: Index) -> Finding:
    parts = index.disk_parts()
    n = max(1, index.n_docs)
    each = {part: n_bytes / n for part, n_bytes in parts.items()}
    told = ", ".join(f"{part} {size:,.0f}" for part, size in each.items() if size >= 0.5)
    facts = index.info()
    dead = facts["n_deleted"] / max(1, facts["n_deleted"] + facts["n_passages"])
    level: Literal["ok", "warn"] = "warn" if dead > 0.3 else "ok"
    return Finding(
        f"{entry.name}/disk",
        level,
        f"{sum(parts.values()) / n:,.0f} bytes a document: {told}; {100 * dead:.0f} % of the rows "
        "are deleted",
        "deleted rows go when segments are merged, or at once by a rebuild" * (level == "warn"),
        ("lsr", "rebuild", entry.name, "--data", str(home.path)) if level == "warn" else (),
        {"parts": parts, "n_docs": index.n_docs, "bytes_per_document": sum(parts.values()) / n},
    )


def _saturation(home: Home, entry: Entry, index: Index) -> Finding:
    share = float(index.info()["saturated_share"])
    name = f"{entry.name}/saturation"
    numbers = {"saturated": share, "max_weight": index.max_weight}
    if share > WARN_SATURATED and not index.settings.binary:
        return Finding(
            name,
            "warn",
            f"{100 * share:.2f} % of the weights lie above max_weight {index.max_weight:g}",
            "the heaviest terms are no longer told apart",
            (
                *("lsr", "rebuild", entry.name, "--data", str(home.path)),
                *("--max-weight", f"{2 * index.max_weight:g}"),
            ),
            numbers,
        )
    return Finding(name, "ok", f"{100 * share:.3f} % of the weights saturate", numbers=numbers)


def _counted(home: Home, entry: Entry, index: Index) -> Finding:
    name = f"{entry.name}/bm25"
    encoder = query_encoder(index)
    told = outgrown(encoder, index.n_docs)
    n_seen = encoder.statistics.n_docs if isinstance(encoder, BM25Encoder) else None
    numbers = {"counted": n_seen, "n_docs": index.n_docs}
    if told is not None:
        return Finding(
            name,
            "warn",
            told,
            "statistics are those of the first documents until a rebuild counts anew",
            ("lsr", "rebuild", entry.name, "--data", str(home.path)),
            numbers,
        )
    return Finding(name, "ok", f"{n_seen:,} documents were counted", numbers=numbers)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
