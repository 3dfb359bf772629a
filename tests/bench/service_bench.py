"""The service against its targets, over HTTP: `make bench-service`.

Every comparison is between requests to the same server in the same run, in alternating rounds, and
every ratio is the median of the rounds' ratios. The load comes from wrk (Debian: apt-get install
wrk) and, at fixed rates, from a process of ours, on the same machine as the server: what they take
of its cores is in every figure.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from machine import heading, machine
from phases import default_data
from service_load import Load, closed, open_loop
from service_world import N_BUCKETS, World, world
from vectors import VectorSet, ensure

HERE = Path(__file__).resolve().parent
SELECTIVITIES = (1, 10, 50)
PARTS = ("search", "filters", "slow", "ingest")


@dataclass(frozen=True)
class Verdict:
    """One line of the report: what was measured, against what was wanted."""

    what: str
    value: str
    wanted: str
    met: bool

    def line(self) -> str:
        """For people."""
        return (
            f"{self.what:<58} {self.value:<28} {self.wanted:<18} {'met' if self.met else 'MISSED'}"
        )


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    address: str
    pid: int

    def cpu_s(self) -> float:
        """Processor seconds that it and its workers have taken: unlike times, they tell little of
        what else the machine did.
        """
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        ticks = 0
        for pid in (str(self.pid), *children):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def charged(self, load: Callable[[], Load]) -> Load:
        """The load, with processor time of the server for each request."""
        before = self.cpu_s()
        found = load()
        return replace(found, cpu_ms=(self.cpu_s() - before) * 1000 / found.requests)


@contextmanager
def server(*arguments: str) -> Iterator[Server]:
    """A server that is ready."""
    command = [sys.executable, str(HERE / "service_served.py"), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = []
    try:
        for line in process.stderr:
            told.append(line)
            if line.startswith("ready"):
                break
        else:
            raise RuntimeError("".join(told))
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield Server(told[-1].split()[1], process.pid)
    finally:
        process.terminate()
        process.wait(60)


def ask(url: str, body: bytes) -> bytes:
    """One answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    connection.request("POST", parts.path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    if answer.status != 200:
        raise RuntimeError(told.decode())
    return told


def alternating(candidates: dict[str, Callable[[], Load]], rounds: int) -> dict[str, list[Load]]:
    """Each candidate once a round, the first round forwards, the next backwards; one is thrown
    away before.
    """
    measured: dict[str, list[Load]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        names = list(candidates) if number % 2 == 0 else list(reversed(candidates))
        for name in names:
            load = candidates[name]()
            if number:
                measured[name].append(load)
    return measured


def median_ratio(over: Sequence[Load], under: Sequence[Load], figure: str) -> float:
    """The median of round-by-round ratios."""
    return statistics.median(
        getattr(a, figure) / getattr(b, figure) for a, b in zip(over, under, strict=True)
    )


def shown(loads: Sequence[Load]) -> str:
    """Medians of what rounds measured."""
    rate, p50, p99, cpu = (
        statistics.median(getattr(one, name) for one in loads)
        for name in ("per_second", "p50", "p99", "cpu_ms")
    )
    told = f"{rate:8,.0f} /s   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms"
    return f"{told}   {cpu:.2f} ms of processor each" if cpu else told


def bench_search(
    served: Server, options: argparse.Namespace, worlds: dict[str, World]
) -> list[Verdict]:
    """Searches beside a handler that does nothing, and how far the slowest lag behind."""
    verdicts = []
    cases = [
        ("inference-free text", worlds["t200f"].name, worlds["t200f"].text_bodies, 0.6),
        ("44-term vector", worlds["t200s"].name, worlds["t200s"].vector_bodies, 0.4),
    ]
    for label, name, bodies_of, wanted in cases:
        for fields, told in ((None, "with stored fields"), ([], "ids and scores")):
            bodies = bodies_of(limit=10) if fields is None else bodies_of(limit=10, fields=[])
            url = f"{served.address}/v1/indexes/{name}"
            size = round(statistics.mean(len(ask(f"{url}/search", one)) for one in bodies[:100]))

            load = partial(
                closed, bodies=bodies, connections=options.connections, seconds=options.seconds
            )
            rounds = alternating(
                {
                    "search": partial(served.charged, partial(load, f"{url}/search")),
                    "constant": partial(served.charged, partial(load, f"{url}/constant/{size}")),
                },
                options.rounds,
            )
            ratio = median_ratio(rounds["search"], rounds["constant"], "per_second")
            print(f"{label}, {told}, {size:,} bytes an answer, {options.connections} connections")
            for kind, loads in rounds.items():
                print(f"    {kind:<12} {shown(loads)}")
            cpu = median_ratio(rounds["constant"], rounds["search"], "cpu_ms")
            print(f"    processor time: {cpu:.0%} of a search is what a constant answer takes")
            what = f"{label}, {told}: searches for each constant answer"
            verdicts.append(Verdict(what, f"{ratio:.0%}", f">= {wanted:.0%}", ratio >= wanted))
            spread = statistics.median(one.p99 / one.p50 for one in rounds["search"])
            verdicts.append(
                Verdict(
                    f"{label}, {told}: p99 / p50, closed loop", f"{spread:.1f}", "<= 5", spread <= 5
                )
            )
            for share in (0.5, 0.8):
                rate = share * statistics.median(one.per_second for one in rounds["search"])
                opened = open_loop(f"{url}/search", bodies, rate=rate, seconds=3 * options.seconds)
                print(
                    f"    at {rate:6,.0f} /s  {shown([opened])}   max {opened.max:.1f} ms", end=""
                )
                print(f", {opened.refused} refused" if opened.refused else "")
                spread = opened.p99 / opened.p50
                what = f"{label}, {told}: p99 / p50 at {share:.0%} of that rate"
                met = spread <= 5 and not opened.refused
                verdicts.append(Verdict(what, f"{spread:.1f}", "<= 5", met))
    return verdicts


def bench_filters(
    served: Server, options: argparse.Namespace, worlds: dict[str, World]
) -> list[Verdict]:
    """Filters by what they let through, beside no filter; one connection, so that times are of the
    search and not of the queue.
    """
    verdicts = []
    for name, one in worlds.items():
        bodies_of = one.text_bodies if name == "t200f" else one.vector_bodies
        url = f"{served.address}/v1/indexes/{name}/search"
        everything = bodies_of(limit=10, fields=[])
        candidates: dict[str, Callable[[], Load]] = {}
        for percent in (None, *SELECTIVITIES):
            bodies = everything
            if percent is not None:
                limit = percent * N_BUCKETS // 100
                bodies = bodies_of(limit=10, fields=[], filter={"bucket": {"lt": limit}})
                found = orjson.loads(ask(url, bodies[0]))["hits"]
                assert len(found) == 10, "the filter lets through what it should"
            label = "no filter" if percent is None else f"{percent} %"
            load = partial(closed, url, bodies, connections=1, seconds=options.seconds)
            candidates[label] = partial(served.charged, load)
        rounds = alternating(candidates, options.rounds)
        print(f"filters, {name}, one connection")
        for label, loads in rounds.items():
            print(f"    {label:<12} {shown(loads)}")
        for percent in SELECTIVITIES:
            ratio = median_ratio(rounds[f"{percent} %"], rounds["no filter"], "mean")
            cpu = median_ratio(rounds[f"{percent} %"], rounds["no filter"], "cpu_ms")
            told = f"{ratio:.2f} of the time, {cpu:.2f} of the processor's"
            print(f"    {percent:>2} % / none    {told}")
            what = f"{name}: mean time, filter of {percent} % / no filter"
            verdicts.append(Verdict(what, f"{ratio:.2f}", "<= 1.5", ratio <= 1.5))
    return verdicts


def bench_slow(
    served: Server, options: argparse.Namespace, worlds: dict[str, World]
) -> list[Verdict]:
    """Quick searches while the slowest search that is allowed runs again and again."""
    one = worlds["t200s"]
    url = f"{served.address}/v1/indexes/{one.name}/search"
    quick = one.vector_bodies(limit=10, fields=[])
    terms = list(range(5, 5 + 4000))
    slow = orjson.dumps(
        {
            "query": {"vector": {"indices": terms, "values": [1.0] * len(terms)}},
            "offset": 9000,
            "limit": 1000,
        }
    )
    alone = min(_seconds(lambda: ask(url, slow)) for _ in range(3)) * 1000

    def beside() -> Load:
        over = threading.Event()

        def again() -> None:
            while not over.is_set():
                ask(url, slow)

        thread = threading.Thread(target=again)
        thread.start()
        try:
            return closed(url, quick, connections=2, seconds=options.seconds)
        finally:
            over.set()
            thread.join()

    rounds = alternating(
        {
            "quick alone": lambda: closed(url, quick, connections=2, seconds=options.seconds),
            "beside slow": beside,
        },
        options.rounds,
    )
    print(
        f"a slow search of {alone:.0f} ms (4,000 terms, 10,000 hits), two connections of quick ones"
    )
    for label, loads in rounds.items():
        print(f"    {label:<12} {shown(loads)}   max {max(one.max for one in loads):.1f} ms")
    p99 = statistics.median(one.p99 for one in rounds["beside slow"])
    return [
        Verdict(
            "quick searches beside a slow one: p99, ms",
            f"{p99:.1f}, the slow one {alone:.0f}",
            "< the slow one",
            p99 < alone,
        )
    ]


def bench_ingest(options: argparse.Namespace) -> list[Verdict]:
    """Pre-encoded NDJSON into an empty index of a data directory, batch after batch."""
    vectors = VectorSet.whole(ensure("t200s", options.data)).head(options.documents)
    bodies = []
    for first, batch in vectors.batches(options.batch):
        lines = []
        for at in range(batch.shape[0]):
            a, b = batch.indptr[at : at + 2]
            vector = {
                "indices": batch.indices[a:b].tolist(),
                "values": [round(float(one), 3) for one in batch.data[a:b]],
            }
            lines.append(orjson.dumps({"id": str(first + at), "fields": {}, "vector": vector}))
        bodies.append(b"\n".join(lines))
    n_bytes = sum(map(len, bodies))
    verdicts = []
    for ack in ("logged", "searchable"):
        with tempfile.TemporaryDirectory(dir=options.data) as home, server(home) as served:
            connection = http.client.HTTPConnection(urlsplit(served.address).netloc, timeout=600)
            sizes = {"encoder": None, "n_terms": vectors.n_terms, "max_weight": vectors.max_weight}
            _json(connection, "POST", "/v1/indexes", orjson.dumps({"name": "docs", **sizes}))
            began, cpu = time.perf_counter(), served.cpu_s()
            slowest = 0.0
            for body in bodies:
                sent = time.perf_counter()
                path = f"/v1/indexes/docs/documents?ack={ack}&wait=300"
                task = _json(connection, "POST", path, body, "application/x-ndjson")
                slowest = max(slowest, time.perf_counter() - sent)
            acknowledged = time.perf_counter() - began
            while not _json(connection, "GET", f"/v1/tasks/{task['id']}")["finished"]:
                time.sleep(0.02)
            elapsed = time.perf_counter() - began
            cpu = served.cpu_s() - cpu
            info = _json(connection, "GET", "/v1/indexes/docs")
            assert info["n_docs"] == vectors.n_docs, info
        rates = [vectors.n_docs / one for one in (acknowledged, elapsed)]
        mib = n_bytes / 2**20
        print(f"ingestion, ack={ack}: {vectors.n_docs:,} documents, {mib:,.0f} MiB", end=", ")
        print(f"batches of {options.batch:,}, slowest {slowest:.2f} s")
        each = f"{cpu / vectors.n_docs * 1e6:.0f} us of processor each"
        print(f"    acknowledged {rates[0]:,.0f} /s   searchable {rates[1]:,.0f} /s   {each}")
        for kind, rate in zip(("acknowledged", "searchable"), rates, strict=True):
            what = f"ingestion, ack={ack}: documents a second until {kind}"
            verdicts.append(Verdict(what, f"{rate:,.0f}", ">= 5,000", rate >= 5000))
    return verdicts


def _json(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    media_type: str = "application/json",
) -> Any:
    connection.request(method, path, body, {} if body is None else {"Content-Type": media_type})
    answer = connection.getresponse()
    told = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {told.decode()}")
    return orjson.loads(told)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main(arguments: list[str]) -> int:
    """Measure, print the tables and the verdicts; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--data", type=Path, default=default_data(), help="where sets and indexes are kept")
    add("--only", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    add("--rounds", type=int, default=5)
    add("--seconds", type=int, default=4, help="of each measurement of a round")
    add("--connections", type=int, default=8, help="of the closed loop")
    add("--documents", type=int, default=100_000, help="to ingest")
    add("--batch", type=int, default=2_000, help="documents of one request")
    add("--json", type=Path, help="write the verdicts here too")
    options = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed; on Debian: apt-get install wrk")
    parts = options.only.split(",")
    where = machine()
    print(heading(where))
    verdicts: list[Verdict] = []
    if set(parts) - {"ingest"}:
        worlds = {name: world(name, options.data) for name in ("t200f", "t200s")}
        for name, one in worlds.items():
            print(f"set        {name}: {one.n_docs:,} documents, {one.source}")
        with server("-", *(f"{name}={one.path}" for name, one in worlds.items())) as served:
            for part, measure in (
                ("search", bench_search),
                ("filters", bench_filters),
                ("slow", bench_slow),
            ):
                if part in parts:
                    verdicts += measure(served, options, worlds)
    if "ingest" in parts:
        verdicts += bench_ingest(options)
    print()
    for one in verdicts:
        print(one.line())
    if options.json:
        options.json.write_text(
            json.dumps({"machine": where, "verdicts": [one.__dict__ for one in verdicts]}, indent=1)
        )
    return 0 if all(one.met for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
