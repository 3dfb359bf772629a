"""kill -9 at every operation on a file, at half of every write, and at random moments in chains.

    python -m crash.killing [--workloads writes,bulk] [--seed 0] [--points 50] [--chains 20]

A kill keeps the page cache, so what is tested is the order of the steps, not their fsyncs
(`power.py` tests those). The process under the layer forks a child for each try, so that a thousand
kills take minutes.
"""

import argparse
import functools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from lsr.progress import bar

from .layer import Control, Kind, driven
from .power import SCRATCH, Tally, record
from .verdict import Verdict
from .workloads import WORKLOADS, Plan, look, plan, progress, run

CHAIN_OPERATIONS = 120
"""A chain's kills come after at most so many operations: several in a plan, some while recovering
from the last."""

SLACK = 8
"""A run of threads may do so many operations less than the recorded one (a directory that two of
them made durable in one step); what it did without the kill is looked at as well."""


def kill_everywhere(
    name: str,
    seed: int,
    *,
    points: int | None = None,
    chains: int = 0,
    fault: str = "",
    quiet: bool = True,
) -> Tally:
    """One workload, killed at every operation (or at so many of them) and along so many chains."""
    with tempfile.TemporaryDirectory(prefix="lsr-kill-", dir=SCRATCH) as scratch:
        folder = Path(scratch)
        recorded = record(name, seed, folder / "recorded")
        tries = [
            (o.number, torn)
            for o in recorded
            if o.kind is not Kind.MARK and not o.path.endswith("-shm")
            for torn in ((False, True) if o.kind is Kind.WRITE else (False,))
        ]
        n_points = len({number for number, _ in tries})
        if points is not None:
            tries = random.Random(seed).sample(tries, min(points, len(tries)))
        arguments = [
            "--workloads",
            name,
            "--seed",
            str(seed),
            "--chains",
            str(chains),
            "--fault",
            fault,
        ]
        told = driven("killing", arguments, folder, tries, quiet=quiet)
    tally = Tally(n_points, told["n_kills"], bad=told["bad"], seconds=told["seconds"])
    tally.outcomes.update(told["outcomes"])
    return tally


