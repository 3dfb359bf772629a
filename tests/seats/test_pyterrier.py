"""The PyTerrier transformer, in a pipeline; no Java is started."""

from pathlib import Path

import pytest

pytest.importorskip("pyterrier", reason="make test-seats")

import pandas as pd
import pyterrier as pt

from index.seats.pyterrier import LsrRetriever

QUERIES = pd.DataFrame(
    [["1", "cats hunt"], ["2", "rain"], ["3", "nothing"]], columns=["qid", "query"]
)


def test_every_query_gets_its_ranking(pets: Path) -> None:
    found = LsrRetriever(pets)(QUERIES)
    assert list(found.columns) == ["qid", "query", "docno", "rank", "score"]
    assert found[["qid", "docno", "rank"]].to_numpy().tolist() == [
        ["1", "c", 0],
        ["1", "a", 1],
        ["1", "b", 2],
        ["2", "d", 0],
    ]


def test_operators_combine_it(pets: Path) -> None:
    first = LsrRetriever(pets, text=True) % 1
    found = first(QUERIES)
    assert found["docno"].tolist() == ["c", "d"]
    assert found["text"].tolist()[1] == "Rain rain falls"
    doubled = (LsrRetriever(pets) + LsrRetriever(pets))(QUERIES)
    once = LsrRetriever(pets)(QUERIES)
    assert doubled.sort_values(["qid", "docno"])["score"].tolist() == pytest.approx(
        (2 * once.sort_values(["qid", "docno"])["score"]).tolist()
    )


def test_experiments_measure_it(pets: Path) -> None:
    qrels = pd.DataFrame([["1", "c", 1], ["2", "d", 1]], columns=["qid", "docno", "label"])
    table = pt.Experiment([LsrRetriever(pets)], QUERIES, qrels, ["recip_rank"])
    assert table["recip_rank"].tolist() == [pytest.approx(1.0)]
