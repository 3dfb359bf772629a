"""Hard negatives for texts in memory: rank, leave out what may be an answer, draw from windows."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import orjson

from lsr.errors import RecipeError
from lsr.progress import Bar, bar

from ..filters import false_negatives
from ..rows import Rows
from .cleaning import Copies, normalised
from .judges import judged, open_judge
from .parts import KEEP_NOTHING, Found, Parts
from .rankers import Ranked, Ranker, Scores, open_miner
from .windows import Window, draw, parse_window

_BLOCK = 256  # queries searched between two signs of progress: a part, what a kill costs


@dataclass(frozen=True, slots=True)
class MiningPlan:
    """Whom to ask and what to take; the keys of [data.mining], read and checked."""

    miners: tuple[str, ...] = ("bm25",)
    """As `rankers` names them; each draws from the windows."""
    windows: tuple[Window, ...] = (Window(10, 50),)
    margin: float | None = None
    """Leave out what scores above positive - margin; see `training.filters`."""
    share: float | None = None
    """Leave out what scores above share x positive."""
    teacher: str = ""
    """Whose scores `margin` and `share` are of; "" takes each miner's own."""
    near_copy: float = 0.9
    """Leave out documents whose set of words is this similar (Jaccard) to a positive's."""
    seed: int = 0
    folder: Path | None = None
    """Where folders are looked for, beside the working directory."""

    @classmethod
    def of(
        cls,
        miners: Sequence[str],
        windows: Sequence[str],
        *,
        margin: float | None = None,
        share: float | None = None,
        teacher: str = "",
        near_copy: float = 0.9,
        seed: int = 0,
        folder: Path | None = None,
    ) -> "MiningPlan":
        """Windows as "FIRST-LAST:TAKE"; refuses what can mean nothing."""
        if not miners or not windows:
            raise RecipeError("mining wants at least one miner and one window of ranks")
        if teacher and margin is None and share is None:
            raise RecipeError(
                f"mining: the teacher '{teacher}' has nothing to decide; give a margin or a share"
            )
        return cls(
            tuple(miners),
            tuple(parse_window(text) for text in windows),
            margin,
            share,
            teacher,
            near_copy,
            seed,
            folder,
        )


def mining_key(
    plan: MiningPlan,
    queries: Sequence[str],
    positives: Sequence[Sequence[int]],
    documents: Sequence[str],
) -> str:
    """16 hex digits over all that decides what is found but the content of named folders."""
    digest = hashlib.blake2b(repr(plan).encode(), digest_size=8)
    for texts in (queries, documents):
        for text in texts:
            digest.update(hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest())
    digest.update(orjson.dumps([list(found) for found in positives]))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Mined:
    """The negatives of one query."""

    rows: Rows
    """By miner, window and rank."""
    scores: Scores
    """The teacher's, or those of the miner that found the document first."""


