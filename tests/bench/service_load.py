"""Load for a server, from processes of their own: closed loop by wrk, open loop by asyncio.

Closed: so many connections, each sending its next request when it has its answer. Open: requests at
fixed times whatever the server does, each timed from when it was due, so that a stall is charged to
every request that it delays.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

_LUA = """
local requests, at = {}, 0
function init(arguments)
  for line in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, line)
  end
  at = math.random(#requests)
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency, _)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('\\nJSON {"requests": %d, "us": %d, "failed": %d, ',
    summary.requests, summary.duration, failed))
  io.write(string.format('"mean": %f, "p50": %f, "p99": %f, "max": %f}\\n',
    latency.mean, latency:percentile(50), latency:percentile(99), latency.max))
end
"""


@dataclass(frozen=True)
class Load:
    """What came of it; times in milliseconds. `refused` were answered 429, which is no time."""

    per_second: float
    mean: float
    p50: float
    p99: float
    max: float
    requests: int
    refused: int = 0
    cpu_ms: float = 0.0
    """Processor time of the server for each request, where it was measured."""


def closed(url: str, bodies: Sequence[bytes], *, connections: int, seconds: int) -> Load:
    """Closed loop. Raises `RuntimeError` when a request failed."""
    with tempfile.TemporaryDirectory() as folder:
        script, lines = Path(folder) / "load.lua", Path(folder) / "bodies"
        script.write_text(_LUA)
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"]
        command += ["-s", str(script), url, "--", str(lines)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.rpartition("JSON ")[2])
    if told["failed"] or not told["requests"]:
        raise RuntimeError(f"{url}: {told['failed']} of {told['requests']} requests failed")
    times = {name: told[name] / 1000 for name in ("mean", "p50", "p99", "max")}
    return Load(told["requests"] / told["us"] * 1e6, requests=told["requests"], **times)


def open_loop(url: str, bodies: Sequence[bytes], *, rate: float, seconds: float) -> Load:
    """Open loop at `rate` requests a second, in a process of its own."""
    with tempfile.NamedTemporaryFile() as lines:
        lines.write(b"\n".join(bodies))
        lines.flush()
        command = [sys.executable, __file__, url, lines.name, str(rate), str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Load(**json.loads(done.stdout))


async def _open(url: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Load:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    )
    requests = [f"{head}Content-Length: {len(one)}\r\n\r\n".encode() + one for one in bodies]
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    taken: list[float] = []

    async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while idle:
            reader, writer = idle.pop()
            if not reader.at_eof():  # the server closes those that nobody used for seconds
                return reader, writer
            writer.close()
        return await asyncio.open_connection(host, port)

    async def ask(request: bytes, due: float) -> None:
        reader, writer = await connected()
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        busy = answer.startswith(b"HTTP/1.1 429")
        if not busy and not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        length = next(
            int(line.split(b":")[1])
            for line in answer.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        await reader.readexactly(length)
        taken.append(np.nan if busy else time.perf_counter() - due)
        idle.append((reader, writer))

    began = time.perf_counter() + 0.1
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(requests[number % len(requests)], due))
    elapsed = time.perf_counter() - began
    for _, writer in idle:
        writer.close()
    ms = np.asarray(taken) * 1000
    refused = int(np.isnan(ms).sum())
    ms = ms[~np.isnan(ms)]
    p50, p99 = np.percentile(ms, [50, 99]).tolist()
    rate = len(ms) / elapsed
    return Load(rate, float(ms.mean()), p50, p99, float(ms.max()), len(ms), refused)


if __name__ == "__main__":
    url, path, rate, seconds = sys.argv[1:]
    lines = Path(path).read_bytes().split(b"\n")
    print(json.dumps(asyncio.run(_open(url, lines, float(rate), float(seconds))).__dict__))
