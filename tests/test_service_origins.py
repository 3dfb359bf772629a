"""Which words gave a document its terms, over HTTP: what the encoder says, by field."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

torch = pytest.importorskip("torch")

from index import build_index  # noqa: E402
from lsr.encoders import BM25Encoder, JoinedEncoder, SpladeEncoder, load_encoder  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from lsr.types import Document  # noqa: E402
from service import Settings, create_app  # noqa: E402
from service.home import Home, keys  # noqa: E402
from service.home.keys import Scope  # noqa: E402
from service.search import tracing  # noqa: E402
from service.wire.origins import OriginsResponse  # noqa: E402

DOCUMENTS = [
    Document("both", {"title": "the big cat", "year": 1999, "text": "a dog sat on a mat"}),
    Document("untitled", {"text": "a big tree"}),
    Document("empty", {"title": ""}),
    Document("long", {"text": "cat " * 30_000}),
]


@dataclass(frozen=True)
class World:
    client: TestClient
    encoder: SpladeEncoder

    def ask(self, doc_id: str, terms: list[Any], index: str = "learned") -> Any:
        return self.client.post(f"/v1/indexes/{index}/origins/{doc_id}", json={"terms": terms})


@pytest.fixture(scope="module")
def world(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("origins")
    encoder = SpladeEncoder.of(SpladeModel.from_checkpoint(tiny_checkpoint))
    encoder.save(folder / "encoder")
    bm25 = BM25Encoder.fit(one.text() for one in DOCUMENTS)
    for name, reads in (("learned", encoder), ("plain", bm25)):
        build_index(folder / f"{name}.index", DOCUMENTS, reads, source="test", progress=False)
    settings = Settings(
        {name: folder / f"{name}.index" for name in ("learned", "plain")},
        encoders={"learned": folder / "encoder"},
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert client.app_state["engine"].wait(60)  # type: ignore[attr-defined]
        yield World(client, encoder)


def test_a_document_outside_the_filter_of_a_key_is_none(world: World, tmp_path: Path) -> None:
    documents = [Document(i, {"text": "big cat", "tenant": i}) for i in ("acme", "bmax")]
    path = tmp_path / "docs.index"
    fields = {"tenant": "keyword"}
    build_index(path, documents, world.encoder, source="test", fields=fields, progress=False)
    world.encoder.save(tmp_path / "encoder")
    with Home.open(tmp_path / "server") as home:
        _, secret = keys.create(home, "k", [Scope.read("search:*")], filter={"tenant": "acme"})
    settings = Settings(
        {"docs": path}, encoders={"docs": tmp_path / "encoder"}, home=tmp_path / "server"
    )
    with TestClient(create_app(settings), headers={"X-API-Key": secret}) as client:
        assert client.app_state["engine"].wait(60)  # type: ignore[attr-defined]
        answers = {}
        for doc_id in ("acme", "bmax", "nothing"):
            url = f"/v1/indexes/docs/origins/{doc_id}"
            answers[doc_id] = client.post(url, json={"terms": [1]})
        assert answers["acme"].status_code == 200
        for doc_id in ("bmax", "nothing"):
            assert answers[doc_id].status_code == 404
            assert answers[doc_id].json()["code"] == "unknown_document"


@pytest.mark.parametrize("doc_id", ["both", "untitled"])
def test_spans_are_where_the_encoder_read_the_terms_by_field(world: World, doc_id: str) -> None:
    (document,) = (one for one in DOCUMENTS if one.doc_id == doc_id)
    text = document.text()
    numbers = world.encoder.encode_documents([text]).indices.tolist()[:64]
    names = world.encoder.term_strings(numbers)
    wanted = {
        (text[slice(*one.span)], name, "literal" if one.literal else "expansion")
        for one, name in zip(world.encoder.origins(text, numbers), names, strict=True)
        if one.span is not None
    }
    assert {kind for _, _, kind in wanted} == {"literal", "expansion"}
    answer = world.ask(doc_id, names).json()
    OriginsResponse.model_validate(answer, extra="forbid")
    spans = answer["spans"]
    assert {
        (document.fields[span["field"]][span["start"] : span["end"]], term, span["origin"])
        for span in spans
        for term in span["terms"]
    } == wanted
    order = [(list(document.fields).index(one["field"]), one["start"]) for one in spans]
    assert order == sorted(order)


def test_terms_are_named_by_number_as_well(world: World) -> None:
    numbers = [world.encoder.encode_documents(["a big tree"]).indices.tolist()[0]] * 2
    by_name = world.ask("untitled", world.encoder.term_strings(numbers))
    assert by_name.json()["spans"] == world.ask("untitled", numbers).json()["spans"]


def test_an_empty_document_has_no_spans(world: World) -> None:
    assert world.ask("empty", [7]).json()["spans"] == []


@pytest.mark.parametrize(
    ("index", "doc_id", "terms", "status", "code"),
    [
        ("plain", "both", [7], 409, "origins_unavailable"),
        ("learned", "long", [7], 409, "origins_unavailable"),
        ("learned", "absent", [7], 404, "unknown_document"),
        ("learned", "both", ["no such entry"], 422, "invalid_query"),
        ("learned", "both", [67], 422, "invalid_query"),
        ("learned", "both", [], 422, "invalid_request"),
        ("nowhere", "both", [7], 404, "unknown_index"),
    ],
)
def test_what_cannot_be_told_is_a_problem(
    world: World, index: str, doc_id: str, terms: list[Any], status: int, code: str
) -> None:
    answer = world.ask(doc_id, terms, index)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_one_document_is_read_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "WAIT_S", 0.01)
    with tracing._one_at_a_time:
        answer = world.ask("both", [7])
    assert (answer.status_code, answer.json()["code"]) == (429, "too_busy")
    assert answer.headers["Retry-After"] == "2"
    assert world.ask("both", [7]).status_code == 200


def test_a_query_side_alone_cannot_tell(
    world: World, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """An index keeps only what reads queries, of an inference-free encoder a table."""
    import numpy as np

    from lsr.encoders import InferenceFreeEncoder

    model = SpladeModel.from_checkpoint(tiny_checkpoint)
    encoder = InferenceFreeEncoder.of(model, np.ones(model.n_terms, np.float32))
    build_index(tmp_path / "free.index", DOCUMENTS[:1], encoder, source="test", progress=False)
    with TestClient(create_app(Settings({"free": tmp_path / "free.index"}))) as client:
        assert client.app_state["engine"].wait(60)  # type: ignore[attr-defined]
        answer = client.post("/v1/indexes/free/origins/both", json={"terms": [7]})
    assert answer.status_code == 409
    assert "--encoder NAME=FOLDER" in answer.json()["hint"]
    assert str(tmp_path) not in answer.text


def test_an_index_of_the_shipped_encoder_needs_no_flag(tmp_path: Path) -> None:
    """Its folder is found by its name, and its graph tells positions."""
    encoder = load_encoder("lsr-mini")
    assert isinstance(encoder, JoinedEncoder)
    path = tmp_path / "mini.index"
    build_index(path, DOCUMENTS[:1], encoder, source="test", progress=False)
    text = DOCUMENTS[0].text()
    terms = encoder.encode_documents([text]).indices.tolist()
    learned = [term for term in terms if term < encoder.learned.n_terms][:64]
    wanted = {
        (text[slice(*one.span)], encoder.term_strings([one.term])[0])
        for one in encoder.origins(text, learned)
        if one.span is not None
    }
    assert ("cat", "cats") in wanted
    with TestClient(create_app(Settings({"mini": path}))) as client:
        assert client.app_state["engine"].wait(60)  # type: ignore[attr-defined]
        answer = client.post("/v1/indexes/mini/origins/both", json={"terms": learned})
    assert answer.status_code == 200, answer.text
    fields = DOCUMENTS[0].fields
    assert wanted == {
        (fields[span["field"]][span["start"] : span["end"]], term)
        for span in answer.json()["spans"]
        for term in span["terms"]
    }
