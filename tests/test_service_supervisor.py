"""Several processes behind one socket: memory is shared, a death loses nothing, an end is clean."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from scipy import sparse

from index import Index
from lsr.errors import UsageError
from lsr.types import Document
from service import Settings
from service.home import Home, keys
from service.home.keys import Scope
from service.metrics.board import read_board
from service.metrics.names import REQUESTS
from service.server import _as_they_are

TIMEOUT_S = 60
QUERY = {"query": {"vector": {"indices": [1], "values": [1]}}}
SEARCH = "/v1/indexes/live/search"


@dataclass
class Served:
    """A supervised server: its process, address, and where its processes count."""

    process: subprocess.Popen[str]
    address: str
    temporary: Path

    def boards(self) -> dict[int, Path]:
        return {
            int(path.stem.removeprefix("http-")): path
            for path in self.temporary.glob("lsr-serve-*/http-*.board")
        }

    def search(self) -> list[str]:
        """On a connection of its own, so that any process may answer."""
        answer = httpx.post(self.address + SEARCH, json=QUERY, timeout=TIMEOUT_S)
        assert answer.status_code == 200, answer.text
        return [hit["id"] for hit in answer.json()["hits"]]

    def counted(self, name: str) -> float:
        text = httpx.get(f"{self.address}/metrics", timeout=TIMEOUT_S).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def answered_by(self) -> set[int]:
        """Which processes have answered a request by now."""
        return {
            number
            for number, path in self.boards().items()
            if any(key[0] == REQUESTS.name for key in read_board(path))
        }


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed index, so that there is a segment file to map."""
    path = tmp_path_factory.mktemp("shared") / "live.index"
    with Index.create(path, n_terms=3, max_weight=255.0) as index:
        rows = np.tile(np.array([[0, 1, 2]], np.float32), (200, 1))
        index.add([Document(f"d{i}") for i in range(200)], sparse.csr_array(rows))
        index.seal()
    return path


