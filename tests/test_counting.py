"""The count of a query is the number of documents that a search for all of them returns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from index import Index, Passage
from lsr.errors import QueryError
from lsr.types import Document, SparseMatrix

N_TERMS = 12

Terms = frozenset[int]


def matrix(rows: list[Terms]) -> SparseMatrix:
    dense = np.zeros((len(rows), N_TERMS), np.float32)
    for i, terms in enumerate(rows):
        dense[i, sorted(terms)] = 1.0
    return sparse.csr_array(dense)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Documents of one to three passages over two segments and pending rows, some gone."""
    draw = np.random.default_rng(11)
    path = tmp_path_factory.mktemp("count") / "i"
    alive: dict[str, tuple[str, list[Terms]]] = {}
    with Index.create(path, n_terms=N_TERMS, max_weight=1.0, fields={"lang": "keyword"}) as index:
        for part in range(3):
            documents, passages, rows = [], [], []
            for i in range(40):
                lang = ("en", "de")[int(draw.integers(2))]
                number = len(documents)
                documents.append(Document(f"d{30 * part + i}", {"lang": lang, "text": "abc"}))
                own = [
                    frozenset(draw.choice(N_TERMS, int(draw.integers(1, 4)), False).tolist())
                    for _ in range(int(draw.integers(1, 4)))
                ]
                passages += [Passage(number, at, at + 1) for at in range(len(own))]
                rows += own
                alive[documents[-1].doc_id] = (lang, own)
            index.add(documents, matrix(rows), passages=passages)
            if part < 2:
                index.seal()
        for number in range(0, 100, 7):
            index.delete([f"d{number}"])
            alive.pop(f"d{number}", None)
        yield index, alive


some_terms = st.frozensets(st.integers(0, N_TERMS - 1), max_size=3)


@settings(max_examples=100, deadline=None)
@given(
    query=st.frozensets(st.integers(0, N_TERMS - 1)),
    lang=st.sampled_from((None, "en", "de", "fr")),
    require=some_terms,
    exclude=some_terms,
)
def test_a_count_is_exact(
    world: tuple[Index, dict[str, tuple[str, list[Terms]]]],
    query: Terms,
    lang: str | None,
    require: Terms,
    exclude: Terms,
) -> None:
    index, alive = world
    matching = [
        doc_id
        for doc_id, (own, passages) in alive.items()
        if lang in (None, own)
        for terms in passages
        if terms & query and terms >= require and not terms & exclude
    ]
    options: dict[str, Any] = {
        "filter": None if lang is None else {"lang": lang},
        "require": sorted(require),
        "exclude": sorted(exclude),
    }
    asked = matrix([query])
    assert index.count(asked, **options) == len(set(matching))
    assert index.count(asked, collapse=False, **options) == len(matching)
    assert len(index.search(asked, 1000, **options)) == len(set(matching))


def test_the_live_documents_are_counted_once(
    world: tuple[Index, dict[str, tuple[str, list[Terms]]]],
) -> None:
    index, alive = world
    assert index.n_docs == len(alive)
    assert index.count(matrix([frozenset(range(N_TERMS))])) == len(alive)


def test_an_earlier_commit_is_counted_as_it_was(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=1.0) as index:
        asked = matrix([frozenset({1})])
        assert index.count(asked) == 0
        index.add([Document("a"), Document("b")], matrix([frozenset({1}), frozenset({2})]))
        before = index.generation
        index.add([Document("b")], matrix([frozenset({1})]))
        assert (index.count(asked), index.count(asked, at=before)) == (2, 1)
        with pytest.raises(QueryError, match="one query"):
            index.count(matrix([frozenset(), frozenset()]))
