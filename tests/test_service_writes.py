"""Documents come and go over HTTP, durably, in order, and each line is answered for."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from starlette.testclient import TestClient

from index import Index, Writer
from lsr.errors import DiskFull, IndexCorrupt, IndexFailure
from service import Limits, Settings, create_app
from service.home import queue
from service.home.registry import Registry
from service.wire.documents import StoredDocument, WrittenDocument
from service.wire.indexes import IndexInfo
from service.wire.tasks import TaskInfo, TaskList
from service.worker import job, snapshots
from service.worker import worker as worker_module

PETS = [
    {"id": "a", "fields": {"title": "Cats", "text": "cats sleep all day", "lang": "en"}},
    {"id": "b", "fields": {"title": "Dogs", "text": "dogs bark all night", "lang": "en"}},
    {"id": "c", "fields": {"title": "Hunde", "text": "hunde bellen", "lang": "de"}},
]


def ndjson(documents: list[Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in documents)


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The worker dies between the commit of the index and the end of the task."""
    died = threading.Event()

    def die(*_: object, **__: object) -> None:
        died.set()
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(queue, "finish", die)
        yield
        assert died.wait(20)


class Server:
    """A client of an app with a data directory whose worker is a thread."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def create(self, **body: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/indexes", json=body)
        assert answer.status_code == 201, answer.text
        IndexInfo.model_validate(answer.json(), extra="forbid")
        return dict(answer.json())

    def add(
        self,
        name: str,
        body: list[Any] | bytes,
        headers: Mapping[str, str] | None = None,
        status: int = 200,
        **parameters: Any,
    ) -> Any:
        content = body if isinstance(body, bytes) else ndjson(body)
        answer = self.client.post(
            f"/v1/indexes/{name}/documents",
            content=content,
            headers={"Content-Type": "application/x-ndjson", **(headers or {})},
            params=parameters,
        )
        assert answer.status_code == status, answer.text
        if status < 300:
            TaskInfo.model_validate(answer.json(), extra="forbid")
        return answer.json()

    def ids(self, name: str, text: str, **body: Any) -> list[str]:
        answer = self.client.post(
            f"/v1/indexes/{name}/search", json={"query": {"text": text}, **body}
        )
        assert answer.status_code == 200, answer.text
        return [hit["id"] for hit in answer.json()["hits"]]

    def task(self, number: int) -> dict[str, Any]:
        """The task once it is over."""
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            answer = self.client.get(f"/v1/tasks/{number}").json()
            if answer["finished"] is not None:
                return dict(answer)
            time.sleep(0.01)
        raise AssertionError(answer)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers on the same data directory; the one before must be closed."""
    clients: list[TestClient] = []

    def begin(**settings: Any) -> Server:
        for client in clients:
            client.__exit__(None, None, None)
        clients.clear()
        chosen: dict[str, Any] = {"indexes": {}, "work_inside": True} | settings
        client = TestClient(create_app(Settings(home=tmp_path / "data", **chosen)))
        client.__enter__()
        clients.append(client)
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        return Server(client)

    yield begin
    for client in clients:
        client.__exit__(None, None, None)


