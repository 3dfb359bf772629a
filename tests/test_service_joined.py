"""lsr-mini over HTTP: collections made with it, and requests that look at words or at a network."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from service import Settings, create_app
from service.wire.answers import SearchResponse

TEXTS = {
    "coffee": "Caffeine before bedtime reduces sleep by an hour.",
    "bread": "Wild yeast ferments the dough overnight.",
    "volcano": "Eyjafjallajokull closed the airspace over Europe.",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with the live index 'docs' of the shipped encoder; nobody put it anywhere."""
    home = tmp_path_factory.mktemp("joined") / "data"
    with TestClient(create_app(Settings({}, home=home, work_inside=True))) as client:
        made = client.post("/v1/indexes", json={"name": "docs", "encoder": "lsr-mini"})
        assert made.status_code == 201, made.text
        assert made.json()["encoder"]["name"] == "lsr-mini"
        lines = [json.dumps({"id": name, "fields": {"text": TEXTS[name]}}) for name in TEXTS]
        added = client.post(
            "/v1/indexes/docs/documents",
            content="\n".join(lines),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert added.status_code == 200, added.text
        yield client


def search(client: TestClient, **body: Any) -> SearchResponse:
    answer = client.post("/v1/indexes/docs/search", json=body)
    assert answer.status_code == 200, answer.text
    return SearchResponse.model_validate(answer.json())


def test_an_unknown_encoder_is_told_of_the_shipped_one(client: TestClient) -> None:
    refused = client.post("/v1/indexes", json={"name": "other", "encoder": "nope"})
    assert refused.json()["available"] == ["bm25", "lsr-mini"]


def test_explanations_and_highlights_tell_both_parts(client: TestClient) -> None:
    found = search(
        client,
        query={"text": "caffeine"},
        limit=1,
        explain={"top_terms": 9},
        highlight={"fields": ["text"], "max_chars": 60},
    )
    (hit,) = found.hits
    assert hit.explain is not None
    assert hit.explain.exact_sum
    origins = {one.term: one.origin for one in hit.explain.terms}
    assert origins["word:caffein"] == "literal"
    assert hit.highlights is not None
    (span, *_) = hit.highlights[0].spans
    assert (span.start, span.end) == (0, 8)
    assert {"word:caffein", "caf"} <= set(span.terms)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("caffeine", ["coffee"]), ("Eyjafjallajokull", ["volcano"]), ("quokkas", [])],
)
def test_a_required_word_is_a_word(client: TestClient, word: str, wanted: list[str]) -> None:
    """A rare name is no entry of the vocabulary, and once was refused as five pieces."""
    found = search(client, query={"text": "caffeine yeast airspace"}, require_terms=[word])
    assert [hit.id for hit in found.hits] == wanted


def test_tokens_and_encode_speak_the_same_names(client: TestClient) -> None:
    told = client.post("/v1/encode", json={"index": "docs", "texts": ["caffeine"]}).json()
    tokens = {one["term"]: one["weight"] for one in told["results"][0]["tokens"]}
    assert "word:caffein" in tokens
    found = search(client, query={"tokens": tokens}, limit=1)
    asked = search(client, query={"text": "caffeine"}, limit=1)
    assert found.warnings == []
    assert found.hits[0].score == pytest.approx(asked.hits[0].score, rel=1e-5)
    told = client.post(
        "/v1/encode", json={"index": "docs", "texts": ["caffeine"], "as": "document"}
    ).json()
    assert "word:caffein" in {one["term"] for one in told["results"][0]["tokens"]}
    embedded = client.post("/embed_sparse", json={"inputs": "caffeine"}).json()
    assert {one["index"] for one in embedded[0]} >= {
        one["index"] for one in told["results"][0]["tokens"] if one["term"] == "caf"
    }


def test_origins_are_told_by_its_graph_of_a_collection_of_ours(client: TestClient) -> None:
    answer = client.post("/v1/indexes/docs/origins/coffee", json={"terms": ["caf", "coffee"]})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["encoder"].startswith("lsr-mini@")
    assert told["spans"] == [
        {"field": "text", "start": 0, "end": 3, "terms": ["coffee"], "origin": "expansion"},
        {"field": "text", "start": 0, "end": 3, "terms": ["caf"], "origin": "literal"},
    ]


def test_a_collection_is_rebuilt_with_it_by_name(client: TestClient) -> None:
    made = client.post("/v1/indexes", json={"name": "words"})
    assert made.json()["encoder"]["name"] == "bm25", "the default over HTTP"
    line = json.dumps({"id": "a", "fields": {"text": "physicians treat hypertension"}})
    client.post(
        "/v1/indexes/words/documents",
        content=line,
        headers={"Content-Type": "application/x-ndjson"},
    )
    task = client.post("/v1/indexes/words/rebuild", json={"encoder": "lsr-mini"}).json()
    for event in client.get(f"/v1/tasks/{task['id']}/events").iter_lines():
        if "succeeded" in event or "failed" in event:
            break
    answer = client.post("/v1/indexes/words/search", json={"query": {"text": "doctors"}})
    assert answer.json()["query"]["encoder"].startswith("lsr-mini@")
    assert [hit["id"] for hit in answer.json()["hits"]] == ["a"]
