"""A real `lsr serve --data`, written to by several clients at once, and killed.

    python -m crash.serving [--kills 60] [--seed 0]

Clients count what was acknowledged, over HTTP. Then the server, its worker or both get SIGKILL, at
a random moment or at a random operation on a file; it is started again on what is left, works off
what it had acknowledged, and every document, ranking, alias and snapshot must be as the clients
remember: each change that was answered is there, each that was not is there whole or not at all.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from .clients import Admin, Client, Restorer, Texts, Unexpected, Writer
from .layer import Control, environment
from .power import SCRATCH

START_S = 90.0
SETTLE_S = 60.0
OPERATIONS = 400
"""An armed kill comes after at most so many operations on files."""
MOMENT_S = 2.0
"""A random kill comes after at most so long."""

MAY_FAIL = ("unknown_index", "unknown_snapshot", "index_exists")
"""What ends a task whose index or snapshot another client deleted before its turn."""


class Server:
    """One data directory and whichever process serves it now."""

    def __init__(
        self, folder: Path, *, under_layer: bool = True, arguments: Sequence[str] = ()
    ) -> None:
        self.data = folder / "disk" / "data"
        (folder / "disk").mkdir()
        self._arguments = arguments
        self._log = folder / "server.log"
        self.control = Control(folder / "control")
        self._environment = dict(os.environ)
        if under_layer:
            self._environment = environment(folder / "disk", self.control)
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> None:
        """Start it on a free port, and wait until it says that it is ready."""
        with self._log.open("ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lsr", "serve", "--data", str(self.data), "--port", "0"]
                + [*self._arguments],
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up and self.process.poll() is None:
            said = self._log.read_bytes()[begin:].decode(errors="replace")
            for line in said.splitlines():
                if line.startswith("ready"):
                    self.address = line.split()[1]
                    return
            time.sleep(0.05)
        raise Unexpected(f"the server did not start:\n{self.said()}")

    def pids(self) -> list[int]:
        """The server's process and its children: the worker."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [self.process.pid]
        with suppress(FileNotFoundError):
            for task in children.parent.parent.iterdir():
                pids += [int(pid) for pid in (task / "children").read_text().split()]
        return pids

    def kill(self, which: str) -> None:
        """SIGKILL to the "server", the "worker" or "all"."""
        pids = self.pids()
        chosen = {"server": pids[:1], "worker": pids[1:], "all": pids}[which]
        for pid in chosen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def bury(self) -> None:
        """Kill whatever is left of it and wait for the end."""
        self.control.stop()
        if self.process is None:
            return
        self.kill("all")
        self.process.wait()

    def stop(self) -> int:
        """End it in good order; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-3000:].decode(errors="replace")


def settled(client: httpx.Client) -> None:
    """Wait until every acknowledged task is over."""
    give_up = time.monotonic() + SETTLE_S
    unfinished: list[dict[str, str]] = []
    while time.monotonic() < give_up:
        with suppress(httpx.TransportError):
            unfinished = [
                task
                for state in ("receiving", "queued", "running")
                for task in client.get("/v1/tasks", params={"state": state}).json()["tasks"]
            ]
            if not unfinished:
                failed = {"state": "failed", "limit": 100}
                for task in client.get("/v1/tasks", params=failed).json()["tasks"]:
                    if task["error"]["code"] not in MAY_FAIL or task["index"] in ("one", "two"):
                        raise Unexpected(f"task failed: {task}")
                return
        time.sleep(0.05)
    left = [f"{t['state']} {t['kind']} of {t['index']} since {t['created']}" for t in unfinished]
    raise Unexpected(f"tasks are not over after {SETTLE_S} s: {'; '.join(left)}")


def two_indexes(address: str) -> None:
    """Make the indexes "one" and "two", and the alias "live" of the first."""
    with httpx.Client(base_url=address, timeout=60) as client:
        for name in ("one", "two"):
            sizes = {"encoder": None, "n_terms": 30, "max_weight": 4.0}
            body = {"name": name, "fields": {"lang": "keyword"}, **sizes}
            client.post("/v1/indexes", json=body).raise_for_status()
        swap = {"alias": "live", "index": "one", "must_exist": False}
        client.post("/v1/aliases", json={"actions": [{"swap": swap}]}).raise_for_status()


class Loop:
    """Clients, kills and looks."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.server = Server(folder)
        self.clients: list[Client] = [
            Writer("one", "a", seed + 1),
            Writer("one", "b", seed + 2),
            Writer("two", "c", seed + 3),
            Admin(seed + 4),
            Restorer(seed + 5),
            Texts(seed + 6),
        ]
        self.kinds: Counter[str] = Counter()
        self.acknowledged = 0
        self.bad: list[str] = []

    def begin(self) -> None:
        """A data directory with two indexes."""
        self.server.start()
        two_indexes(self.server.address)

    def round(self) -> None:
        """Write, kill once, start again, look."""
        kind = self.rng.choice(["point", "point", "all", "server", "worker"])
        for client in self.clients:
            client.start(self.server.address)
        if kind == "point":
            at = self.rng.randint(1, OPERATIONS)
            self.server.control.arm_kill(at, torn=self.rng.random() < 0.5)
            before = set(self.server.pids())
            give_up = time.monotonic() + 20
            while time.monotonic() < give_up and before <= set(self.server.pids()):
                time.sleep(0.01)
        else:
            time.sleep(self.rng.uniform(0.05, MOMENT_S))
            self.server.kill(kind)
        self.kinds[kind] += 1
        if kind == "worker":
            time.sleep(self.rng.uniform(0.0, 1.5))  # the server goes on and starts another
        self.server.bury()
        for client in self.clients:
            client.stop()
        self.server.start()
        self.look()

    def look(self) -> None:
        """Everything must be as the clients remember; what they did not know they now know."""
        with httpx.Client(base_url=self.server.address, timeout=60) as client:
            settled(client)
            for one in self.clients:
                try:
                    one.look(client)
                except Unexpected as error:
                    self.bad.append(f"{type(one).__name__} {one.name}: {error}")
        self.acknowledged = sum(one.n_acknowledged for one in self.clients)


