"""Collections fetched from published archives, from a local server and from file addresses."""

import hashlib
import http.server
import io
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest

from lsr.datasets import BeirFolder, catalogue, load_dataset, members
from lsr.datasets.archives import fetch
from lsr.datasets.catalogue import Archive, archive_of
from lsr.errors import DatasetError


def zipped(folder: str, **extra: str) -> bytes:
    """A collection of one document in BEIR's layout, and further entries by name."""
    entries = {
        f"{folder}/corpus.jsonl": '{"_id": "d1", "title": "T", "text": "tea"}\n',
        f"{folder}/queries.jsonl": '{"_id": "q1", "text": "tea"}\n',
        f"{folder}/qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
        **extra,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Publish bytes as NAME.zip under file:, with their MD5 in the catalogue."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("LSR_BEIR_URL", shelf.as_uri())
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LSR_DATA", raising=False)

    def put(name: str, content: bytes) -> Path:
        (shelf / f"{name}.zip").write_bytes(content)
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        monkeypatch.setitem(catalogue._MD5, name, digest)
        return shelf / f"{name}.zip"

    return put


def test_a_beir_name_is_fetched_once_and_found_in_the_cache_afterwards(publish):
    file = publish("fiqa", zipped("fiqa"))
    first = load_dataset("fiqa")
    assert isinstance(first, BeirFolder)
    assert first.name == "fiqa"
    assert [d.doc_id for d in first.documents()] == ["d1"]
    file.unlink()
    again = load_dataset("fiqa")
    assert again.qrels() == {"q1": {"d1": 1}}
    assert again.fingerprint == first.fingerprint


def test_one_download_brings_every_part_of_cqadupstack(publish):
    parts = zipped("cqadupstack/tex", **{"cqadupstack/gis/corpus.jsonl": '{"_id": "x"}\n'})
    file = publish("cqadupstack", parts)
    assert load_dataset("cqadupstack/tex").name == "cqadupstack/tex"
    file.unlink()
    assert [d.doc_id for d in load_dataset("cqadupstack/gis").documents()] == ["x"]
    with pytest.raises(DatasetError, match="cannot be downloaded"):
        load_dataset("cqadupstack/unix")


def test_it_is_fetched_over_http(tmp_path, monkeypatch, publish):
    publish("fiqa", zipped("fiqa"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = partial(Quiet, directory=str(tmp_path / "shelf"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("LSR_BEIR_URL", f"http://127.0.0.1:{server.server_address[1]}/")
        assert len(load_dataset("fiqa").queries()) == 1
        with pytest.raises(DatasetError, match=r"nq\.zip: cannot be downloaded \(File not found"):
            load_dataset("nq")
        server.shutdown()


def test_another_md5_keeps_nothing(publish, tmp_path):
    publish("fiqa", zipped("fiqa")).write_bytes(zipped("fiqa", **{"fiqa/more": "x"}))
    with pytest.raises(DatasetError, match=r"the download has MD5 .* its publishers say"):
        load_dataset("fiqa")
    assert list((tmp_path / "cache" / "datasets").iterdir()) == []


@pytest.mark.parametrize(
    "entry",
    [
        "../outside/corpus.jsonl",
        "/tmp/corpus.jsonl",
        "fiqa/../../corpus.jsonl",
        "other/corpus.jsonl",
    ],
)
def test_entries_that_lead_elsewhere_are_left_alone(entry, publish, tmp_path):
    publish("fiqa", zipped("fiqa", **{entry: "stray"}))
    load_dataset("fiqa")
    kept = sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file())
    assert kept == ["corpus.jsonl", "queries.jsonl", "test.tsv"]
    assert not (tmp_path / "outside").exists()


def test_bytes_that_are_no_zip_are_said_to_be_none(publish):
    publish("fiqa", b"<html>Service unavailable</html>")
    with pytest.raises(DatasetError, match="not a readable zip file"):
        load_dataset("fiqa")


def test_without_a_network_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("LSR_CACHE", str(tmp_path))
    monkeypatch.setenv("LSR_BEIR_URL", "http://127.0.0.1:9/")  # the discard port: nobody listens
    with pytest.raises(DatasetError, match=r"cannot be downloaded .*put the.*\$LSR_DATA/fiqa"):
        load_dataset("fiqa")


def test_only_web_and_file_addresses_are_opened(tmp_path):
    archive = Archive("fiqa", "ftp://example.org/fiqa.zip", "0" * 32, "fiqa")
    with pytest.raises(DatasetError, match="wanted an address of https, http or file"):
        fetch(archive, tmp_path)


def test_groups_have_the_members_their_papers_count():
    assert len(members(["cqadupstack"])) == 12
    assert len(members(["beir-13"])) == 13
    assert len(members(["nanobeir"])) == 13
    assert members(["scifact", "beir-13", "scifact"])[0] == "scifact"
    assert len(members(["scifact", "beir-13"])) == 13


def test_a_group_is_no_collection(monkeypatch, tmp_path):
    monkeypatch.setenv("LSR_CACHE", str(tmp_path))
    with pytest.raises(DatasetError, match="a group of 12 collections: cqadupstack/android"):
        load_dataset("cqadupstack")


def test_every_archive_has_an_md5_sum_of_32_hex_digits():
    names = [*catalogue.BEIR_13, "msmarco", *members(["cqadupstack"])]
    for name in names:
        archive = archive_of(name)
        assert archive is not None
        assert len(archive.md5) == 32
        assert int(archive.md5, 16)
    assert archive_of("cqadupstack/nope") is None
    assert archive_of("scifact/test") is None


def test_ids_are_in_the_catalogue_of_ir_datasets():
    """The outside referee knows every id that a short name stands for."""
    ir_datasets = pytest.importorskip("ir_datasets")
    for name in {*catalogue._IRDS, *catalogue.BEIR_13, *members(["cqadupstack"])}:
        assert catalogue.irds_id(name) in ir_datasets.registry, name
