"""What a client may ask of a server is bounded: bytes, growth, time, room and rate."""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from scipy import sparse
from starlette.requests import Request
from starlette.testclient import TestClient

from index import Hits, Index, build_index
from index import Settings as IndexSettings
from lsr.encoders import BM25Encoder
from lsr.errors import UsageError
from lsr.types import Document
from service import Limits, Settings, create_app
from service.access import Access
from service.bodies import body_lines, whole_body
from service.gate import Gate
from service.home import Home, keys
from service.home.keys import Key
from service.problems import ProblemError
from service.search import running

URL = "/v1/indexes/pets/search"
CATS = {"query": {"text": "cats"}}
ZSTD = zstandard.ZstdCompressor()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("limits") / "pets.index"
    documents = [Document("a", {"text": "cats sleep"}), Document("b", {"text": "dogs bark"})]
    encoder = BM25Encoder.fit(document.text() for document in documents)
    build_index(path, documents, encoder, source="test", progress=False)
    return path


@pytest.fixture
def start(path: Path) -> Iterator[Callable[..., TestClient]]:
    clients: list[TestClient] = []

    def start(home: Path | None = None, **limits: Any) -> TestClient:
        settings = Settings({"pets": path}, home=home, limits=Limits(**limits))
        client = TestClient(create_app(settings), raise_server_exceptions=False)
        clients.append(client)
        client.__enter__()
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def request_of(
    pieces: Sequence[bytes], encoding: str | None = None, *, delay: float = 0.0, end: bool = True
) -> Request:
    """A request whose body comes in these pieces, each after `delay` seconds."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if end:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        await asyncio.sleep(delay)
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    headers = [] if encoding is None else [(b"content-encoding", encoding.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def read(request: Request, **limits: Any) -> bytes:
    return asyncio.run(whole_body(request, Limits(**limits)))


async def numbered(request: Request, limits: Limits) -> dict[int, bytes]:
    """The lines that are not blank by their numbers in the body."""
    found, number = {}, 0
    async for some in body_lines(request, limits):
        for line in [b""] * some if isinstance(some, int) else some:
            number += 1
            if line:
                found[number] = line
    return found


def lines_of(request: Request, **limits: Any) -> dict[int, bytes]:
    return asyncio.run(numbered(request, Limits(**limits)))


def code_of(request: Request, **limits: Any) -> str:
    with pytest.raises(ProblemError) as caught:
        read(request, **limits)
    return caught.value.code


COMPRESS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "gzip": gzip.compress,
    "zstd": ZSTD.compress,
}


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_a_body_is_what_was_sent_however_it_comes(encoding: str | None, size: int) -> None:
    """In one stream or in several one after another, cut anywhere."""
    text = b"".join(f"line {number % 977}\n".encode() for number in range(5000))
    compress = COMPRESS[encoding]
    wire = compress(text[:20_000]) + compress(text[20_000:]) + compress(b"")
    pieces = [wire[at : at + size] for at in range(0, min(len(wire), 10**6), size)]
    assert read(request_of(pieces, encoding)) == text


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_that_is_not_what_it_says_is_refused(encoding: str) -> None:
    whole = COMPRESS[encoding](b"x" * 1000)
    for wire in (whole[:-1], whole[:5], b"no " + whole, whole + b"rest", whole + whole[:-3]):
        assert code_of(request_of([wire], encoding)) == "malformed_body"
    for strange in ("br", "gzip, gzip", "deflate"):
        assert code_of(request_of([whole], strange)) == "unsupported_media_type"


def test_bytes_count_on_the_wire_and_after_decompression() -> None:
    assert read(request_of([b"x" * 100]), body_bytes=100) == b"x" * 100
    assert code_of(request_of([b"x" * 101]), body_bytes=100) == "body_too_large"
    assert code_of(request_of([b"x"] * 101), body_bytes=100) == "body_too_large"
    for encoding in ("gzip", "zstd"):
        wire = COMPRESS[encoding](b"x" * 101)
        assert len(wire) < 100
        assert code_of(request_of([wire], encoding), body_bytes=100) == "body_too_large"
        # Nothing but headers of empty streams: no byte comes out, and yet it must end.
        many = COMPRESS[encoding](b"") * 100
        assert code_of(request_of([many], encoding), body_bytes=100) == "body_too_large"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_let_go_of_before_it_has_grown(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gigabyte of zeros; what is ever in memory of it stays below 16 MiB."""
    zeros = bytes(1 << 20)
    if encoding == "gzip":
        wire = gzip.compress(zeros * 64) * 16
    else:
        wire = zstandard.ZstdCompressor(level=19).compress(zeros * 64) * 16
    pieces: list[int] = []

    async def count() -> None:
        async for piece in _pieces(request_of([wire], encoding)):
            pieces.append(len(piece))

    def _pieces(request: Request) -> AsyncIterator[bytes]:
        from service import bodies

        return bodies._pieces(request, Limits(), max_bytes=1 << 40)

    with pytest.raises(ProblemError, match="more than 200-fold"):
        asyncio.run(count())
    assert max(pieces, default=0) <= 8 << 20
    assert sum(pieces) <= max(1 << 20, 200 * len(wire))


