"""Why one side ranks a relevant document lower: what decided a query, as both sides see it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._explaining import Question, title_of
from ._judged import Judged

if TYPE_CHECKING:
    from ._sides import Side

TOP = 6
"""Terms shown of each explanation."""


@dataclass(frozen=True)
class View:
    """How one side sees the document: rank in its run (None: not found), and why where it is live.

    `terms` are its largest contributions, `lacks` query terms that the document lacks; `rival` is
    the best document above it that is not relevant, with its own terms.
    """

    system: str
    rank: int | None
    score: float | None
    terms: tuple[tuple[str, float], ...] = ()
    lacks: tuple[str, ...] = ()
    rival: dict[str, Any] | None = None


@dataclass(frozen=True)
class Reason:
    """The relevant document whose place explains most of a query's delta, and both views of it."""

    query_id: str
    doc_id: str
    grade: int
    title: str
    views: tuple[View, View]


def reason(judged: Judged, query_id: str, a: "Side", b: "Side", delta: float) -> Reason | None:
    """Explain why `b` is `delta` above `a` on a query; None where no document tells them apart."""
    grades = judged.qrels[query_id]
    places = [_ranks(side, query_id) for side in (a, b)]

    def gain(doc_id: str) -> float:
        """What the document adds to the DCG of b minus what it adds to that of a."""
        before, after = (_discount(ranks.get(doc_id)) for ranks in places)
        return (after - before) * grades[doc_id] * math.copysign(1, delta)

    relevant = [d for d, grade in grades.items() if grade >= judged.convention.relevant_from]
    if not relevant:
        return None
    doc_id = max(relevant, key=gain)
    if gain(doc_id) <= 0:
        return None
    text = judged.text(query_id)
    questions = [side.question(text) for side in (a, b)]
    title = ""
    for question in questions:
        document = None if question is None else question.index.get(doc_id)
        title = title or ("" if document is None else title_of(document.fields))
    views = [
        _view(side, question, query_id, doc_id, grades, ranks)
        for side, question, ranks in zip((a, b), questions, places, strict=True)
    ]
    return Reason(query_id, doc_id, grades[doc_id], title, (views[0], views[1]))


def _view(
    side: "Side",
    question: Question | None,
    query_id: str,
    doc_id: str,
    grades: dict[str, int],
    ranks: dict[str, int],
) -> View:
    rank = ranks.get(doc_id)
    rival_id = next((d for d in ranks if not grades.get(d)), None)
    if rival_id is not None and rank is not None and ranks[rival_id] > rank:
        rival_id = None
    rival = None if rival_id is None else {"doc_id": rival_id, "rank": ranks[rival_id]}
    if question is None or question.index.get(doc_id) is None:
        score = None if rank is None else side.run[query_id][doc_id]
        return View(side.name, rank, score, rival=rival)
    row = question.explained(doc_id)
    if rival is not None and rival_id is not None:
        other = question.explained(rival_id)
        rival |= {"title": title_of(other["fields"]), "score": other["score"]}
        rival |= {"terms": _contributions(other["terms"])}
    lacks = tuple(part["term"] for part in row["missing"] if part["heaviest"])[:TOP]
    terms = _contributions(row["terms"])
    return View(side.name, rank, row["score"], terms, lacks, rival)


def _contributions(rows: Sequence[dict[str, Any]]) -> tuple[tuple[str, float], ...]:
    return tuple((row["term"], row["score"]) for row in rows[:TOP])


def _ranks(side: "Side", query_id: str) -> dict[str, int]:
    if query_id not in side.run:
        return {}
    return {doc_id: rank for rank, (doc_id, _) in enumerate(side.run.ranked(query_id), start=1)}


def _discount(rank: int | None) -> float:
    return 0.0 if rank is None else 1 / math.log2(1 + rank)
