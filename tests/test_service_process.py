"""`serve` as a process: loopback only, ready when it says so, and gone in good order."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from scipy import sparse

from index import Index
from lsr.__main__ import run
from lsr.errors import IndexNotFound, UsageError
from lsr.types import Document
from service import serve
from service.home import Home, keys
from service.server import is_loopback

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "live.index"
    with Index.create(path, n_terms=2, max_weight=255.0) as index:
        index.add([Document("a")], sparse.csr_array(np.array([[0, 1]], np.float32)))
    return path


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process that calls `serve(*arguments)`, and what it wrote up to `ready` or its end."""
    imports = "from pathlib import Path, PosixPath\nfrom service import serve"
    code = f"{imports}\nserve({', '.join(map(str, arguments))})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("ready"):
                break
        yield process, lines
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_serves_on_loopback_until_it_is_told_to_end(
    index_path: Path, number: signal.Signals
) -> None:
    indexes = repr({"live": index_path})
    with serving(indexes, "port=0", "access_log=True") as (process, lines):
        assert lines[0].startswith("opened     live   1 documents")
        address = lines[-1].split()[1]
        assert address.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=address, timeout=TIMEOUT_S) as client:
            assert client.get("/readyz").status_code == 200
            query = {"query": {"vector": {"indices": [1], "values": [1]}}}
            response = client.post("/v1/indexes/live/search", json=query)
            assert [hit["id"] for hit in response.json()["hits"]] == ["a"]
            assert "server" not in response.headers
            assert client.get("/nowhere?secret=1%0A").json()["code"] == "not_found"
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, stderr
    assert stdout == "", "all that a server says goes to stderr"
    assert "POST /v1/indexes/live/search 200" in stderr
    assert response.headers["x-request-id"] in stderr
    assert "secret" not in stderr, "a log holds no query strings"
    assert "Traceback" not in stderr


