"""Mixed load on a real `lsr serve --data` for a while: memory, descriptors and files stay flat.

    python -m crash.soak [--minutes 20]

Searches beside ingestion, deletes, alias swaps, snapshots, restored and dropped indexes. Every few
seconds the server and its worker are looked at; the second quarter of the time is compared with the
last, since the first fills caches. In the end every promise is checked as after a kill.

What was deleted stays in reach of cursors for a minute here, not ten: else an index of sixty
documents would still be filling up with replaced versions when the twenty minutes are over.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import httpx

from .clients import Admin, Client, Restorer, Texts, Writer, answer_of
from .plans import N_TERMS
from .power import SCRATCH
from .serving import Server, settled, two_indexes

EVERY_S = 5.0
RSS_SHARE, RSS_MB, FDS = 0.10, 24.0, 8
"""Growth between two quarters that still counts as flat: allocators and caches breathe."""
TEMPORARY = (".tmp", ".new", ".making", ".restoring", ".building", ".old")


class Searcher(Client):
    """Asks whatever the alias means."""

    def change(self, client: httpx.Client) -> None:
        """One search."""
        terms = sorted(self.rng.sample(range(N_TERMS), 4))
        vector = {"indices": terms, "values": [1.0] * len(terms)}
        body = {"query": {"vector": vector}, "limit": 10}
        answer_of(client.post("/v1/indexes/live/search", json=body), 200)

    def check(self, client: httpx.Client) -> None:
        """It holds no promise."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Server and worker together: resident MB, open descriptors; files of the data directory."""

    second: float
    rss_mb: float
    fds: int
    temporary: int
    files: int
    data_mb: float


def sampled(server: Server, began: float) -> Sample:
    """One look."""
    rss_kb = fds = 0
    for pid in server.pids():
        with suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{pid}/status").read_text()
            rss_kb += int(status.split("VmRSS:")[1].split()[0])
            fds += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    files = []
    for folder, _, names in os.walk(server.data):  # it does not mind what vanishes meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                files.append((name, (Path(folder) / name).stat().st_size))
    temporary = sum(any(end in name for end in TEMPORARY) for name, _ in files)
    megabytes = sum(size for _, size in files) / 2**20
    return Sample(time.monotonic() - began, rss_kb / 1024, fds, temporary, len(files), megabytes)


def grew(samples: Sequence[Sample]) -> list[str]:
    """What is not flat; empty when everything is."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    found = []
    rss = [mean(one.rss_mb for one in part) for part in (early, late)]
    if rss[1] - rss[0] > max(RSS_MB, RSS_SHARE * rss[0]):
        found.append(f"memory: {rss[0]:.0f} to {rss[1]:.0f} MB")
    fds = [mean(one.fds for one in part) for part in (early, late)]
    if fds[1] - fds[0] > FDS:
        found.append(f"descriptors: {fds[0]:.0f} to {fds[1]:.0f}")
    temporary = [mean(one.temporary for one in part) for part in (early, late)]
    if temporary[1] - temporary[0] > 1:
        found.append(f"temporary files: {temporary[0]:.1f} to {temporary[1]:.1f}")
    return found


def main() -> int:
    """Prints a table and whether it is flat; exits 1 when it is not or a promise was broken."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    seed = chosen.seed
    clients: list[Client] = [
        Searcher("search 1", seed + 1),
        Searcher("search 2", seed + 2),
        Writer("one", "a", seed + 3),
        Writer("two", "b", seed + 4),
        Admin(seed + 5),
        Restorer(seed + 6),
        Texts(seed + 7),
    ]
    samples: list[Sample] = []
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lsr-soak-", dir=SCRATCH) as scratch:
        config = Path(scratch) / "server.toml"
        config.write_text("[server]\ncursor_minutes = 1.0\n")
        told = ["--config", str(config)]
        server = Server(Path(scratch), under_layer=False, arguments=told)
        server.start()
        try:
            two_indexes(server.address)
            began = time.monotonic()
            for client in clients:
                client.start(server.address)
            print(f"{'second':>8}{'rss MB':>9}{'descr.':>8}{'temp.':>7}{'files':>7}{'data MB':>9}"
                  f"{'searches':>10}{'changes':>9}")  # fmt: skip
            while time.monotonic() - began < chosen.minutes * 60:
                threading.Event().wait(EVERY_S)
                one = sampled(server, began)
                samples.append(one)
                if len(samples) % 6 == 1:
                    searches = sum(c.n_acknowledged for c in clients if isinstance(c, Searcher))
                    changes = sum(c.n_acknowledged for c in clients) - searches
                    print(f"{one.second:>8.0f}{one.rss_mb:>9.0f}{one.fds:>8}{one.temporary:>7}"
                          f"{one.files:>7}{one.data_mb:>9.1f}{searches:>10,}{changes:>9,}",
                          flush=True)  # fmt: skip
            for client in clients:
                client.stop()
            with httpx.Client(base_url=server.address, timeout=60) as http:
                for name, look in [("tasks", settled), *((c.name, c.look) for c in clients)]:
                    try:
                        look(http)
                    except Exception as error:
                        bad.append(f"{name}: {error}")
            if bad:
                print(server.said())
            status = server.stop()
            if status:
                bad.append(f"the server ended with {status}")
        finally:
            for client in clients:
                client.stop()
            server.bury()
    bad += grew(samples)
    for line in bad:
        print(f"  {line}")
    print("flat       yes" if not bad else "flat       no")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
