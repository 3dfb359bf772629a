"""Searching other kinds of indexes: passages, presence alone, behind several processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_world import N_TERMS, NUMBERS, Served, matrix_of, number_document, ones, ranking
from service_world import serving as serving_plainly
from starlette.testclient import TestClient

from index import Index, build_index
from index import Settings as IndexSettings
from lsr.encoders import BM25Encoder
from lsr.types import Document
from service import Settings, create_app
from service.wire.why import ExplainResponse

LONG = "filler words here " * 8 + "zebra giraffe " + "more filler words " * 8 + "zebra lion end"


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    documents = [
        Document("long", {"title": "Beasts", "text": LONG}),
        Document("short", {"text": "a lion and a horse"}),
        Document("other", {"text": "horse riding"}),
    ]
    encoder = BM25Encoder.fit(document.text() for document in documents)
    path = tmp_path / "passages.index"
    build_index(path, documents, encoder, source="test", passages=(10, 2), progress=False)
    return path


def test_a_hit_of_passages_is_explained_by_its_best_one(passages: Path) -> None:
    with serving_plainly({"passages": passages}) as served:
        answer = served.search(
            "passages",
            query={"text": "zebra giraffe lion"},
            explain=True,
            highlight={"fields": ["text"], "max_chars": 30},
            count="exact",
        )
        assert answer["total"] == {"value": 2, "relation": "eq"}, "documents, not passages"
        first = answer["hits"][0]
        assert first["id"] == "long"
        passage = f"Beasts {LONG}"[first["passage"]["start"] : first["passage"]["end"]]
        said = {one["term"] for one in first["explain"]["terms"]}
        assert said == {"zebra", "giraff"}, "the lion is in another passage"
        assert "zebra giraffe" in passage
        assert {one["origin"] for one in first["explain"]["terms"]} == {"literal"}
        (highlight,) = first["highlights"]
        assert "zebra giraffe" in highlight["text"]
        assert len(highlight["spans"]) == 4, "in the whole field"

        body = {"query": {"text": "zebra giraffe lion"}, "k": 1}
        told = served.post("/v1/indexes/passages/explain/long", body, ExplainResponse)
        assert (told["rank"], told["score"]) == (1, first["score"])
        assert told["passage"] == first["passage"]
        assert first["passage"]["text"] == passage

        body = {"query": {"text": "zebra giraffe lion"}}
        titles = served.search("passages", **body, fields=["title"])["hits"][0]
        assert (titles["fields"], titles["passage"]) == ({"title": "Beasts"}, first["passage"])
        whole = served.search("passages", **body)["hits"][0]
        assert whole["fields"] == {"title": "Beasts", "text": LONG}
        bare = served.search("passages", **body, fields=[], explain=True)["hits"][0]
        span = {key: first["passage"][key] for key in ("start", "end")}
        assert (bare["fields"], bare["passage"]) == ({}, span), "no text was asked for"
        assert [one["term"] for one in told["missing"]] == ["lion"]


def test_like_takes_all_passages_of_a_document(passages: Path) -> None:
    with serving_plainly({"passages": passages}) as served:
        answer = served.search("passages", query={"like": "long"}, explain=True, count="exact")
        assert [hit["id"] for hit in answer["hits"]] == ["short"]
        assert [one["term"] for one in answer["hits"][0]["explain"]["terms"]] == ["lion"]
        assert answer["total"] == {"value": 1, "relation": "eq"}


def test_an_index_of_presence_counts_matches(tmp_path: Path) -> None:
    path = tmp_path / "binary.index"
    rows = [{0: 1, 1: 1}, {1: 1}, {2: 1, 3: 1}]
    binary = IndexSettings(binary=True)
    with Index.create(path, n_terms=5, max_weight=1.0, settings=binary) as index:
        index.add([Document(name) for name in "abc"], matrix_of(rows, 5))
    with serving_plainly({"binary": path}) as served:
        query = {"vector": {"indices": [0, 1, 3, 4], "values": [0.5, 2, 1, 1]}}
        answer = served.search("binary", query=query, explain=True, min_score={"relative": 0.3})
        scores = {hit["id"]: hit["score"] for hit in answer["hits"]}
        assert scores == {"a": 2, "b": 1, "c": 1}
        assert answer["min_score"]["best_possible"] == 3, "no document has the last term"
        body = {"query": query, "k": 1}
        told = served.post("/v1/indexes/binary/explain/b", body, ExplainResponse)
        assert told["lift"]["terms"] == [], "one more match only draws level"
        assert told["lift"]["together"] == [0, 3]


def cursor_of(served: Served) -> str:
    answer = served.search("numbers", query=ones(1, 4, 7), limit=5, cursor="start")
    return str(answer["next_cursor"])


def test_cursors_hold_for_all_who_share_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "numbers.index"
    with Index.create(path, n_terms=N_TERMS, max_weight=255.0) as index:
        index.add([number_document(one) for one in NUMBERS], matrix_of(list(NUMBERS.values()), 12))
    body: dict[str, Any] = {"query": ones(1, 4, 7), "limit": 5}

    def page(settings: Settings, cursor: str | None) -> Any:
        with TestClient(create_app(settings)) as client:
            assert client.app_state["engine"].wait(30)
            served = Served(client)
            if cursor is None:
                return cursor_of(served)
            return client.post("/v1/indexes/numbers/search", json=body | {"cursor": cursor})

    indexes = {"numbers": path}
    shared = Settings(indexes, secret=b"of both")
    second = page(shared, page(shared, None))
    found = [hit["id"] for hit in second.json()["hits"]]
    assert found == [one for one, _ in ranking(NUMBERS, (1, 4, 7))][5:10]
    strange = page(Settings(indexes), page(Settings(indexes), None))
    assert strange.json()["code"] == "invalid_cursor", "each process has a secret of its own"

    home = Settings(indexes, home=tmp_path / "data")
    again = page(home, page(home, None))
    assert [hit["id"] for hit in again.json()["hits"]] == found, "a data directory keeps its secret"


def test_a_replaced_index_answers_no_cursor_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "numbers.index"

    def build(folder: Path) -> None:
        with Index.create(folder, n_terms=N_TERMS, max_weight=255.0) as index:
            rows = matrix_of(list(NUMBERS.values()), N_TERMS)
            index.add([number_document(one) for one in NUMBERS], rows)

    build(path)
    build(tmp_path / "other.index")
    with serving_plainly({"numbers": path}) as served:
        cursor = cursor_of(served)
        path.rename(tmp_path / "gone.index")
        (tmp_path / "other.index").rename(path)
        body = {"query": ones(1, 4, 7), "limit": 5, "cursor": cursor}
        served.refused("/v1/indexes/numbers/search", body, 410, "cursor_expired")


def test_long_queries_of_many_terms_are_counted_and_explained(tmp_path: Path) -> None:
    """4,112 terms, as many as fit: points up to the largest of 32 bits."""
    n_terms = 4112
    path = tmp_path / "wide.index"
    with Index.create(path, n_terms=n_terms, max_weight=255.0) as index:
        index.add(
            [Document("all"), Document("one")],
            matrix_of([dict.fromkeys(range(n_terms), 255), {7: 1}], n_terms),
        )
    with serving_plainly({"wide": path}) as served:
        query = {"vector": {"indices": list(range(n_terms)), "values": [1.0] * n_terms}}
        answer = served.search("wide", query=query, explain={"top_terms": 1}, count="exact")
        first = answer["hits"][0]["explain"]
        assert first["terms"][0]["points"] + first["other"]["points"] == 4095 * 255 * n_terms
        assert first["sum"] == answer["hits"][0]["score"]
        assert np.isclose(first["sum"], 255 * n_terms, rtol=1e-9)
        assert answer["total"]["value"] == 2
