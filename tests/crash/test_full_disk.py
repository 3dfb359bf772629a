"""A full disk stops writing and nothing else, says so, and writing goes on when there is room."""

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from crash.full import fill_everywhere
from crash.homes import line_of
from crash.layer import TESTS
from crash.model import Doc
from crash.serving import Server, settled, two_indexes
from crash.workloads import INDEX_WORKLOADS


def test_a_disk_that_fills_stops_only_writing() -> None:
    tally = fill_everywhere("maintenance", 3, points=6)
    assert tally.kept, tally.bad


@pytest.mark.slow
@pytest.mark.parametrize("name", INDEX_WORKLOADS)
def test_a_disk_that_fills_anywhere_stops_only_writing(name: str) -> None:
    tally = fill_everywhere(name, 0)
    assert tally.n_states > 500
    assert tally.kept, tally.bad


SMALL = """
import sys
from pathlib import Path
import numpy as np
from scipy import sparse
from index import Index
from lsr.errors import DiskFull
from lsr.types import Document

root = Path(sys.argv[1])
(root / "ballast").write_bytes(bytes(600_000))
row = sparse.csr_array(np.array([[0, 1, 0, 0, 0]], np.float32))
index = Index.create(root / "i", n_terms=5, max_weight=4.0)
added = []
try:
    for number in range(1000):
        index.add([Document(f"d{number}", {"text": "x" * 20_000})], row)
        added.append(f"d{number}")
except DiskFull as error:
    print(error)
found = lambda: index.search(row, 5000).doc_ids
assert added and found() == added, (len(added), len(found()))
index.close()
with Index.open(root / "i") as index:  # a server that is started again on the full disk
    assert found() == added
    try:
        index.add([Document("too much", {"text": "x" * 400_000})], row)
    except DiskFull:
        assert found() == added
    else:
        raise AssertionError("there was room")
    (root / "ballast").unlink()
    index.add([Document("later", {"text": "x" * 40_000})], row)
    assert found() == [*added, "later"]
    index.delete(added)
    index.merge()
    assert found() == ["later"]
    assert index.check().problems == ()
print("went on")
"""


def test_a_small_file_system_that_is_really_full(tmp_path: Path) -> None:
    """A file system of 2 MB, where this machine lets an ordinary user mount one."""
    unshare = shutil.which("unshare")
    alone = [unshare or "unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=2m none {tmp_path}"
    if not unshare or subprocess.run([*alone, mount], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own")
    run = f'{mount} && exec "$@"'
    command = [*alone, run, "sh", sys.executable, "-c", SMALL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert "disk is full" in done.stdout or "no room" in done.stdout
    assert done.stdout.endswith("went on\n")


@pytest.mark.slow
def test_a_server_on_a_full_disk_goes_on_searching(tmp_path: Path) -> None:
    """The disk of a running server fills: writing is answered with 507, searches as before; what
    was acknowledged before it could be committed is committed once there is room.
    """
    server = Server(tmp_path)
    server.start()
    try:
        two_indexes(server.address)
        with httpx.Client(base_url=server.address, timeout=60) as client:

            def add(doc_id: str, **parameters: str) -> httpx.Response:
                doc = Doc(doc_id, {1: 1.0}, {"text": "x", "lang": "en"})
                headers = {"Content-Type": "application/x-ndjson"}
                path = "/v1/indexes/one/documents"
                return client.post(path, content=line_of(doc), headers=headers, params=parameters)

            def found() -> list[str]:
                body = {"query": {"vector": {"indices": [1], "values": [1]}}, "limit": 100}
                hits = client.post("/v1/indexes/one/search", json=body).json()["hits"]
                return [hit["id"] for hit in hits]

            assert add("before").status_code == 200
            assert found() == ["before"]
            server.control.arm_failure(1)
            refused = add("refused", wait="2")
            assert refused.status_code == 507, refused.text
            assert refused.json()["code"] == "insufficient_storage"
            assert found() == ["before"]
            assert client.get("/v1/indexes/one/documents/before").status_code == 200
            server.control.stop()
            assert add("after").status_code == 200
            assert found() == ["before", "after"]
        server.bury()
        server.start()
        with httpx.Client(base_url=server.address, timeout=60) as client:
            settled(client)
            assert client.get("/v1/indexes/one").json()["n_docs"] == 2
    finally:
        server.bury()
