"""An index of a server is rebuilt while it is used, and goes back without losing a document."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import service.worker.rebuild
from index import Index
from lsr.encoders import BM25Encoder
from lsr.errors import IndexNotFound
from service import Settings, create_app
from service.doctor import examine
from service.home import queue, registry, versions
from service.home.registry import Registry
from service.wire.answers import SearchResponse
from service.wire.indexes import IndexInfo
from service.wire.tasks import TaskInfo
from service.wire.versions import VersionList

PETS = {"a": "cats sleep all day", "b": "dogs bark all night", "c": "birds sing at dawn"}
GATE = {
    "queries": [{"id": "q1", "text": "cats"}, {"id": "q2", "text": "dogs"}],
    "qrels": {"q1": {"a": 1}, "q2": {"b": 1}},
}


def ok(answer: Any, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return dict(answer.json()) if answer.content else {}


class Server:
    """A client of a server with the BM25 index `pets`, whose worker is a thread."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.home = client.app_state["engine"].home

    def add(self, texts: dict[str, str], wait: float = 30.0) -> dict[str, Any]:
        lines = [json.dumps({"id": i, "fields": {"text": text}}) for i, text in texts.items()]
        answer = self.client.post(
            f"/v1/indexes/pets/documents?wait={wait}",
            content="\n".join(lines),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert answer.status_code in (200, 202), answer.text
        return dict(answer.json())

    def rebuild(self, status: int = 200, **body: Any) -> dict[str, Any]:
        return ok(self.client.post("/v1/indexes/pets/rebuild?wait=60", json=body), status)

    def texts(self) -> dict[str, str]:
        """What the index holds now, read from its directory."""
        with Index.open(self.path(), read_only=True) as index:
            names = {name for view in index.refresh().views for name in view.segment.doc_ids()}
            found = {name: index.get(name) for name in names}
        return {name: d.fields["text"] for name, d in sorted(found.items()) if d is not None}

    def path(self) -> Path:
        return Registry.read(self.home).resolve("pets").path

    def first(self, text: str) -> str | None:
        answer = ok(self.client.post("/v1/indexes/pets/search", json={"query": {"text": text}}))
        return answer["hits"][0]["id"] if answer["hits"] else None

    def versions(self) -> list[dict[str, Any]]:
        answer = ok(self.client.get("/v1/indexes/pets/versions"))
        VersionList.model_validate(answer, extra="forbid")
        return list(answer["versions"])

    def over(self, number: int) -> dict[str, Any]:
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            answer = ok(self.client.get(f"/v1/tasks/{number}"))
            if answer["finished"] is not None:
                return answer
            time.sleep(0.01)
        raise AssertionError(answer)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Starts a server on the data directory; the one before is closed, its worker ended."""
    clients: list[TestClient] = []

    def begin() -> Server:
        for client in clients:
            client.__exit__(None, None, None)
        clients.clear()
        settings = Settings({}, home=tmp_path / "data", work_inside=True)
        client = TestClient(create_app(settings))
        client.__enter__()
        clients.append(client)
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        return Server(client)

    yield begin
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def server(start: Callable[[], Server]) -> Server:
    server = start()
    ok(server.client.post("/v1/indexes", json={"name": "pets"}), 201)
    server.add(PETS)
    return server


def test_bm25_counts_anew_and_the_old_version_is_kept(server: Server) -> None:
    server.add({"z": "zebras graze"})
    before = server.path()
    with Index.open(before, read_only=True) as index:
        assert "zebra" not in BM25Encoder.load(index.encoder_folder).statistics.terms
    task = server.rebuild()
    TaskInfo.model_validate(task, extra="forbid")
    assert (task["state"], task["index"]) == ("succeeded", "pets")
    assert server.path() != before
    with Index.open(server.path(), read_only=True) as index:
        assert "zebra" in BM25Encoder.load(index.encoder_folder).statistics.terms
        assert index.check().problems == ()
        assert index.remembered("rebuild") is None
    assert server.texts() == {**PETS, "z": "zebras graze"}
    assert server.first("zebras") == "z"
    (kept,) = server.versions()
    assert (kept["n_docs"], kept["encoder"], kept["why"]["task"]) == (4, "bm25", task["id"])
    server.add({"y": "yaks"})
    assert server.first("yaks") == "y"
    server.rebuild()
    assert len(server.versions()) == 1  # one is kept, not every one
    assert not before.exists()
    assert len(list((server.home.path / "indexes").glob("pets-0000*"))) == 2


def test_a_rollback_brings_what_was_written_since_and_can_be_undone(server: Server) -> None:
    first = server.path()
    server.rebuild()
    second = server.path()
    server.add({"a": "cats purr", "d": "donkeys bray"})
    ok(server.client.post("/v1/indexes/pets/documents/delete", json={"ids": ["b"]}))
    expected = {"a": "cats purr", "c": PETS["c"], "d": "donkeys bray"}
    task = ok(server.client.post("/v1/indexes/pets/rollback"))
    assert task["details"]["caught_up"] == 3
    assert (server.path(), server.texts()) == (first, expected)
    assert server.first("donkeys") == "d"
    server.add({"e": "eels"})
    ok(server.client.post("/v1/indexes/pets/rollback"))
    assert (server.path(), server.texts()) == (second, {**expected, "e": "eels"})
    ok(server.client.delete("/v1/indexes/pets/versions"), 204)
    assert not first.exists()
    assert server.versions() == []
    answer = ok(server.client.post("/v1/indexes/pets/rollback"), 409)
    assert answer["code"] == "nothing_to_roll_back"


def test_no_version_is_given_twice_whichever_way_an_index_goes(server: Server) -> None:
    """A rebuild behind a rollback counted on from the earlier index, so that an old If-Match
    replaced what came after it.
    """
    url = "/v1/indexes/pets/documents/a"
    tags = []
    for step in ("", "rebuild", "", "rollback", "", "rebuild", "rollback", ""):
        if step == "rebuild":
            server.rebuild()
        elif step:
            ok(server.client.post("/v1/indexes/pets/rollback"))
        for text in ("cats", "dogs"):
            answer = server.client.put(url, json={"fields": {"text": text}})
            tags.append(int(answer.headers["ETag"].strip('"')))
    assert tags == sorted(set(tags))


def test_a_gate_that_fails_keeps_the_version_and_tells(server: Server) -> None:
    lines = [
        json.dumps({"id": i, "fields": {"text": text, "body": "nothing"}})
        for i, text in PETS.items()
    ]
    url, kind = "/v1/indexes/pets/documents", {"Content-Type": "application/x-ndjson"}
    ok(server.client.post(url, content="\n".join(lines), headers=kind))
    blind = BM25Encoder.fit(["cats"], text_fields=("body",), name="blind")
    blind.save(server.home.path / "encoders" / "blind")
    before = server.path()
    problem = server.rebuild(409, encoder="blind", gate=GATE)
    assert problem["code"] == "gate_failed"
    assert (problem["gate"]["old"], problem["gate"]["new"]) == (1.0, 0.0)
    task = ok(server.client.get(f"/v1/tasks/{problem['task']}"))
    assert task["state"] == "failed"
    assert task["details"]["gate"]["delta"] == -1.0
    assert (server.path(), server.first("cats"), server.versions()) == (before, "a", [])
    assert list((server.home.path / "tasks").glob("*/index")) == []
    task = server.rebuild(gate=GATE)
    assert task["details"]["gate"]["passed"]


def test_writes_go_on_meanwhile_and_none_is_lost(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents come at every step, the last while the index is being swapped."""
    monkeypatch.setattr(service.worker.rebuild, "FEW", 0)
    real = {name: getattr(service.worker.rebuild, name) for name in ("copy", "catch_up")}
    number = 0

    def writing(name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal number
            number += 1
            if number < 4:
                server.add({f"new{number}": "written meanwhile", "a": f"cats {number}"})
            done = real[name](*arguments, **options)
            if number >= 4:  # the index's own queue is held now: it is acknowledged, and waits
                number += 1
                late = server.add({f"late{number}": "written at last"}, wait=0.0)
                assert late["state"] == "queued"
            return done

        return step

    for name in real:
        monkeypatch.setattr(service.worker.rebuild, name, writing(name))
    server.rebuild()
    assert number >= 5
    deadline = time.monotonic() + 20
    while "late5" not in server.texts() and time.monotonic() < deadline:
        time.sleep(0.01)
    held = server.texts()
    assert held["a"] == "cats 3"
    assert {"new1", "new2", "new3", "late5"} <= held.keys()


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("rebuild", "copy"),
        ("rebuild", "submit"),
        ("finish", "catch_up"),
        ("finish", "sync_tree"),
        ("finish", "sync_directory"),
        ("finish", "_tidied"),
        ("finish", "finished"),
    ],
)
def test_a_worker_that_dies_at_any_step_goes_on_from_there(
    server: Server,
    start: Callable[[], Server],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    name: str,
) -> None:
    """The worker ends without a word behind the step, as by a kill; the next one takes over."""
    real = getattr(service.worker.rebuild, name)
    died = []

    def dying(*arguments: Any, **options: Any) -> Any:
        if where == "finish" and name == "catch_up" and not died:
            died.append("the first call belongs to `run`")
            return real(*arguments, **options)
        if len(died) < 1 + (name == "catch_up"):
            died.append(name)
            if name != "submit":
                real(*arguments, **options)
            raise InterruptedError  # what a task is ended with when the worker stops
        return real(*arguments, **options)

    monkeypatch.setattr(service.worker.rebuild, name, dying)
    monkeypatch.setattr(service.worker.worker, "POLL_S", 0.01)
    before = server.path()
    task = ok(server.client.post("/v1/indexes/pets/rebuild", json={}), 202)
    deadline = time.monotonic() + 20
    while not died and time.monotonic() < deadline:
        time.sleep(0.005)
    server = start()
    done = server.over(task["id"])
    assert done["state"] == "succeeded", done
    assert died
    assert server.path() != before
    assert server.texts() == PETS
    assert len(versions.versions_of(server.home, "pets")) == 1
    assert list((server.home.path / "tasks").glob("*/index")) == []
    with Index.open(server.path(), read_only=True) as index:
        assert index.check().problems == ()
        assert index.remembered("rebuild") is None


