"""An index on disk and the same index on a server answer a seat alike."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from index.seats import Source, open_source
from index.seats.source import text_of
from lsr.__main__ import run
from lsr.errors import UsageError
from service import Settings, create_app


@contextmanager
def served(path: Path) -> Iterator[Source]:
    """Over a socket of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(Settings({"pets": path})), log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    source = open_source(f"http://127.0.0.1:{listener.getsockname()[1]}/pets")
    yield source
    source.close()
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def remote(pets: Path) -> Iterator[Source]:
    with served(pets) as source:
        yield source


def test_a_server_answers_as_the_disk_does(pets: Path, remote: Source) -> None:
    local = open_source(pets)
    assert local.name == remote.name == "pets"
    assert local.text_fields == remote.text_fields == ("title", "text")
    for filter in (None, {"lang": "en"}, {"any": [{"field": "year", "lt": 2000}]}):
        found = remote.search("cats hunt", 3, filter=filter)
        assert found == local.search("cats hunt", 3, filter=filter)
        assert found
    assert (
        remote.document("a")
        == local.document("a")
        == {
            "title": "Cats",
            "text": "cats sleep all day",
            "lang": "en",
            "year": 1999,
        }
    )
    assert remote.document("nobody") is local.document("nobody") is None
    assert remote.explain("cats owls", "a") == local.explain("cats owls", "a")
    local.close()


def test_an_explanation_names_what_is_shared_and_what_is_missing(pets: Path) -> None:
    source = open_source(pets)
    reason = source.explain("cats owls", "a")
    assert [part.term for part in reason.terms] == ["cat"]
    assert reason.missing == ("owl",)
    assert reason.score == pytest.approx(sum(part.score for part in reason.terms))
    source.close()


def test_an_address_names_an_index() -> None:
    with pytest.raises(UsageError, match="name of an index"):
        open_source("http://127.0.0.1:1")


def test_a_hit_shows_what_the_encoder_reads(tmp_path: Path) -> None:
    """Of an index of other fields an agent was shown an empty text."""
    corpus = tmp_path / "patents.jsonl"
    corpus.write_text('{"_id": "a", "abstract": "a piston engine", "claim": "one piston"}\n')
    path = tmp_path / "patents.index"
    fields = ["--text-field", "abstract", "--text-field", "claim"]
    assert run(["index", str(corpus), str(path), "--encoder", "bm25", *fields]) == 0
    source = open_source(path)
    (found,) = source.search("piston", 1)
    assert text_of(found, source.text_fields) == "a piston engine one piston"
    source.close()


def test_a_hit_shows_its_best_passage(tmp_path: Path) -> None:
    """From disk and from a server, whichever fields the encoder reads."""
    corpus = tmp_path / "books.jsonl"
    text = "filler words here " * 8 + "zebra giraffe " + "more filler words " * 8
    corpus.write_text(json.dumps({"_id": "long", "body": text}) + "\n")
    path = tmp_path / "books.index"
    asked = ["--encoder", "bm25", "--text-field", "body", "--passages", "10/2"]
    assert run(["index", str(corpus), str(path), *asked]) == 0
    local = open_source(path)
    (found,) = local.search("zebra", 1)
    assert found.passage is not None
    assert "zebra giraffe" in found.passage
    assert len(found.passage) < len(text) / 2
    with served(path) as remote:
        assert remote.search("zebra", 1) == [found]
    assert text_of(found, ()) == found.passage
    local.close()
