"""Texts as weighted terms: what searches would use, in our words and in those of other clients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_world import (
    PAPERS,
    TABLE,
    VOCABULARY,
    Served,
    build_world,
    serving,
    table_encoder,
)
from starlette.testclient import TestClient

from index import empty_index
from lsr.__main__ import run
from lsr.encoders import BM25Encoder
from lsr.errors import DiskFull
from service import Settings, create_app
from service.server import embedding_lines
from service.wire.encode import MAX_TEXTS, EmbedError, EmbedSparseResponse, EncodeResponse


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_world(tmp_path_factory.mktemp("encode"))


@pytest.fixture(scope="module")
def served(indexes: dict[str, Path]) -> Iterator[Served]:
    with serving(indexes) as served:
        yield served


@pytest.mark.parametrize("side", ["query", "document"])
def test_texts_are_read_as_the_encoder_reads_them(served: Served, side: str) -> None:
    encoder = BM25Encoder.fit(document.text() for document in PAPERS)
    texts = ["sleeping cats and dogs", "", "cats cats"]
    body = {"index": "papers", "texts": texts, "as": side}
    answer = served.post("/v1/encode", body, EncodeResponse)
    encode = encoder.encode_queries if side == "query" else encoder.encode_documents
    rows = encode(texts)
    for at, result in enumerate(answer["results"]):
        row = rows[[at]]
        assert result["terms"] == row.nnz == len(result["tokens"])
        told = {one["index"]: one["weight"] for one in result["tokens"]}
        assert told == dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))
        names = encoder.term_strings([one["index"] for one in result["tokens"]])
        assert names == [one["term"] for one in result["tokens"]]
        weights = [one["weight"] for one in result["tokens"]]
        assert weights == sorted(weights, reverse=True)
        assert result["truncated"] is False
    assert (answer["as"], answer["strategy"]) == (side, "bm25")


def test_tokens_that_were_told_search_as_the_text_does(served: Served) -> None:
    body = {"index": "words", "texts": ["cats sleeping"]}
    (result,) = served.post("/v1/encode", body, EncodeResponse)["results"]
    assert {one["term"]: one["weight"] for one in result["tokens"]} == {
        term: TABLE[VOCABULARY.index(term)] for term in ("cat", "##s", "sleep", "##ing")
    }
    tokens = {one["term"]: one["weight"] for one in result["tokens"]}
    by_tokens = served.search("words", query={"tokens": tokens})
    by_text = served.search("words", query={"text": "cats sleeping"})
    assert by_tokens["hits"] == by_text["hits"] != []


def test_only_the_heaviest_terms_where_so_many_are_wanted(served: Served) -> None:
    body = {"index": "words", "texts": ["cats sleeping"], "top_terms": 2}
    (result,) = served.post("/v1/encode", body, EncodeResponse)["results"]
    assert [one["term"] for one in result["tokens"]] == ["cat", "sleep"]
    assert result["terms"] == 4


def test_a_text_that_was_cut_off_says_so(tmp_path: Path) -> None:
    empty_index(tmp_path / "short.index", table_encoder(max_length=3)).close()
    with serving({"short": tmp_path / "short.index"}) as served:
        texts = ["cat dog pet", "cat dog pet rest"]
        body = {"index": "short", "texts": texts}
        results = served.post("/v1/encode", body, EncodeResponse)["results"]
        assert [one["truncated"] for one in results] == [False, True]
        assert [one["terms"] for one in results] == [3, 3]
        for text, cut in zip(texts, (False, True), strict=True):
            answer = served.search("short", query={"text": text})
            assert answer["query"]["truncated"] is cut
            codes = [warning["code"] for warning in answer["warnings"]]
            assert codes == (["truncated_query"] if cut else [])
        refused = served.client.post("/embed_sparse", json={"inputs": texts})
        assert refused.status_code == 413
        assert refused.json()["error_type"] == "validation"
        allowed = served.client.post("/embed_sparse", json={"inputs": texts, "truncate": True})
        assert [len(one) for one in allowed.json()] == [3, 3]
        more = {"inputs": "cats", "normalize": True, "auto_truncate": False}  # means nothing there
        assert served.client.post("/embed_sparse", json=more).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({"index": "papers", "texts": []}, 422, "invalid_request", "/texts"),
        ({"index": "papers", "texts": ["a"] * (MAX_TEXTS + 1)}, 422, "invalid_request", "/texts"),
        ({"index": "papers", "texts": "a"}, 422, "invalid_request", "/texts"),
        ({"index": "papers", "texts": ["a"], "as": "x"}, 422, "invalid_request", "/as"),
        ({"index": "papers", "texts": ["a"], "is": "x"}, 422, "unknown_field", "/is"),
        ({"index": "papers", "texts": ["a"], "top_terms": 0}, 422, "invalid_request", "/top_terms"),
        ({"index": "numbers", "texts": ["a"]}, 422, "no_encoder", "/index"),
        ({"index": "paper", "texts": ["a"]}, 404, "unknown_index", None),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    served: Served, body: Any, status: int, code: str, pointer: str | None
) -> None:
    problem = served.refused("/v1/encode", body, status, code)
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer
    if code == "unknown_index":
        assert "'papers'" in problem["hint"]


def test_documents_need_their_network(served: Served) -> None:
    """The index `words` keeps the query side of its encoder, as every inference-free one does."""
    body = {"index": "words", "texts": ["cats"], "as": "document"}
    problem = served.refused("/v1/encode", body, 422, "no_document_encoder")
    assert "--encoder" in problem["hint"]


# ---- text-embeddings-inference ----------------------------------------------------------------


def embedding(indexes: dict[str, Path], name: str | None = None) -> TestClient:
    return TestClient(create_app(Settings(indexes, embed_index=name)))


def test_clients_of_text_embeddings_inference_are_understood(indexes: dict[str, Path]) -> None:
    encoder = table_encoder()
    texts = ["cats sleeping", "a pet dog"]
    with embedding({name: indexes[name] for name in ("words", "numbers")}) as client:
        assert client.app_state["engine"].wait(30)
        for inputs in (texts, texts[0]):
            for rest in ({}, {"truncate": False}, {"truncate": True, "prompt_name": "query"}):
                response = client.post("/embed_sparse", json={"inputs": inputs} | rest)
                assert response.status_code == 200, response.text
                EmbedSparseResponse.model_validate(response.json())
                wanted = texts if inputs is texts else texts[:1]
                rows = encoder.encode_queries(wanted).toarray()
                dense = np.zeros_like(rows)
                for at, values in enumerate(response.json()):
                    assert set().union(*values) == {"index", "value"}
                    for one in values:
                        dense[at, one["index"]] = one["value"]
                np.testing.assert_array_equal(dense, rows)
                assert response.headers["x-compute-characters"] == str(sum(map(len, wanted)))
                for header in ("x-compute-time", "x-total-time", "x-inference-time"):
                    assert response.headers[header].isdigit()


def test_a_damaged_index_is_told_as_everywhere_else(
    indexes: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DiskFull("a path that no client may see")

    with embedding(indexes, "words") as client:
        assert client.app_state["engine"].wait(30)
        monkeypatch.setattr("service.routes.encode.encoded", broken)
        answer = client.post("/embed_sparse", json={"inputs": "cats"})
        assert (answer.status_code, answer.headers["retry-after"]) == (507, "60")
        assert "must make room" in answer.json()["error"]
        assert "path" not in answer.text
        assert "DiskFull: a path" in caplog.text
        metrics = client.get("/metrics").text
        assert 'lsr_rejected_total{reason="insufficient_storage"} 1.0' in metrics


def test_an_index_may_be_named_for_it(indexes: dict[str, Path]) -> None:
    with embedding(indexes, "papers") as client:
        assert client.app_state["engine"].wait(30)
        (queries,) = client.post("/embed_sparse", json={"inputs": "cats"}).json()
        body = {"inputs": "cats", "prompt_name": "document"}
        (documents,) = client.post("/embed_sparse", json=body).json()
    encoder = BM25Encoder.fit(document.text() for document in PAPERS)
    assert queries[0]["value"] == encoder.encode_queries(["cats"]).data[0]
    assert documents[0]["value"] == encoder.encode_documents(["cats"]).data[0]
    assert queries[0]["index"] == documents[0]["index"]


def test_an_index_that_is_not_served_cannot_be_named_for_it(
    indexes: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server said that it was ready, and refused every request. A data directory may get the
    index later, so that there it is told.
    """
    assert run(["serve", "--embed", "nosuch", str(indexes["papers"]), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "--embed nosuch: wanted the name of an index that is served, one of papers" in said
    settings = Settings({}, home=tmp_path / "data", embed_index="later")
    with TestClient(create_app(settings)) as client:
        engine = client.app_state["engine"]
        assert engine.wait(30)
        (line,) = embedding_lines(engine)
        assert line.startswith("embed      later: no such index yet")
        assert client.post("/v1/indexes", json={"name": "later"}).status_code == 201
        assert embedding_lines(engine) == []
        assert client.post("/embed_sparse", json={"inputs": "cats"}).status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b'{"inputs": ""}', 400, "empty"),
        (b'{"inputs": []}', 400, "empty"),
        (b'{"inputs": ["a", ""]}', 400, "empty"),
        (b'{"inputs": 3}', 422, "validation"),
        (b'{"input": "a"}', 422, "validation"),
        (b'{"inputs": "\\ud800"}', 422, "validation"),
        (b'{"inputs": "a", "prompt_name": "q"}', 422, "validation"),
        (b'{"inputs": ', 422, "validation"),
        (b'{"inputs": ["a"' + b', "a"' * MAX_TEXTS + b"]}", 413, "validation"),
        (b'{"inputs": "a", "prompt_name": "document"}', 422, "tokenizer"),
    ],
)
def test_its_errors_have_its_shape(
    indexes: dict[str, Path], content: bytes, status: int, kind: str
) -> None:
    with embedding({"words": indexes["words"]}) as client:
        assert client.app_state["engine"].wait(30)
        headers = {"Content-Type": "application/json"}
        response = client.post("/embed_sparse", content=content, headers=headers)
    assert response.status_code == status, response.text
    EmbedError.model_validate(response.json(), extra="forbid")
    assert response.json()["error_type"] == kind


def test_which_encoder_is_meant_must_be_clear(served: Served) -> None:
    response = served.client.post("/embed_sparse", json={"inputs": "a"})
    assert response.status_code == 422
    assert "--embed NAME" in response.json()["error"]