def test_lines_are_told_apart_wherever_they_are_cut() -> None:
    wire = b'{"a": 1}\n\n  \r\n{"b": 2}\r\n{"c": "\xc3\xa9"}'
    for size in range(1, len(wire) + 1):
        pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
        lines = {1: b'{"a": 1}', 4: b'{"b": 2}\r', 5: b'{"c": "\xc3\xa9"}'}
        assert lines_of(request_of(pieces)) == lines


def test_a_body_of_empty_lines_leaves_others_their_turn() -> None:
    """Half a megabyte of zstd held the event loop for eight seconds."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def collect(wire: bytes) -> dict[int, bytes]:
        others = asyncio.create_task(count())
        found = await numbered(request_of([wire], "zstd"), Limits(ratio=10**6))
        others.cancel()
        return found

    one = ZSTD.compress(b"\n" * (8 << 20) + b" \n" * (1 << 20) + b"{}\n" + b"\n" * (1 << 20))
    many = ZSTD.compress(b" \n" * 25_000) * 200 + ZSTD.compress(b"{}")
    for wire, n_bytes, number in ((one, 11 << 20, (9 << 20) + 1), (many, 10**7, 5_000_001)):
        turns = 0
        assert asyncio.run(collect(wire)) == {number: b"{}"}
        assert turns > n_bytes / (64 << 10) / 2, "one for each piece, or nearly"


@pytest.mark.parametrize("pieces", [[b"x" * 51], [b"x"] * 51, [b"ok\n" + b"x" * 51 + b"\nok"]])
def test_a_line_has_a_bound_of_its_own(pieces: list[bytes]) -> None:
    with pytest.raises(ProblemError, match="A line is longer than 50 bytes"):
        lines_of(request_of(pieces), line_bytes=50)


def test_a_client_that_keeps_the_server_waiting_is_let_go() -> None:
    """Each piece buys time for the next ones: slow and steady is served, a trickle is not."""
    slow: dict[str, Any] = {"body_wait_s": 0.05, "body_rate": 1000}
    assert code_of(request_of([b"x"], delay=0.2), **slow) == "body_too_slow"
    assert code_of(request_of([b"x"] * 20, delay=0.01), **slow) == "body_too_slow"
    assert len(read(request_of([b"x" * 30] * 10, delay=0.01), **slow)) == 300
    assert code_of(request_of([b"x"], end=False)) == "bad_request"


def test_time_that_the_server_takes_is_not_the_clients() -> None:
    async def unhurried() -> int:
        n_lines = 0
        limits = Limits(body_wait_s=0.1, body_rate=10**9)
        async for some in body_lines(request_of([b"x\n"] * 10), limits):
            await asyncio.sleep(0.02)
            assert isinstance(some, list)
            n_lines += len(some)
        return n_lines

    assert asyncio.run(unhurried()) == 10


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_json_may_be_compressed(start: Callable[..., TestClient], encoding: str) -> None:
    client = start(body_bytes=4096)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    compress = COMPRESS[encoding]
    answer = client.post(URL, content=compress(json.dumps(CATS).encode()), headers=headers)
    assert [hit["id"] for hit in answer.json()["hits"]] == ["a"]
    padded = json.dumps(CATS).encode() + b" " * 5000
    refused = client.post(URL, content=compress(padded), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")


# ---- room -------------------------------------------------------------------------------------


class Held:
    """Searches for dogs wait until they are let go; those for cats do not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.n_waiting = threading.Semaphore(0)
        real: Callable[..., Hits] = Index.search
        held_terms = BM25Encoder.fit(["cats sleep", "dogs bark"]).encode_queries(["dogs"]).indices

        def search(index: Index, query: Any, *arguments: Any, **rest: Any) -> Hits:
            if set(query.indices) == set(held_terms):
                self.n_waiting.release()
                assert self.free.wait(30)
            return real(index, query, *arguments, **rest)

        monkeypatch.setattr(Index, "search", search)

    def ask(self, client: TestClient, n: int) -> list[threading.Thread]:
        def dogs() -> None:
            self.answers.append(client.post(URL, json={"query": {"text": "dogs"}}).status_code)

        self.answers: list[int] = []
        threads = [threading.Thread(target=dogs) for _ in range(n)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert self.n_waiting.acquire(timeout=30)
        return threads


def test_beyond_the_last_place_a_request_is_refused_unread(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(concurrent=2)
    held = Held(monkeypatch)
    threads = held.ask(client, 2)
    read: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            read.append(number)
            yield b" "

    refused = client.post(URL, json=CATS)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_busy")
    assert int(refused.headers["retry-after"]) >= 1
    for path in ("/livez", "/readyz", "/metrics", "/", "/openapi.json"):
        assert client.get(path).status_code == 200, path
    held.free.set()
    for thread in threads:
        thread.join()
    assert held.answers == [200, 200]
    assert client.post(URL, json=CATS).status_code == 200, "places are given back"
    assert client.post(URL, json={"limit": 0}).status_code == 422
    assert client.post(URL, content=b"{", headers={"Content-Type": "text/plain"}).is_error
    assert client.app_state["gate"].n_running == 0  # type: ignore[attr-defined]


def test_the_body_of_a_refused_request_is_not_read(path: Path) -> None:
    app = create_app(Settings({"pets": path}, limits=Limits(concurrent=1)))

    async def ask() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            raise AssertionError("the body was read")

        async def send(message: Any) -> None:
            sent.append(message)

        async with app.router.lifespan_context(app) as state:
            with state["gate"].running():
                headers = [(b"content-type", b"application/json")]
                scope = {"type": "http", "method": "POST", "path": URL, "raw_path": URL.encode()}
                scope |= {"query_string": b"", "headers": headers, "state": dict(state)}
                await app(scope, receive, send)
        return sent

    assert asyncio.run(ask())[0]["status"] == 429


def test_a_body_that_is_still_coming_takes_no_place(path: Path) -> None:
    """128 trickles of one key kept everybody out for half a minute."""
    app = create_app(Settings({"pets": path}, limits=Limits(concurrent=2)))
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": URL, "raw_path": URL.encode()}
    scope |= {"query_string": b"", "headers": headers}

    async def statuses() -> list[int]:
        async with app.router.lifespan_context(app) as state:
            gate, found = state["gate"], []

            async def ask(body: asyncio.Future[bytes]) -> None:
                async def receive() -> Any:
                    return {"type": "http.request", "body": await body, "more_body": False}

                async def send(message: Any) -> None:
                    if message["type"] == "http.response.start":
                        found.append(message["status"])

                await app({**scope, "state": dict(state)}, receive, send)

            loop = asyncio.get_running_loop()
            bodies = [loop.create_future() for _ in range(3)]
            asked = [loop.create_task(ask(body)) for body in bodies[:2]]
            while gate._reading.total() < 2:
                await asyncio.sleep(0.01)
            assert gate.n_running == 0
            await ask(bodies[2])  # too many of one client, so refused unread
            assert found == [429]
            for body in bodies[:2]:
                body.set_result(b"{")
            await asyncio.gather(*asked)
            assert not gate._reading
            assert gate.n_running == 0
            return found

    assert asyncio.run(statuses()) == [429, 400, 400]


def test_bodies_of_one_key_leave_room_for_those_of_others() -> None:
    gate = Gate(Limits(concurrent=2), None)
    keys_ = [Access(Key(name, name, (), None, 0.0, None, None)) for name in ("a", "b", "c")]
    with gate.reading(keys_[0]), gate.reading(keys_[0]):
        with pytest.raises(ProblemError, match="2 bodies"), gate.reading(keys_[0]):
            pass
        full = pytest.raises(ProblemError, match="4 bodies")
        with gate.reading(keys_[1]), gate.reading(keys_[1]), full, gate.reading(keys_[2]):
            pass
    with gate.reading(keys_[2]):
        assert gate._reading.total() == 1


def test_a_search_that_nobody_waits_for_reads_no_more_texts(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Highlighting a thousand long texts went on for minutes after `request_s`."""
    client = start(request_s=0.3)
    read: list[str] = []

    def slow(*_: Any) -> list[Any]:
        read.append("a text")
        time.sleep(0.6)
        return []

    monkeypatch.setattr("service.search.running.highlights", slow)
    body = {"query": {"text": "cats dogs"}, "highlight": {"fields": ["text"]}}
    late = client.post(URL, json=body)
    assert (late.status_code, late.json()["code"]) == (503, "deadline_exceeded"), late.text
    assert len(read) < 2, "there are two hits"
    body["highlight"] = {"fields": ["text", "text"]}
    assert client.post(URL, json=body).status_code == 422


def test_an_answer_is_made_of_so_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small request could ask for gigabytes of stored fields, and for sixty-four times that."""
    place = tmp_path / "large.index"
    texts = {f"d{number:02}": "cats " + "x" * 1000 for number in range(70)}
    documents = [Document(doc_id, {"text": text}) for doc_id, text in texts.items()]
    encoder = BM25Encoder.fit(texts.values())
    build_index(place, documents, encoder, source="test", progress=False)
    limits = Limits(answer_bytes=50_000)
    with TestClient(create_app(Settings({"large": place}, limits=limits))) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]

        def ask(**body: Any) -> Any:
            return client.post("/v1/indexes/large/search", json={**CATS, **body})

        looked = ({"explain": True}, {"highlight": {"fields": ["text"]}}, {"fields": ["text"]})
        for body in ({}, *looked, {"fields": ["a"], "explain": True}):
            assert len(ask(limit=40, **body).json()["hits"]) == 40
            refused = ask(limit=70, **body)
            assert (refused.status_code, refused.json()["code"]) == (422, "answer_too_large")
        for kept in ([], ["a"]):  # what is told counts, not what is read for it
            assert len(ask(limit=70, fields=kept).json()["hits"]) == 70
        found = ask(limit=40, explain=True).json()["hits"]
        assert {hit["id"]: hit["fields"]["text"] for hit in found}.items() <= texts.items()
        searches = [{"index": "large", "limit": limit, **CATS} for limit in (70, 20, 20, 20, 1)]
        told = client.post("/v1/multi-search", json={"searches": searches}).json()["results"]
        assert [one["status"] for one in told] == [422, 200, 200, 422, 200], "together"

        tries: list[str] = []
        real = running.said_terms

        def replaced(*given: Any) -> Any:
            tries.append("one")
            if len(tries) == 30:
                raise UsageError("a document is gone")
            return real(*given)

        monkeypatch.setattr(running, "said_terms", replaced)
        again = ask(limit=40, explain=True)
        assert (again.status_code, len(tries)) == (200, 70), "the first try costs nothing"


def test_slow_searches_keep_a_thread_each_and_nobody_else_waiting(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(threads=4)
    held = Held(monkeypatch)
    threads = held.ask(client, 3)
    for _ in range(20):
        started = time.perf_counter()
        assert client.post(URL, json=CATS).status_code == 200
        assert time.perf_counter() - started < 5
    held.free.set()
    for thread in threads:
        thread.join()
    assert held.answers == [200, 200, 200]


def test_a_server_whose_threads_are_all_taken_is_still_alive(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(threads=1)
    held = Held(monkeypatch)
    threads = held.ask(client, 1)
    for path in ("/livez", "/readyz", "/metrics"):
        assert client.get(path).status_code == 200, path
    assert held.answers == [], "the search still holds the only thread"
    held.free.set()
    for thread in threads:
        thread.join()


# ---- time -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60,000 documents of 40 out of 64 terms: a query of all of them has 2.4 million postings."""
    path = tmp_path_factory.mktemp("limits") / "large.index"
    rng = np.random.default_rng(7)
    n_docs = 60_000
    terms = np.argsort(rng.random((n_docs, 64)), axis=1)[:, :40].astype(np.int32)
    terms.sort(axis=1)
    weights = rng.random((n_docs, 40), dtype=np.float32) + 0.1
    starts = np.arange(0, 40 * n_docs + 1, 40)
    vectors = sparse.csr_array((weights.ravel(), terms.ravel(), starts), shape=(n_docs, 64))
    with (
        Index.create(path, n_terms=64, max_weight=1.1) as index,
        index.bulk("test", settings=IndexSettings(order="none")) as bulk,
    ):
        bulk.add([Document(f"d{number}") for number in range(n_docs)], vectors)
    return path


@pytest.mark.slow
def test_a_search_that_takes_too_long_is_ended_in_the_core(large: Path) -> None:
    weights = [1 + number / 64 for number in range(64)]
    body = {
        "query": {"vector": {"indices": list(range(64)), "values": weights}},
        "limit": 1000,
        "fields": [],
    }
    url = "/v1/indexes/large/search"

    def ask(limits: Limits, **more: Any) -> Any:
        with TestClient(create_app(Settings({"large": large}, limits=limits))) as client:
            assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
            client.post(url, json=body | {"timeout_ms": 0.001})
            return client.post(url, json=body | more)

    whole = ask(Limits())
    assert len(whole.json()["hits"]) == 1000
    ms = min(ask(Limits()).json()["timing_ms"]["score"] for _ in range(2))
    ended = ask(Limits(request_s=ms / 20_000))
    assert (ended.status_code, ended.json()["code"]) == (503, "deadline_exceeded")
    partial = ask(Limits(), timeout_ms=ms / 20)
    assert partial.status_code == 200
    assert partial.json()["timed_out"] is True


def test_a_deadline_ends_every_search_of_a_request(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine waits for the flag, as a search that never ends would."""
    real: Callable[..., Hits] = Index.search
    n_begun = 0

    def endless(index: Index, *arguments: Any, cancel: Any, **rest: Any) -> Hits:
        nonlocal n_begun
        n_begun += 1
        give_up = time.monotonic() + 20
        while not cancel.is_set() and time.monotonic() < give_up:
            time.sleep(0.005)
        return real(index, *arguments, cancel=cancel, **rest)

    monkeypatch.setattr(Index, "search", endless)
    client = start(request_s=0.1)
    for path, body in (
        (URL, CATS),
        ("/v1/multi-search", {"searches": [{"index": "pets", **CATS}] * 3}),
        ("/v1/compare", {"a": {"index": "pets"}, "b": {"index": "pets"}, **CATS}),
    ):
        n_begun = 0
        started = time.monotonic()
        ended = client.post(path, json=body)
        assert (ended.status_code, ended.json()["code"]) == (503, "deadline_exceeded"), path
        assert time.monotonic() - started < 10
        assert n_begun == 1, path


def test_a_slow_search_holds_up_no_other(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though they take turns: it gives its turn away."""
    real: Callable[..., Hits] = Index.search
    begun, over = threading.Event(), threading.Event()

    def slow(index: Index, *arguments: Any, **rest: Any) -> Hits:
        if not begun.is_set():
            begun.set()
            assert over.wait(20)
        return real(index, *arguments, **rest)

    client = start()
    monkeypatch.setattr(Index, "search", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, URL, json=CATS)
        assert begun.wait(20)
        try:
            assert [client.post(URL, json=CATS).status_code for _ in range(3)] == [200] * 3
            assert not first.done()
        finally:
            over.set()
        assert first.result(20).status_code == 200


# ---- rate -------------------------------------------------------------------------------------


def test_each_key_has_a_rate_of_its_own(start: Callable[..., TestClient], tmp_path: Path) -> None:
    with Home.open(tmp_path / "server") as home:
        scopes = [keys.Scope.read("search:*")]
        a, b = (keys.create(home, name, scopes)[1] for name in "ab")
    client = start(tmp_path / "server", key_rate=0.001, key_burst=3)

    def ask(secret: str) -> Any:
        return client.post(URL, json=CATS, headers={"X-API-Key": secret})

    assert [ask(a).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    refused = ask(a)
    assert refused.json()["code"] == "rate_limited"
    assert 900 <= int(refused.headers["retry-after"]) <= 1000
    assert ask(b).status_code == 200
    monotonic = time.monotonic
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.gate.time.monotonic", lambda: monotonic() + 1000)
        assert [ask(a).status_code for _ in range(2)] == [200, 429]


def test_a_limit_that_bounds_nothing_is_refused() -> None:
    for name in ("body_bytes", "concurrent", "request_s", "key_rate"):
        with pytest.raises(UsageError, match=name):
            Limits(**{name: 0})
