"""How each collection is measured by those who publish figures for it, by its name.

Documents are title + text, gains of nDCG are the grades, and queries without judgements are left
out, everywhere. What differs is here: whether a query's own copy is taken out of its results, from
which grade a document counts as relevant, the split that figures are quoted for, and collections
that are a mean of parts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .types import Run

CQADUPSTACK = (
    "android",
    "english",
    "gaming",
    "gis",
    "mathematica",
    "physics",
    "programmers",
    "stats",
    "tex",
    "unix",
    "webmasters",
    "wordpress",
)
"""The parts whose plain mean is "the" CQADupStack figure (BEIR, arXiv 2104.08663, table 9)."""


@dataclass(frozen=True, slots=True)
class Convention:
    """What to do before measuring, and what was done, in words.

    `part_of` names the collection that this one is a twelfth of.
    """

    self_hits_removed: bool = False
    relevant_from: int = 1
    """The grade from which RR, AP and R call a document relevant; nDCG keeps every grade."""
    split: str = "test"
    part_of: str | None = None

    def words(self) -> list[str]:
        """What is special about it, for people; nothing where nothing is.

        >>> Convention(relevant_from=2).words()
        ['binary measures count grades from 2']
        """
        words = ["a document with the query's id is left out"] if self.self_hits_removed else []
        if self.relevant_from != 1:
            words.append(f"binary measures count grades from {self.relevant_from}")
        return [*words, f"a part of {self.part_of}"] if self.part_of else words


def _named(*names: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|[/:._-])(?:nano)?(?:{'|'.join(names)})(?:$|[/:._-]|retrieval)", re.I)


# BEIR's loader takes a query's own text out of its results (ignore_identical_ids); only in these
# two do queries come from the corpus. Elsewhere the same number names two different things.
_SELF_HITS = _named("arguana", "quora")
# "Related" (1) is not relevant in the passage task: https://trec.nist.gov/data/deep2019.html
_DEEP_LEARNING = re.compile(r"(?:^|[/:._-])(?:trec-?)?dl-?(?:20)?(?:19|20|21|22|23|hard)\b", re.I)
_DOCUMENTS = re.compile(r"document|(?:^|[/_-])doc(?:$|[/_-])", re.I)
_MSMARCO = re.compile(r"(?:^|[/:])msmarco(?:-passage)?$", re.I)
_NANO = re.compile(r"(?:^|[/:._-])nano", re.I)
_MIRACL = re.compile(r"(?:^|[/:])miracl[/-]", re.I)
_SPLIT = re.compile(r"(?<!^)/(train|dev|test|validation|valid|val)$")
_CQADUPSTACK = re.compile(rf"(?:^|[/:._-])(?:cqadupstack[/-])(?:{'|'.join(CQADUPSTACK)})$", re.I)


def convention_of(name: str, split: str | None = None) -> Convention:
    """The convention of a collection known by this name; `split` is what the caller asks for.

    >>> convention_of("irds:beir/arguana").self_hits_removed
    True
    >>> convention_of("trec-dl-2019").relevant_from, convention_of("msmarco").split
    (2, 'dev')
    >>> convention_of("msmarco", "test").relevant_from  # BEIR's test split is TREC DL 2019
    2
    """
    named = _SPLIT.search(name) if name.startswith("irds:") else None
    name = name[: named.start()] if named else name
    # NanoBEIR's MS MARCO has one split, of judgements by people who clicked.
    msmarco = bool(_MSMARCO.search(name)) and not _NANO.search(name)
    by_default = "dev" if msmarco or _MIRACL.search(name) else "test"
    wanted = split or (named[1] if named else by_default)
    by_nist = bool(_DEEP_LEARNING.search(name)) or (wanted == "test" and msmarco)
    deep = by_nist and not _DOCUMENTS.search(name)
    return Convention(
        self_hits_removed=_SELF_HITS.search(name) is not None,
        relevant_from=2 if deep else 1,
        split=wanted,
        part_of="cqadupstack" if _CQADUPSTACK.search(name) else None,
    )


def usual_split(name: str, split: str | None = None) -> str:
    """`split`, or where the caller asks for none, the one that figures are quoted for.

    >>> usual_split("miracl/sw"), usual_split("scifact"), usual_split("msmarco", "test")
    ('dev', 'test', 'test')
    """
    return convention_of(name, split).split


def depth(convention: Convention, k: int) -> int:
    """How many documents to search for, so that k are left once the query's own copy is gone."""
    return k + 1 if convention.self_hits_removed else k


def conventional(run: Run, convention: Convention, k: int) -> Run:
    """The run as it is measured: without self-hits where they are left out, and k documents a query
    where it was searched for one more.

    >>> run = Run.from_rows([("q1", ["q1", "d1", "d2"], [3.0, 2.0, 1.0])])
    >>> list(conventional(run, Convention(self_hits_removed=True), 1)["q1"])
    ['d1']
    """
    if not convention.self_hits_removed:
        return run
    return Run.from_rows((query_id, *_others(run, query_id, k)) for query_id in run)


def _others(run: Run, query_id: str, k: int) -> tuple[Sequence[str], Sequence[float]]:
    kept = [(d, score) for d, score in run.ranked(query_id) if d != query_id][:k]
    return [d for d, _ in kept], [score for _, score in kept]