def test_a_canceled_rebuild_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before = server.path()
    asked: list[int] = []

    def canceling(source: Any, target: Any, weights: Any, *, progress: Any) -> None:
        queue.cancel(server.home, asked[0])
        for _ in range(200):
            progress(0, 1)
            time.sleep(0.01)

    monkeypatch.setattr(service.worker.rebuild, "copy", canceling)
    claim = queue.claim

    def noting(home: Any, busy: Any) -> Any:
        task = claim(home, busy)
        if task is not None and task.kind == "rebuild":
            asked.append(task.id)
        return task

    monkeypatch.setattr(queue, "claim", noting)
    task = server.rebuild()
    assert task["state"] == "canceled"
    assert server.path() == before
    assert list((server.home.path / "tasks").glob("*/index")) == []
    assert server.versions() == []


def test_a_cursor_of_before_a_rebuild_has_expired(server: Server) -> None:
    """It was told to belong to another request, and nobody begins anew for that."""
    body = {"query": {"text": "all"}, "limit": 1, "cursor": "start"}
    url = "/v1/indexes/pets/search"
    cursor = ok(server.client.post(url, json=body))["next_cursor"]
    assert ok(server.client.post(url, json={**body, "cursor": cursor}))["hits"]
    other = {**body, "query": {"text": "cats"}, "cursor": cursor}
    assert ok(server.client.post(url, json=other), 422)["code"] == "invalid_cursor"
    server.rebuild()
    expired = ok(server.client.post(url, json={**body, "cursor": cursor}), 410)
    assert expired["code"] == "cursor_expired"
    assert "to 'pets' before it was built anew" in expired["detail"]


