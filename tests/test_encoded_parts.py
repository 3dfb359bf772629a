"""Of pieces of encoded documents, however they are cut, each document comes once."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lsr.encoded_parts import (
    encode_in_parts,
    missing_spans,
    part_files,
    parts_in_order,
    write_part,
)
from lsr.encoders import BM25Encoder
from lsr.errors import DatasetError

N_DOCS = 30
TEXTS = [(f"d{n}", f"word{n} word{n % 7} cat") for n in range(N_DOCS)]
ENCODER = BM25Encoder.fit([text for _, text in TEXTS])
WHOLE: npt.NDArray[np.float32] = ENCODER.encode_documents([text for _, text in TEXTS]).toarray()


def piece(folder: Path, first: int, last: int) -> None:
    ids, texts = zip(*TEXTS[first:last], strict=True)
    write_part(folder, first, list(ids), ENCODER.encode_documents(texts))


SPANS = st.lists(
    st.tuples(st.integers(0, N_DOCS - 1), st.integers(1, N_DOCS)).map(
        lambda pair: (pair[0], min(N_DOCS, pair[0] + pair[1]))
    ),
    max_size=6,
)


@given(spans=SPANS, size=st.integers(1, 12))
def test_whatever_pieces_are_there_each_document_comes_once(
    spans: list[tuple[int, int]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    for first, last in spans:
        piece(folder, first, last)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lsr.encoded_parts.PIECE", size)
        found = list(encode_in_parts(folder, TEXTS, ENCODER, n_docs=N_DOCS))
    assert [name for ids, _ in found for name in ids] == [name for name, _ in TEXTS]
    assert (sparse.vstack([rows for _, rows in found]).toarray() == WHOLE).all()


@given(spans=SPANS, size=st.integers(1, 12))
def test_missing_spans_are_what_no_piece_holds(
    spans: list[tuple[int, int]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    for first, last in spans:
        (folder / f"{first:012}-{last:012}.npz").touch()
    held = {number for span in spans for number in range(*span)}
    missing = missing_spans(folder, N_DOCS, size=size)
    assert [n for a, b in missing for n in range(a, b)] == sorted(set(range(N_DOCS)) - held)
    assert all(a < b and a // size == (b - 1) // size for a, b in missing)


def test_a_piece_with_any_damage_is_named_or_without_effect(tmp_path: Path) -> None:
    piece(tmp_path, 0, N_DOCS)
    ((_, path),) = part_files(tmp_path)
    raw = path.read_bytes()
    named = 0
    for at in range(0, len(raw), 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
        try:
            ((ids, rows),) = parts_in_order(tmp_path, N_DOCS)
        except DatasetError as error:
            named += path.name in str(error)
            continue
        assert ids == [name for name, _ in TEXTS]
        assert (rows.toarray() == WHOLE).all()
    assert named > 100
