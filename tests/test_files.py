import errno
import gzip
import io
import os
import threading
from pathlib import Path

import pytest
import zstandard

from lsr.errors import DatasetError, DiskFull
from lsr.files import atomic_write, decode, read_lines


def compress(suffix: str, content: bytes) -> bytes:
    if suffix == ".gz":
        return gzip.compress(content)
    return zstandard.compress(content) if suffix == ".zst" else content


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_lines_are_numbered_and_blank_ones_skipped(suffix, tmp_path):
    path = tmp_path / f"file.txt{suffix}"
    path.write_bytes(compress(suffix, b"one\r\n\n  \ntwo\t\nlast"))
    assert list(read_lines(path)) == [(1, b"one"), (4, b"two\t"), (5, b"last")]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")
    assert list(read_lines(path)) == [(1, b"one"), (2, b"\xef\xbb\xbftwo")]


def test_an_empty_file_has_no_lines(tmp_path):
    path = tmp_path / "file.txt"
    path.touch()
    assert list(read_lines(path)) == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_files_of_several_members_are_read_to_the_end(suffix, tmp_path):
    """pigz, zstd --long and plain concatenation all make such files."""
    path = tmp_path / f"file{suffix}"
    path.write_bytes(compress(suffix, b"one\n") + compress(suffix, b"two\n" * 50_000))
    assert sum(1 for _ in read_lines(path)) == 50_001


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_cut_short_is_an_error_and_not_a_smaller_corpus(suffix, tmp_path):
    """zstandard's reader ends silently where the file does, which would drop documents unseen."""
    path = tmp_path / f"file{suffix}"
    content = b"".join(b"line %d\n" % (i * i) for i in range(50_000))
    path.write_bytes(compress(suffix, content)[:-20])
    with pytest.raises(DatasetError, match=rf"file{suffix}:\d+: the compressed file is damaged"):
        list(read_lines(path))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(suffix, tmp_path):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(b"plain text\n")
    with pytest.raises(DatasetError, match="damaged"):
        list(read_lines(path))


def test_a_damaged_byte_inside_gzip_is_noticed(tmp_path):
    path = tmp_path / "file.gz"
    content = bytearray(gzip.compress(b"".join(b"%d\n" % (i * i) for i in range(1000))))
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="damaged"):
        list(read_lines(path))


def test_a_missing_file_and_a_folder_are_errors_with_their_path(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.jsonl: cannot be read \(No such file"):
        list(read_lines(tmp_path / "none.jsonl"))
    with pytest.raises(DatasetError, match="Is a directory"):
        list(read_lines(tmp_path))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("lsr.files.MAX_LINE", 100)
    path = tmp_path / "file.txt"
    path.write_bytes(b"short\n" + b"x" * 200)
    lines = read_lines(path)
    assert next(lines) == (1, b"short")
    with pytest.raises(DatasetError, match=r":2: the line is longer than 100 bytes"):
        next(lines)


def test_a_byte_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"c\.tsv:7: byte 0xe9 at column 4 is not UTF-8"):
        decode(tmp_path / "c.tsv", 7, b"caf\xe9")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_what_is_written_reads_back(suffix, tmp_path):
    path = tmp_path / "new" / f"file{suffix}"
    with atomic_write(path) as out:
        out.write(b"one\n")
        out.write(b"two\n")
    assert list(read_lines(path)) == [(1, b"one"), (2, b"two")]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_same_content_gives_the_same_gzip_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        with atomic_write(tmp_path / name) as out:
            out.write(b"one\n")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(path) as out:
            out.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    with pytest.raises(DiskFull, match="the disk is full"), atomic_write(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    place, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(Path("there") / "file")
    for content in (b"made", b"replaced"):
        with atomic_write(link) as out:
            out.write(content)
        assert link.is_symlink()
        assert place.read_bytes() == content
    assert [p.name for p in place.parent.iterdir()] == ["file"]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with atomic_write(pipe) as out:
        out.write(b"one\n")
    reader.join(timeout=30)
    assert heard == [b"one\n"]
    assert pipe.is_fifo()


def test_a_place_that_takes_no_file_is_named_as_it_was_asked_for(tmp_path):
    with pytest.raises(IsADirectoryError) as error, atomic_write(tmp_path):
        pass
    assert error.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="/proc/file'") as error, atomic_write(Path("/proc/file")):
        pass
    assert error.value.filename == "/proc/file"


def test_results_are_readable_by_whom_the_umask_allows(tmp_path):
    """A temporary file is private by default; a result that only its author reads is a trap."""
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "file") as out:
        out.write(b"x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_zstd_reader_closes_its_file(tmp_path):
    path = tmp_path / "file.zst"
    path.write_bytes(zstandard.compress(b"one\ntwo\n"))
    lines = read_lines(path)
    next(lines)
    lines.close()  # an unclosed file would warn, and warnings are errors here
    assert io.BytesIO(zstandard.decompress(path.read_bytes())).read() == b"one\ntwo\n"