def test_other_passages_are_split_and_encoded_anew(server: Server) -> None:
    """An index of a network kept its passages, and said afterwards that it had others."""
    made = {"name": "long", "encoder": "lsr-mini"}
    ok(server.client.post("/v1/indexes", json=made), 201)
    text = " ".join(["cats sleep"] * 20 + ["a zebra"] + ["dogs bark"] * 20)
    document = server.client.put("/v1/indexes/long/documents/d", json={"fields": {"text": text}})
    ok(document)
    body = {"passages": {"length": 8, "overlap": 0}}
    ok(server.client.post("/v1/indexes/long/rebuild?wait=60", json=body))
    info = ok(server.client.get("/v1/indexes/long"))
    assert (info["n_docs"], info["n_passages"]) == (1, 11)
    answer = ok(server.client.post("/v1/indexes/long/search", json={"query": {"text": "zebra"}}))
    span = answer["hits"][0]["passage"]
    assert "zebra" in text[span["start"] : span["end"]]
    bare = {"name": "bare", "encoder": None, "n_terms": 4, "max_weight": 1.0}
    ok(server.client.post("/v1/indexes", json=bare), 201)
    vector = {"fields": {}, "vector": {"indices": [1], "values": [1.0]}}
    ok(server.client.put("/v1/indexes/bare/documents/d", json=vector))
    refused = server.client.post("/v1/indexes/bare/rebuild?wait=60", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "rebuild_failed")
    assert "from vectors" in refused.json()["detail"]


