"""A full disk from every operation on, or a disk that fails once: searches go on, the error says
what is wrong, and with room again the same work succeeds.

    python -m crash.full [--workloads writes,bulk] [--seed 0] [--points 50]
"""

import argparse
import errno
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from lsr.errors import DiskFull, LsrError
from lsr.progress import bar

from .acting import World
from .layer import NEEDS_ROOM, Control, Kind, driven
from .power import SCRATCH, Tally, record
from .verdict import Verdict
from .verify import searched
from .workloads import INDEX_WORKLOADS, Plan, look, plan, run, world_of

FAILURES: dict[str, dict[str, object]] = {
    "full": {},
    "full half-way": {"torn": True},
    "once": {"once": True},
    "broken": {"number": errno.EIO, "kinds": (Kind.WRITE, Kind.FSYNC), "once": True},
}
"""A disk that is full from an operation on, in the middle of its write, for this operation alone;
and one that fails to write or sync once. Only while a disk stays full can the error be sure to say
so: SQLite and others do not pass on why they could not make a file."""


class Filler:
    """Runs under the layer: a fork for each failure, which looks, goes on and reports."""

    def __init__(self, folder: Path, of_plan: Plan) -> None:
        self.root = folder / "disk"
        self.marks = folder / "marks"
        self.control = Control(folder / "control", create=False)
        self.plan = of_plan
        self.tally = Tally()

    def at(self, point: int, failure: str) -> None:
        """One failure at one operation."""
        self.control.stop()
        shutil.rmtree(self.root)
        self.root.mkdir()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                verdict = self.met(point, failure)
                os.write(writer, json.dumps([verdict.outcome, verdict.why]).encode())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as told_by:
            raw = told_by.read()
        _, status = os.waitpid(child, 0)
        told = json.loads(raw) if raw else ["unsound", f"died with status {status}"]
        self.tally.count(Verdict(*told), f"{self.plan.name} {failure} at {point}")

    def arm(self, point: int, failure: str) -> None:
        """As `FAILURES` says."""
        how = FAILURES[failure]
        self.control.arm_failure(
            point,
            last=point if "once" in how else 1 << 60,
            number=int(str(how.get("number", errno.ENOSPC))),
            kinds=how.get("kinds", NEEDS_ROOM),  # type: ignore[arg-type]
            torn=bool(how.get("torn")),
        )

    def met(self, point: int, failure: str) -> Verdict:
        """Run the plan into the failure, search, make room, finish the plan, verify."""
        self.arm(point, failure)
        world = world_of(self.root, self.plan)
        step = 0
        failed_at = -1
        while step < len(self.plan.steps):
            try:
                world.act(self.plan.steps[step])
                step += 1
                continue
            except DiskFull as error:
                why = str(error)
                if failure == "broken":
                    return Verdict("unsound", "a broken disk was called full")
            except LsrError as error:
                why = f"{type(error).__name__}: {error}"
                if failure.startswith("full"):
                    return Verdict("unsound", f"step {step}: {why}")
            except OSError as error:
                return Verdict("unsound", f"step {step}: {type(error).__name__}: {error}")
            if step == failed_at:
                return Verdict("unsound", f"step {step} still fails with room: {why}")
            assert isinstance(world, World)
            if problem := self.searches(world, step):
                return Verdict("unsound", f"searching after step {step}: {problem}")
            failed_at = step
            self.control.disarm()
        self.control.disarm()
        world.close()
        n = len(self.plan.steps)
        return look(self.root, self.plan, acked=n, begun=n, seed=point)

    def searches(self, world: World, step: int) -> str:
        """What is wrong with the answers while the disk is full; nothing before a first index."""
        models = [self.plan.models[step], self.plan.models[step + 1]]
        if not world.is_open or None in models:
            return ""
        problems = [searched(world.index, model, random.Random(step)) for model in models if model]
        return "" if "" in problems else problems[0]


def fill_everywhere(
    name: str, seed: int, *, points: int | None = None, quiet: bool = True
) -> Tally:
    """One workload with each failure at each operation that it can befall, or at so many."""
    with tempfile.TemporaryDirectory(prefix="lsr-full-", dir=SCRATCH) as scratch:
        folder = Path(scratch)
        recorded = record(name, seed, folder / "recorded")
        tries = [
            (o.number, failure)
            for o in recorded
            for failure, how in FAILURES.items()
            if o.kind in how.get("kinds", NEEDS_ROOM)  # type: ignore[operator]
            and (o.kind is Kind.WRITE or "torn" not in how)
        ]
        if points is not None:
            tries = random.Random(seed).sample(tries, min(points, len(tries)))
        arguments = ["--workloads", name, "--seed", str(seed)]
        told = driven("full", arguments, folder, tries, quiet=quiet)
    tally = Tally(len(tries), told["n"], bad=told["bad"], seconds=told["seconds"])
    tally.outcomes.update(told["outcomes"])
    return tally


def drive(folder: Path, name: str, seed: int) -> None:
    """The process under the layer: prints its tally as JSON."""
    began = time.perf_counter()
    logging.disable()
    filler = Filler(folder, plan(name, seed))
    run(folder / "warm", filler.plan, folder / "warm-marks")  # compiled kernels, for every fork
    tries = json.loads((folder / "tries").read_text())
    for point, failure in bar(tries, desc=f"{name} {seed}", unit="failures"):
        filler.at(point, failure)
    tally = filler.tally
    seconds = time.perf_counter() - began
    told = {"n": tally.n_states, "outcomes": tally.outcomes, "bad": tally.bad, "seconds": seconds}
    print(json.dumps(told))


def main() -> int:
    """Every workload; prints a table, exits 1 when anything went wrong."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--workloads", default=",".join(INDEX_WORKLOADS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=None)
    parser.add_argument("--under-layer", type=Path, default=None)
    chosen = parser.parse_args()
    if chosen.under_layer is not None:
        drive(chosen.under_layer, chosen.workloads, chosen.seed)
        return 0
    print("a disk that is full, or fails once, at every operation it can befall")
    heads = ("points", "tries", "lost", "half", "unsound", "seconds")
    print(f"{'workload':<14}" + "".join(f"{head:>9}" for head in heads))
    kept = True
    for name in chosen.workloads.split(","):
        tally = fill_everywhere(name, chosen.seed, points=chosen.points, quiet=False)
        kept &= tally.kept
        print(f"{name:<14}{tally.row()}", flush=True)
        for line in tally.bad[:5]:
            print(f"  {line}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
