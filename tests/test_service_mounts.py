"""Indexes named on the command line, beside collections of a data directory."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from service_world import PAPERS
from starlette.testclient import TestClient

from index import build_index
from lsr.__main__ import run
from lsr.encoders import BM25Encoder
from service import Settings, create_app
from service.home import Home, log, queue, registry
from service.server import writable_lines
from service.worker import Worker
from service.worker import worker as worker_module

SLEEP = {"query": {"text": "sleep"}}


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    path = tmp_path / "papers.index"
    encoder = BM25Encoder.fit(document.text() for document in PAPERS)
    build_index(path, PAPERS, encoder, source="test", progress=False)
    return path


@contextmanager
def served(papers: Path | None, home: Path, *, read_only: bool = False) -> Iterator[TestClient]:
    mounts = {} if papers is None else {"papers": papers}
    settings = Settings(mounts, home=home, work_inside=True, read_only=read_only)
    with TestClient(create_app(settings)) as one:
        assert one.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        yield one


def test_a_collection_cannot_take_the_name_of_an_index_of_the_command_line(
    papers: Path, tmp_path: Path
) -> None:
    """It could, and from then on every request of every index was answered by 500, also after a
    restart.
    """
    with served(papers, tmp_path / "data") as client:
        refused = client.post("/v1/indexes", json={"name": "papers"})
        assert (refused.status_code, refused.json()["code"]) == (409, "index_exists")
        assert refused.json()["errors"][0]["pointer"] == "/name"
        assert list((tmp_path / "data" / "indexes").iterdir()) == [], "nothing was written"
        assert client.post("/v1/indexes/papers/search", json=SLEEP).status_code == 200
    with served(papers, tmp_path / "data") as client:
        assert client.get("/v1/indexes").status_code == 200


def test_a_name_that_another_process_takes_leaves_the_server_answering(
    papers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`lsr snapshot restore --data` beside the server knows nothing of its command line."""
    with served(papers, tmp_path / "data") as client:
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        with Home.open(tmp_path / "data") as other, other.transaction() as connection:
            folder = registry.new_folder(other, "papers")
            folder.mkdir()
            registry.enter(connection, "papers", folder, {})
            connection.execute("INSERT INTO aliases VALUES('twin', 'papers', 0)")
        for _ in range(2):
            found = client.post("/v1/indexes/papers/search", json=SLEEP).json()
            assert len(found["hits"]) == 3, "still the index of the command line"
        assert client.post("/v1/indexes/pets/search", json=SLEEP).status_code == 200
        twin = client.post("/v1/indexes/twin/search", json=SLEEP)
        assert twin.status_code == 404, "an alias of the one is no name of the other"
    said = [line for line in caplog.messages if "'papers' is now in the data directory" in line]
    assert len(said) == 1


@pytest.mark.parametrize("name", ["papers", "alias"])
def test_a_start_with_a_name_that_is_taken_is_refused(
    name: str, papers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "data"
    with TestClient(create_app(Settings({}, home=home, work_inside=True))) as client:
        assert client.post("/v1/indexes", json={"name": "papers"}).status_code == 201
        add = {"actions": [{"add": {"alias": "alias", "index": "papers"}}]}
        assert client.post("/v1/aliases", json=add).status_code == 200
    assert run(["serve", f"{name}={papers}", "--data", str(home), "--port", "0"]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert f"has an index or an alias '{name}' already" in said
    assert f"NAME={papers}" in said


def test_documents_of_an_index_of_the_command_line_change_unless_it_is_only_read(
    papers: Path, tmp_path: Path
) -> None:
    def writes(client: TestClient, name: str) -> list[int]:
        url = f"/v1/indexes/{name}/documents"
        line = b'{"id": "d9", "fields": {"text": "owls sleep by day"}}'
        ndjson = {"Content-Type": "application/x-ndjson"}
        answers = [
            client.post(url, content=line, headers=ndjson),
            client.put(f"{url}/d9", json={"fields": {"text": "owls sleep"}}),
            client.post(f"{url}/delete", json={"ids": ["d1"]}),
            client.delete(f"{url}/d9"),
        ]
        assert {one.json()["code"] for one in answers if one.status_code >= 400} <= {
            "index_mounted"
        }
        return [one.status_code for one in answers]

    with served(papers, tmp_path / "data", read_only=True) as client:
        assert writes(client, "papers") == [409] * 4
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        assert writes(client, "pets") == [200, 200, 200, 204]
        assert len(client.post("/v1/indexes/papers/search", json=SLEEP).json()["hits"]) == 3
        assert writable_lines(client.app_state["engine"]) == []  # type: ignore[attr-defined]
    with served(papers, tmp_path / "data") as client:
        assert writes(client, "papers") == [200, 200, 200, 204]
        (line,) = writable_lines(client.app_state["engine"])  # type: ignore[attr-defined]
        assert line.startswith(f"writable   papers: HTTP changes {papers}")


def test_another_data_directory_has_other_tasks_of_the_same_numbers(
    papers: Path, tmp_path: Path
) -> None:
    """What it acknowledged was taken for done: the index remembered that number and chunk."""
    for home, name in (("one", "first"), ("two", "second")):
        with served(papers, tmp_path / home) as client:
            line = f'{{"id": "{name}", "fields": {{"text": "owls sleep"}}}}'.encode()
            ndjson = {"Content-Type": "application/x-ndjson"}
            told = client.post("/v1/indexes/papers/documents", content=line, headers=ndjson)
            assert (told.json()["id"], told.json()["details"]["indexed"]) == (1, 1)
            assert client.get(f"/v1/indexes/papers/documents/{name}").status_code == 200


def test_documents_of_an_index_wait_where_it_is_not_served(
    papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker without the index of the command line failed them, and let go of their lines."""
    monkeypatch.setattr(worker_module, "RETRY_S", 0.05)
    with served(papers, tmp_path / "data") as client:
        home = client.app_state["engine"].home  # type: ignore[attr-defined]
    with Home.open(home.path) as there:
        line = log.Chunk(0, 1, (b'{"id": "d9", "fields": {"text": "owls sleep"}}',))
        with there.transaction() as connection:
            number = queue.begin(
                connection, "ingest", "papers", {"mounted": str(papers.resolve()), "ack": "logged"}
            )
            log.append(connection, number, line)
            queue.submit(connection, number)
        worker = Worker(there)
        thread = threading.Thread(target=worker.run)
        thread.start()
        give_up = time.monotonic() + 20
        while (task := queue.task_of(there, number)).error is None:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        worker.stop()
        thread.join()
    assert (task.state, task.error["code"]) == ("queued", "waiting")
    assert "not served" in task.error["detail"]
    with served(None, tmp_path / "data") as client:  # another index of the name is not meant
        assert client.post("/v1/indexes", json={"name": "papers"}).status_code == 201
        other = b'{"id": "own", "fields": {"text": "cats"}}'
        ndjson = {"Content-Type": "application/x-ndjson"}
        told = client.post("/v1/indexes/papers/documents", content=other, headers=ndjson)
        assert (told.status_code, told.json()["state"]) == (200, "succeeded")
        assert client.get("/v1/indexes/papers/documents/d9").status_code == 404
        assert client.delete("/v1/indexes/papers").status_code == 204
        assert client.get(f"/v1/tasks/{number}").json()["state"] in ("queued", "running")
    with served(papers, tmp_path / "data") as client:
        give_up = time.monotonic() + 20
        while (told := client.get(f"/v1/tasks/{number}").json())["finished"] is None:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        assert told["state"] == "succeeded"
        assert client.get("/v1/indexes/papers/documents/d9").status_code == 200