def test_what_cannot_be_rebuilt_is_told_at_once(server: Server) -> None:
    ok(server.client.post("/v1/indexes", json={"name": "empty"}), 201)
    answer = ok(server.client.post("/v1/indexes/empty/rebuild", json={}), 409)
    assert answer["code"] == "rebuild_failed"
    assert server.rebuild(404, encoder="none")["code"] == "unknown_encoder"
    assert server.rebuild(404, gate={"judged": "none"})["code"] == "unknown_judged"
    told = server.rebuild(404, gate={"min_delta": 0.0})
    assert (told["code"], "judged/pets.json" in told["detail"]) == ("unknown_judged", True)
    assert server.rebuild(422, gate={**GATE, "judged": "pets"})["code"] == "invalid_request"
    # At once: a rebuild takes hours, and its gate measures at the end of it.
    for measure, why in (("nDGC@10", "no measure"), ("R@2000", "more than 1,000 documents")):
        problem = server.rebuild(422, gate={**GATE, "measure": measure})
        assert problem["code"] == "invalid_request"
        assert why in problem["detail"]
    for grade, measure in ((5, "ERR@20"), (2**31 - 1, "nDCG@10")):
        qrels = {name: dict.fromkeys(judged, grade) for name, judged in GATE["qrels"].items()}
        problem = server.rebuild(422, gate={**GATE, "qrels": qrels, "measure": measure})
        assert (problem["code"], "grade" in problem["detail"]) == ("invalid_request", True)
    assert server.rebuild(422, encoder="bm25", max_weight=2.0)["code"] == "invalid_request"
    assert server.rebuild(422, max_weight=-1.0)["code"] == "invalid_request"
    assert ok(server.client.post("/v1/indexes/none/rebuild", json={}), 404)["code"]


def test_documents_without_text_refuse_an_encoder_and_are_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = server.path()

    def add_bare(doc_id: str, wait: float) -> None:
        line = json.dumps({"id": doc_id, "vector": {"indices": [0], "values": [1.0]}})
        kind = {"Content-Type": "application/x-ndjson"}
        url = f"/v1/indexes/pets/documents?wait={wait}"
        assert server.client.post(url, content=line, headers=kind).status_code in (200, 202)

    BM25Encoder.fit(["cats"], name="other").save(server.home.path / "encoders" / "other")
    add_bare("bare", 30)
    told = server.rebuild(409, encoder="other")
    assert told["code"] == "rebuild_failed"
    assert "1 document has weights but no text" in told["detail"]
    assert str(server.home.path) not in told["detail"]
    ok(server.client.delete("/v1/indexes/pets/documents/bare"), 204)
    real = service.worker.rebuild.submit

    def late(*arguments: Any) -> Any:
        add_bare("late", 30)
        return real(*arguments)

    with monkeypatch.context() as patched:  # behind the copy: the last step finds it
        patched.setattr(service.worker.rebuild, "submit", late)
        told = server.rebuild(409, encoder="other")
    assert "1 document has weights but no text" in told["detail"]
    assert (server.path(), server.versions()) == (before, [])
    ok(server.client.delete("/v1/indexes/pets/documents/late"), 204)
    assert server.rebuild(encoder="other")["state"] == "succeeded"