def mine_texts(
    plan: MiningPlan,
    queries: Sequence[str],
    positives: Sequence[Rows],
    documents: Sequence[str],
    *,
    forbidden: Sequence[Rows] | None = None,
    rankers: Sequence[Ranker] | None = None,
    quiet: bool = False,
    parts: Parts = KEEP_NOTHING,
) -> list[Mined]:
    """Negatives for each query among `documents`, which rows number.

    Left out are the positives, their copies and near-copies, `forbidden` documents such as the one
    a query was made from, copies of the query, further copies of a negative, and by score what may
    be an unjudged answer: a document is compared with the positive that scores best. A miner's own
    scores are looked at before the draw, a teacher's after it, so that it reads only what is drawn.
    Ranks are those of the whole ranking. `rankers` over the same documents stand in for the miners.
    `parts` keeps what is found, in a folder of this work alone (`mining_key`); `OutOfTimeError` if
    its deadline came first, and the same call goes on.
    """
    named = plan.miners if rankers is None else ()
    miners = [open_miner(name, folder=plan.folder) for name in named]
    ready: list[tuple[str, Callable[[], Ranker]]] = [
        (miner.fingerprint, partial(miner.rank, documents, quiet=quiet, parts=parts))
        for miner in miners
    ] or [("", partial(_itself, ranker)) for ranker in rankers or ()]
    if plan.teacher:
        open_judge(plan.teacher, documents[:1], folder=plan.folder)  # fails before the work
    copies = Copies(documents, near_copy=plan.near_copy)
    found: list[list[Found]] = [[] for _ in queries]
    seen: list[set[str]] = [{normalised(query)} for query in queries]
    depth = max(window.last for window in plan.windows)
    # What a miner finds depends on those before it, which took some texts: so does its parts' name.
    so_far = hashlib.blake2b(digest_size=8)
    for number, (fingerprint, open_ranker) in enumerate(ready):
        so_far.update(f"{fingerprint}\n".encode())
        ranker = cache(open_ranker)  # opened by the first part that is not there yet, if any is not

        def find(block: range, ranker: Callable[[], Ranker] = ranker) -> list[Found]:
            asked = [positives[i] for i in block]
            ranked = ranker().search([queries[i] for i in block], depth, asked)
            taken: list[Found] = []
            for i, answer in zip(block, ranked, strict=True):
                out = set(positives[i].tolist())
                if forbidden is not None:
                    out.update(forbidden[i].tolist())
                own = positives[i].tolist()
                taken.append(_take(plan, answer, queries[i], own, out, seen[i], copies))
            return taken

        counter: Bar[None] = bar(
            None, total=len(queries), unit="queries", desc="mining", quiet=quiet or None
        )
        with counter:
            for at in range(0, len(queries), _BLOCK):
                block = range(at, min(at + _BLOCK, len(queries)))
                name = f"found-{number:03}-{at:09}-{so_far.hexdigest()}"
                for i, of_query in zip(block, parts.found(name, partial(find, block)), strict=True):
                    found[i].append(of_query)
                    seen[i].update(map(copies.text, of_query[0].tolist()))
                counter.update(len(block))
    mined = [
        Mined(
            np.concatenate([np.empty(0, np.int32), *(rows for rows, _ in of_query)]),
            np.concatenate([np.empty(0, np.float32), *(scores for _, scores in of_query)]),
        )
        for of_query in found
    ]
    return (
        mined
        if not plan.teacher
        else _by_teacher(plan, mined, queries, positives, documents, quiet=quiet, parts=parts)
    )


def _itself(ranker: Ranker) -> Ranker:
    return ranker


def _take(
    plan: MiningPlan,
    answer: Ranked,
    query: str,
    positives: list[int],
    out: set[int],
    seen: set[str],
    copies: Copies,
) -> Found:
    """What one ranking gives; `seen` are the texts taken so far, and grows."""
    suspect = np.zeros(len(answer.rows), np.bool_)
    if not plan.teacher and len(answer.asked):
        suspect = false_negatives(
            answer.scores, float(answer.asked.max()), margin=plan.margin, share=plan.share
        )

    def accept(rank: int) -> bool:
        row = int(answer.rows[rank])
        if row in out or suspect[rank] or copies.text(row) in seen:
            return False
        if copies.copies_one_of(row, positives):
            return False
        seen.add(copies.text(row))
        return True

    taken = draw(len(answer.rows), plan.windows, accept, query=query, seed=plan.seed)
    return answer.rows[taken].astype(np.int32), answer.scores[taken].astype(np.float32)


def _by_teacher(
    plan: MiningPlan,
    mined: Sequence[Mined],
    queries: Sequence[str],
    positives: Sequence[Rows],
    documents: Sequence[str],
    *,
    quiet: bool,
    parts: Parts,
) -> list[Mined]:
    """Leave out what the teacher finds too good; scores become the teacher's."""
    teacher = open_judge(plan.teacher, documents, folder=plan.folder)
    rows = [
        np.concatenate([given, of_query.rows]).astype(np.int32)
        for given, of_query in zip(positives, mined, strict=True)
    ]
    scored = judged(teacher, queries, documents, rows, quiet=quiet, parts=parts)
    kept: list[Mined] = []
    for given, of_query, scores in zip(positives, mined, scored, strict=True):
        best = float(scores[: len(given)].max(initial=-np.inf))
        own = scores[len(given) :]
        good = (
            ~false_negatives(own, best, margin=plan.margin, share=plan.share)
            if len(given)
            else np.ones(len(own), np.bool_)
        )
        kept.append(Mined(of_query.rows[good], own[good]))
    return kept
