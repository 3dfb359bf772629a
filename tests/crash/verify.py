"""Look at an index after a crash and say whether it kept its promises."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from index import Index
from lsr.errors import IndexNotFound, LsrError
from lsr.types import Document

from .model import Model, Vector
from .verdict import Verdict

N_QUERIES = 4


def verified(
    path: Path,
    models: Sequence[Model | None],
    *,
    acked: int,
    begun: int,
    seed: int,
    go_on: bool = True,
) -> Verdict:
    """The index must be as after `acked` steps of its plan, or as after one more that was begun.

    With `go_on` it is then written to and merged, and must be as the reference again, with no file
    left that nobody names.
    """
    allowed = {step: models[step] for step in range(acked, begun + 1)}
    try:
        index = Index.open(path)
    except IndexNotFound as error:
        if None in allowed.values():
            return Verdict("sound", step=acked)
        return Verdict("lost", f"the index itself: {error}")
    except LsrError as error:
        if None in allowed.values():
            return Verdict("sound", step=acked)  # never acknowledged; `--overwrite` replaces it
        return Verdict("unsound", f"{type(error).__name__}: {error}")
    with index:
        try:
            return _looked_at(index, allowed, seed=seed, go_on=go_on)
        except LsrError as error:
            return Verdict("unsound", f"{type(error).__name__}: {error}")


def _looked_at(
    index: Index, allowed: dict[int, Model | None], *, seed: int, go_on: bool
) -> Verdict:
    rng = random.Random(seed)
    there = _documents(index, [model for model in allowed.values() if model is not None])
    reached = [
        (step, model)
        for step, model in allowed.items()
        if model is not None and _same(index, there, model)
    ]
    if not reached:
        return _difference(there, allowed)
    step, model = reached[-1]
    if problem := searched(index, model, rng):
        return Verdict("unsound", problem)
    if problems := index.check().problems:
        return Verdict("unsound", problems[0])
    if go_on and (problem := _goes_on(index, model, rng)):
        return Verdict("unsound", f"going on: {problem}")
    return Verdict("sound", step=step)


def differs(index: Index, model: Model, rng: random.Random) -> str:
    """How documents and rankings differ from the reference; empty when they do not."""
    if not _same(index, _documents(index, [model]), model):
        return "the documents"
    return searched(index, model, rng)


def _documents(index: Index, models: Sequence[Model]) -> dict[str, dict[str, object]]:
    """Fields by id of every document that any of the models knows and the index has."""
    ids = {doc_id for model in models for doc_id in model.documents}
    found = {doc_id: index.get(doc_id) for doc_id in sorted(ids)}
    return {doc_id: dict(doc.fields) for doc_id, doc in found.items() if doc is not None}


def _same(index: Index, there: dict[str, dict[str, object]], model: Model) -> bool:
    wanted = {doc_id: dict(doc.fields) for doc_id, doc in model.documents.items()}
    return (
        there == wanted
        and index.n_docs == len(wanted)
        and index.remembered("number") == model.remembered.get("number")
    )


def _difference(there: dict[str, dict[str, object]], allowed: dict[int, Model | None]) -> Verdict:
    """Which promise was broken: older than acknowledged, or between two states."""
    first, last = min(allowed), max(allowed)
    before, after = allowed[first], allowed[last]
    kept = {} if before is None else before.documents
    new = kept if after is None else after.documents
    wrong = []
    for doc_id in sorted(kept.keys() | new.keys()):
        choices = [
            None if doc_id not in docs else dict(docs[doc_id].fields) for docs in (kept, new)
        ]
        if there.get(doc_id) not in choices:
            wrong.append(doc_id)
    if wrong:
        return Verdict("lost", f"{wrong} of steps before {first}: {there.get(wrong[0])}")
    return Verdict("half", f"neither the state after {first} steps nor after {last}")


def _query(rng: random.Random, n_terms: int) -> Vector:
    terms = rng.sample(range(n_terms), min(5, n_terms))
    return {term: rng.randint(1, 4) / 2 for term in sorted(terms)}


def searched(index: Index, model: Model, rng: random.Random) -> str:
    """How some searches differ from the reference; empty when they do not."""
    for _ in range(N_QUERIES):
        query = _query(rng, model.n_terms)
        matrix = sparse.csr_array(
            (np.array(list(query.values()), np.float32), ([0] * len(query), list(query))),
            shape=(1, model.n_terms),
        )
        for k in (3, 1000):
            hits = index.search(matrix, k)
            got = list(zip(hits.doc_ids, hits.ranking.scores.tolist(), strict=True))
            wanted = model.ranked(query, k)
            if got != wanted:
                return f"{query} finds {got[:4]}, the reference {wanted[:4]}"
        if index.fields:
            hits = index.search(matrix, 4, filter={"lang": "de"})
            got = list(zip(hits.doc_ids, hits.ranking.scores.tolist(), strict=True))
            if got != model.ranked(query, 4, "de"):
                return f"{query} in German finds {got}, not as the reference"
    return ""


def _goes_on(index: Index, model: Model, rng: random.Random) -> str:
    """Write, seal, merge; still the reference, and only live files are left."""
    name = next(iter(model.documents), None)
    if name is not None:
        index.delete([name])
        model = model.without([name])
    terms = sparse.csr_array((np.array([1.0], np.float32), ([0], [1])), shape=(1, model.n_terms))
    index.add([Document("after the crash", {"text": "x", "lang": "xx"})], terms)
    index.delete(["after the crash"])
    index.merge()
    if problem := searched(index, model, rng):
        return problem
    if problems := index.check().problems:
        return problems[0]
    named = {str(f) for (f,) in index._catalog.rows("SELECT file FROM segments")}
    left = {path.name for path in (index.path / "segments").iterdir()} - named
    return f"files that nobody names: {sorted(left)}" if left else ""
