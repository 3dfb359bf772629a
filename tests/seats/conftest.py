"""A small index for every framework; each file skips where its framework is not installed."""

from pathlib import Path

import pytest

from index import build_index
from lsr.encoders import BM25Encoder
from lsr.types import Document

DOCUMENTS = [
    Document("a", {"title": "Cats", "text": "cats sleep all day", "lang": "en", "year": 1999}),
    Document("b", {"title": "Dogs", "text": "dogs chase cats", "lang": "en", "year": 2010}),
    Document(
        "c", {"title": "Owls", "text": "owls hunt; cats hunt too", "lang": "de", "year": 2020}
    ),
    Document("d", {"title": "Rain", "text": "rain falls", "lang": "en", "year": 2021}),
]


@pytest.fixture(scope="session")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seats") / "pets.index"
    encoder = BM25Encoder.fit(document.text() for document in DOCUMENTS)
    build_index(
        path,
        DOCUMENTS,
        encoder,
        source="seats",
        fields={"lang": "keyword", "year": "int"},
        progress=False,
    )
    return path
