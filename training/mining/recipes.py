"""What [data.mining] of a recipe asks for, done once a run: vectors of a network are dear."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from lsr.files import atomic_write, locked, read_lines

from ..recipe import Recipe
from ..rows import Rows
from ..sections import Mining
from .negatives import MiningPlan, mine_texts, mining_key
from .parts import Parts


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
    deadline: float | None,
    quiet: bool,
) -> list[list[int]]:
    """Per query its negatives, sorted, as the numbers in `rows`, which name the `documents`.

    `positives` and `own`, the document a query was made from, are such numbers too. `cache` is a
    folder in which results are kept by everything that decides them, and their parts until then.
    `OutOfTimeError` if `deadline` (`time.monotonic`) came first.
    """

    def mine(parts: Parts) -> list[list[int]]:
        mined = mine_texts(
            plan,
            queries,
            [np.searchsorted(rows, found).astype(np.int32) for found in positives],
            documents,
            forbidden=[
                np.searchsorted(rows, [] if row is None else [row]).astype(np.int32) for row in own
            ],
            quiet=quiet,
            parts=parts,
        )
        return [np.sort(rows[found.rows]).tolist() for found in mined]

    if cache is None:
        return mine(Parts(None, deadline))
    key = mining_key(plan, queries, positives, documents)
    kept, work = cache / f"{key}.jsonl", cache / f"{key}.parts"
    with locked(work):  # of several processes one mines, and the others find it done
        if not kept.is_file():
            negatives = mine(Parts(work, deadline))
            with atomic_write(kept) as file:
                for line in negatives:
                    file.write(orjson.dumps(line) + b"\n")
        shutil.rmtree(work, ignore_errors=True)
    return [orjson.loads(line) for _, line in read_lines(kept)]
