"""A server notices what happens to its indexes while it runs: replacement and damage."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import service.engine
from index import Index, build_index
from lsr.__main__ import run
from lsr.encoders import BM25Encoder
from lsr.types import Document
from service import Settings, create_app
from service.engine import Failure
from service.listening import listening

URL = "/v1/indexes/pets/search"


def build(path: Path, text: str) -> None:
    documents = [Document("a", {"text": text})]
    encoder = BM25Encoder.fit([text])
    build_index(path, documents, encoder, source=text, overwrite=True, progress=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build(tmp_path / "pets.index", "cats sleep")
    return tmp_path / "pets.index"


def test_a_replaced_index_is_opened_anew_at_the_next_request(path: Path) -> None:
    with TestClient(create_app(Settings({"pets": path}))) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        cats = {"query": {"text": "cats"}}
        assert len(client.post(URL, json=cats).json()["hits"]) == 1
        build(path, "dogs bark")
        assert client.post(URL, json=cats).json()["hits"] == []
        assert len(client.post(URL, json={"query": {"text": "dogs"}}).json()["hits"]) == 1


def test_a_damaged_segment_takes_its_index_out_of_service(path: Path) -> None:
    """Opening reads directories only; the scrub reads every byte and finds the flipped one."""
    (segment,) = (path / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[-8] ^= 1
    segment.write_bytes(bytes(data))
    with TestClient(create_app(Settings({"pets": path}))) as client:
        engine = client.app_state["engine"]  # type: ignore[attr-defined]
        assert engine.wait(30)
        give_up = time.monotonic() + 30
        while engine.state("pets") != "failed" and time.monotonic() < give_up:
            time.sleep(0.01)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "damaged" in answer.text
        assert client.post(URL, json={"query": {"text": "cats"}}).status_code == 503


def test_an_index_that_was_repaired_is_served_again_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one whose files stay as they are is not read again and again."""
    monkeypatch.setattr(service.engine, "FOLLOW_S", 0.02)
    settings = Settings({}, home=tmp_path / "data", work_inside=True)
    line = '{"id": "a", "fields": {"text": "cats sleep"}}\n'
    with TestClient(create_app(settings)) as client:
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        kind = {"Content-Type": "application/x-ndjson"}
        assert (
            client.post("/v1/indexes/pets/documents", content=line, headers=kind).status_code < 300
        )
        index_path = client.app_state["engine"].registry().resolve("pets").path  # type: ignore[attr-defined]
    with Index.open(index_path) as index:
        index.seal()
    (segment,) = (index_path / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[-8] ^= 1
    segment.write_bytes(bytes(data))
    settings = Settings({}, home=tmp_path / "data")
    with TestClient(create_app(settings)) as client:
        engine = client.app_state["engine"]  # type: ignore[attr-defined]
        until(lambda: engine.state("pets") == "failed")
        cats = {"query": {"text": "cats"}}
        assert client.post(URL, json=cats).status_code == 503
        tried: list[str] = []
        again = engine._try_again

        def trying(name: str, failed: Failure) -> None:
            tried.append(name)
            again(name, failed)

        monkeypatch.setattr(engine, "_try_again", trying)
        time.sleep(0.3)
        assert len(tried) <= 1, "the log of the catalog may have been written back once"
        assert run(["repair", "pets", "--data", str(tmp_path / "data")]) == 0
        until(lambda: engine.state("pets") == "ready")
        assert [hit["id"] for hit in client.post(URL, json=cats).json()["hits"]] == ["a"]
        until(lambda: checks(client)[0]["verified"]["bytes"] > 0)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_part_of_an_answer_waits_for_the_client_to_acknowledge_another() -> None:
    """40 ms of each answer went there, with clients that acknowledge as late as they may."""
    with (
        listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_index_that_another_process_made_is_opened_unasked(tmp_path: Path) -> None:
    """Or a process that nobody asks for it would say for ever that it is not ready."""
    settings = Settings({}, home=tmp_path / "data")
    with TestClient(create_app(settings)) as maker, TestClient(create_app(settings)) as other:
        for client in (maker, other):
            assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        assert maker.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        deadline = time.monotonic() + 30
        while [check["state"] for check in checks(other)] != ["ready"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert 'lsr_index_ready{index="pets"} 1.0' in other.get("/metrics").text


def checks(client: TestClient) -> list[dict[str, Any]]:
    answer = client.get("/readyz")
    assert answer.status_code == 200, "one that is being made does not make the rest unready"
    return list(answer.json()["checks"])


def test_a_burst_of_connections_is_not_taken_by_whoever_wakes_first() -> None:
    """Each call gives one connection, the next none, as event loops ask until none is left."""
    with listening("127.0.0.1", 0) as listener:
        listener.setblocking(False)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        for client in clients:
            accepted, _ = listener.accept()
            assert accepted.getpeername() == client.getsockname()
            accepted.close()
            with pytest.raises(BlockingIOError):
                listener.accept()
        for _ in range(3):  # nobody waits; the next one is not missed for that
            with pytest.raises(BlockingIOError):
                listener.accept()
        late = socket.create_connection(listener.getsockname())
        listener.setblocking(True)
        listener.settimeout(30)
        listener.accept()[0].close()
        for client in (*clients, late):
            client.close()


def test_an_index_that_was_replaced_is_read_to_the_last_byte_too(path: Path) -> None:
    """Only what was open at the start used to be."""
    with TestClient(create_app(Settings({"pets": path}))) as client:
        engine = client.app_state["engine"]  # type: ignore[attr-defined]
        assert engine.wait(30)
        build(path, "dogs bark")
        (segment,) = (path / "segments").iterdir()
        data = bytearray(segment.read_bytes())
        data[-8] ^= 1
        segment.write_bytes(bytes(data))
        client.post(URL, json={"query": {"text": "dogs"}})
        give_up = time.monotonic() + 30
        while engine.state("pets") != "failed" and time.monotonic() < give_up:
            time.sleep(0.01)
        assert client.post(URL, json={"query": {"text": "dogs"}}).status_code == 503
