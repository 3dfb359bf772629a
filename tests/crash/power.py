"""Power loss: run a workload once under the recording layer, then look at every state that the disk
could be in after each operation.

    python -m crash.power [--workloads writes,bulk] [--seeds 3] [--sample 200] [--shuffles 4]
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsr.progress import Bar, bar

from .disk import VARIANTS, Disk, materialise
from .layer import Control, Kind, Operation, environment, read_trace
from .verdict import Verdict
from .workloads import WORKLOADS, look, plan, progress

SCRATCH = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())

Damage = Callable[[dict[str, bytes | None]], None]


@dataclass(slots=True)
class Tally:
    """What was looked at and what came of it; `bad` names each broken promise."""

    n_points: int = 0
    n_states: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, verdict: Verdict, where: str) -> None:
        """One more state."""
        self.n_states += 1
        self.outcomes[verdict.outcome] += 1
        if verdict.outcome != "sound":
            self.bad.append(f"{where}: {verdict.outcome}: {verdict.why}")

    @property
    def kept(self) -> bool:
        """Every promise was kept in every state."""
        return self.n_states > 0 and not self.bad

    def row(self) -> str:
        """For a table: points, states, lost, half, unsound, seconds."""
        counts = [self.outcomes[outcome] for outcome in ("lost", "half", "unsound")]
        numbers = (self.n_points, self.n_states, *counts)
        return "".join(f"{number:>9,}" for number in numbers) + f"{self.seconds:>9.1f}"


def record(name: str, seed: int, folder: Path, *, plant: str = "") -> list[Operation]:
    """Run a workload in a process of its own under the layer; everything it did to files."""
    root = folder / "disk"
    root.mkdir(parents=True)
    control = Control(folder / "control")
    control.count()
    trace, marks = folder / "trace", folder / "marks"
    command = [sys.executable, "-m", "crash.child", name, str(seed), str(root), str(marks), plant]
    done = subprocess.run(
        command,
        env=environment(root, control, trace=trace, marks=marks),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed without any fault: {done.stderr[-2000:]}")
    operations = read_trace(trace)
    if not any(o.kind is Kind.MARK and o.content == b"end\n" for o in operations):
        raise RuntimeError(f"{name}: nothing was recorded; is the layer preloaded?")
    return operations


def states(
    root: str,
    operations: Sequence[Operation],
    *,
    rng: random.Random,
    points: set[int] | None = None,
    shuffles: int = 2,
) -> Iterator[tuple[int, str, list[str], dict[str, bytes | None]]]:
    """(point, variant, marks so far, files) of every different state after each operation.

    A state that was seen with the same promises is not given again.
    """
    disk = Disk(root)
    seen: set[int] = set()
    n_seen_marks = -1
    for point, operation in enumerate(operations):
        disk.apply(operation)
        if operation.kind is Kind.MARK or (points is not None and point not in points):
            continue
        if len(disk.marks) != n_seen_marks:
            seen.clear()
            n_seen_marks = len(disk.marks)
        for variant in (*VARIANTS[:-1], *VARIANTS[-1:] * shuffles):
            files = disk.after_power_loss(variant, rng)
            key = hash(tuple(sorted((name, content) for name, content in files.items() if content)))
            if key not in seen:
                seen.add(key)
                yield point, variant, list(disk.marks), files


def lose_power(
    name: str,
    seed: int,
    *,
    sample: int | None = None,
    shuffles: int = 2,
    plant: str = "",
    damage: Damage | None = None,
    stop_at: int | None = None,
    quiet: bool = True,
) -> Tally:
    """Record one workload and verify its states; `sample` looks at so many points only.

    `plant` is a fault of `faults.py` that the workload runs with, `damage` spoils each state, and
    `stop_at` ends after so many broken promises.
    """
    began = time.perf_counter()
    tally = Tally()
    rng = random.Random(seed)
    of_plan = plan(name, seed)
    with tempfile.TemporaryDirectory(prefix="lsr-power-", dir=SCRATCH) as scratch:
        folder = Path(scratch)
        operations = record(name, seed, folder, plant=plant)
        counted = [i for i, o in enumerate(operations) if o.kind is not Kind.MARK]
        chosen = counted if sample is None else rng.sample(counted, min(sample, len(counted)))
        tally.n_points = len(chosen)
        found = states(
            str((folder / "disk").resolve()),
            operations,
            rng=rng,
            points=set(chosen),
            shuffles=shuffles,
        )
        shown: Bar[None] = bar(
            total=None, unit="states", desc=f"{name} {seed}", quiet=quiet or None
        )
        with shown:
            for number, (point, variant, marks, files) in enumerate(found):
                if damage is not None:
                    damage(files)
                place = folder / f"state-{number}"
                materialise(files, place)
                acked, begun = progress(marks)
                verdict = look(
                    place, of_plan, acked=acked, begun=begun, seed=number, go_on=number % 4 == 0
                )
                tally.count(verdict, f"{name} seed {seed} point {point} {variant}")
                shutil.rmtree(place, ignore_errors=True)
                shown.update(1)
                if stop_at is not None and len(tally.bad) >= stop_at:
                    break
    tally.seconds = time.perf_counter() - began
    return tally


def main() -> int:
    """Every point of the workloads; prints a table, exits 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sample", type=int, default=None)
    parser.add_argument("--shuffles", type=int, default=3)
    chosen = parser.parse_args()
    print("power loss: every state the disk may be in after each operation")
    heads = ("points", "states", "lost", "half", "unsound", "seconds")
    print(f"{'workload':<14}{'seed':>5}" + "".join(f"{head:>9}" for head in heads))
    kept = True
    for name in chosen.workloads.split(","):
        for seed in range(chosen.seeds):
            tally = lose_power(
                name, seed, sample=chosen.sample, shuffles=chosen.shuffles, quiet=False
            )
            kept &= tally.kept
            print(f"{name:<14}{seed:>5}{tally.row()}", flush=True)
            for line in tally.bad[:5]:
                print(f"  {line}")
    print("next       " + ("python -m crash.killing" if kept else "tests/crash/README.md"))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
