"""Damaged segment files are refused or searched to some answer, never into a crash.

Checksums would hide the parser from damage, so they are computed anew for most of the files here:
what remains is what a careless writer or an attacker could hand over. This file is also the program
that opens them, in a process of its own, because a crash would take the tests with it;
`NUMBA_BOUNDSCHECK` makes numba's kernels raise where they would read elsewhere in silence. The C++
core is fuzzed under sanitizers by `make fuzz`.
"""

import contextlib
import faulthandler
import os
import struct
import subprocess
import sys
from itertools import product
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from index import _core
from index.columns import Column, Conditions
from index.engine import Algorithm, documents_with, search
from index.layout import ALIGNMENT, HEADER_BYTES, Header, decode_header
from index.live import pack
from index.quantize import integer_query, scale_for
from index.segment import Segment, write_segment
from lsr.errors import IndexCorrupt, IndexVersion

ALGORITHMS: tuple[Algorithm, ...] = ("auto", "exhaustive", "blockmax")
N_DOCS = 600
N_TERMS = 40
_TABLE_AT = 72  # FORMAT.md: the section table, 16 bytes an entry: type, checksum, length
_ENTRY_BYTES = 16

_numbers = st.one_of(
    st.sampled_from([0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63, 2**64 - 1]),
    st.integers(0, 2**64 - 1),
)
_place = st.integers(0, 2**32)
_edit = st.one_of(
    st.tuples(st.just("number"), _place, st.sampled_from("BHIQ"), _numbers),
    st.tuples(st.just("flip"), _place, st.just("B"), st.integers(0, 7)),
    st.tuples(st.just("fill"), _place, st.sampled_from("BHIQ"), _numbers),
    st.tuples(st.just("noise"), _place, st.just("B"), _numbers),
)
_target = st.sampled_from(["header", "fields", "anywhere", *range(18)])


