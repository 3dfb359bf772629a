"""Measures for questions that need several documents: are all their sources among the first k?

`AllSources@k` counts a query 1 if every source it needs is within the first k documents and 0
otherwise; `Sources@k` is the share of them that is. An answer written from retrieved documents is
bounded by the first, not by how many single documents were found (MSRS, Phanse et al., COLM 2025,
arXiv 2508.20867). Both take a level of relevance as ir_measures' do: `AllSources(rel=2)@8`.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass

from .errors import UsageError

Sources = Mapping[str, Mapping[str, Set[str]]]
"""`sources[query_id][source]`: documents of which any one will do for that source."""

_SPELLING = re.compile(r"(AllSources|Sources)(?:\(rel=(\d+)\))?(?:@(\d+))?")


@dataclass(frozen=True)
class SourcesMeasure:
    """One of the two measures, with its level and its cut-off."""

    every: bool
    """Whether all sources must be there; if not, the share that is."""
    rel: int | None
    """A document counts from this grade on; None leaves it to the collection's convention."""
    k: int

    def value(
        self,
        ranking: Mapping[str, float],
        grades: Mapping[str, int],
        needed: Mapping[str, Set[str]] | None = None,
        *,
        relevant_from: int = 1,
    ) -> float:
        """The value for one query, in [0, 1]; without any source to find it is 0, as recall is.

        Without `needed` each relevant document is a source of its own. A source that has no
        document that counts is not asked for. Ties are broken by doc_id, descending, as
        trec_eval does.

        >>> SourcesMeasure(every=False, rel=None, k=2).value(
        ...     {"a": 3.0, "b": 2.0, "c": 1.0}, {"a": 1, "c": 1}
        ... )
        0.5
        """
        level = relevant_from if self.rel is None else self.rel
        relevant = {doc_id for doc_id, grade in grades.items() if grade >= level}
        groups = [{doc_id} for doc_id in relevant]
        if needed is not None:
            groups = [held for documents in needed.values() if (held := relevant & documents)]
        if not groups:
            return 0.0
        best = sorted(ranking, key=lambda doc_id: (ranking[doc_id], doc_id), reverse=True)
        first = set(best[: self.k])
        found = sum(not first.isdisjoint(group) for group in groups)
        return float(found == len(groups)) if self.every else found / len(groups)


def parse_sources_measure(name: str) -> SourcesMeasure | None:
    """The measure of this name, or None if it is none of these two."""
    if not name.startswith(("AllSources", "Sources")):
        return None
    match = _SPELLING.fullmatch(name)
    if match is None or match[3] is None or int(match[3]) < 1 or match[2] == "0":
        raise UsageError(
            f"no measure {name!r}; wanted a cut-off of at least 1 and maybe a level of at least 1, "
            "such as AllSources@10 or Sources(rel=2)@10"
        )
    rel = None if match[2] is None else int(match[2])
    return SourcesMeasure(match[1] == "AllSources", rel, int(match[3]))
