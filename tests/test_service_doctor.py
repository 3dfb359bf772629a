"""The doctor of a data directory finds what was broken, and changes nothing."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.sparse import csr_array
from starlette.testclient import TestClient

from index import Index
from index.doctor import Finding
from lsr.__main__ import VERBS, cli
from lsr.errors import UsageError
from lsr.types import Document
from service import Settings, create_app
from service.doctor import examine
from service.home import Home, queue
from service.home.registry import Registry

LINES = b"".join(
    b'{"id": "%d", "fields": {"text": "document number %d about cats and dogs"}}\n' % (i, i)
    for i in range(50)
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with one index of 50 documents, whose server has ended."""
    path = tmp_path / "data"
    settings = Settings({}, home=path, work_inside=True)
    with TestClient(create_app(settings)) as client:
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        url = "/v1/indexes/pets/documents"
        added = client.post(url, content=LINES, headers={"Content-Type": "application/x-ndjson"})
        assert added.status_code == 200
    return path


@pytest.fixture
def home(data: Path) -> Iterator[Home]:
    with Home.open(data) as home:
        yield home


def folder_of_pets(home: Home) -> Path:
    """Where it lies; the directory that it had before it learned words may not be gone yet."""
    return Registry.read(home).entries["pets"].path


def found(home: Home, **options: bool) -> dict[str, Finding]:
    findings = {finding.check: finding for finding in examine(home, **options)}
    for one in findings.values():
        if one.level in ("warn", "fail"):
            assert one.why, one
        if one.next and one.next[0] == "lsr":
            assert one.next[1] in VERBS, one.next
    return findings


def test_a_sound_directory_has_no_findings_and_says_what_a_document_costs(home: Home) -> None:
    findings = found(home)
    assert {one.level for one in findings.values()} == {"ok"}, findings
    assert findings["versions"].numbers == {"bytes": {}}
    disk = findings["pets/disk"].numbers
    index = folder_of_pets(home)
    on_disk = sum(p.stat().st_size for p in index.rglob("*") if p.name.endswith(("sqlite", ".seg")))
    assert sum(disk["parts"].values()) == on_disk
    assert disk["parts"]["texts"] >= 50 * len("document number 0 about cats and dogs")
    assert disk["n_docs"] == 50
    assert set(disk["parts"]) == {"texts", "pending", "bookkeeping", "search", "vectors", "names"}


def test_each_fault_is_found_and_named(home: Home) -> None:
    now = time.time()
    with home.transaction() as connection:
        connection.execute("INSERT INTO aliases VALUES('docs', 'gone', ?)", (now,))
        add = (
            "INSERT INTO keys(id, name, hash, scopes, created, expires) VALUES(?, ?, ?, '[]', 0, ?)"
        )
        connection.execute(add, ("1", "old", b"1", now - 5))
        connection.execute(add, ("2", "ending", b"2", now + 3600))
        connection.execute(add, ("3", "long", b"3", now + 365 * 24 * 3600))
        number = queue.begin(connection, "delete", "pets", {})
        queue.submit(connection, number)
        connection.execute("UPDATE tasks SET created=? WHERE id=?", (now - 3600, number))
    (home.path / "indexes" / "left-0000").mkdir()
    os.utime(home.path / "indexes" / "left-0000", (now - 7200, now - 7200))
    findings = found(home)
    assert findings["aliases"].level == "fail"
    assert "'docs'" in findings["aliases"].measured
    assert findings["keys"].numbers["expired"] == ["old"]
    assert findings["keys"].numbers["expiring"] == ["ending"]
    assert findings["tasks"].numbers["stuck"] == [number]
    assert findings["worker"].level == "warn", "a task waits and nobody runs it"
    assert findings["orphans"].numbers["folders"] == ["left-0000"]


def test_what_a_failed_ingestion_left_in_its_index_is_told(home: Home) -> None:
    """Each chunk of lines is a commit of its own, so that a failure undoes none before it."""
    for indexed in (0, 1200, 34):
        with home.transaction() as connection:
            number = queue.enqueue(connection, "ingest", "pets", {})
        details = {"received": indexed, "indexed": indexed, "rejected": 0}
        queue.report(home, number, {"done": indexed, "total": 9000}, details)
        with home.transaction() as connection:
            queue.finish(connection, number, "failed", error={"detail": "?"})
        tasks = found(home)["tasks"]
        assert tasks.why is not None
        assert "changed nothing" not in tasks.why
        assert ("at least" in tasks.why) == (indexed > 0)
    assert tasks.numbers["indexed_before_failing"] == 1234
    assert "at least 1,234 lines were committed" in tasks.why