def write(path: Path, n_docs: int, *, grid: bool, keep_vectors: bool, reorder: bool) -> None:
    """Heads and tails, groups, a keyword and a number column."""
    rng = np.random.default_rng(0)
    share = np.where(np.arange(N_TERMS) < N_TERMS // 2, 0.5, 0.05)
    weights = rng.uniform(0.05, 3.9, (n_docs, N_TERMS)) * (rng.random((n_docs, N_TERMS)) < share)
    write_segment(
        path,
        sparse.csr_array(weights.astype(np.float32)),
        np.arange(n_docs, dtype=np.uint32) * 2,
        [f"doc {i} é" for i in range(n_docs)],
        scale=scale_for(4.0),
        groups=np.arange(n_docs, dtype=np.uint32) // 3,
        columns={
            "lang": Column.from_values(
                "keyword", [("en", None, "日本")[i % 3] for i in range(n_docs)]
            ),
            "year": Column.from_values("int", [1990 + i % 7 for i in range(n_docs)]),
        },
        grid=grid,
        keep_vectors=keep_vectors,
        reorder=reorder,
    )


def damage(raw: bytes, target: str | int, edit: tuple[str, int, str, int]) -> bytes:
    """Change some bytes of the header, of one section or of the whole file."""
    header = decode_header(raw[:HEADER_BYTES], path="sound", n_bytes=len(raw))
    first, end = 0, len(raw)
    if target == "header":
        end = HEADER_BYTES
    elif target == "fields":
        end = _TABLE_AT
    elif isinstance(target, int):
        entry = header.entries[target % len(header.entries)]
        first, end = entry.offset, entry.offset + entry.length
    damaged = bytearray(raw)
    kind, place, width, number = edit
    size = struct.calcsize(width)
    if end - first < size:
        return raw
    at = first + place % ((end - first) // size) * size
    if kind == "number":
        struct.pack_into(f"<{width}", damaged, at, number % 256**size)
    elif kind == "flip":
        damaged[at] ^= 1 << number
    elif kind == "fill":
        n = (end - first) // size
        damaged[first : first + n * size] = struct.pack(f"<{width}", number % 256**size) * n
    else:
        noise = np.random.default_rng(number).integers(0, 256, end - at, dtype=np.uint8)
        damaged[at:end] = noise.tobytes()
    return bytes(damaged)


def seal(damaged: bytes, header: Header, *, sections: bool) -> bytes:
    """Make the header's checksum right, and those of the sections too where they are told."""
    out = bytearray(damaged)
    if sections:
        for i, entry in enumerate(header.entries):
            section = bytes(out[entry.offset : entry.offset + entry.length])
            at = _TABLE_AT + _ENTRY_BYTES * i + 4
            struct.pack_into("<I", out, at, google_crc32c.value(section))
    struct.pack_into("<I", out, HEADER_BYTES - 4, google_crc32c.value(bytes(out[:508])))
    return bytes(out)


def use(path: Path) -> bool:
    """Whatever a reader of the index does with a segment; only the two errors may come of it.

    False when opening refused the file.
    """
    refused = contextlib.suppress(IndexCorrupt, IndexVersion)
    with refused, Segment.open(path) as segment:
        # Some live documents are scored by rows, few of them one by one from their vectors.
        masks = [None, *(pack(np.arange(segment.n_docs) % n == 1) for n in (3, 97))]
        terms = np.arange(min(N_TERMS, segment.n_terms))
        query = integer_query(terms, np.ones(len(terms)), n_terms=segment.n_terms, scale=1.0)
        for cpu in _core.cpus():
            _core.set_cpu(cpu)
            for algorithm, mask, k in product(ALGORITHMS, masks, (0, 1, 10, 5000)):
                found = search([segment], [mask], query, k, algorithm=algorithm, by_group=k == 10)
                docids, scores, report = found
                assert report.exact
                assert docids.dtype == scores.dtype == np.uint32
                assert len(docids) == len(scores) <= min(k, segment.n_docs)
                keys = (scores.astype(np.uint64) << np.uint64(32)) | ~docids
                assert np.all(keys[1:] <= keys[:-1])
                positions = segment.positions_of(docids)
                assert np.all((positions >= 0) & (positions < segment.n_docs))
        for term in range(min(3, segment.n_terms)):
            assert len(documents_with(segment, term)) == -(-segment.n_docs // 32)
        some = np.arange(0, segment.n_docs, 7)
        with refused:
            segment.doc_ids()
        with refused:
            for column in segment.columns.values():
                column.mask(Conditions())
                column.take(some)
        with refused:
            for vectors in (segment.vectors(), segment.vectors(some)):
                vectors.toarray()  # scipy trusts the terms it is given
        with refused:
            for position in range(min(3, segment.n_docs)):
                segment.impacts_of(position)
        with refused:
            segment.verify()
        return True
    return False


def use_damaged_copies(folder: Path, n_examples: int) -> None:
    """The program: damage the sound files of a folder in `n_examples` ways and use the results."""
    sound = [path.read_bytes() for path in sorted(folder.glob("sound-*.seg"))]
    headers = [decode_header(raw[:HEADER_BYTES], path="sound", n_bytes=len(raw)) for raw in sound]
    damaged_path = folder / "damaged.seg"
    outcomes = {True: 0, False: 0}

    @settings(
        max_examples=n_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        which=st.integers(0, len(sound) - 1),
        edits=st.lists(st.tuples(_target, _edit), min_size=1, max_size=3),
        sealed=st.sampled_from(["header", "header", "all", "nothing"]),
        length=st.sampled_from([0, 0, 0, -1, 1]),
    )
    def run(
        which: int,
        edits: list[tuple[str | int, tuple[str, int, str, int]]],
        sealed: str,
        length: int,
    ) -> None:
        damaged = sound[which]
        for target, edit in edits:
            with contextlib.suppress(IndexCorrupt, IndexVersion):  # a header that an edit broke
                damaged = damage(damaged, target, edit)
                if sealed != "nothing":
                    damaged = seal(damaged, headers[which], sections=sealed == "all")
        damaged += bytes(ALIGNMENT * max(length, 0))
        damaged = damaged[: len(damaged) + ALIGNMENT * min(length, 0)]
        damaged_path.write_bytes(damaged)
        outcomes[use(damaged_path)] += 1

    assert all(use(path) for path in sorted(folder.glob("sound-*.seg")))
    for raw, header in zip(sound, headers, strict=True):
        for i in range(len(header.entries)):
            for edit in (("fill", 0, "B", 0), ("fill", 0, "B", 255), ("noise", 0, "B", 1)):
                damaged_path.write_bytes(damage(raw, i, edit))
                outcomes[use(damaged_path)] += 1
    run()
    print(outcomes[True], outcomes[False])


@pytest.mark.parametrize("n_examples", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_no_damage_leads_to_anything_but_a_refusal_or_an_answer(
    tmp_path: Path, n_examples: int
) -> None:
    """After a crash `damaged.seg` in the test's folder is the reproducer."""
    write(tmp_path / "sound-a.seg", N_DOCS, grid=True, keep_vectors=True, reorder=True)
    write(tmp_path / "sound-b.seg", N_DOCS, grid=True, keep_vectors=False, reorder=False)
    write(tmp_path / "sound-c.seg", 3, grid=False, keep_vectors=True, reorder=False)
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(n_examples)],
        env={
            **os.environ,
            "NUMBA_BOUNDSCHECK": "1",
            "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-3000:], done.stderr[-5000:])
    opened, refused = map(int, done.stdout.split())
    assert opened > 100
    assert refused > 100


if __name__ == "__main__":
    faulthandler.enable()
    use_damaged_copies(Path(sys.argv[1]), int(sys.argv[2]))
