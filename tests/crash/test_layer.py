"""The layer and its disk: what is replayed is what happened, and only what was synced survives."""

import errno
import random
import subprocess
import sys
import textwrap
from pathlib import Path

from crash.disk import VARIANTS, Disk, replayed
from crash.layer import Control, Kind, Operation, environment, read_trace


def run_under(folder: Path, script: str, control: Control) -> subprocess.CompletedProcess[str]:
    (folder / "disk").mkdir(exist_ok=True)
    env = environment(folder / "disk", control, trace=folder / "trace", marks=folder / "marks")
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder / "disk")]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def recorded(folder: Path, script: str) -> Disk:
    control = Control(folder / "control")
    control.count()
    done = run_under(folder, script, control)
    assert done.returncode == 0, done.stderr
    return replayed(str(folder / "disk"), read_trace(folder / "trace"))


def test_only_what_was_synced_is_sure_to_survive(tmp_path: Path) -> None:
    disk = recorded(
        tmp_path,
        """
        import os, sys
        os.chdir(sys.argv[1])
        def write(name, content, sync):
            descriptor = os.open(name, os.O_CREAT | os.O_WRONLY)
            os.write(descriptor, content)
            if sync:
                os.fsync(descriptor)
            os.close(descriptor)
        write("whole", b"a", True)
        write("named", b"b", False)
        folder = os.open(".", os.O_RDONLY)
        os.fsync(folder)
        write("lost", b"c", True)
        os.rename("whole", "moved")
        """,
    )
    rng = random.Random(0)
    assert disk.after_power_loss("synced", rng) == {"whole": b"a", "named": b""}
    assert disk.after_power_loss("names", rng) == {"moved": b"a", "named": b"", "lost": b"c"}
    assert disk.after_power_loss("bytes", rng) == {"whole": b"a", "named": b"b"}
    everything = {"moved": b"a", "named": b"b", "lost": b"c"}
    assert disk.after_power_loss("everything", rng) == everything
    seen = {tuple(sorted(disk.after_power_loss("shuffled", rng).items())) for _ in range(200)}
    assert len(seen) == 2**3  # b there or not, "lost" named or not, the rename done or not
    assert all(("whole" in dict(one)) != ("moved" in dict(one)) for one in seen)


def test_sectors_tear_and_are_reordered(tmp_path: Path) -> None:
    disk = Disk("/r")
    disk.apply(Operation(1, Kind.CREATE, 0, 7, "/r/f", "", b""))
    disk.apply(Operation(2, Kind.FSYNC, 0, 0, "/r", "", b""))
    disk.apply(Operation(3, Kind.WRITE, 0, 0, "/r/f", "", b"x" * 2000))
    rng = random.Random(1)
    torn = {len(disk.after_power_loss("torn", rng)["f"] or b"") for _ in range(50)}
    assert torn == {0, 512, 1024, 1536}
    shuffled = {disk.after_power_loss("shuffled", rng)["f"] for _ in range(200)}
    assert len(shuffled) == 2**4
    assert b"\0" * 512 + b"x" * 512 in shuffled
    assert set(VARIANTS) >= {"torn", "shuffled"}


def test_a_mapped_file_is_seen_when_it_is_synced(tmp_path: Path) -> None:
    """Segments of large builds are written through a map, not by calls."""
    disk = recorded(
        tmp_path,
        """
        import mmap, os, sys
        os.chdir(sys.argv[1])
        descriptor = os.open("m", os.O_CREAT | os.O_RDWR)
        os.posix_fallocate(descriptor, 0, 10)
        with mmap.mmap(descriptor, 10) as mapped:
            mapped[2:5] = b"abc"
        os.fsync(descriptor)
        """,
    )
    assert disk.after_power_loss("names", random.Random(0)) == {"m": b"\0\0abc" + bytes(5)}


def test_a_kill_comes_right_before_its_operation_or_within_it(tmp_path: Path) -> None:
    script = """
        import os, sys
        os.chdir(sys.argv[1])
        descriptor = os.open("f", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        for letter in (b"aa", b"bb", b"cc"):
            os.write(descriptor, letter)
        """
    control = Control(tmp_path / "control")
    for at, torn, content in ((3, False, b"aa"), (3, True, b"aab"), (5, True, b"aabbcc")):
        (tmp_path / "disk" / "f").unlink(missing_ok=True)
        control.arm_kill(at, torn=torn)
        done = run_under(tmp_path, script, control)
        assert done.returncode == (0 if at == 5 else -9)
        assert (tmp_path / "disk" / "f").read_bytes() == content


def test_a_full_disk_refuses_what_needs_room_and_nothing_else(tmp_path: Path) -> None:
    script = """
        import os, sys
        os.chdir(sys.argv[1])
        descriptor = os.open("f", os.O_CREAT | os.O_WRONLY)
        for number in range(2):
            try:
                print(os.write(descriptor, b"abcd"))
            except OSError as error:
                print(error.errno)
        os.fsync(descriptor)
        os.rename("f", "g")
        os.unlink("g")
        """
    control = Control(tmp_path / "control")
    control.arm_failure(2, torn=True)
    done = run_under(tmp_path, script, control)
    assert done.stdout.split() == ["2", str(errno.ENOSPC)], done.stderr
    assert control.get("n_failed") == 2
    assert list((tmp_path / "disk").iterdir()) == []
