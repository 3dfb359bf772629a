"""Whatever of the unsynced the disk keeps, an index holds what it acknowledged, whole."""

import random
from pathlib import Path

import pytest

from crash.disk import replayed
from crash.faults import FAULTS
from crash.power import lose_power, record
from crash.workloads import WORKLOADS

SLOW = pytest.mark.slow
QUICK_FAULTS = ("skip_the_fsync_of_segments", "publish_before_the_fsync", "drop_a_pending_row")


@pytest.mark.parametrize("name", ["maintenance", "build"])
def test_replaying_everything_gives_the_files_that_are_there(tmp_path: Path, name: str) -> None:
    """The layer's own proof: a write that it had missed would be missing here."""
    operations = record(name, 5, tmp_path)
    root = tmp_path / "disk"
    replay = replayed(str(root), operations).after_power_loss("everything", random.Random(0))
    real = {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }
    assert replay == real


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_power_loss_breaks_a_promise(name: str) -> None:
    """A sample of the operations; the next test looks at all of them."""
    tally = lose_power(name, 1, sample=5)
    assert tally.kept, tally.bad


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", WORKLOADS)
def test_no_power_loss_anywhere_breaks_a_promise(name: str, seed: int) -> None:
    tally = lose_power(name, seed, shuffles=3)
    assert tally.n_states > 1000
    assert tally.kept, tally.bad


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=() if f in QUICK_FAULTS else SLOW) for f in FAULTS]
)
def test_a_planted_fault_is_found(fault: str) -> None:
    """A checker that cannot fail proves nothing: each known bug must turn it red."""
    name = "writes" if fault == "do_not_sync_the_log" else "maintenance"
    tally = lose_power(name, 0, plant=fault, sample=150, stop_at=1)
    assert tally.bad


def test_a_flipped_bit_is_found() -> None:
    """In one segment of a state that is sound otherwise."""
    rng = random.Random(0)

    def flip(files: dict[str, bytes | None]) -> None:
        for name, content in files.items():
            if name.endswith(".seg") and content:
                at = rng.randrange(len(content))
                flipped = content[at] ^ 1 << rng.randrange(8)
                files[name] = content[:at] + bytes([flipped]) + content[at + 1 :]
                return

    tally = lose_power("maintenance", 0, sample=150, damage=flip, stop_at=1)
    assert tally.bad
