"""A teacher that says how good a mined document is, so that unjudged answers are left out."""

import hashlib
import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.errors import EncoderError, imports_of
from lsr.progress import Bar, bar
from lsr.systems import BM25, CROSS_ENCODER, DENSE

from ..rows import Rows
from .parts import KEEP_NOTHING, Found, Parts
from .rankers import Scores

if TYPE_CHECKING:
    from ..teachers import EmbeddingTeacher, Judge, PairTeacher

_PART_PAIRS = 4_096  # what a kill costs: about a minute of a small cross-encoder on one CPU core


def open_judge(name: str, documents: Sequence[str], *, folder: Path | None = None) -> "Judge":
    """The teacher of this name: bm25, dense:FOLDER, cross-encoder:FOLDER or a sparse encoder."""
    with imports_of("a teacher", extra="train", package="torch"):
        from lsr.encoders.cross_encoder import CrossEncoder
        from lsr.encoders.dense import DenseEncoder

        from ..teachers.bm25 import BM25Teacher
        from ..teachers.sparse import SparseTeacher
    if name == BM25:
        return BM25Teacher.fit(documents)
    path = name.removeprefix(DENSE).removeprefix(CROSS_ENCODER)
    places = (Path(path).expanduser(), (folder or Path()) / path)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise EncoderError(
            f"teacher '{name}': '{path}' is no folder; wanted bm25, dense:FOLDER, "
            "cross-encoder:FOLDER or the folder of a sparse encoder"
        )
    if name.startswith(DENSE):
        return DenseEncoder.load(found, name=found.name)
    if name.startswith(CROSS_ENCODER):
        return CrossEncoder.load(found, name=found.name)
    return SparseTeacher.load(found, name=found.name)


def judged(
    teacher: "Judge",
    queries: Sequence[str],
    documents: Sequence[str],
    rows: Sequence[Rows],
    *,
    quiet: bool = False,
    parts: Parts = KEEP_NOTHING,
) -> list[Scores]:
    """Per query the teacher's scores of the documents in `rows[i]`, in their order.

    `parts` keeps them; `OutOfTimeError` if its deadline came first.
    """
    from ..teachers import PairTeacher

    if isinstance(teacher, PairTeacher):
        return _by_pairs(teacher, queries, documents, rows, quiet=quiet, parts=parts)
    return _by_vectors(teacher, queries, documents, rows, quiet=quiet, parts=parts)


def _by_pairs(
    teacher: "PairTeacher",
    queries: Sequence[str],
    documents: Sequence[str],
    rows: Sequence[Rows],
    *,
    quiet: bool,
    parts: Parts,
) -> list[Scores]:
    def score(block: range) -> list[Found]:
        scores = teacher.score(
            [queries[i] for i in block for _ in rows[i]],
            [documents[row] for i in block for row in rows[i].tolist()],
        )
        spans = _spans([len(rows[i]) for i in block])
        return [(rows[i], scores[a:b]) for i, (a, b) in zip(block, spans, strict=True)]

    scored: list[Scores] = []
    total = sum(map(len, rows))
    counter: Bar[None] = bar(
        None, total=total, unit="pairs", desc=teacher.name, quiet=quiet or None
    )
    with counter:
        for block in _blocks([len(of_query) for of_query in rows]):
            key = _key(teacher.fingerprint, [rows[i] for i in block])
            name = f"judged-{block.start:09}-{key}"
            scored += [scores for _, scores in parts.found(name, partial(score, block))]
            counter.update(sum(len(rows[i]) for i in block))
    return scored


def _by_vectors(
    teacher: "EmbeddingTeacher",
    queries: Sequence[str],
    documents: Sequence[str],
    rows: Sequence[Rows],
    *,
    quiet: bool,
    parts: Parts,
) -> list[Scores]:
    lengths = [len(of_query) for of_query in rows]
    flat = np.concatenate([*rows, np.empty(0, np.int32)]).astype(np.int64)
    known, place = np.unique(flat, return_inverse=True)
    asked = [documents[row] for row in known]
    embedded = []
    for name, texts, embed in (
        ("queries", queries, teacher.embed_queries),
        (_key("", [known]), asked, teacher.embed_documents),
    ):
        key = f"{teacher.fingerprint}-{name}"
        kept = parts.vectors(key, texts, embed, desc=teacher.name, quiet=quiet)
        embedded.append(embed(texts, progress=not quiet) if kept is None else kept)
    left, right = embedded
    scores = np.zeros(len(flat), np.float32)
    for i, (a, b) in enumerate(_spans(lengths)):
        product = right[place[a:b]] @ left[[i]].T
        dense = product if isinstance(product, np.ndarray) else product.toarray()
        scores[a:b] = dense[:, 0]
    return [scores[a:b] for a, b in _spans(lengths)]


def _key(fingerprint: str, lists: Sequence[npt.NDArray[np.integer]]) -> str:
    """16 hex digits over a teacher and the documents it is asked about."""
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=8)
    for rows in lists:
        digest.update(f" {len(rows)} ".encode() + rows.astype("<i8").tobytes())
    return digest.hexdigest()


def _blocks(lengths: Sequence[int]) -> list[range]:
    """Runs of whole queries of about `_PART_PAIRS` pairs."""
    blocks: list[range] = []
    first = n_pairs = 0
    for i, length in enumerate(lengths):
        n_pairs += length
        if n_pairs >= _PART_PAIRS or i == len(lengths) - 1:
            blocks.append(range(first, i + 1))
            first, n_pairs = i + 1, 0
    return blocks


def _spans(lengths: Sequence[int]) -> list[tuple[int, int]]:
    ends = np.cumsum([0, *lengths]).tolist()
    return list(itertools.pairwise(ends))
