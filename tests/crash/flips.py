"""One flipped bit in each kind of byte of every file: detected, or without effect.

    python -m crash.flips [--per-file 300] [--seed 0]

An index and a data directory, each closed in good order and as a kill leaves it, with its logs.
"""

import argparse
import functools
import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from index import Index
from lsr.errors import LsrError
from lsr.progress import bar

from . import acting
from .homes import Damaged, Serving, home_differs
from .layer import with_paths
from .power import SCRATCH
from .verify import differs
from .workloads import Plan, plan

OUTCOMES = ("detected", "by check", "no effect", "as torn", "unseen", "strange")
"""Refused when it was opened or used; found by the scrub or `lsr check` after answers that were
wrong; as the reference in everything; without the newest commit, since a flip in the last
transaction of a log cannot be told from power lost while it was written; wrong and seen by nobody;
an error that is not ours."""

WAL_HEADER, FRAME_HEADER = 32, 24


@dataclass(slots=True)
class Flips:
    """What came of the flips of each kind of file."""

    by_file: dict[str, Counter[str]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, kind: str, outcome: str, where: str) -> None:
        """One more flip."""
        self.by_file.setdefault(kind, Counter())[outcome] += 1
        if outcome in ("unseen", "strange"):
            self.bad.append(f"{where}: {outcome}")


def places(path: Path, n: int, rng: random.Random) -> list[int]:
    """Bytes of a file to flip a bit of: each kind of its structure, then any."""
    size = path.stat().st_size
    chosen: set[int] = set()
    if path.name.endswith("-wal"):
        raw = path.read_bytes()
        page = struct.unpack_from(">I", raw, 8)[0] if size >= WAL_HEADER else 8192
        chosen |= set(range(min(size, WAL_HEADER)))
        for frame in range(WAL_HEADER, size - FRAME_HEADER, FRAME_HEADER + page):
            chosen |= {frame + rng.randrange(FRAME_HEADER) for _ in range(4)}
            chosen |= {frame + FRAME_HEADER + rng.randrange(page) for _ in range(2)}
    elif ".sqlite" in path.name:
        chosen |= set(range(min(size, 100)))
        for begin in range(0, size, 8192):
            chosen |= {begin, begin + 3, begin + 12, begin + 8191, begin + 8185}
            chosen |= {begin + rng.randrange(8192) for _ in range(3)}
    elif path.suffix == ".seg":
        chosen |= set(range(min(size, 512)))
        chosen |= set(range(512, size, 64))
    else:
        chosen |= set(range(0, size, max(1, size // 200)))
    kept = sorted(at for at in chosen if at < size)
    if len(kept) > n:
        kept = sorted(rng.sample(kept, n))
    return kept


def kind_of(path: Path) -> str:
    """A name for all files alike."""
    if path.suffix == ".seg":
        return "snapshot's segment" if "snapshots" in path.parts else "segment"
    if "snapshots" in path.parts:
        return f"snapshot's {path.name}"
    return f"encoder's {path.name}" if path.parent.name == "encoder" else path.name


def grown(folder: Path, name: str, *, hot: bool) -> Plan:
    """Run a workload to its end in `folder`; with `hot` as a kill right then leaves it."""
    of_plan = plan(name, 0)
    folder.mkdir()
    marks = folder.with_name(folder.name + ".marks")
    command = [sys.executable, "-m", "crash.child", name, "0", str(folder), str(marks), ""]
    done = subprocess.run([*command, "killed" if hot else ""], env=with_paths(), check=False)
    if done.returncode != (-signal.SIGKILL if hot else 0):
        raise RuntimeError(f"{name} ended with {done.returncode}")
    return of_plan


def sweep(folder: Path, look: Callable[[], str], flips: Flips, n: int, rng: random.Random) -> None:
    """Flip, look, put everything right from a copy: `look` tells the outcome."""
    sound = folder.with_name(folder.name + ".sound")
    shutil.copytree(folder, sound)
    tries = [
        (path.relative_to(sound), at)
        for path in sorted(sound.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", ".lock"))
        # The logs of indexes are looked at by themselves, where it is known what a commit held.
        if not ("indexes" in path.parts and path.name.endswith("-wal"))
        for at in places(path, n, rng)
    ]
    for name, at in bar(tries, desc=folder.name, unit="flips"):
        shutil.rmtree(folder)
        shutil.copytree(sound, folder)
        for memory in folder.rglob("*-shm"):
            memory.unlink()
        with (folder / name).open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        where = f"{folder.name}/{name} byte {at}"
        try:
            outcome = look()
        except Exception as error:
            outcome = "strange"
            where += f": {type(error).__name__}: {error}"
        flips.count(kind_of(sound / name), outcome, where)


def look_at_index(root: Path, of_plan: Plan) -> str:
    """Open, read and search, then scrub and check."""
    model = of_plan.models[-1]
    try:
        with Index.open(root / acting.FOLDER) as index:
            wrong = differs(index, model, random.Random(1))
            try:
                index.scrub()
                sound = index.check().sound
            except LsrError:
                sound = False
            if wrong and sound:  # two commits where the flip hid that the first had ended
                older = [differs(index, one, random.Random(1)) for one in of_plan.models[-3:-1]]
                return "as torn" if "" in older else "unseen"
        return "by check" if wrong else "no effect" if sound else "detected"
    except LsrError:
        return "detected"


def look_at_home(root: Path, of_plan: Plan) -> str:
    """Start the app, read and search everything, verify each snapshot."""
    try:
        with Serving(root) as client:
            if not home_differs(client, of_plan.models[-1]):
                return "no effect"
            older = [home_differs(client, one) for one in of_plan.models[-3:-1]]
            return "as torn" if "" in older else "unseen"
    except (Damaged, LsrError):
        return "detected"


def sweeps(n: int, seed: int, names: tuple[str, ...]) -> Iterator[tuple[str, Flips]]:
    """(what, outcome of its flips) of each directory in turn."""
    with tempfile.TemporaryDirectory(prefix="lsr-flips-", dir=SCRATCH) as scratch:
        for name in names:
            for hot in (False, True):
                began = time.perf_counter()
                rng = random.Random(seed)
                flips = Flips()
                folder = Path(scratch) / f"{name}-{'killed' if hot else 'closed'}"
                of_plan = grown(folder, name, hot=hot)
                looked = look_at_home if name == "service" else look_at_index
                sweep(folder, functools.partial(looked, folder, of_plan), flips, n, rng)
                flips.seconds = time.perf_counter() - began
                yield folder.name, flips


def main() -> int:
    """Prints a table, exits 1 when a flip was seen by nobody."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--per-file", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", default="writes,build,maintenance,service")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    bad: list[str] = []
    told: dict[str, dict[str, Counter[str]]] = {}
    if not chosen.json:
        print("one flipped bit in every kind of byte of every file")
        print(f"{'directory':<20}{'file':<28}" + "".join(f"{one:>11}" for one in OUTCOMES))
    for what, flips in sweeps(chosen.per_file, chosen.seed, tuple(chosen.of.split(","))):
        bad += flips.bad
        told[what] = flips.by_file
        for kind, counts in sorted(flips.by_file.items()) if not chosen.json else ():
            row = "".join(f"{counts[one]:>11,}" for one in OUTCOMES)
            print(f"{what:<20}{kind:<28}{row}", flush=True)
    if chosen.json:
        print(json.dumps({"by_file": told, "bad": bad}))
    else:
        for line in bad[:20]:
            print(f"  {line}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