def test_documents_are_found_once_they_are_answered_for(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets", fields={"lang": "keyword"})
    task = server.add("pets", PETS)
    assert task["state"] == "succeeded"
    assert task["details"] == {
        "received": 3,
        "indexed": 3,
        "rejected": 0,
        "empty": 0,
        "generation": task["details"]["generation"],
    }
    assert (task["progress"]["done"], task["progress"]["total"]) == (3, 3)
    assert server.ids("pets", "cats sleep") == ["a"]
    assert server.ids("pets", "all", filter={"lang": "en"}) == ["a", "b"]


def test_the_first_documents_of_an_index_disturb_no_search(
    start: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BM25 learns into a directory of its own; who found the old one by name still reads it."""
    monkeypatch.setattr(job, "DISCARD_S", 2.0)
    server = start()
    server.create(name="pets")
    engine = server.client.app_state["engine"]  # type: ignore[attr-defined]
    before = engine.collection("pets")
    server.add("pets", PETS)
    assert before.index.n_docs == 0
    assert engine.collection("pets").index.n_docs == 3
    give_up = time.monotonic() + 20
    while len(list((tmp_path / "data" / "indexes").iterdir())) > 1 and time.monotonic() < give_up:
        time.sleep(0.02)
    assert [path.name for path in (tmp_path / "data" / "indexes").iterdir()] == [
        engine.collection("pets").path.name
    ]


def test_a_document_that_comes_again_replaces_the_first(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets")
    server.add("pets", PETS)
    server.add("pets", [{"id": "a", "fields": {"text": "canaries sing"}}])
    assert server.ids("pets", "cats") == []
    assert server.ids("pets", "canaries") == ["a"]
    twice = [{"id": "z", "fields": {"text": word}} for word in ("first", "second")]
    server.add("pets", twice)  # in one body: the last counts
    assert server.ids("pets", "first") == []
    assert server.ids("pets", "second") == ["z"]


def test_everything_survives_a_restart(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets", fields={"lang": "keyword"})
    server.add("pets", PETS)
    server = start()
    assert server.ids("pets", "dogs") == ["b"]
    server.add("pets", [{"id": "d", "fields": {"text": "parrots talk"}}])
    assert server.ids("pets", "parrots") == ["d"]


def test_logged_documents_are_indexed_by_the_next_server(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """`logged` is a promise: here the worker never ran before the server went away."""
    server = start(work_inside=False)
    server.create(name="pets")
    task = server.add("pets", PETS, status=202, ack="logged")
    assert server.ids("pets", "cats") == []
    server = start()
    assert server.task(task["id"])["details"]["indexed"] == 3
    assert server.ids("pets", "cats") == ["a"]


def test_bad_lines_are_rejected_one_by_one(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets", fields={"year": "int"})
    body = (
        b'{"id": "good", "fields": {"text": "cats"}}\n'
        b"no json\n"
        b'["a list"]\n'
        b'{"fields": {"text": "no id"}}\n'
        b'{"id": "odd", "fields": {"year": "not a number", "text": "cats"}}\n'
        b'{"id": "more", "colour": 3, "fields": {}}\n'
        b'{"id": "unknown", "tokens": {"nonexistent-entry": 1}}\n'
        b'{"id": "nan", "vector": {"indices": [1], "values": ["x"]}}\n'
        b'{"id": "ragged", "vector": {"indices": [1, [2]], "values": [1, 2]}}\n'
        b'{"id": "ragged", "vector": {"indices": [1, 2], "values": [1, [2]]}}\n'
        b'{"id": "also good", "text": "flat cats"}\n'
        b'{"id": "long", "fields": {"isbn": 98765432109876543210}}\n'
    )
    task = server.add("pets", body)
    assert (task["details"]["indexed"], task["details"]["rejected"]) == (2, 10)
    assert server.ids("pets", "cats") == ["good", "also good"]
    listed = server.client.get(task["details"]["rejects_url"])
    rejects = [json.loads(line) for line in listed.text.splitlines()]
    assert sorted(one["line"] for one in rejects) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 12]
    assert {one["line"]: one["code"] for one in rejects} == {
        2: "malformed_json",
        3: "invalid_document",
        4: "invalid_document",
        5: "invalid_document",
        6: "unknown_field",
        7: "unknown_token",
        8: "invalid_vector",
        9: "invalid_vector",
        10: "invalid_vector",
        12: "invalid_document",
    }
    assert next(one for one in rejects if one["line"] == 2)["text"] == "no json"


@pytest.mark.parametrize("n_blank", [1, 3, 100, 101, 5_000, 200_000])
def test_rejected_lines_are_told_by_their_numbers_in_the_body(
    start: Callable[..., Server], n_blank: int
) -> None:
    """Blank lines were not counted."""
    server = start()
    server.create(name="pets")
    blank = b"\n" * (n_blank - 1) + b" \r\n"
    body = b'{"id": "a", "text": "cats"}\n' + blank + b"oops\n" + blank + b'{"id": "b"}\n' + b"no"
    task = server.add("pets", blank + body)
    details = task["details"]
    assert (details["received"], details["indexed"], details["rejected"]) == (4, 2, 2)
    lines = [one["line"] for one in details["rejects"]]
    assert lines == [2 * n_blank + 2, 3 * n_blank + 4]


def test_a_line_that_the_index_refuses_leaves_the_line_before_it(
    start: Callable[..., Server],
) -> None:
    """The first was dropped for the second, which then was rejected, and counted as indexed."""
    server = start()
    server.create(name="pets", fields={"year": "int"})
    task = server.add(
        "pets",
        [
            {"id": "a", "fields": {"text": "cats", "year": 1}},
            {"id": "b", "fields": {"year": 1}},
            {"id": "b", "fields": {"text": "cats", "year": 2}},
            {"id": "a", "fields": {"text": "dogs", "year": "2"}},
        ],
    )
    details = task["details"]
    assert (details["indexed"], details["rejected"], details["empty"]) == (3, 1, 0)
    assert sorted(server.ids("pets", "cats")) == ["a", "b"]


def test_a_body_without_any_good_line_is_a_problem(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets")
    assert server.add("pets", b"no json\n", status=422)["code"] == "rejected"
    assert server.add("pets", b"\n\n", status=422)["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("line", "code", "pointer", "said"),
    [
        ({"fields": {"text": 5}}, "invalid_document", "/fields/text", "'text' is an integer"),
        ({"fields": {"title": ["a"]}}, "invalid_document", "/fields/title", "'title' is a list"),
        ({"text": True}, "invalid_document", "/text", "'text' is true or false"),
        ({"feilds": {"text": "typo"}}, "unknown_field", "/feilds", "wanted 'fields'"),
        ({"Fields": {"text": "typo"}}, "unknown_field", "/Fields", "wanted 'fields'"),
    ],
)
def test_text_that_no_search_could_find_is_refused(
    start: Callable[..., Server], line: dict[str, Any], code: str, pointer: str, said: str
) -> None:
    """Such lines were counted as indexed, and one that replaced a document hid it for good."""
    server = start()
    server.create(name="pets")
    server.add("pets", PETS)
    task = server.add("pets", [{"id": "a", **line}, {"id": "d", "text": "parrots talk"}])
    assert (task["details"]["indexed"], task["details"]["rejected"]) == (1, 1)
    (reject,) = task["details"]["rejects"]
    assert (reject["code"], reject["pointer"]) == (code, pointer)
    assert said in reject["detail"]
    assert server.ids("pets", "cats") == ["a"], "the searchable version stays"
    if "fields" in line:
        put = server.client.put("/v1/indexes/pets/documents/a", json=line)
        assert (put.status_code, put.json()["code"]) == (422, "rejected")
        assert said in put.json()["detail"]
        assert server.ids("pets", "cats") == ["a"]


def test_documents_without_a_term_are_counted(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets")
    server.create(name="books", passages={"length": 8, "overlap": 2})
    server.create(name="vectors", encoder=None, n_terms=9, max_weight=3.0)
    lines = [
        *PETS,
        {"id": "e"},
        {"id": "f", "fields": {"text": None, "year": 1999}},
        {"_id": "g", "text": " ", "metadata": {}},
    ]
    assert server.add("pets", lines)["details"]["empty"] == 3
    assert server.add("books", lines)["details"]["empty"] == 3
    given = [{"id": "h", "vector": {"indices": [4], "values": [1.0]}, "fields": {"text": 5}}]
    given += [{"id": "i", "vector": {"indices": [], "values": []}, "fields": {}}]
    details = server.add("vectors", given)["details"]
    assert (details["indexed"], details["rejected"], details["empty"]) == (2, 0, 1)
    for fields, empty in (({"text": "cats"}, False), ({"year": 1999}, True)):
        put = server.client.put("/v1/indexes/pets/documents/a", json={"fields": fields})
        assert put.json()["empty"] is empty


def test_words_are_learned_from_the_first_documents_that_have_some(
    start: Callable[..., Server],
) -> None:
    """A first upload of nothing but mistakes left an index that never knew a word by its name."""
    server = start()
    server.create(name="pets")
    server.add("pets", b"not json\n", status=422)
    server.add("pets", PETS)
    found = server.client.post(
        "/v1/indexes/pets/search", json={"query": {"tokens": {"cat": 1.0}}}
    ).json()
    assert ([hit["id"] for hit in found["hits"]], found["warnings"]) == (["a"], [])
    server.create(name="mute")
    server.add("mute", [{"id": "z", "fields": {"n": 1}}])
    server.add("mute", PETS)
    assert server.client.get("/v1/indexes/mute").json()["n_docs"] == 4


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)],
)
def test_bodies_may_be_compressed(
    start: Callable[..., Server], encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    server = start()
    server.create(name="pets")
    body = compress(ndjson(PETS)) + (compress(ndjson(PETS)) if encoding == "gzip" else b"")
    task = server.add("pets", body, {"Content-Encoding": encoding})
    assert task["details"]["indexed"] == (6 if encoding == "gzip" else 3)
    torn = compress(ndjson(PETS))[:-6] + b"damage"
    assert server.add("pets", torn, {"Content-Encoding": encoding}, 400)["code"] == "malformed_body"


def test_vectors_are_taken_as_they_come(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="raw", encoder=None, n_terms=10, max_weight=4.0)
    lines = [
        {"id": "x", "vector": {"indices": [7, 2], "values": [1.0, 3.0]}, "fields": {}},
        {"id": "y", "vector": {"indices": [2], "values": [1.0]}, "fields": {"text": "kept"}},
        {"id": "none", "vector": {"indices": [], "values": []}, "fields": {}},
        {"id": "text", "fields": {"text": "no encoder here"}},
        {"id": "far", "vector": {"indices": [10], "values": [1.0]}},
    ]
    task = server.add("raw", lines)
    assert (task["details"]["indexed"], task["details"]["rejected"]) == (3, 2)
    query = {"query": {"vector": {"indices": [2], "values": [1.0]}}}
    hits = server.client.post("/v1/indexes/raw/search", json=query).json()["hits"]
    assert [hit["id"] for hit in hits] == ["x", "y"]


def test_tokens_name_entries_of_the_vocabulary(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets")
    server.add("pets", PETS)
    server.add("pets", [{"id": "t", "tokens": {"cat": 0.9, "bark": 0.2}, "fields": {"n": 1}}])
    assert set(server.ids("pets", "bark")) == {"b", "t"}


def test_the_same_idempotency_key_writes_once(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets")
    key = {"Idempotency-Key": "batch-1"}
    first = server.add("pets", PETS, key)
    server.client.delete("/v1/indexes/pets/documents/a")
    assert server.add("pets", PETS, key)["id"] == first["id"]
    assert server.ids("pets", "cats") == []  # it was not written again
    other = server.add("pets", PETS[:1], key, 409)
    assert other["code"] == "idempotency_conflict"


def test_a_key_that_may_come_again_keeps_its_task(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets")
    key = {"Idempotency-Key": "batch-1"}
    kept = server.add("pets", PETS, key)["id"]
    gone = server.add("pets", PETS)["id"]
    home = server.client.app_state["engine"].home  # type: ignore[attr-defined]
    assert queue.prune(home, at_most=0) == [gone]
    assert server.add("pets", PETS, key)["id"] == kept


def test_ids_that_no_document_can_have_are_no_fault_of_the_server(
    start: Callable[..., Server],
) -> None:
    server = start()
    server.create(name="pets")
    server.add("pets", PETS)
    long = "x" * 5000
    url = f"/v1/indexes/pets/documents/{long}"
    assert server.client.get(url).status_code == 404
    assert server.client.delete(url).status_code == 404
    for condition in ({}, {"If-None-Match": "*"}, {"If-Match": '"1"'}, {"If-Match": "*"}):
        refused = server.client.put(url, json={"fields": {"text": "cats"}}, headers=condition)
        assert (refused.status_code, refused.json()["code"]) == (422, "rejected")
    gone = server.client.post("/v1/indexes/pets/documents/delete", json={"ids": [long, "a"]})
    assert gone.json()["details"]["deleted"] == 1


def test_if_match_of_any_version_wants_a_document(start: Callable[..., Server]) -> None:
    client = start().client
    client.post("/v1/indexes", json={"name": "pets"})
    url = "/v1/indexes/pets/documents/a"
    body, any_version = {"fields": {"text": "cats"}}, {"If-Match": "*"}
    assert client.put(url, json=body, headers=any_version).status_code == 412
    assert client.get(url).status_code == 404
    assert client.put(url, json=body).status_code == 200
    assert client.put(url, json=body, headers=any_version).status_code == 200
    assert client.delete(url, headers=any_version).status_code == 204


def test_a_deletion_that_was_done_is_not_done_again(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker died between its commit and the end of the task: the second run found another
    version under If-Match, or nothing to delete, and told that of a deletion that was done.
    """
    server = start()
    server.create(name="pets")
    server.add("pets", PETS)
    with dying(monkeypatch):
        url = "/v1/indexes/pets/documents/delete"
        task = server.client.post(url, json={"ids": ["a", "b"]}, params={"wait": 0.1}).json()
    assert server.ids("pets", "cats dogs") == []
    server = start()
    assert server.task(task["id"])["details"]["deleted"] == 2


def test_one_document_is_written_read_and_deleted_by_version(
    start: Callable[..., Server],
) -> None:
    client = start().client
    client.post("/v1/indexes", json={"name": "pets"})
    url = "/v1/indexes/pets/documents/odd%2Fid"
    written = client.put(url, json={"fields": {"text": "cats"}}, headers={"If-None-Match": "*"})
    assert written.status_code == 200, written.text
    WrittenDocument.model_validate(written.json(), extra="forbid")
    read = client.get(url)
    StoredDocument.model_validate(read.json(), extra="forbid")
    assert read.json()["fields"] == {"text": "cats"}
    assert read.headers["ETag"] == written.headers["ETag"] == f'"{read.json()["version"]}"'
    again = client.put(url, json={"fields": {"text": "x"}}, headers={"If-None-Match": "*"})
    assert (again.status_code, again.json()["code"]) == (412, "version_conflict")
    etag = read.headers["ETag"]
    newer = client.put(url, json={"fields": {"text": "dogs"}}, headers={"If-Match": etag})
    assert newer.status_code == 200
    assert newer.headers["ETag"] != etag
    for late in (
        client.put(url, json={"fields": {}}, headers={"If-Match": etag}),
        client.delete(url, headers={"If-Match": etag}),
    ):
        assert (late.status_code, late.json()["code"]) == (412, "version_conflict")
    assert client.get(url).json()["fields"] == {"text": "dogs"}
    assert client.delete(url, headers={"If-Match": newer.headers["ETag"]}).status_code == 204
    assert client.get(url).status_code == 404
    assert client.delete(url).status_code == 404


def test_ids_with_line_breaks_are_ids_of_their_own(start: Callable[..., Server]) -> None:
    """One that ended in a break was that without it: read, overwritten and deleted in its place."""
    client = start().client
    client.post("/v1/indexes", json={"name": "pets"})
    ids = {"tail": "tail", "tail%0A": "tail\n", "a%0Ab": "a\nb", "%0D%0A": "\r\n"}
    for path, doc_id in ids.items():
        url = f"/v1/indexes/pets/documents/{path}"
        assert client.put(url, json={"fields": {"text": f"cats {path}"}}).status_code == 200
        assert client.get(url).json()["id"] == doc_id
    assert client.delete("/v1/indexes/pets/documents/tail%0A").status_code == 204
    assert client.get("/v1/indexes/pets/documents/tail%0A").status_code == 404
    body = {"query": {"text": "cats"}}
    explained = client.post("/v1/indexes/pets/explain/a%0Ab", json=body)
    assert explained.json()["id"] == "a\nb", explained.text
    assert client.get("/v1/indexes/pets/documents/tail").json()["fields"] == {"text": "cats tail"}


def test_a_written_document_is_told_its_own_version(start: Callable[..., Server]) -> None:
    """Of two writers at a time one was told the version of the other, and could then replace it
    under If-Match without having seen it.
    """
    client = start().client
    client.post("/v1/indexes", json={"name": "pets"})

    def write(number: int) -> str:
        fields = {"text": f"cat {number}"}
        answer = client.put("/v1/indexes/pets/documents/a", json={"fields": fields})
        return str(answer.headers["ETag"])

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(write, range(48)))
    assert len(set(versions)) == 48


def test_versions_of_one_address_are_never_given_twice(start: Callable[..., Server]) -> None:
    """Two indexes that were loaded alike numbered alike: an alias that moved, or a name that was
    made anew, let an old If-Match replace what nobody had read.
    """
    client = start().client
    url = "/v1/indexes/pets/documents/a"
    tags: list[str] = []
    before = ""
    for name in ("pets-1", "pets-2", "pets-1"):
        client.delete(f"/v1/indexes/{name}")
        client.post("/v1/indexes", json={"name": name})
        steps: list[Any] = [{"remove": {"alias": "pets"}}] if before else []
        steps.append({"add": {"alias": "pets", "index": name}})
        assert client.post("/v1/aliases", json={"actions": steps}).status_code == 200
        before = name
        tags.append(client.put(url, json={"fields": {"text": "cats"}}).headers["ETag"])
        for old in tags[:-1]:
            late = client.put(url, json={"fields": {}}, headers={"If-Match": old})
            assert (late.status_code, late.json()["code"]) == (412, "version_conflict")
    assert len(set(tags)) == 3


def test_documents_are_deleted_by_id_and_by_filter(start: Callable[..., Server]) -> None:
    server = start()
    server.create(name="pets", fields={"lang": "keyword"})
    server.add("pets", PETS)
    url = "/v1/indexes/pets/documents/delete"
    gone = server.client.post(url, json={"ids": ["a", "not there"]}).json()
    assert gone["details"]["deleted"] == 1
    gone = server.client.post(url, json={"filter": {"lang": "de"}}).json()
    assert gone["details"]["deleted"] == 1
    assert server.ids("pets", "cats dogs hunde bark") == ["b"]
    assert server.client.post(url, json={}).status_code == 422
    assert server.client.post(url, json={"filter": {"nope": 1}}).status_code == 422


def test_a_cursor_goes_on_through_the_commit_it_began_on(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """Whatever is written and merged between its pages, by another process as well."""
    server = start()
    server.create(name="rows", encoder=None, n_terms=2, max_weight=1.0)

    def rows(version: int, numbers: range) -> list[dict[str, Any]]:
        vector = {"indices": [version % 2], "values": [1.0]}
        return [{"id": f"d{i}", "fields": {"v": version}, "vector": vector} for i in numbers]

    def page(cursor: str) -> dict[str, Any]:
        query = {"vector": {"indices": [0], "values": [1.0]}}
        body = {"query": query, "limit": 3, "cursor": cursor}
        answer = server.client.post("/v1/indexes/rows/search", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    server.add("rows", rows(0, range(9)))
    first = page("start")
    server.add("rows", rows(1, range(2, 6)))
    server.client.post("/v1/indexes/rows/documents/delete", json={"ids": ["d7"]})
    server.add("rows", rows(2, range(20, 30)))
    second = page(first["next_cursor"])
    (folder,) = (tmp_path / "data" / "indexes").iterdir()
    with Index.open(folder) as index:
        index.merge()
        assert index.info()["n_deleted"] == 5
    third = page(second["next_cursor"])
    hits = [hit for one in (first, second, third) for hit in one["hits"]]
    assert [hit["id"] for hit in hits] == [f"d{i}" for i in range(9)]
    assert [hit["fields"] for hit in hits] == [{"v": 0}] * 9
    assert {one["generation"] for one in (first, second, third)} == {first["generation"]}


def test_pages_of_what_is_like_a_document_stay_with_its_version(
    start: Callable[..., Server],
) -> None:
    """The query was made anew for each page: of a document that was replaced the second page was
    of another ranking, and of one that was deleted there was none.
    """
    server = start()
    server.create(name="rows", encoder=None, n_terms=2, max_weight=1.0)

    def row(name: str, term: int) -> dict[str, Any]:
        return {"id": name, "fields": {}, "vector": {"indices": [term], "values": [1.0]}}

    def page(cursor: str) -> dict[str, Any]:
        body = {"query": {"like": "q"}, "limit": 3, "cursor": cursor}
        answer = server.client.post("/v1/indexes/rows/search", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    server.add("rows", [row("q", 0), *(row(f"a{i}", 0) for i in range(8)), row("b", 1)])
    first = page("start")
    server.add("rows", [row("q", 1)])
    second = page(first["next_cursor"])
    server.client.delete("/v1/indexes/rows/documents/q")
    third = page(second["next_cursor"])
    ids = [hit["id"] for one in (first, second, third) for hit in one["hits"]]
    assert ids == [f"a{i}" for i in range(8)]
    assert [
        hit["id"]
        for hit in server.client.post(
            "/v1/indexes/rows/search", json={"query": {"like": "b"}}
        ).json()["hits"]
    ] == []


def test_what_is_like_a_document_is_explained_without_it(start: Callable[..., Server]) -> None:
    """Its rank and what it lacks counted the query's own document, which is no hit."""
    server = start()
    server.create(name="rows", encoder=None, n_terms=2, max_weight=1.0)
    rows = [("q", 1.0), ("b", 0.8), ("c", 0.6), ("d", 0.4)]
    server.add(
        "rows",
        [
            {"id": name, "fields": {}, "vector": {"indices": [0], "values": [weight]}}
            for name, weight in rows
        ],
    )
    body = {"query": {"like": "q"}, "k": 2}
    told = {
        name: server.client.post(f"/v1/indexes/rows/explain/{name}", json=body).json()
        for name in ("b", "d")
    }
    assert (told["b"]["rank"], told["d"]["rank"]) == (1, 3)
    assert (told["d"]["cut"]["id"], told["d"]["cut"]["rank"]) == ("c", 2)


def test_the_passage_that_was_ranked_is_the_one_explained(start: Callable[..., Server]) -> None:
    """With required terms it may not be the document's best; and of two sides of a comparison, one
    that leaves terms out says nothing of them.
    """
    server = start()
    server.create(name="books", passages={"length": 8, "overlap": 0})
    texts = {
        "long": "alpha word word word word word word beta word word word word word word word zebra",
        "a": "alpha", "b": "beta beta", "z": "zebra zebra", "w": "word", "v": "other words",
    }  # fmt: skip
    server.add("books", [{"id": one, "fields": {"text": text}} for one, text in texts.items()])
    query = {"text": "alpha beta zebra"}
    body = {"query": query, "require_terms": ["zebra"], "explain": True}
    hits = server.client.post("/v1/indexes/books/search", json=body).json()["hits"]
    (hit,) = [hit for hit in hits if hit["id"] == "long"]
    told = server.client.post(
        "/v1/indexes/books/explain/long", json={"query": query, "require_terms": ["zebra"]}
    ).json()
    assert (told["rank"], told["score"]) == (hit["rank"], hit["score"])
    assert [one["term"] for one in told["explain"]["terms"]] == ["zebra"]
    assert {one["term"] for one in told["missing"]} == {"alpha", "beta"}
    sides = {"a": {"index": "books", "explain": {"top_terms": 1}}, "b": {"index": "books"}}
    sides["b"]["explain"] = True
    plain = {"query": {"text": "alpha zebra word"}, **sides}
    terms = server.client.post("/v1/compare", json=plain).json()["terms"]
    assert all(one["difference"] == 0 for hit in terms for one in hit["terms"])


def test_texts_are_split_beside_documents_that_bring_vectors(
    start: Callable[..., Server],
) -> None:
    """They were one passage each as soon as one line of the chunk had weights of its own."""
    server = start()
    server.create(name="books", passages={"length": 8, "overlap": 0})
    server.add("books", PETS)  # BM25 learns their words
    text = " ".join(["cats"] * 30 + ["dogs"] + ["cats"] * 30)
    own = {"id": "own", "fields": {"text": text}, "tokens": {"dog": 1.0}}
    long = {"id": "long", "fields": {"text": text}}
    server.add("books", [own, long, {"id": "short", "fields": {"text": "a dog"}}])
    answer = server.client.post(
        "/v1/indexes/books/search", json={"query": {"text": "dogs"}, "limit": 9}
    ).json()
    spans = {hit["id"]: hit.get("passage") for hit in answer["hits"]}
    assert spans["own"] == {"start": 0, "end": len(text), "text": text}
    assert spans["long"]["end"] - spans["long"]["start"] < 50
    assert "dogs" in text[spans["long"]["start"] : spans["long"]["end"]]
    assert spans.keys() == {"b", "own", "long", "short"}


def test_passages_of_long_documents_are_found_as_one_hit(start: Callable[..., Server]) -> None:
    server = start()
    info = server.create(name="books", passages={"length": 8, "overlap": 2})
    assert info["passages"] == {"length": 8, "overlap": 2}
    text = " ".join(["word"] * 30 + ["zebra"] + ["word"] * 30)
    server.add("books", [{"id": "long", "fields": {"text": text}}, PETS[0]])
    answer = server.client.post(
        "/v1/indexes/books/search", json={"query": {"text": "zebra word"}}
    ).json()
    (hit,) = answer["hits"]
    assert "zebra" in text[hit["passage"]["start"] : hit["passage"]["end"]]
    changed = server.client.patch("/v1/indexes/books", json={"passages": None})
    assert changed.json()["passages"] is None


def test_indexes_are_made_and_removed(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    server.create(name="pets")
    again = server.client.post("/v1/indexes", json={"name": "pets"})
    assert (again.status_code, again.json()["code"]) == (409, "index_exists")
    for bad in ("../up", "Pets", "", "x" * 64):
        assert server.client.post("/v1/indexes", json={"name": bad}).status_code == 422
    lost = server.client.post("/v1/indexes", json={"name": "b", "encoder": "bm52"})
    assert (lost.status_code, lost.json()["hint"]) == (404, "Did you mean 'bm25'?")
    assert server.client.delete("/v1/indexes/pets").status_code == 204
    assert server.client.get("/v1/indexes/pets").status_code == 404
    assert list((tmp_path / "data" / "indexes").iterdir()) == []
    server.create(name="pets")
    assert server.ids("pets", "anything") == []


def test_what_waits_for_a_deleted_index_is_not_done_to_its_successor(
    start: Callable[..., Server],
) -> None:
    """Tasks and idempotency keys go by the index's name: documents of the deleted index came back
    in the next one of its name, and a repeated key was answered for documents that were not there.
    """
    key = {"Idempotency-Key": "batch-1"}
    server = start()
    server.create(name="pets")
    server.add("pets", PETS, key)
    server = start(work_inside=False)
    waiting = server.add("pets", PETS, status=202, ack="logged")["id"]
    running = server.add("pets", PETS, status=202, ack="logged")["id"]
    home = server.client.app_state["engine"].home  # type: ignore[attr-defined]
    with home.transaction() as connection:
        connection.execute("UPDATE tasks SET state='running' WHERE id=?", (running,))
    assert server.client.delete("/v1/indexes/pets").status_code == 204
    server.create(name="pets")
    ended = server.client.get(f"/v1/tasks/{waiting}").json()
    assert (ended["state"], ended["error"]["code"]) == ("failed", "unknown_index")
    server = start()
    assert server.task(running)["state"] == "canceled"
    assert server.ids("pets", "cats dogs hunde") == []
    server.add("pets", PETS, key)
    assert server.ids("pets", "cats") == ["a"]


def test_without_a_data_directory_nothing_is_written() -> None:
    with TestClient(create_app(Settings({}))) as client:
        for answer in (
            client.post("/v1/indexes", json={"name": "pets"}),
            client.get("/v1/tasks"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "no_data_directory")


def test_tasks_are_listed_watched_and_canceled(start: Callable[..., Server]) -> None:
    server = start(work_inside=False)
    server.create(name="pets")
    first, second = (server.add("pets", PETS, status=202, ack="logged")["id"] for _ in range(2))
    listed = server.client.get("/v1/tasks", params={"limit": 1}).json()
    TaskList.model_validate(listed, extra="forbid")
    assert [task["id"] for task in listed["tasks"]] == [second]
    rest = server.client.get("/v1/tasks", params={"before": listed["next_before"]}).json()
    assert [task["id"] for task in rest["tasks"]] == [first]
    canceled = server.client.post(f"/v1/tasks/{second}/cancel").json()
    assert canceled["state"] == "canceled"
    server = start()
    with server.client.stream("GET", f"/v1/tasks/{first}/events") as events:
        said = [line for line in events.iter_lines() if line.startswith("data: ")]
    assert json.loads(said[-1].removeprefix("data: "))["state"] == "succeeded"
    assert server.client.get("/v1/tasks/99").json()["code"] == "unknown_task"
    assert server.ids("pets", "cats") == ["a"]


def test_a_committed_chunk_is_not_committed_again(
    start: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker died between the commit of the index and the end of the task."""
    server = start()
    server.create(name="pets")
    with dying(monkeypatch):
        task = server.add("pets", [*PETS, "not an object"], status=202, wait=0.1)
    assert (before := server.client.get("/v1/indexes/pets").json()["generation"])
    server = start()
    details = server.task(task["id"])["details"]
    assert (details["received"], details["indexed"], details["rejected"]) == (4, 3, 1)
    assert server.client.get("/v1/indexes/pets").json()["generation"] == before
    rejects = (tmp_path / "data" / "tasks" / str(task["id"]) / "rejects.ndjson").read_bytes()
    assert rejects.count(b"\n") == 1


def test_what_the_release_before_remembered_is_not_done_again(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knew neither data directories nor when a task was made."""
    server = start()
    server.create(name="pets")
    with dying(monkeypatch):
        task = server.add("pets", PETS, status=202, wait=0.1)
    assert (before := server.client.get("/v1/indexes/pets").json()["generation"])
    home = server.client.app_state["engine"].home  # type: ignore[attr-defined]
    key = f"ingest:{home.id}"
    with Index.open(Registry.read(home).resolve("pets").path) as index, index.writer() as writer:
        known = index.remembered(key)
        del known["created"]
        writer.forget(key)
        writer.remember("ingest", known)
    server = start()
    assert server.task(task["id"])["details"]["indexed"] == 3
    assert server.client.get("/v1/indexes/pets").json()["generation"] == before + 1


def test_a_full_disk_keeps_what_was_acknowledged(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task waits and says why; searches go on; once there is room it is done."""
    server = start()
    server.create(name="pets")
    server.add("pets", PETS)
    full = True
    commit = Writer.__exit__

    def exit_writer(self: Writer, *error: Any) -> None:
        if full:
            raise DiskFull("no room")
        commit(self, *error)

    monkeypatch.setattr(Writer, "__exit__", exit_writer)
    task = server.add("pets", [{"id": "d", "fields": {"text": "mice"}}], status=202, wait=0.3)
    assert task["error"] == {"code": "waiting", "detail": "DiskFull", "hint": None}
    assert server.ids("pets", "cats") == ["a"]
    full = False
    assert server.task(task["id"])["state"] == "succeeded"
    assert server.ids("pets", "mice") == ["d"]


def test_a_fault_of_ours_loses_no_acknowledged_document(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to end the task as failed; later changes of the index wait behind it instead."""
    server = start()
    server.create(name="pets")
    server.add("pets", PETS)
    commit = Writer.__exit__
    faults = [KeyError("a defect"), KeyError("again")]

    def exit_writer(self: Writer, *error: Any) -> None:
        if faults:
            raise faults.pop()
        commit(self, *error)

    monkeypatch.setattr(worker_module, "RETRY_S", 0.1)
    monkeypatch.setattr(Writer, "__exit__", exit_writer)
    first = [{"id": "a", "fields": {"text": "first"}}]
    early = server.add("pets", first, status=202, ack="logged")
    server.add("pets", [{"id": "a", "fields": {"text": "second"}}])
    assert server.task(early["id"])["state"] == "succeeded"
    assert faults == []
    assert server.ids("pets", "first") == []
    assert server.ids("pets", "second") == ["a"]


def test_deleted_documents_are_carried_along_for_as_long_as_cursors_live(
    start: Callable[..., Server],
) -> None:
    server = start(cursor_minutes=2.0)
    server.create(name="pets")
    server.add("pets", PETS)
    engine = server.client.app_state["engine"]  # type: ignore[attr-defined]
    assert engine.collection("pets").index.retained_seconds == 120.0
    server = start(cursor_minutes=0.5)
    server.add("pets", [{"id": "d", "fields": {"text": "mice"}}])
    engine = server.client.app_state["engine"]  # type: ignore[attr-defined]
    assert engine.collection("pets").index.retained_seconds == 30.0


def test_deleted_documents_leave_the_disk_though_nothing_is_added(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They used to stay until some twenty thousand others had come."""
    monkeypatch.setattr(worker_module, "TIDY_EVERY_S", 0.05)
    server = start(cursor_minutes=0.001)
    server.create(name="pets")
    server.add("pets", PETS)
    server.client.post("/v1/indexes/pets/documents/delete", json={"ids": ["a", "b"]})
    index = server.client.app_state["engine"].collection("pets").index  # type: ignore[attr-defined]
    give_up = time.monotonic() + 20
    while index._catalog.rows("SELECT count(*) FROM texts") != [(1,)]:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert server.ids("pets", "hunde") == ["c"]


def test_a_snapshot_that_finds_damage_ends_and_holds_up_no_writes(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to wait for good, and every later change of its index behind it."""
    server = start()
    server.create(name="pets")

    def damaged(*_: object, **__: object) -> None:
        raise IndexCorrupt("/secret/catalog.sqlite: a page does not match its checksum")

    monkeypatch.setattr(snapshots, "take", damaged)
    asked = server.client.post("/v1/snapshots", json={"index": "pets"})
    assert (asked.status_code, asked.json()["code"]) == (503, "index_unavailable")
    assert server.add("pets", PETS)["state"] == "succeeded"
    task = server.task(asked.json()["task"])
    assert (task["state"], task["error"]["code"]) == ("failed", "index_unavailable")
    assert "secret" not in json.dumps([asked.json(), task])
    assert server.ids("pets", "cats") == ["a"]


def test_nothing_overtakes_a_task_whose_end_cannot_be_written_down(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to stay `running` for good, done or not, and the next one began."""
    server = start()
    server.create(name="pets")
    finish, busy = queue.finish, [IndexFailure("locked"), IndexFailure("locked")]

    def finish_later(*arguments: Any, **outcome: Any) -> None:
        if busy:
            raise busy.pop()
        finish(*arguments, **outcome)

    monkeypatch.setattr(worker_module, "RETRY_S", 0.1)
    monkeypatch.setattr(queue, "finish", finish_later)
    assert server.add("pets", PETS)["state"] == "succeeded"
    assert busy == []
    assert server.ids("pets", "cats") == ["a"]


def test_bodies_of_documents_are_bounded_line_by_line(start: Callable[..., Server]) -> None:
    server = start(limits=Limits(body_bytes=1000, documents_bytes=100_000, line_bytes=500))
    server.create(name="pets")
    many = [{"id": str(i), "fields": {"text": f"cat number {i}"}} for i in range(1000)]
    assert server.add("pets", many)["details"]["indexed"] == 1000
    assert server.add("pets", many * 3, status=413)["code"] == "body_too_large"
    small = gzip.compress(ndjson(many * 3))
    encoding = {"Content-Encoding": "gzip"}
    assert server.add("pets", small, encoding, 413)["code"] == "body_too_large"
    long = [{"id": "x", "fields": {"text": "cat " * 200}}]
    assert server.add("pets", long, status=413)["code"] == "body_too_large"
    tasks = server.client.get("/v1/tasks").json()["tasks"]
    assert [task["details"]["indexed"] for task in tasks] == [1000]  # the others left nothing


def test_a_line_that_is_no_document_costs_little(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a list of strings numpy made a matrix of letters: gigabytes, and a task without end."""
    from service.worker import ingest

    server = start()
    server.create(name="pets", fields={"year": "int"})
    letters = {"indices": [1] * 20_000, "values": ["x" * 20_000, *[1] * 19_999]}
    bad = [
        {"id": "letters", "fields": {}, "vector": letters},
        {"id": "truth", "fields": {}, "vector": {"indices": [1], "values": [True]}},
        {
            "id": "many",
            "fields": {},
            "vector": {"indices": [*range(70_000)], "values": [1] * 70_000},
        },
        {"id": "long", "fields": {"text": "cats", "year": "y" * 100_000}},
        {"id": "name", "fields": {}, "n" * 100_000: 1},
    ]
    details = server.add("pets", [*bad, PETS[0]])["details"]
    assert (details["rejected"], details["indexed"]) == (len(bad), 1)
    assert len(json.dumps(details)) < 4000, "reasons are kept with the task and told in each poll"
    whole = server.client.get(details["rejects_url"]).text.splitlines()
    reasons = [json.loads(line) for line in whole]
    named = {json.loads(one["text"])["id"]: one["detail"] for one in reasons}
    assert named.keys() == {one["id"] for one in bad}
    assert max(len(one["detail"]) + len(one["pointer"]) for one in reasons) < 700
    monkeypatch.setattr(ingest, "MAX_REJECT_BYTES", 1000)
    details = server.add("pets", [*[{"id": ""}] * 50, PETS[1]])["details"]
    assert details["rejected"] == 50
    kept = server.client.get(details["rejects_url"]).content
    assert 500 < len(kept) <= 1000
    assert kept.endswith(b"\n")


def test_weights_that_all_count_alike_are_told(start: Callable[..., Server]) -> None:
    """8-bit impacts of an export, sent to an index of weights below 1, ranked nonsense silently."""
    server = start()
    server.create(name="ints", encoder=None, n_terms=4, max_weight=1.0)
    assert server.client.get("/v1/indexes/ints").json()["warnings"] == []
    vector = {"indices": [0, 1, 2], "values": [200, 3, 70]}
    server.add("ints", [{"id": "a", "fields": {}, "vector": vector}])
    (warning,) = server.client.get("/v1/indexes/ints").json()["warnings"]
    assert warning["code"] == "weights_saturated"
    assert "100% of the weights lie above 1 " in warning["message"]
    wide = {"name": "wide", "passages": {"length": 8, "overlap": 5}}
    refused = server.client.post("/v1/indexes", json=wide)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


def test_documents_as_deep_as_json_goes_are_told_in_every_answer(
    start: Callable[..., Server],
) -> None:
    """What answers put round them made each an error of ours."""
    server = start()
    server.create(name="pets")
    deep: Any = "x"
    for _ in range(252):
        deep = [deep]
    fields = {"text": "cats", "x": deep}
    server.add("pets", [{"id": "deep", "fields": fields}])
    url = "/v1/indexes/pets/search"
    for asked in (
        {},
        {"fields": ["x", "text"]},
        {"explain": True},
        {"highlight": {"fields": ["text"]}},
        {"fields": ["x", "text"], "explain": True},
    ):
        answer = server.client.post(url, json={"query": {"text": "cats"}, **asked})
        assert answer.status_code == 200, asked
        assert answer.json()["hits"][0]["fields"] == fields, asked
    body = {"searches": [{"index": "pets", "query": {"text": "cats"}}]}
    many = server.client.post("/v1/multi-search", json=body).json()["results"]
    assert many[0]["answer"]["hits"][0]["fields"] == fields
    assert server.client.get("/v1/indexes/pets/documents/deep").json()["fields"] == fields
