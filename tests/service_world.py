"""Small indexes behind a test client, and rankings worked out by dictionaries alone.

numbers    60 documents of whole weights over 12 terms, with fields; no encoder
words      word pieces with a table of query weights; vectors that say more than the texts
papers     BM25
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from scipy import sparse
from starlette.testclient import TestClient
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from index import Index, build_index, encoder_card
from lsr.encoders import BM25Encoder, Card, InferenceFreeEncoder, QueryTable, TextTokenizer
from lsr.types import Document
from service import Settings, create_app
from service.problems import KINDS
from service.wire.answers import SearchResponse
from service.wire.problems import Problem

N_TERMS = 12
VOCABULARY = ("[UNK]", "cat", "##s", "sleep", "##ing", "dog", "pet", "rest", "bone")
TABLE = (0.0, 2.0, 0.5, 1.0, 0.25, 2.0, 1.5, 1.0, 3.0)
"""The weight of each entry of the vocabulary in a query."""
WORDS = {
    # id: (text, weights of the document's terms)
    "cats": ("Cats sleeping", {"cat": 3, "##s": 1, "sleep": 2, "##ing": 1, "pet": 2, "rest": 1}),
    "dogs": ("a dog", {"dog": 3, "pet": 2, "bone": 1}),
    "empty": ("", {}),
}
PAPERS = [
    Document("d1", {"title": "Caffeine", "text": "coffee and sleep", "lang": "en", "year": 1999}),
    Document("d2", {"title": "Cats", "text": "cats sleep all day", "lang": "en", "year": 2010}),
    Document("d3", {"title": "Hunde", "text": "dogs sleep too", "lang": "de", "year": 2020}),
    Document("d4", {"title": "Cats and dogs", "text": "cats and dogs play", "year": 2021}),
]


def number_rows(seed: int = 5, n_docs: int = 60) -> dict[str, dict[int, int]]:
    """id -> {term: whole weight}; few levels, so that scores tie."""
    rng = np.random.default_rng(seed)
    return {
        f"n{i:02}": {int(t): int(rng.integers(1, 4)) for t in rng.choice(N_TERMS, 4, replace=False)}
        for i in range(n_docs)
    }


NUMBERS = number_rows()


def number_fields(doc_id: str) -> dict[str, Any]:
    number = int(doc_id[1:])
    return {"parity": "odd" if number % 2 else "even", "number": number}


def number_document(doc_id: str) -> Document:
    return Document(doc_id, number_fields(doc_id))


def ranking(
    rows: Mapping[str, Mapping[int, int]], terms: Sequence[int], passing: Any = lambda _: True
) -> list[tuple[str, int]]:
    """The whole ranking of a query that gives each of `terms` weight 1: ties in order of adding."""
    scores = {
        doc_id: sum(row.get(term, 0) for term in terms)
        for doc_id, row in rows.items()
        if passing(doc_id)
    }
    found = [(doc_id, score) for doc_id, score in scores.items() if score]
    return sorted(found, key=lambda one: -one[1])  # stable


def matrix_of(rows: Sequence[Mapping[int, float]], n_terms: int) -> Any:
    dense = np.zeros((len(rows), n_terms), np.float32)
    for at, row in enumerate(rows):
        for term, weight in row.items():
            dense[at, term] = weight
    return sparse.csr_array(dense)


def table_encoder(max_length: int | None = None) -> InferenceFreeEncoder:
    """Word pieces of a few animals with `TABLE` as query weights; no network."""
    vocabulary = {entry: number for number, entry in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    read = TextTokenizer.of(tokenizer, max_length=max_length)
    card = Card("table", max_weight=255.0, space="0" * 16, build="1" * 16)
    return InferenceFreeEncoder(QueryTable(read, np.array(TABLE, np.float32)), None, card)


def build_world(folder: Path) -> dict[str, Path]:
    """The indexes, by name."""
    with Index.create(
        folder / "numbers.index",
        n_terms=N_TERMS,
        max_weight=255.0,  # an impact is the weight itself, so that scores are dot products
        fields={"parity": "keyword", "number": "int"},
    ) as index:
        index.add([number_document(one) for one in NUMBERS], matrix_of(list(NUMBERS.values()), 12))
    encoder = table_encoder()
    with Index.create(
        folder / "words.index",
        n_terms=len(VOCABULARY),
        max_weight=255.0,
        encoder=encoder_card(encoder),
    ) as index:
        encoder.save(index.encoder_folder, queries_only=True)
        rows = [{VOCABULARY.index(t): w for t, w in row.items()} for _, row in WORDS.values()]
        index.add(
            [Document(one, {"text": text}) for one, (text, _) in WORDS.items()],
            matrix_of(rows, len(VOCABULARY)),
        )
    build_index(
        folder / "papers.index",
        PAPERS,
        BM25Encoder.fit(document.text() for document in PAPERS),
        source="test",
        fields={"lang": "keyword", "year": "int"},
        progress=False,
    )
    return {name: folder / f"{name}.index" for name in ("numbers", "words", "papers")}


@dataclass(frozen=True)
class Served:
    """A client of an app, all of whose answers are held against their models."""

    client: TestClient

    def post(self, path: str, body: Any, shape: type[BaseModel]) -> Any:
        response = self.client.post(path, json=body)
        assert response.status_code == 200, response.text
        shape.model_validate(response.json(), extra="forbid")
        return response.json()

    def search(self, index: str, **body: Any) -> Any:
        return self.post(f"/v1/indexes/{index}/search", body, SearchResponse)

    def ids(self, index: str, **body: Any) -> list[str]:
        return [hit["id"] for hit in self.search(index, **body)["hits"]]

    def refused(self, path: str, body: Any, status: int, code: str) -> Any:
        """The one shape of every error."""
        response = self.client.post(path, json=body)
        assert response.status_code == status, response.text
        problem = response.json()
        Problem.model_validate(problem)
        assert (problem["status"], problem["code"]) == (status, code), problem
        assert KINDS[code].status == status
        return problem


@contextmanager
def serving(indexes: Mapping[str, Path]) -> Iterator[Served]:
    app = create_app(Settings(dict(indexes)))
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.app_state["engine"].wait(30)
        yield Served(client)


def ones(*terms: int) -> dict[str, Any]:
    """The query that gives each term weight 1."""
    return {"vector": {"indices": list(terms), "values": [1.0] * len(terms)}}
