"""A server notices what happens to its indexes while it runs: replacement and damage."""

import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index import build_index
from lsr.encoders import BM25Encoder
from lsr.types import Document
from service import Settings, create_app
from service.server import _listening

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
        engine._opener.join(30)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "damaged" in answer.text
        assert client.post(URL, json={"query": {"text": "cats"}}).status_code == 503


def test_no_part_of_an_answer_waits_for_the_client_to_acknowledge_another() -> None:
    """40 ms of each answer went there, with clients that acknowledge as late as they may."""
    with (
        _listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