class Killer:
    """Runs under the layer: forks, arms, waits, and has the remains verified in another fork."""

    def __init__(self, folder: Path, of_plan: Plan, fault: Callable[[], None] | None) -> None:
        self.root = folder / "disk"
        self.marks = folder / "marks"
        self.control = Control(folder / "control", create=False)
        self.plan = of_plan
        self.fault = fault
        self.tally = Tally()

    def clean(self) -> None:
        """An empty disk again."""
        self.control.stop()
        shutil.rmtree(self.root)
        self.root.mkdir()
        self.marks.unlink(missing_ok=True)

    def attempt(self, arm: Callable[[], None], *, first: int = 0, seconds: float = 0) -> int:
        """Run the plan from a step on in a child; its wait status. Killed after `seconds`."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if self.fault is not None:
                    self.fault()
                arm()
                run(self.root, self.plan, self.marks, first=first)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        if seconds:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.control.stop()
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise RuntimeError(f"{self.plan.name}: failed by itself after {self._marks()[-1:]}")
        return status

    def look(self, *, at_least: int, seed: int, go_on: bool) -> Verdict:
        """The verdict of a fresh process."""
        acked, begun = progress(self._marks())
        acked = max(acked, at_least)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                verdict = look(
                    self.root,
                    self.plan,
                    acked=acked,
                    begun=max(acked, begun),
                    seed=seed,
                    go_on=go_on,
                )
                told = json.dumps([verdict.outcome, verdict.why, verdict.step])
                os.write(writer, told.encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as told_by:
            raw = told_by.read()
        _, status = os.waitpid(child, 0)
        if not raw:
            return Verdict("unsound", f"the process that looked died with status {status}")
        outcome, why, step = json.loads(raw)
        return Verdict(outcome, why, step)

    def at(self, point: int, *, torn: bool) -> None:
        """One kill at one operation."""
        self.clean()
        status = self.attempt(lambda: self.control.arm_kill(point, torn=torn))
        killed = os.WIFSIGNALED(status)
        if not killed and not 0 < point - self.control.get("n_ops") <= SLACK:
            raise RuntimeError(f"{self.plan.name}: not killed at operation {point}")
        at_least = 0 if killed else len(self.plan.steps)
        verdict = self.look(at_least=at_least, seed=point, go_on=point % 3 == 0)
        half = " half a write" if torn else ""
        if killed:
            self.tally.count(verdict, f"{self.plan.name} killed at {point}{half}")
        elif verdict.outcome != "sound":
            self.tally.bad.append(f"{self.plan.name} not killed at {point}: {verdict.why}")

    def chain(self, seed: int, seconds: float) -> None:
        """Kill, look, go on from there, until the plan is through."""
        rng = random.Random(seed)
        self.clean()
        step = 0
        while True:
            if rng.random() < 0.5:
                at, torn = rng.randint(1, CHAIN_OPERATIONS), rng.random() < 0.5
                arm = functools.partial(self.control.arm_kill, at, torn=torn)
                status = self.attempt(arm, first=step)
            else:
                wait = rng.uniform(0.001, seconds)
                status = self.attempt(self.control.count, first=step, seconds=wait)
            over = not os.WIFSIGNALED(status)
            verdict = self.look(at_least=step, seed=rng.randint(0, 1 << 30), go_on=over)
            if not over:
                self.tally.count(verdict, f"{self.plan.name} chain {seed} from step {step}")
            if over or verdict.outcome != "sound":
                break
            step = verdict.step
        if over and (verdict.outcome != "sound" or verdict.step != len(self.plan.steps)):
            self.tally.bad.append(f"{self.plan.name} chain {seed}, at its end: {verdict}")

    def _marks(self) -> list[str]:
        return self.marks.read_text().splitlines() if self.marks.exists() else []


def drive(folder: Path, name: str, seed: int, chains: int, fault: str) -> None:
    """The process under the layer: prints its tally as JSON."""
    from .faults import FAULTS

    began = time.perf_counter()
    killer = Killer(folder, plan(name, seed), FAULTS[fault] if fault else None)
    run(folder / "warm", killer.plan, folder / "warm-marks")  # compiled kernels, for every fork
    killer.clean()
    started = time.perf_counter()
    killer.attempt(killer.control.count)
    seconds = time.perf_counter() - started
    if not killer.control.get("n_ops"):
        raise RuntimeError("no operation was seen; is the layer preloaded?")
    tries = json.loads((folder / "tries").read_text())
    for point, torn in bar(tries, desc=f"{name} {seed}", unit="kills"):
        killer.at(point, torn=torn)
    for number in bar(range(chains), desc=f"{name} {seed}", unit="chains"):
        killer.chain(seed * 1000 + number, seconds)
    tally = killer.tally
    told = {
        "n_kills": tally.n_states,
        "outcomes": tally.outcomes,
        "bad": tally.bad,
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(told))


def main() -> int:
    """Every workload; prints a table, exits 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=-1)
    parser.add_argument("--chains", type=int, default=10)
    parser.add_argument("--under-layer", type=Path, default=None)
    parser.add_argument("--fault", default="")
    chosen = parser.parse_args()
    if chosen.under_layer is not None:
        drive(
            chosen.under_layer,
            chosen.workloads,
            chosen.seed,
            chosen.chains,
            chosen.fault,
        )
        return 0
    print("kill -9 at every operation and half-way through each write, then along chains")
    heads = ("points", "kills", "lost", "half", "unsound", "seconds")
    print(f"{'workload':<14}" + "".join(f"{head:>9}" for head in heads))
    kept, n_kills = True, 0
    for name in chosen.workloads.split(","):
        points = None if chosen.points < 0 else chosen.points
        tally = kill_everywhere(name, chosen.seed, points=points, chains=chosen.chains, quiet=False)
        kept &= tally.kept
        n_kills += tally.n_states
        print(f"{name:<14}{tally.row()}", flush=True)
        for line in tally.bad[:5]:
            print(f"  {line}")
    print(f"{'all':<14}{'':>9}{n_kills:>9,}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
