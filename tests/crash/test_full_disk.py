"""A full disk stops writing and nothing else, says so, and writing goes on when there is room."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crash.full import fill_everywhere
from crash.layer import TESTS
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
