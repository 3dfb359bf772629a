"""Indexes named on the command line, beside collections of a data directory."""

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
from service.home import Home, registry

SLEEP = {"query": {"text": "sleep"}}


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    path = tmp_path / "papers.index"
    encoder = BM25Encoder.fit(document.text() for document in PAPERS)
    build_index(path, PAPERS, encoder, source="test", progress=False)
    return path


@contextmanager
def served(papers: Path, home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings({"papers": papers}, home=home, work_inside=True))) as one:
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