def kill_server(
    n_kills: int, seed: int, *, seconds: float = float("inf"), show: bool = False
) -> Loop:
    """The loop, at most so many kills and so long; ends at the first broken promise."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lsr-serving-", dir=SCRATCH) as scratch:
        loop = Loop(Path(scratch), seed)
        try:
            loop.begin()
            while sum(loop.kinds.values()) < n_kills and time.monotonic() - began < seconds:
                try:
                    loop.round()
                except Unexpected as error:
                    loop.bad.append(str(error))
                if show:
                    counts = " ".join(f"{kind} {n}" for kind, n in sorted(loop.kinds.items()))
                    print(f"{sum(loop.kinds.values()):>5} kills ({counts}), "
                          f"{loop.acknowledged:,} acknowledged", flush=True)  # fmt: skip
                if loop.bad:
                    loop.bad.append(loop.server.said())
                    break
        finally:
            for client in loop.clients:
                client.stop()
            loop.server.bury()
        return loop


def main() -> int:
    """Prints each kill and what was acknowledged so far; exits 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    chosen = parser.parse_args()
    began = time.monotonic()
    loop = kill_server(chosen.kills, chosen.seed, seconds=chosen.seconds, show=True)
    for line in loop.bad:
        print(f"  {line}")
    broken = len(loop.bad)
    print(f"kills      {sum(loop.kinds.values())} in {time.monotonic() - began:,.0f} s, "
          f"{loop.acknowledged:,} changes acknowledged, {broken} promises broken")  # fmt: skip
    return 1 if loop.bad else 0


if __name__ == "__main__":
    sys.exit(main())
