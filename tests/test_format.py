"""FORMAT.md is true: its printed segment is what we write, and a reader made from it agrees.

`read` below follows the document with `struct` and numpy; it shares no code with the writer.
"""

import re
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from scipy import sparse

from index import builder
from index.columns import Column
from index.segment import Segment, write_segment

FORMAT = Path(builder.__file__).parent / "FORMAT.md"
NAMES = {
    1: "head_rank",
    2: "max_impact",
    3: "codebook",
    4: "grid",
    5: "row_group",
    6: "row_dir",
    7: "row_base",
    8: "rows",
    9: "tail_start",
    10: "tail_doc",
    11: "tail_impact",
    12: "external",
    13: "group",
    14: "ids",
    15: "columns",
    16: "forward_start",
    17: "forward_term",
    18: "forward_weight",
}


def write_toy(path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The segment printed in FORMAT.md."""
    monkeypatch.setattr(builder, "HEAD_MINIMUM", 3)
    vectors = sparse.csr_array(
        np.array([[1.0, 0, 0.5, 0], [2.0, 0, 0, 0], [0.25, 0, 0, 4.0]], np.float32)
    )
    write_segment(
        path,
        vectors,
        np.array([7, 8, 11], np.uint32),
        ["a", "b", "é"],
        scale=4 / 255,
        groups=np.array([7, 7, 11], np.uint32),
        columns={"lang": Column.from_values("keyword", ["en", None, "de"])},
        grid=True,
    )
    return path.read_bytes()


def hexdump(raw: bytes) -> str:
    """16 bytes a line; a run of equal lines is its first and a star."""
    lines: list[str] = []
    previous = b""
    for at in range(0, len(raw), 16):
        line = raw[at : at + 16]
        if line == previous:
            if lines[-1] != "*":
                lines.append("*")
            continue
        previous = line
        lines.append(f"{at:04x}  {line[:8].hex(' ')}  {line[8:].hex(' ')}")
    return "\n".join([*lines, f"{len(raw):04x}"])


def read(raw: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The header's fields and the sections' bytes, by the words of FORMAT.md."""
    header: dict[str, Any] = {"magic": raw[:8]}
    words = ["version", "flags", "n_docs", "n_terms", "n_heads", "n_sections"]
    header |= dict(zip(words, struct.unpack("<6I", raw[8:32]), strict=True))
    longs = ["n_postings", "n_tail_postings", "n_saturated", "n_bytes"]
    header |= dict(zip(longs, struct.unpack("<4Q", raw[32:64]), strict=True))
    header["scale"] = struct.unpack("<f", raw[64:68])[0]
    assert struct.unpack("<I", raw[508:512])[0] == google_crc32c.value(raw[:508])
    sections: dict[str, bytes] = {}
    offset = 512
    for i in range(header["n_sections"]):
        number, crc, length = struct.unpack("<IIQ", raw[72 + 16 * i : 88 + 16 * i])
        section = raw[offset : offset + length]
        assert google_crc32c.value(section) == crc
        end = offset + (length + 63) // 64 * 64
        assert not any(raw[offset + length : end])
        sections[NAMES[number]] = section
        offset = end
    assert offset == len(raw) == header["n_bytes"]
    return header, sections


def test_the_printed_segment_is_the_one_we_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format document that nobody compares with the bytes describes another format soon."""
    raw = write_toy(tmp_path / "toy.seg", monkeypatch)
    printed = re.search(r"```hexdump\n(.*?)\n```", FORMAT.read_text(), re.DOTALL)
    assert printed is not None
    assert printed.group(1) == hexdump(raw), f"the toy segment is now:\n{hexdump(raw)}"
    Segment.open(tmp_path / "toy.seg").verify()


def test_every_section_and_flag_is_in_the_document() -> None:
    text = FORMAT.read_text()
    for number, name in NAMES.items():
        assert re.search(rf"\| {number} \| `{name}` \|", text), name


def test_the_toy_reads_as_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoded by hand: term 0 is a head in all three documents, terms 2 and 3 are tails."""
    header, sections = read(write_toy(tmp_path / "toy.seg", monkeypatch))
    assert header["magic"] == b"\x89LSRSEG\n"
    assert (header["version"], header["flags"]) == (1, 0b01101)
    assert (header["n_docs"], header["n_terms"], header["n_heads"]) == (3, 4, 1)
    assert (header["n_postings"], header["n_tail_postings"], header["n_saturated"]) == (5, 2, 0)
    assert list(sections) == list(NAMES.values())
    assert np.frombuffer(sections["head_rank"], "<u2").tolist() == [0, 65535, 65535, 65535]
    assert list(sections["max_impact"]) == [127, 0, 32, 255]
    assert list(sections["codebook"]) == [0] + [127] * 15
    assert sections["grid"] == b"\x01" + bytes(31)
    assert np.frombuffer(sections["row_group"], "<u4").tolist() == [0, 3]
    assert np.frombuffer(sections["row_dir"], "<u2").tolist() == [0]
    assert np.frombuffer(sections["row_base"], "<u8").tolist() == [0, 3]
    assert list(sections["rows"]) == [0, 1, 2, 64, 127, 16]
    assert np.frombuffer(sections["tail_start"], "<u4").tolist() == [0, 0, 0, 1, 2]
    assert np.frombuffer(sections["tail_doc"], "<u4").tolist() == [0, 2]
    assert list(sections["tail_impact"]) == [32, 255]
    assert np.frombuffer(sections["external"], "<u4").tolist() == [7, 8, 11]
    assert np.frombuffer(sections["group"], "<u4").tolist() == [7, 7, 11]
    assert np.frombuffer(sections["ids"][:32], "<u8").tolist() == [0, 1, 2, 4]
    assert sections["ids"][32:].decode() == "abé"
    assert np.frombuffer(sections["forward_start"], "<u8").tolist() == [0, 2, 3, 5]
    assert np.frombuffer(sections["forward_term"], "<u2").tolist() == [0, 2, 0, 0, 3]
    weights = np.frombuffer(sections["forward_weight"], "<f2").tolist()
    assert weights == [1.0, 0.5, 2.0, 0.25, 4.0]
    kind, name_length, n_values, values_length, at = struct.unpack(
        "<IIQQQ", sections["columns"][8:40]
    )
    assert (kind, name_length, n_values, values_length, at) == (1, 4, 2, 28, 64)
    assert sections["columns"][64:68] == b"lang"
    assert sections["columns"][128:156] == struct.pack("<3Q", 0, 2, 4) + b"deen"
    assert np.frombuffer(sections["columns"][192:204], "<i4").tolist() == [1, -1, 0]


def test_the_same_input_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clock, no random number and no address reaches the file."""
    first = write_toy(tmp_path / "one.seg", monkeypatch)
    assert first == write_toy(tmp_path / "two.seg", monkeypatch)