def test_a_search_that_runs_when_the_end_is_asked_for_is_answered(index_path: Path) -> None:
    """The search itself sends the signal, so it is certainly running."""
    code = f"""
import os, signal
from pathlib import Path, PosixPath
from index import Index
from service import serve
search = Index.search
def ending(*arguments, **rest):
    os.kill(os.getpid(), signal.SIGTERM)
    return search(*arguments, **rest)
Index.search = ending
serve({ {"live": index_path}!r}, port=0)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    address = next(line for line in process.stderr if line.startswith("ready")).split()[1]
    query = {"query": {"vector": {"indices": [1], "values": [1]}}}
    response = httpx.post(f"{address}/v1/indexes/live/search", json=query, timeout=TIMEOUT_S)
    assert [hit["id"] for hit in response.json()["hits"]] == ["a"]
    _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, stderr


def test_a_server_without_any_index_ends_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.index").mkdir()
    with serving(repr({"empty": tmp_path / "empty.index"}), "port=0") as (process, lines):
        assert process.wait(TIMEOUT_S) == 1
    assert "IndexNotFound" in lines[-1], "the command line turns it into one line and exit 1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "example.org"])
def test_other_addresses_than_loopback_are_refused(index_path: Path, host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(UsageError, match=r"there is no key.*lsr keys create.*--insecure"):
        serve({"live": index_path}, host=host, port=0)


def test_an_index_that_is_not_there_is_refused_before_listening(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound, match=r"gone\.index: no such directory"):
        serve({"gone": tmp_path / "gone.index"})


def test_a_port_in_use_is_refused_with_a_way_out(index_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"127\.0\.0\.1 port {port}: .*--port"):
            serve({"live": index_path}, port=port)
    with pytest.raises(UsageError, match="wanted 0 to 65535"):
        serve({"live": index_path}, port=70_000)


def test_a_data_directory_has_a_worker_of_its_own(tmp_path: Path) -> None:
    """Killed with everything it started, the server still keeps what it acknowledged."""
    home = tmp_path / "data"
    arguments = ("{}", f"home=Path({str(home)!r})", "port=0")
    line = b'{"id": "a", "fields": {"text": "cats sleep"}}\n'
    ndjson = {"Content-Type": "application/x-ndjson"}
    url = "/v1/indexes/pets/documents"
    with serving(*arguments) as (process, lines):
        with httpx.Client(base_url=lines[-1].split()[1], timeout=TIMEOUT_S) as client:
            assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
            answer = client.post(url, content=line, headers=ndjson)
            assert answer.json()["details"]["indexed"] == 1
            logged = {"ack": "logged"}
            answer = client.post(
                url, content=line.replace(b"cats", b"dogs"), headers=ndjson, params=logged
            )
            assert answer.status_code == 202
        process.kill()
        process.wait()
    with serving(*arguments) as (process, lines):
        with httpx.Client(base_url=lines[-1].split()[1], timeout=TIMEOUT_S) as client:
            task = answer.json()["id"]
            for _ in range(200):
                if client.get(f"/v1/tasks/{task}").json()["finished"]:
                    break
                time.sleep(0.05)
            found = client.post("/v1/indexes/pets/search", json={"query": {"text": "dogs"}}).json()
            assert [hit["id"] for hit in found["hits"]] == ["a"]
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0


def test_what_waits_when_the_end_is_asked_for_is_told_that_its_change_is_durable(
    tmp_path: Path,
) -> None:
    """It was a bare 500 after ten seconds, of changes that were kept."""
    arguments = ("{}", f"home=Path({str(tmp_path / 'data')!r})", "port=0")
    with serving(*arguments) as (process, lines):
        address = lines[-1].split()[1]
        with httpx.Client(base_url=address, timeout=TIMEOUT_S) as client:
            assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:  # the worker, which now takes no task
            os.kill(int(child), signal.SIGSTOP)
        url = f"{address}/v1/indexes/pets/documents"
        with ThreadPoolExecutor() as pool:
            body = {"fields": {"text": "cats"}}
            one = pool.submit(httpx.put, f"{url}/a", json=body, timeout=TIMEOUT_S)
            many = pool.submit(
                httpx.post,
                url,
                content=b'{"id": "b", "text": "dogs"}\n',
                headers={"Content-Type": "application/x-ndjson"},
                params={"wait": 300},
                timeout=TIMEOUT_S,
            )
            with httpx.Client(base_url=address, timeout=TIMEOUT_S) as client:
                while len(client.get("/v1/tasks?state=queued").json()["tasks"]) < 2:
                    time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert (one.result().status_code, one.result().json()["code"]) == (503, "index_busy")
            assert "durable" in one.result().json()["detail"]
            assert (many.result().status_code, many.result().json()["state"]) == (202, "queued")
        for child in children:
            os.kill(int(child), signal.SIGCONT)
        assert process.wait(TIMEOUT_S) == 0


def test_with_a_key_a_server_listens_beyond_loopback_and_asks_for_it(
    index_path: Path, tmp_path: Path
) -> None:
    with Home.open(tmp_path / "server") as home:
        key, secret = keys.create(home, "k", [keys.Scope.read("search:*")])
    arguments = (repr({"live": index_path}), f"home={tmp_path / 'server'!r}", "host='0.0.0.0'")
    with serving(*arguments, "port=0") as (_, lines):
        assert not any(line.startswith("insecure") for line in lines)
        port = lines[-1].split()[1].rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
            assert client.get("/v1/indexes").status_code == 401
            headers = {"X-API-Key": secret, "Host": "search.example.org"}
            assert client.get("/v1/indexes", headers=headers).status_code == 200
            assert run(["keys", "revoke", "--data", str(tmp_path / "server"), key.id]) == 0
            assert client.get("/v1/indexes", headers=headers).status_code == 401
            assert client.get("/livez").status_code == 200


def test_without_a_key_only_the_insecure_listen_beyond_loopback_and_are_told(
    index_path: Path,
) -> None:
    arguments = (repr({"live": index_path}), "host='0.0.0.0'", "insecure=True", "port=0")
    with serving(*arguments) as (_, lines):
        assert lines[0].startswith("insecure   listening on 0.0.0.0 without keys")


def test_headers_are_bounded_and_hosts_are_checked_on_the_wire(index_path: Path) -> None:
    patched = "__import__('service.server').server.__dict__.update(WAIT_S=1)"
    with serving(f"{patched} or { ({'live': index_path})!r}", "port=0") as (_, lines):
        port = int(lines[-1].split()[1].rpartition(":")[2])

        def status(request: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
                connection.sendall(request)
                return connection.recv(65536).split(b" ")[1]

        start = b"GET /livez HTTP/1.1\r\n"
        assert status(start + b"Host: localhost\r\n\r\n") == b"200"
        assert status(start + b"Host: evil.example\r\n\r\n") == b"421"
        whole = b"GET HTTP://%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert status(whole % b"localhost:80/livez") == b"200"
        assert status(whole % b"localhost/livez?x=1") == b"422", "it has no such parameter"
        assert status(whole % b"localhost") == b"200"
        assert status(whole % b"evil.example/livez") == b"421"
        assert status(whole % b"localhost/nowhere%20at%20all") == b"404"
        large = b"Host: localhost\r\nX-Large: " + b"x" * 40_000 + b"\r\n\r\n"
        assert status(start + large) == b"431"
        endless = b"Host: localhost\r\nX-Large: " + b"x" * 1_000_000
        assert status(start + endless) == b"400"
        for silent in (b"", start, start + b"Host: localhost\r\nX-Sl"):
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
                connection.sendall(silent)
                assert connection.recv(100) == b"", "closed without an answer"
        dots = b"GET /v1/indexes/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert status(dots) == b"404"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_server_of_a_data_directory_ends_at_once(tmp_path: Path, workers: int) -> None:
    """It said `ready`, and its worker was turned away every second from then on. One that was
    killed keeps nobody out.
    """
    home = f"home=Path({str(tmp_path / 'data')!r})"
    arguments = ("{}", home, "port=0", f"workers={workers}")
    with serving(*arguments) as (first, lines):
        assert lines[-1].startswith("ready")
        with serving(*arguments) as (second, said):
            assert second.wait(TIMEOUT_S) == 1
        assert "IndexLocked" in said[-1], "the command line turns it into one line and exit 1"
        assert f"{tmp_path / 'data'}: another server works in this data directory" in said[-1]
        assert first.poll() is None
        first.kill()
        first.wait()
    with serving(*arguments) as (_, lines):
        assert lines[-1].startswith("ready")
