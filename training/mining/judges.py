"""A teacher that says how good a mined document is, so that unjudged answers are left out."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsr.errors import EncoderError, imports_of
from lsr.systems import BM25, CROSS_ENCODER, DENSE

from ..rows import Rows
from .rankers import Scores

if TYPE_CHECKING:
    from ..teachers import Judge


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
) -> list[Scores]:
    """Per query the teacher's scores of the documents in `rows[i]`, in their order."""
    from ..teachers import PairTeacher

    lengths = [len(of_query) for of_query in rows]
    flat = np.concatenate([*rows, np.empty(0, np.int32)]).astype(np.int64)
    query_of = np.repeat(np.arange(len(queries)), lengths)
    scores: Scores
    if isinstance(teacher, PairTeacher):
        scores = teacher.score(
            [queries[i] for i in query_of.tolist()],
            [documents[row] for row in flat.tolist()],
            progress=not quiet,
        )
    else:
        known, place = np.unique(flat, return_inverse=True)
        left = teacher.embed_queries(queries, progress=not quiet)
        right = teacher.embed_documents([documents[row] for row in known], progress=not quiet)
        scores = np.zeros(len(flat), np.float32)
        for i, (a, b) in enumerate(_spans(lengths)):
            product = right[place[a:b]] @ left[[i]].T
            dense = product if isinstance(product, np.ndarray) else product.toarray()
            scores[a:b] = dense[:, 0]
    return [scores[a:b] for a, b in _spans(lengths)]


def _spans(lengths: Sequence[int]) -> list[tuple[int, int]]:
    ends = np.cumsum([0, *lengths]).tolist()
    return list(itertools.pairwise(ends))
