"""The Haystack component, alone and in a pipeline that was saved and loaded."""

from pathlib import Path

import pytest

pytest.importorskip("haystack", reason="make test-seats")

from haystack import Pipeline

from index.seats.haystack import LsrRetriever, expression
from lsr.errors import UsageError


def test_a_pipeline_survives_its_file(pets: Path) -> None:
    pipeline = Pipeline()
    pipeline.add_component("retriever", LsrRetriever(pets, top_k=2))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["index.seats.haystack"])
    documents = again.run({"retriever": {"query": "cats hunt"}})["retriever"]["documents"]
    assert [document.id for document in documents] == ["c", "a"]
    assert documents[0].content == "Owls owls hunt; cats hunt too"
    assert documents[0].meta["lang"] == "de"
    assert documents[0].score > documents[1].score


def test_its_filters_become_ours(pets: Path) -> None:
    filters = {
        "operator": "AND",
        "conditions": [
            {"field": "meta.lang", "operator": "==", "value": "en"},
            {
                "operator": "NOT",
                "conditions": [{"field": "meta.year", "operator": ">=", "value": 2005}],
            },
        ],
    }
    found = LsrRetriever(pets).run("cats", filters=filters)["documents"]
    assert [document.id for document in found] == ["a"]
    different = {"field": "meta.lang", "operator": "!=", "value": "en"}
    assert [one.id for one in LsrRetriever(pets).run("cats", filters=different)["documents"]] == [
        "c"
    ]
    with pytest.raises(UsageError, match="like"):
        expression({"field": "lang", "operator": "like", "value": "e"})
