"""How two rankings of one question differ: documents, ranks, terms."""

from collections.abc import Mapping, Sequence
from typing import Any


def overlap(a: Sequence[str], b: Sequence[str]) -> tuple[int, float]:
    """How many documents both have, and as a share of the longer list; 1.0 of nothing.

    >>> overlap(["x", "y"], ["y", "z"])
    (1, 0.5)
    """
    both = len(set(a) & set(b))
    longer = max(len(a), len(b))
    return both, both / longer if longer else 1.0


def rank_biased_overlap(a: Sequence[str], b: Sequence[str], persistence: float) -> float:
    """Agreement of the d best, averaged over d with weights persistence^(d - 1).

    Webber, Moffat and Zobel, TOIS 2010, cut at the deeper list and divided by the sum of the
    weights, so that equal lists agree by 1 whatever their length.

    >>> rank_biased_overlap(["x", "y"], ["y", "x"], 0.5)
    0.3333333333333333
    """
    depth = max(len(a), len(b))
    if not depth:
        return 1.0
    of_a: set[str] = set()
    of_b: set[str] = set()
    total = weights = 0.0
    weight = 1.0
    for d in range(depth):
        of_a.update(a[d : d + 1])
        of_b.update(b[d : d + 1])
        total += weight * len(of_a & of_b) / (d + 1)
        weights += weight
        weight *= persistence
    return total / weights


def moves(a: Sequence[str], b: Sequence[str]) -> list[dict[str, Any]]:
    """Each document of either, by the better of its ranks, ties by that in `a`."""
    of_a = {doc_id: rank for rank, doc_id in enumerate(a, start=1)}
    of_b = {doc_id: rank for rank, doc_id in enumerate(b, start=1)}
    deep = len(a) + len(b) + 1
    ordered = sorted(
        dict.fromkeys([*a, *b]),
        key=lambda one: (min(of_a.get(one, deep), of_b.get(one, deep)), of_a.get(one, deep)),
    )
    return [
        {
            "id": one,
            "a": of_a.get(one),
            "b": of_b.get(one),
            "move": of_a[one] - of_b[one] if one in of_a and one in of_b else None,
        }
        for one in ordered
    ]


def term_differences(
    a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """For each document that both explain, the shares of its two scores of the terms for which both
    are told: of all, unless `top_terms` leaves some out.
    """
    other = {hit["id"]: _shares(hit) for hit in b}
    found = []
    for hit in a:
        if hit["id"] not in other:
            continue
        (here, of_all_here), (there, of_all_there) = _shares(hit), other[hit["id"]]
        # What one side does not list may count there all the same, where it leaves terms out.
        here = {term: share for term, share in here.items() if of_all_there or term in there}
        there = {term: share for term, share in there.items() if of_all_here or term in here}
        differences = {
            term: there.get(term, 0.0) - here.get(term, 0.0)
            for term in dict.fromkeys([*here, *there])
        }
        terms = [
            {
                "term": term,
                "a": here.get(term, 0.0),
                "b": there.get(term, 0.0),
                "difference": difference,
            }
            for term, difference in sorted(differences.items(), key=lambda one: -abs(one[1]))
        ]
        found.append({"id": hit["id"], "terms": terms})
    return found


def _shares(hit: Mapping[str, Any]) -> tuple[dict[str, float], bool]:
    """The shares of the terms that a hit lists, and whether these are all of its terms."""
    told = hit["explain"]
    listed = {one["term"]: one["share"] for one in told["terms"] if one["term"] is not None}
    return listed, not told["other"]["terms"]