@contextmanager
def serving(tmp_path: Path, *arguments: str) -> Iterator[Served]:
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    code = (
        "from pathlib import Path, PosixPath\nfrom service import serve\n"
        f"serve({', '.join(arguments)}, port=0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    assert process.stderr is not None
    try:
        address, said = "", []
        for line in process.stderr:
            said.append(line)
            if line.startswith("ready"):
                address = line.split()[1]
                break
        if not address:
            print("".join(said))  # for whoever expected it to be ready
        yield Served(process, address, temporary)
    finally:
        process.kill()
        process.communicate()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_process_is_replaced_and_what_it_counted_stays(
    index_path: Path, tmp_path: Path
) -> None:
    with serving(tmp_path, repr({"live": index_path}), "workers=2") as served:
        before = served.boards()
        assert len(before) == 2
        n = 0
        while served.answered_by() != set(before):  # both take part
            assert served.search()[0] == "d0"
            n += 1
        assert served.counted("lsr_search_duration_seconds_count") == n
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        for _ in range(5):  # the listening socket is never closed, so no new connection is refused
            assert served.search()[0] == "d0"
        n += 5
        until(lambda: len(served.boards()) == 2 and victim not in served.boards())
        assert served.counted("lsr_search_duration_seconds_count") == n
        assert served.counted("lsr_process_restarts_total") == 1
        served.process.send_signal(signal.SIGTERM)
        _, stderr = served.process.communicate(timeout=TIMEOUT_S)
        assert served.process.returncode == 0, stderr
        assert f"process http-{victim} died" in stderr
        assert "Traceback" not in stderr
        assert list(served.temporary.iterdir()) == [], "nothing is left in the temporary directory"


def test_segments_are_in_memory_once(index_path: Path, tmp_path: Path) -> None:
    """Every process maps the same file, and none has a page of it to itself that it wrote."""
    with serving(tmp_path, repr({"live": index_path}), "workers=2") as served:
        served.search()
        for number in served.boards():
            mapped = private = 0
            in_segment = False
            for line in Path(f"/proc/{number}/smaps").read_text().splitlines():
                if "-" in line.split()[0] and line.split()[0][-1] != ":":
                    in_segment = line.endswith(".seg")
                    mapped += in_segment
                elif in_segment and line.startswith(("Private_Dirty", "Anonymous")):
                    private += int(line.split()[1])
            assert mapped > 0, number
            assert private == 0, "pages of a segment were copied"


@pytest.mark.slow
def test_hangup_replaces_every_process_without_a_refused_request(
    index_path: Path, tmp_path: Path
) -> None:
    with serving(tmp_path, repr({"live": index_path}), "workers=2") as served:
        before = set(served.boards())
        served.process.send_signal(signal.SIGHUP)
        until(lambda: bool(served.search()) and not before & set(served.boards()))
        until(lambda: len(served.boards()) == 2)
        assert served.search()[0] == "d0"
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(TIMEOUT_S) == 0


@pytest.mark.slow
def test_an_end_that_is_wanted_during_a_reload_comes(index_path: Path, tmp_path: Path) -> None:
    """The signal was taken by the wait for an old process, and the server went on for ever."""
    with serving(tmp_path, repr({"live": index_path}), "workers=2") as served:
        served.process.send_signal(signal.SIGHUP)
        time.sleep(0.12)  # into the reload
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(TIMEOUT_S) == 0


def test_new_settings_are_those_that_a_server_might_start_with(tmp_path: Path) -> None:
    """A reload could open a server to everybody: keys were looked for at the start alone."""
    with Home.open(tmp_path / "data") as home:
        _, _ = keys.create(home, "root", [Scope.read("admin:*")])
    before = Settings({}, home=tmp_path / "data")
    assert _as_they_are(before, lambda: before, "0.0.0.0", insecure=False) is before
    for other in (None, tmp_path / "other"):
        with pytest.raises(UsageError, match="data directory"):
            wanted = partial(replace, before, home=other)
            _as_they_are(before, wanted, "0.0.0.0", insecure=False)
    with Home.open(tmp_path / "data") as home:
        keys.revoke(home, keys.listed(home)[0].id)
    bare = Settings({})
    with pytest.raises(UsageError, match="no key"):
        _as_they_are(bare, lambda: bare, "0.0.0.0", insecure=False)


def test_what_one_process_wrote_all_of_them_find(tmp_path: Path) -> None:
    with serving(tmp_path, "{}", f"home=Path({str(tmp_path / 'data')!r})", "workers=2") as served:
        body = {"name": "live", "encoder": None, "n_terms": 3, "max_weight": 255.0}
        made = httpx.post(f"{served.address}/v1/indexes", json=body, timeout=TIMEOUT_S)
        assert made.status_code == 201, made.text
        for i in range(3):
            line = b'{"id": "w%d", "vector": {"indices": [1], "values": [%d]}}\n' % (i, 9 - i)
            added = httpx.post(
                f"{served.address}/v1/indexes/live/documents",
                content=line,
                headers={"Content-Type": "application/x-ndjson"},
                timeout=TIMEOUT_S,
            )
            assert added.status_code == 200, added.text
            for _ in range(4):
                assert served.search() == [f"w{j}" for j in range(i + 1)]
        until(lambda: bool(served.search()) and served.answered_by() == set(served.boards()))
        ready = httpx.get(f"{served.address}/readyz").json()
        assert ready["data"]["worker"] == "running"


@pytest.mark.slow
def test_processes_end_when_their_supervisor_was_killed(index_path: Path, tmp_path: Path) -> None:
    with serving(tmp_path, repr({"live": index_path}), "workers=2") as served:
        numbers = set(served.boards())
        served.process.kill()
        served.process.wait()
        until(lambda: not any(Path(f"/proc/{number}").exists() for number in numbers))


def test_processes_that_cannot_serve_end_the_server_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.index").mkdir()
    empty = repr({"empty": tmp_path / "empty.index"})
    with serving(tmp_path, empty, "workers=2") as served:
        assert served.address == ""
        assert served.process.wait(TIMEOUT_S) == 1


@pytest.mark.slow
def test_killed_processes_lose_no_acknowledged_document(tmp_path: Path) -> None:
    """A writer keeps on while one HTTP process after the other is killed; only answers count."""
    with serving(tmp_path, "{}", f"home=Path({str(tmp_path / 'data')!r})", "workers=2") as served:
        body = {"name": "live", "encoder": None, "n_terms": 3, "max_weight": 255.0}
        assert httpx.post(f"{served.address}/v1/indexes", json=body).status_code == 201
        acknowledged: list[str] = []
        killed = 0
        for i in range(150):
            line = b'{"id": "w%d", "vector": {"indices": [1], "values": [1]}}\n' % i
            try:
                added = httpx.post(
                    f"{served.address}/v1/indexes/live/documents",
                    content=line,
                    headers={"Content-Type": "application/x-ndjson"},
                    params={"ack": "logged" if i % 2 else "searchable"},
                    timeout=TIMEOUT_S,
                )
            except httpx.TransportError:
                continue  # no answer, no promise
            if added.status_code in (200, 202):
                acknowledged.append(f"w{i}")
            if i % 30 == 10 and (boards := served.boards()):
                os.kill(min(boards), signal.SIGKILL)
                killed += 1
        assert killed >= 4
        assert len(acknowledged) > 100
        url = f"{served.address}/v1/indexes/live/documents/"
        until(lambda: httpx.get(f"{served.address}/readyz").json()["data"]["waiting_tasks"] == 0)
        missing = [one for one in acknowledged if httpx.get(url + one).status_code != 200]
        assert missing == []
        served.process.terminate()
        assert served.process.wait(TIMEOUT_S) == 0


@pytest.mark.slow
def test_liveness_at_once_and_an_end_that_waits_for_answers(
    index_path: Path, tmp_path: Path
) -> None:
    """Opening and searching are slowed down by what is forked, before it is."""
    gate = tmp_path / "gate"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"""
import time
from pathlib import Path, PosixPath
from index import Index
from service import serve
from service.collection import Collection
opened, search = Collection.open.__func__, Index.search
def slowly(cls, *arguments, **rest):
    while not Path({str(gate)!r}).exists():
        time.sleep(0.02)
    return opened(cls, *arguments, **rest)
def long(*arguments, **rest):
    time.sleep(1.5)
    return search(*arguments, **rest)
Collection.open, Index.search = classmethod(slowly), long
serve({ {"live": index_path}!r}, port={port}, workers=2)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    address = f"http://127.0.0.1:{port}"
    try:

        def alive() -> bool:
            try:
                return httpx.get(f"{address}/livez").status_code == 200
            except httpx.TransportError:
                return False

        until(alive)
        waiting = httpx.get(f"{address}/readyz")
        assert waiting.status_code == 503
        assert waiting.json()["checks"][0]["state"] == "opening"
        gate.touch()
        assert next(line for line in process.stderr if line.startswith("ready"))
        with ThreadPoolExecutor(4) as pool:
            url = address + SEARCH
            asked = [pool.submit(httpx.post, url, json=QUERY, timeout=TIMEOUT_S) for _ in range(4)]
            until(lambda: _in_flight(address) == 5)
            process.terminate()
            answers = [one.result() for one in asked]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.communicate()


def _in_flight(address: str) -> float:
    """Over all processes, the scrape included."""
    text = httpx.get(f"{address}/metrics", timeout=TIMEOUT_S).text
    return next(
        float(line.split()[1])
        for line in text.splitlines()
        if line.startswith("lsr_inflight_requests ")
    )
