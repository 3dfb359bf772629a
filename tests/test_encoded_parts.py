"""Pieces of encoded documents are taken up by the same work alone, and each document comes once."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lsr.encoded_parts import (
    begin_parts,
    encode_in_parts,
    end_parts,
    part_files,
    parts_in_order,
    write_part,
)
from lsr.encoders import BM25Encoder
from lsr.errors import DatasetError, UsageError

N_DOCS = 30
TEXTS = [(f"d{n}", f"word{n} word{n % 7} cat") for n in range(N_DOCS)]
PLAN = {"corpus": "c", "space": "s", "build": "b", "windows": None}
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
    end_parts(folder)
    assert not folder.exists()


@pytest.mark.parametrize("change", [{"windows": 32}, {"build": "other"}, {"precision": "bfloat16"}])
def test_pieces_of_other_settings_are_not_taken_up(
    change: dict[str, object], tmp_path: Path
) -> None:
    begin_parts(tmp_path, PLAN)
    piece(tmp_path, 0, 10)
    begin_parts(tmp_path, PLAN)
    assert len(part_files(tmp_path)) == 1
    begin_parts(tmp_path, {**PLAN, **change})
    assert part_files(tmp_path) == []


def test_what_a_kill_left_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".plan.json.x1y2").write_text("{")
    (tmp_path / ".000000000000-000000000512.npz.abc").write_bytes(b"PK")
    piece(tmp_path, 0, 10)
    begin_parts(tmp_path, PLAN)  # pieces without a plan are of nobody knows what
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_what_others_have_is_neither_removed_nor_taken_for_ours(tmp_path: Path) -> None:
    begin_parts(tmp_path, PLAN)
    piece(tmp_path, 0, 10)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds something else, such as thesis\.txt"):
        begin_parts(tmp_path, {**PLAN, "build": "other"})
    assert len(part_files(tmp_path)) == 1
    end_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


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
