"""`lsr snapshot` as somebody types it."""

import json
from pathlib import Path
from typing import Any

import pytest

from lsr.__main__ import run


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    corpus = tmp_path / "papers.jsonl"
    lines = [{"_id": f"d{i}", "text": f"cats number{i}"} for i in range(3)]
    corpus.write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert run(["index", str(corpus), str(tmp_path / "papers.index")]) == 0
    return tmp_path / "papers.index"


def said(capsys: pytest.CaptureFixture[str], *command: str | Path, code: int = 0) -> str:
    capsys.readouterr()
    assert run([str(one) for one in command]) == code, capsys.readouterr()
    told = capsys.readouterr()
    return told.out if code == 0 else told.out + told.err


def as_json(capsys: pytest.CaptureFixture[str], *command: str | Path) -> Any:
    return json.loads(said(capsys, *command, "--json"))


def test_create_verify_list_restore_search(
    papers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = as_json(capsys, "snapshot", "create", papers, "--to", tmp_path / "b")
    place = Path(made["path"])
    assert place == tmp_path / "b" / f"papers-{made['generation']}"
    assert made["n_docs"] == 3
    assert said(capsys, "snapshot", "verify", place).startswith("sound")
    (listed,) = as_json(capsys, "snapshot", "list", tmp_path / "b")
    assert listed["path"] == str(place)
    told = said(capsys, "snapshot", "restore", place, tmp_path / "again.index")
    assert "3 documents" in told
    assert told.splitlines()[-1].startswith("next")
    (hits,) = [as_json(capsys, "search", tmp_path / "again.index", "number1", "-k", "1")]
    assert "d1" in json.dumps(hits)
    again = said(capsys, "snapshot", "create", papers, "--to", tmp_path / "b", code=2)
    assert "exists" in again
    said(capsys, "snapshot", "create", papers, "--to", tmp_path / "b", "--archive")
    said(capsys, "snapshot", "create", papers, "--to", tmp_path / "b", "--archive", code=2)
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == [place.name, f"{place.name}.tar.zst"]


def test_an_archive_and_a_damaged_snapshot(
    papers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = as_json(capsys, "snapshot", "create", papers, "--to", tmp_path / "b", "--archive")
    assert archive["path"].endswith(".tar.zst")
    assert [path.name for path in (tmp_path / "b").iterdir()] == [Path(archive["path"]).name]
    assert "100 % of" in said(capsys, "snapshot", "verify", archive["path"])
    said(capsys, "snapshot", "restore", archive["path"], tmp_path / "r.index")
    packed = Path(archive["path"])
    packed.write_bytes(packed.read_bytes()[:-20])
    told = said(capsys, "snapshot", "verify", packed, code=1)
    assert "damaged" in told
    assert told.count(str(packed)) == 2, "beside the finding and in the next step"
    (listed,) = as_json(capsys, "snapshot", "list", tmp_path / "b")
    assert listed == {"path": str(packed), "bytes": packed.stat().st_size}
    assert [path.name for path in (tmp_path / "b").iterdir()] == [packed.name]
    made = as_json(capsys, "snapshot", "create", papers, "--to", tmp_path / "c", "--copy")
    segment = next((Path(made["path"]) / "segments").iterdir())
    raw = bytearray(segment.read_bytes())
    raw[700] ^= 1
    segment.write_bytes(raw)
    told = said(capsys, "snapshot", "verify", made["path"], code=1)
    assert f"{segment.name}: its bytes do not match" in told


def test_by_name_in_a_data_directory(
    papers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    made = as_json(capsys, "snapshot", "create", papers, "--to", data / "snapshots")
    name = Path(made["path"]).name
    (data / "snapshots").rename(tmp_path / "kept")
    data.rmdir()
    from service.home import Home

    Home.open(data).close()
    (data / "snapshots").rmdir()
    (tmp_path / "kept").rename(data / "snapshots")
    said(capsys, "snapshot", "restore", name, "papers", "--data", data)
    again = as_json(capsys, "snapshot", "create", "papers", "--data", data, "--to", tmp_path / "o")
    assert again["n_docs"] == 3
    assert len(as_json(capsys, "snapshot", "list", "--data", data)) == 1
    told = said(capsys, "snapshot", "restore", name, "papers", "--data", data, code=1)
    assert "already" in told
    told = said(capsys, "snapshot", "restore", "../x", "y", "--data", data, code=2)
    assert "name of a snapshot" in told


def test_restoring_makes_the_data_directory_but_not_for_nothing(
    papers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = as_json(capsys, "snapshot", "create", papers, "--to", tmp_path / "b")
    data = tmp_path / "new"
    assert "no such snapshot" in said(
        capsys, "snapshot", "restore", "lost", "papers", "--data", data, code=1
    )
    assert not data.exists()
    restored = as_json(capsys, "snapshot", "restore", made["path"], "papers", "--data", data)
    assert restored["n_docs"] == 3
    again = as_json(capsys, "snapshot", "create", "papers", "--data", data)
    assert again["n_docs"] == 3
