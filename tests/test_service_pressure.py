"""Ingestion is refused while there is still room for what was promised."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service import create_app
from service.home import Home, log
from service.home.log import Chunk
from service.pressure import Pressure
from service.problems import KINDS, ProblemError
from service.settings import MIB, Settings, Watermarks

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("total", "free", "refused"),
    [
        (100_000 * MIB, 513 * MIB, False),
        (100_000 * MIB, 511 * MIB, True),
        (1_000 * MIB, 51 * MIB, False),  # a small disk: 5 % is less than 512 MiB
        (1_000 * MIB, 49 * MIB, True),
    ],
)
def test_a_nearly_full_disk_takes_nothing_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, refused: bool
) -> None:
    with Home.open(tmp_path / "data") as home:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(total, total - free, free))
        if refused:
            with pytest.raises(ProblemError) as caught:
                Pressure(home).check_room()
            assert caught.value.code == "insufficient_storage"
            assert KINDS[caught.value.code].status == 507
        else:
            Pressure(home).check_room()
            with pytest.raises(ProblemError, match="free"):  # what it announces counts as well
                Pressure(home).check_room(n_bytes=free)


def test_a_long_backlog_asks_to_come_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Home.open(tmp_path / "data") as home:
        pressure = Pressure(home, Watermarks(max_log=1000))
        pressure.check_room()
        with home.transaction() as connection:
            log.append(connection, 1, Chunk(0, 1, (b"x" * 1001,)))
        pressure.check_room()  # looked up less than a second ago
        monkeypatch.setattr("service.pressure.FRESH_S", 0.0)
        with pytest.raises(ProblemError) as caught:
            pressure.check_room()
        assert (caught.value.code, KINDS[caught.value.code].status) == ("backlog_full", 429)
        assert caught.value.headers["Retry-After"] == "5"
        with home.transaction() as connection:
            connection.execute("DELETE FROM log")
        pressure.check_room()


def test_one_body_larger_than_the_bound_is_taken_into_an_empty_log(tmp_path: Path) -> None:
    """Or it could never be."""
    with Home.open(tmp_path / "data") as home:
        Pressure(home, Watermarks(max_log=10)).check_room(n_bytes=1000)


def test_a_full_disk_refuses_documents_and_answers_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = b'{"id": "a", "fields": {"text": "cats sleep"}}\n'
    ndjson = {"Content-Type": "application/x-ndjson"}
    settings = Settings({}, home=tmp_path / "data", work_inside=True)
    with TestClient(create_app(settings)) as client:
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        url = "/v1/indexes/pets/documents"
        assert client.post(url, content=line, headers=ndjson).status_code == 200
        monkeypatch.setattr("service.pressure.FRESH_S", 0.0)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 1000))
        refused = client.post(url, content=line, headers=ndjson)
        assert (refused.status_code, refused.json()["code"]) == (507, "insufficient_storage")
        assert refused.headers["retry-after"] == "60"
        assert client.put(f"{url}/b", json={"fields": {"text": "dogs"}}).status_code == 507
        query = {"query": {"text": "cats"}}
        found = client.post("/v1/indexes/pets/search", json=query).json()
        assert [hit["id"] for hit in found["hits"]] == ["a"]
        gone = client.delete(f"{url}/a")
        assert gone.status_code < 300, "deleting is how room is made"
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))
        assert client.post(url, content=line, headers=ndjson).status_code == 200


def test_a_disk_that_fills_up_while_a_body_comes_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = b'{"id": "a", "fields": {"text": "cats sleep"}}\n'
    frees = iter([10**12] * 2 + [0] * 100)
    settings = Settings({}, home=tmp_path / "data", work_inside=True)
    with TestClient(create_app(settings)) as client:
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        monkeypatch.setattr("service.pressure.FRESH_S", 0.0)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, next(frees)))
        refused = client.post(
            "/v1/indexes/pets/documents",
            content=line * 5000,  # three chunks
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert refused.status_code == 507
        home = client.app_state["engine"].home  # type: ignore[attr-defined]
        assert log.n_bytes(home) == 0
        assert home.rows("SELECT count(*) FROM tasks") == [(0,)]
