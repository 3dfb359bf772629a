"""What [data.mining] of a recipe asks for, done once a run: vectors of a network are dear."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from lsr.files import atomic_write, read_lines

from ..recipe import Recipe
from ..rows import Rows
from ..sections import Mining
from .negatives import MiningPlan, mine_texts


def mining_plan(recipe: Recipe) -> MiningPlan | None:
    """What [data.mining], or its short form, asks for; None if negatives are not mined."""
    data = recipe.data
    if not data.negatives:
        return None
    wanted = data.mining
    if wanted is None and data.mined_depth:
        wanted = Mining(windows=(f"{data.mined_from}-{data.mined_depth}",))
    if wanted is None:
        return None
    return MiningPlan.of(
        wanted.miners,
        wanted.windows,
        margin=wanted.margin,
        share=wanted.share,
        teacher=wanted.teacher,
        near_copy=wanted.near_copy,
        seed=recipe.run.seed,
        folder=recipe.path.parent,
    )


def mined_negatives(
    plan: MiningPlan,
    queries: Sequence[str],
    positives: Sequence[Sequence[int]],
    documents: Sequence[str],
    rows: Rows,
    *,
    own: Sequence[int | None],
    cache: Path | None,
    quiet: bool,
) -> list[list[int]]:
    """Per query its negatives, sorted, as the numbers in `rows`, which name the `documents`.

    `positives` and `own`, the document a query was made from, are such numbers too. `cache` is a
    folder in which results are kept by everything that decides them.
    """
    kept = None if cache is None else cache / f"{_key(plan, queries, positives, documents)}.jsonl"
    if kept is not None and kept.is_file():
        return [orjson.loads(line) for _, line in read_lines(kept)]
    mined = mine_texts(
        plan,
        queries,
        [np.searchsorted(rows, found).astype(np.int32) for found in positives],
        documents,
        forbidden=[
            np.searchsorted(rows, [] if row is None else [row]).astype(np.int32) for row in own
        ],
        quiet=quiet,
    )
    negatives = [np.sort(rows[found.rows]).tolist() for found in mined]
    if kept is not None:
        with atomic_write(kept) as file:
            for line in negatives:
                file.write(orjson.dumps(line) + b"\n")
    return negatives


def _key(
    plan: MiningPlan,
    queries: Sequence[str],
    positives: Sequence[Sequence[int]],
    documents: Sequence[str],
) -> str:
    digest = hashlib.blake2b(repr(plan).encode(), digest_size=8)
    for texts in (queries, documents):
        for text in texts:
            digest.update(hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest())
    digest.update(orjson.dumps([list(found) for found in positives]))
    return digest.hexdigest()
