"""The gate: an index may replace another if its answers to judged queries are not worse.

Both indexes answer every judged query, each through its own encoder; the paired difference of a
measure, its interval and the p of a randomisation test (lsr/significance.py) are what the history
keeps and the caller is told. Only the difference decides: with few queries a large drop can be
insignificant, and is refused all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from index import Index
from lsr.encoders import SparseEncoder
from lsr.errors import DatasetError, UsageError
from lsr.types import Qrels

from ..home import Home
from ..names import inside, is_name
from ..problems import Fault, ProblemError, did_you_mean

MAX_QUERIES = 10_000
DEPTH = 1000
"""Documents of a run: enough for recall at 1,000."""
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries by id, and the grades of documents that answer them."""

    queries: Mapping[str, str]
    qrels: Qrels

    @classmethod
    def checked(cls, queries: Mapping[str, str], qrels: Qrels, *, pointer: str) -> "Judged":
        """Only queries with judgements count. Raises the problem `invalid_request`."""
        judged = {query_id: grades for query_id, grades in qrels.items() if grades}
        for query_id in judged:
            if query_id not in queries:
                raise _invalid(
                    f"{pointer}/qrels",
                    f"judges the query '{query_id[:100]}', which is not among the queries",
                )
        if not judged:
            raise _invalid(f"{pointer}/qrels", "wanted at least one judged query")
        if len(judged) > MAX_QUERIES:
            raise _invalid(f"{pointer}/qrels", f"at most {MAX_QUERIES:,} judged queries fit")
        return cls({query_id: queries[query_id] for query_id in judged}, judged)


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked for: the mean of `measure` may change by no less than `min_delta`."""

    judged: Judged
    measure: str = "nDCG@10"
    min_delta: float = -0.005
    name: str | None = None
    """Of a judged set of the data directory."""

    @classmethod
    def asked(cls, home: Home, wanted: Mapping[str, Any]) -> "Gate":
        """A gate as JSON holds it: a `wire.aliases.GateRequest`.

        Raises the problems `unknown_judged` and `invalid_request`, the latter too for a measure
        that nobody knows, before anything is built for it.
        """
        if wanted.get("judged") is not None:
            judged = judged_of(home, wanted["judged"])
        else:
            texts = {one["id"]: one["text"] for one in wanted["queries"]}
            judged = Judged.checked(texts, wanted["qrels"], pointer="/gate")
        measure = _known(wanted["measure"], judged)
        return cls(judged, measure, wanted["min_delta"], wanted.get("judged"))


def _known(measure: str, judged: Judged) -> str:
    """A measure as it is spelled here, which can measure `DEPTH` documents by these judgements."""
    from lsr.measures import cutoff_of, evaluate, spelled  # as below

    try:
        name = spelled(measure)
        found = {query_id: {next(iter(grades)): 1.0} for query_id, grades in judged.qrels.items()}
        for run in (found, {}):
            evaluate(run, judged.qrels, [name])
    except (UsageError, DatasetError) as error:
        raise _invalid("/gate/measure", str(error)) from error
    if (cutoff_of(name) or 0) > DEPTH:
        raise _invalid("/gate/measure", f"{name} looks at more than {DEPTH:,} documents")
    return name


def judged_of(home: Home, name: str) -> Judged:
    """A judged set of the data directory, `judged/NAME.json`: {"queries": [{"id", "text"}],
    "qrels": {query: {document: grade}}}.

    Raises the problems `unknown_judged` and `invalid_request`.
    """
    known = judged_sets(home)
    if not is_name(name) or name not in known:
        raise ProblemError(
            "unknown_judged",
            f"There are no judged queries '{name[:100]}' in the data directory.",
            hint=did_you_mean(name, known)
            or "Whoever runs the server puts them there, as judged/NAME.json.",
            extensions={"available": known},
        )
    return read_judged(inside(home.path / "judged", f"{name}.json"))


def judged_sets(home: Home) -> list[str]:
    """The names of the judged sets of a data directory."""
    folder = home.path / "judged"
    return sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []


def read_judged(path: Path) -> Judged:
    """The judged queries of a file. Raises the problem `invalid_request`."""
    try:
        read = orjson.loads(path.read_bytes())
        queries = {str(one["id"]): str(one["text"]) for one in read["queries"]}
        qrels = {
            str(query_id): {str(doc_id): int(grade) for doc_id, grade in grades.items()}
            for query_id, grades in read["qrels"].items()
        }
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _invalid(
            "", f"the judged queries '{path.stem}' cannot be read ({type(error).__name__})"
        ) from error
    return Judged.checked(queries, qrels, pointer="")


def values_of(
    index: Index, encoder: SparseEncoder | None, judged: Judged, measure: str
) -> dict[str, float]:
    """The measure of each judged query over an index. Raises the problems `no_encoder` and
    `invalid_request`.
    """
    from lsr.measures import evaluate  # imports for a second what no search needs

    if encoder is None:
        raise ProblemError(
            "no_encoder",
            "An index that was built from vectors has no encoder to read judged queries with.",
            hint="Swap without a gate, or measure elsewhere.",
        )
    ids = list(judged.queries)
    run: dict[str, dict[str, float]] = {}
    for at in range(0, len(ids), _BATCH):
        some = ids[at : at + _BATCH]
        vectors = encoder.encode_queries([judged.queries[query_id] for query_id in some])
        for query_id, hits in zip(some, index.search_batch(vectors, DEPTH), strict=True):
            # Integers, so that ties break as the index breaks them: by rank.
            n = len(hits.doc_ids)
            run[query_id] = {doc_id: float(n - i) for i, doc_id in enumerate(hits.doc_ids)}
    try:
        return evaluate(run, judged.qrels, [measure]).per_query[measure]
    except (UsageError, DatasetError) as error:
        raise _invalid("/gate/measure", str(error)) from error


def decide(gate: Gate, old: Mapping[str, float] | None, new: Mapping[str, float]) -> dict[str, Any]:
    """The numbers, ready for JSON and for the history; `passed` says whether the gate is open.

    Without an old index there is nothing to be worse than.
    """
    from lsr.significance import paired  # scipy.stats takes a second to import

    told: dict[str, Any] = {
        "measure": gate.measure,
        "judged": gate.name,
        "n_queries": len(new),
        "min_delta": gate.min_delta,
        "new": sum(new.values()) / len(new),
        "old": None,
        "delta": None,
        "p_value": None,
        "passed": True,
    }
    if old is None:
        return told
    ids = sorted(new)
    before, after = [old[i] for i in ids], [new[i] for i in ids]
    told["old"] = sum(before) / len(ids)
    told["delta"] = told["new"] - told["old"]
    if len(ids) > 1:
        tested = paired(before, after)
        told |= {
            "p_value": tested.p_randomisation,
            "low": tested.low,
            "high": tested.high,
            "wins": tested.wins,
            "ties": tested.ties,
            "losses": tested.losses,
        }
    # Sums of floats: the same answers must never fail a gate of 0.
    told["passed"] = bool(told["delta"] >= gate.min_delta - 1e-12)
    return told


def refused(subject: str, told: Mapping[str, Any]) -> ProblemError:
    """The problem of a gate that stays shut, with its numbers."""
    n = told["n_queries"]
    queries = "1 query" if n == 1 else f"{n:,} queries"
    p = "" if told["p_value"] is None else f", p = {told['p_value']:.3g}"
    return ProblemError(
        "gate_failed",
        f"{told['measure']} would go from {told['old']:.4f} to {told['new']:.4f} "
        f"({told['delta']:+.4f}{p}, {queries}); {subject} was left as it is.",
        hint=f"At least {told['min_delta']:+g} was asked for.",
        extensions={"gate": dict(told)},
    )


def _invalid(pointer: str, message: str) -> ProblemError:
    return ProblemError(
        "invalid_request",
        f"{pointer or 'The request'}: {message}.",
        faults=[Fault(pointer, message)] if pointer else [],
    )