def test_a_gate_that_names_no_queries_asks_those_of_the_index(server: Server) -> None:
    (server.home.path / "judged").mkdir(exist_ok=True)
    (server.home.path / "judged" / "pets.json").write_text(json.dumps(GATE))
    told = server.rebuild(gate={"min_delta": 0.0})["details"]["gate"]
    assert (told["judged"], told["n_queries"], told["passed"]) == ("pets", 2, True)


def test_a_deleted_index_takes_its_versions_along(server: Server) -> None:
    first = server.path()
    server.rebuild()
    second = server.path()
    ok(server.client.delete("/v1/indexes/pets"), 204)
    assert not first.exists()
    assert not second.exists()
    assert versions.versions_of(server.home, "pets") == []


def test_a_requantised_version_keeps_its_documents(server: Server) -> None:
    server.rebuild(max_weight=0.5, order="none")
    with Index.open(server.path(), read_only=True) as index:
        assert (index.max_weight, index.settings.order) == (0.5, "none")
    assert server.texts() == PETS


def test_a_bm25_that_counted_few_of_many_documents_is_told_until_it_is_rebuilt(
    server: Server,
) -> None:
    """A live collection counts words in its first documents and never again, and nothing said so:
    nDCG@10 .2985 instead of .3416 on Cranfield, whose first document came alone.
    """

    def told() -> tuple[list[str], list[str], str]:
        info = ok(server.client.get("/v1/indexes/pets"))
        IndexInfo.model_validate(info, extra="forbid")
        body = {"query": {"text": "cats"}}
        found = ok(server.client.post("/v1/indexes/pets/search", json=body))
        SearchResponse.model_validate(found, extra="forbid")
        (doctor,) = (one for one in examine(server.home) if one.check == "pets/bm25")
        if doctor.level == "warn":
            assert doctor.next == ("lsr", "rebuild", "pets", "--data", str(server.home.path))
            assert info["warnings"][0]["message"].startswith(f"{doctor.measured}; `lsr rebuild`")
        codes = [[one["code"] for one in answer["warnings"]] for answer in (info, found)]
        return codes[0], codes[1], doctor.level

    assert told() == ([], [], "ok")
    server.add({f"d{n}": f"cats and dogs number {n}" for n in range(100)})
    assert told() == ([], [], "ok"), "103 documents, 3 of which were counted"
    server.add({"e": "cats sleep"})
    assert told() == (["bm25_outgrown"], ["bm25_outgrown"], "warn")
    assert server.rebuild()["state"] == "succeeded"
    assert told() == ([], [], "ok")


def test_a_rebuild_of_an_index_that_is_deleted_meanwhile_leaves_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended as an error of ours, and its folder stayed."""
    real = registry.move

    def deleted(*given: Any) -> str:
        given[0].execute("DELETE FROM indexes WHERE name='pets'")
        return real(*given)

    before = set((server.home.path / "indexes").iterdir())
    monkeypatch.setattr(registry, "move", deleted)
    answer = ok(server.client.post("/v1/indexes/pets/rebuild?wait=60", json={}), 404)
    assert answer["code"] == "unknown_index"
    assert set((server.home.path / "indexes").iterdir()) <= before, "its folder is gone"


def test_an_index_that_cannot_be_read_does_not_hide_the_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Any) -> int:
        raise IndexNotFound("deleted in this moment")

    ok(server.client.get("/v1/indexes/pets"))
    monkeypatch.setattr(Index, "generation", property(gone))
    (listed,) = ok(server.client.get("/v1/indexes"))["indexes"]
    assert (listed["name"], listed["state"]) == ("pets", "ready")
    assert "n_docs" not in listed