def test_a_writer_who_was_forestalled_is_no_fault(tmp_path: Path) -> None:
    """Every 412 was a failed task, and a warning for a day."""
    settings = Settings({}, home=tmp_path / "data", work_inside=True)
    with TestClient(create_app(settings)) as client:
        client.post("/v1/indexes", json={"name": "pets"})
        url, body = "/v1/indexes/pets/documents/a", {"fields": {"text": "cats"}}
        assert client.put(url, json=body).status_code == 200
        late = client.put(url, json=body, headers={"If-None-Match": "*"})
        assert late.status_code == 412
        samples = client.get("/metrics").text.splitlines()
        assert 'lsr_tasks{state="conflict"} 1.0' in samples
        assert 'lsr_tasks{state="failed"} 0.0' in samples
    with Home.open(tmp_path / "data") as home:
        assert found(home)["tasks"].level == "ok"


def test_weights_that_saturate_are_named(tmp_path: Path) -> None:
    settings = Settings({}, home=tmp_path / "data", work_inside=True)
    with TestClient(create_app(settings)) as client:
        body = {"name": "v", "encoder": None, "n_terms": 3, "max_weight": 1.0}
        assert client.post("/v1/indexes", json=body).status_code == 201
        line = '{"id": "%d", "vector": {"indices": [1], "values": [%d]}}\n'
        lines = "".join(line % (i, 5) for i in range(10)).encode()
        url, kind = "/v1/indexes/v/documents", {"Content-Type": "application/x-ndjson"}
        assert client.post(url, content=lines, headers=kind).status_code == 200
        with Home.open(tmp_path / "data", read_only=True) as home:
            findings = found(home)
    assert findings["v/saturation"].level == "warn"
    assert findings["v/saturation"].next[-2:] == ("--max-weight", "2")


def test_a_flipped_bit_in_an_index_is_found_unless_it_is_asked_to_be_quick(data: Path) -> None:
    with Home.open(data, read_only=True) as home:
        folder = folder_of_pets(home)
    catalog = folder / "catalog.sqlite"
    written = bytearray(catalog.read_bytes())
    at = written.index(b"about cats")
    written[at] ^= 1
    catalog.write_bytes(written)
    with Home.open(data, read_only=True) as home:
        assert found(home)["pets/integrity"].level == "fail"


def test_an_index_that_is_gone_is_a_finding(data: Path) -> None:
    with Home.open(data, read_only=True) as home:
        folder = folder_of_pets(home)
    folder.rename(data / "elsewhere")
    with Home.open(data, read_only=True) as home:
        assert found(home)["pets/integrity"].level == "fail"


def test_the_command_tells_people_and_machines_and_exits_by_health(data: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in data.rglob("*") if p.is_file()}
    done = CliRunner().invoke(cli, ["doctor", "--data", str(data)])
    assert done.exit_code == 0, done.output
    assert "bytes a document" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next       lsr serve --data")
    done = CliRunner().invoke(cli, ["doctor", "--data", str(data), "--json", "--quick"])
    answer = json.loads(done.stdout)
    assert answer["healthy"]
    assert answer["summary"]["fail"] == 0
    after = {p: p.stat().st_mtime_ns for p in data.rglob("*") if p.is_file()}
    assert before == after, "it only reads"
    with Home.open(data) as home, home.transaction() as connection:
        connection.execute("INSERT INTO aliases VALUES('docs', 'gone', 0)")
    assert CliRunner().invoke(cli, ["doctor", "--data", str(data)]).exit_code == 1


def test_it_examines_a_directory_that_a_server_works_in(data: Path) -> None:
    settings = Settings({}, home=data, work_inside=True)
    with TestClient(create_app(settings)) as client, Home.open(data, read_only=True) as home:
        engine = client.app_state["engine"]  # type: ignore[attr-defined]
        assert engine.wait(30)
        findings = found(home)
        assert findings["worker"].measured.startswith("a server runs here")
        assert {one.level for one in findings.values()} == {"ok"}


def test_a_directory_of_something_else_is_refused_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data directory"):
        Home.open(tmp_path / "nowhere", read_only=True)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UsageError, match="--data DIR"):
        CliRunner().invoke(cli, ["doctor"], catch_exceptions=False)
    with pytest.raises(UsageError, match=r"examines all of .*: leave 'pets' away"):
        CliRunner().invoke(cli, ["doctor", "--data", str(tmp_path), "pets"], catch_exceptions=False)


def test_what_a_log_holds_counts_as_disk(tmp_path: Path) -> None:
    """While an index is written its catalog file stays small and the log beside it grows: 1,126
    documents were said to lie in the 122,880 bytes of an empty catalog.
    """
    with Index.create(tmp_path / "i", n_terms=2, max_weight=1.0) as index:
        index.add(
            [Document(str(n), {"text": "x" * 100}) for n in range(2000)],
            csr_array(np.ones((2000, 2), np.float32)),
        )
        parts = index.disk_parts()
        assert parts["texts"] > 200_000
        assert index.info()["catalog_bytes"] >= parts["texts"] + parts["pending"]
