"""How good a run is, by ir_measures: means over every judged query, and each query's own value.

`AllSources@k` and `Sources@k`, for questions that need several documents, are in lsr/sources.py.
A judged query that the run does not answer counts as 0: answering fewer queries never helps.
`holes` says how much of what was found nobody has judged, which every measure counts as irrelevant.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from subprocess import CalledProcessError

import ir_measures

from .errors import DatasetError, UsageError
from .sources import Sources, SourcesMeasure, parse_sources_measure
from .types import MAX_GRADE, Qrels, Run

DEFAULT = ("nDCG@10", "RR@10", "R@100", "R@1000", "AP")
"""Measures as ir_measures spells them."""

_PRINTED = {"AP": "MAP", "RR@10": "MRR@10"}


@dataclass(frozen=True)
class Evaluation:
    """`means[measure]` over all judged queries and `per_query[measure][query_id]`, in [0, 1]."""

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    n_queries: int
    n_unanswered: int
    """Judged queries without any document in the run; each counts as 0."""
    relevant_from: int = 1
    """The grade from which measures without grades called a document relevant."""


def evaluate(
    run: Mapping[str, Mapping[str, float]],
    qrels: Qrels,
    measures: Sequence[str] = DEFAULT,
    *,
    relevant_from: int = 1,
    sources: Sources | None = None,
) -> Evaluation:
    """Evaluate `{query_id: {doc_id: score}}` or a `Run`; queries without judgements are left out.

    Measures that know no grades (RR, R, AP, P) call a document relevant from grade `relevant_from`
    on, unless their own name says (`RR(rel=2)@10`).
    `sources` says which documents stand in for one another in `AllSources@k` and `Sources@k`; for a
    query that it lacks, every relevant document is needed.

    >>> evaluate({"q1": {"a": 2.0, "b": 1.0}}, {"q1": {"b": 1}, "q2": {"c": 1}}, ["RR@10"]).means
    {'RR@10': 0.25}
    """
    if not qrels:
        raise DatasetError(
            "there are no judgements to evaluate with; wanted at least one judged query"
        )
    for query_id, grades in qrels.items():
        if (
            doc_id := next((doc for doc, grade in grades.items() if abs(grade) > MAX_GRADE), None)
        ) is not None:
            raise DatasetError(
                f"document {doc_id!r} of query {query_id!r} has grade {grades[doc_id]}; grades up "
                f"to {MAX_GRADE:,} and down to {-MAX_GRADE:,} are measured"
            )
    parsed = {name: _parse(name) for name in measures}
    # An empty answer is left out: some of those who compute measures divide by its length.
    # Ties are broken once: the programs behind the measures each have a way of their own.
    ordered = run if isinstance(run, Run) else Run.from_scores(run)
    judged = {query_id: ordered[query_id] for query_id in qrels if ordered.get(query_id)}
    # A fresh evaluator each time: pytrec_eval's keep state from one run to the next.
    values: dict[str, dict[str, float]] = {name: {} for name in parsed}
    theirs: dict[ir_measures.Measure, list[str]] = {}  # RR@10 and RR(rel=1)@10 are one measure
    for name, measure in parsed.items():
        if not isinstance(measure, SourcesMeasure):
            theirs.setdefault(_from_grade(measure, relevant_from), []).append(name)
            continue
        for query_id, grades in qrels.items():
            needed = None if sources is None else sources.get(query_id)
            values[name][query_id] = measure.value(
                judged.get(query_id, {}), grades, needed, relevant_from=relevant_from
            )
    try:
        for query_id, measure, value in _calculated(list(theirs), qrels, judged):
            for name in theirs[measure]:
                values[name][query_id] = value
    except CalledProcessError as error:
        raise DatasetError(
            f"{', '.join(measures)}: gdeval, which ERR and dcg='exp-log2' need, refused the run or "
            "the judgements; wanted grades up to 4 and ids without blanks. Name other measures"
        ) from error
    for name, row in values.items():
        assert row.keys() == qrels.keys(), f"{name} is missing queries"
        assert all(0.0 <= value <= 1.0 + 1e-9 for value in row.values()), f"{name} leaves [0, 1]"
    return Evaluation(
        means={name: sum(row.values()) / len(row) for name, row in values.items()},
        per_query=values,
        n_queries=len(qrels),
        n_unanswered=sum(not judged.get(query_id) for query_id in qrels),
        relevant_from=relevant_from,
    )


def holes(
    run: Mapping[str, Mapping[str, float]], qrels: Qrels, *, cutoff: int = 10
) -> dict[str, float]:
    """For each judged query the share of its first `cutoff` documents that nobody has judged.

    1 - Judged@10 of ir_measures where a query has ten documents; of fewer it is the share of those
    there are, and 0 of none.

    >>> holes({"q1": {"a": 3.0, "b": 2.0}}, {"q1": {"b": 0}, "q2": {"c": 1}})
    {'q1': 0.5, 'q2': 0.0}
    """
    shares: dict[str, float] = {}
    ordered = run if isinstance(run, Run) else Run.from_scores(run)
    for query_id, grades in qrels.items():
        best = list(ordered.get(query_id, {}))[:cutoff]
        unjudged = sum(doc_id not in grades for doc_id in best)
        shares[query_id] = unjudged / len(best) if best else 0.0
    return shares


def check_measure(name: str) -> None:
    """Raise `UsageError` for what cannot be computed, before there is anything to evaluate."""
    _parse(name)


def printed_name(measure: str) -> str:
    """The name a mean goes by in tables: MAP for the mean of AP, MRR@10 for that of RR@10."""
    return _PRINTED.get(measure, measure)


def spelled(name: str) -> str:
    """A measure's name as it is written here, whatever its case; others are refused.

    Raises `UsageError`.

    >>> spelled("mrr@10"), spelled("NDCG(dcg='exp-log2')@10"), spelled("allsources@8")
    ('RR@10', "nDCG(dcg='exp-log2')@10", 'AllSources@8')
    """
    bare = re.match(r"\w*", name)
    assert bare is not None, "the pattern matches the empty string"
    ours = _SPELLED.get(bare[0].casefold(), bare[0]) + name[bare.end() :]
    _parse(ours)
    return ours


def cutoff_of(name: str) -> int | None:
    """How many documents a measure looks at; None is all. Raises `UsageError`.

    >>> cutoff_of("nDCG@10"), cutoff_of("AllSources@8"), cutoff_of("AP")
    (10, 8, None)
    """
    measure = _parse(name)
    if isinstance(measure, SourcesMeasure):
        return measure.k
    cutoff: int | None = measure.params.get("cutoff")
    return cutoff


def depth_needed(name: str) -> int | None:
    """How many documents of a run decide a measure; None is all. Raises `UsageError`.

    Of judged documents alone there may be more behind any cutoff.

    >>> depth_needed("nDCG@10"), depth_needed("nDCG(judged_only=True)@10")
    (10, None)
    """
    measure = _parse(name)
    if not isinstance(measure, SourcesMeasure) and measure.params.get("judged_only"):
        return None
    return cutoff_of(name)


def _bare_names() -> dict[str, str]:
    """Each measure's own name by its names in small letters.

    MAP is AP, but an alias with a setting (SetRelP is SetP(relative=True)) keeps its name.
    """
    known = {"allsources": "AllSources", "sources": "Sources"}
    for alias, measure in ir_measures.measures.registry.items():
        known[alias.casefold()] = measure.NAME if str(measure) == measure.NAME else alias
    return known


_SPELLED = _bare_names()


def _from_grade(measure: ir_measures.Measure, grade: int) -> ir_measures.Measure:
    if grade == 1 or "rel" in measure.params or "rel" not in measure.SUPPORTED_PARAMS:
        return measure
    graded: ir_measures.Measure = measure(rel=grade)
    return graded


def _calculated(
    measures: Sequence[ir_measures.Measure],
    qrels: Qrels,
    run: Mapping[str, Mapping[str, float]],
) -> Iterator[tuple[str, ir_measures.Measure, float]]:
    """(query_id, measure, value) of ir_measures."""
    if not measures:  # it fails when it is asked for nothing
        return
    ids = list(qrels)
    numbers = {query_id: str(number) for number, query_id in enumerate(ids)}
    # gdeval, one of the programs that it calls, takes no query ids but numbers.
    judged = {numbers[query_id]: _from_zero(grades) for query_id, grades in qrels.items()}
    found = {numbers[query_id]: row for query_id, row in run.items()}
    for metric in ir_measures.iter_calc(measures, judged, found):
        yield ids[int(metric.query_id)], metric.measure, float(metric.value)


def _from_zero(grades: Mapping[str, int]) -> Mapping[str, int]:
    """The same judgements for trec_eval, which counts levels of relevance up to the highest grade:
    below 0 it writes outside of what it has, and the process dies or never ends.
    """
    return grades if max(grades.values(), default=0) >= 0 else dict.fromkeys(grades, 0)


def _computed(measure: ir_measures.Measure) -> bool:
    """Whether every query gets a value in [0, 1], be it answered or not.

    Tried, for nothing tells it: ir_measures has names that nobody computes (RBP), counts (NumRet),
    measures that leave queries out (Accuracy), and some for packages that may be missing.
    """
    qrels = {"answered": {"a": 1, "b": 2, "c": 0}, "not": {"a": 1}}
    run = {"answered": {"a": 3.0, "c": 2.0, "b": 1.0}}
    try:
        values = {q: value for q, _, value in _calculated([measure], qrels, run)}
    except Exception:  # each of the programs behind it fails in its own way
        return False
    return values.keys() == qrels.keys() and all(0 <= value <= 1 for value in values.values())


def _computed_names() -> list[str]:
    """A name of every measure that can be computed; the cutoffs are examples."""
    names = ["AllSources@10", "Sources@10"]
    for bare in {measure.NAME for measure in ir_measures.measures.registry.values()}:
        spellings = (f"{bare}{ending}" for ending in ("", "@10", "@0.1"))
        names += [name for name in spellings if _computed(ir_measures.parse_measure(name))][:1]
    return sorted(names, key=str.casefold)


@lru_cache(maxsize=256)
def _parse(name: str) -> ir_measures.Measure | SourcesMeasure:
    ours = parse_sources_measure(name)
    if ours is not None:
        return ours
    try:
        measure = ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError, KeyError) as error:
        raise UsageError(
            f"no measure {name!r}; wanted ir_measures' spelling, such as {', '.join(DEFAULT)}"
        ) from error
    cutoff = measure.params.get("cutoff", 1)
    # trec_eval answers a cutoff of 0 by abort(), which ends the whole process.
    if not isinstance(cutoff, int) or cutoff < 1:
        raise UsageError(
            f"the measure {name!r} has the cutoff {cutoff!r}; wanted a whole number of documents "
            f"from 1 on, such as {DEFAULT[0]}"
        )
    if not _computed(measure):
        raise UsageError(
            f"the measure {name!r} cannot be computed; wanted one of {', '.join(_computed_names())}"
            ", with other cutoffs as well"
        )
    return measure
