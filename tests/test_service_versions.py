"""Aliases move in one step, past a gate that measures, and back again."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from index import Index, build_index
from index.manifest import Manifest
from index.restoring import Verdict
from lsr.encoders import BM25Encoder
from lsr.errors import IndexCorrupt
from lsr.types import Document
from service import Settings, create_app
from service.home import Home, aliases, registry
from service.home.aliases import Action
from service.versions import gate as gates
from service.versions import snapshots
from service.wire.aliases import AliasChange, AliasChanges, AliasHistory, AliasList
from service.wire.problems import Problem
from service.wire.server import Ready
from service.wire.snapshots import SnapshotList
from service.wire.tasks import TaskInfo
from service.worker import snapshots as running

GOOD = {"a": "cats sleep all day", "b": "dogs bark all night", "c": "birds sing at dawn"}
BAD = {"a": "dogs bark", "b": "cats sleep", "c": "birds sing at dawn"}
QUERIES = [
    {"id": "q1", "text": "cats"},
    {"id": "q2", "text": "dogs"},
    {"id": "q3", "text": "birds"},
]
QRELS = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}}


def index_of(texts: Mapping[str, str], path: Path) -> Path:
    documents = [Document(doc_id, {"text": text}) for doc_id, text in texts.items()]
    encoder = BM25Encoder.fit(one.text() for one in documents)
    build_index(path, documents, encoder, source="test", progress=False)
    return path


def enter(home: Home, name: str, texts: Mapping[str, str]) -> None:
    folder = registry.new_folder(home, name)
    index_of(texts, folder)
    with home.transaction() as connection:
        registry.enter(connection, name, folder, {})


@dataclass
class World:
    """A client of a server whose data directory `home` has the indexes good, bad and same."""

    client: TestClient
    home: Home

    def change(self, *actions: Any, status: int = 200, **more: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/aliases", json={"actions": list(actions), **more})
        assert answer.status_code == status, answer.text
        model = AliasChanges if status == 200 else Problem
        model.model_validate(answer.json())
        return dict(answer.json())

    def meant(self) -> dict[str, str]:
        answer = self.client.get("/v1/aliases").json()
        AliasList.model_validate(answer, extra="forbid")
        return {one["alias"]: one["index"] for one in answer["aliases"]}

    def first(self, name: str, text: str) -> dict[str, Any]:
        answer = self.client.post(f"/v1/indexes/{name}/search", json={"query": {"text": text}})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def history(self, alias: str) -> list[dict[str, Any]]:
        answer = self.client.get(f"/v1/aliases/{alias}/history").json()
        AliasHistory.model_validate(answer, extra="forbid")
        return list(answer["changes"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Home.open(tmp_path / "data") as home:
        for name, texts in (("good", GOOD), ("bad", BAD), ("same", GOOD)):
            enter(home, name, texts)
        mounts = {"mounted": index_of(GOOD, tmp_path / "mounted.index")}
        settings = Settings(mounts, home=home.path, work_inside=True)
        with TestClient(create_app(settings)) as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.01)
            yield World(client, home)


def test_an_alias_searches_what_it_means_and_says_both(world: World) -> None:
    world.change({"add": {"alias": "pets", "index": "good"}})
    answer = world.first("pets", "cats")
    assert (answer["index"], answer["alias"], answer["hits"][0]["id"]) == ("good", "pets", "a")
    assert world.first("good", "cats")["alias"] is None
    world.change({"swap": {"alias": "pets", "index": "bad"}})
    answer = world.first("pets", "cats")
    assert (answer["index"], answer["alias"], answer["hits"][0]["id"]) == ("bad", "pets", "b")
    world.change({"remove": {"alias": "pets"}})
    assert world.meant() == {}
    assert [one["index"] for one in world.history("pets")] == [None, "bad", "good"]
    assert [one["previous"] for one in world.history("pets")] == ["bad", "good", None]


def test_actions_are_applied_together_or_not_at_all(world: World) -> None:
    world.change(
        {"add": {"alias": "one", "index": "good"}}, {"add": {"alias": "two", "index": "bad"}}
    )
    problem = world.change(
        {"swap": {"alias": "one", "index": "bad"}},
        {"remove": {"alias": "two"}},
        {"swap": {"alias": "two", "index": "nowhere"}},
        status=404,
    )
    assert problem["code"] == "unknown_index"
    assert problem["errors"][0]["pointer"] == "/actions/2/swap/index"
    assert world.meant() == {"one": "good", "two": "bad"}
    assert len(world.history("one")) == 1
    never = world.client.get("/v1/aliases/never/history")
    assert (never.status_code, never.json()["code"]) == (404, "unknown_alias")


@pytest.mark.parametrize(
    ("action", "status", "code"),
    [
        ({"swap": {"alias": "new", "index": "good"}}, 404, "unknown_alias"),
        ({"swap": {"alias": "new", "index": "good", "must_exist": False}}, 200, None),
        ({"remove": {"alias": "new"}}, 404, "unknown_alias"),
        ({"remove": {"alias": "new", "must_exist": False}}, 200, None),
        ({"add": {"alias": "pets", "index": "bad"}}, 409, "alias_exists"),
        ({"add": {"alias": "pets", "index": "good"}}, 200, None),
        ({"add": {"alias": "good", "index": "bad"}}, 409, "alias_exists"),
        ({"add": {"alias": "mounted", "index": "bad"}}, 409, "alias_exists"),
        ({"add": {"alias": "x", "index": "mounted"}}, 404, "unknown_index"),
        ({"add": {"alias": "x", "index": "pets"}}, 404, "unknown_index"),
        ({"add": {"alias": "../x", "index": "good"}}, 422, "invalid_request"),
        (
            {"add": {"alias": "x", "index": "good"}, "remove": {"alias": "x"}},
            422,
            "invalid_request",
        ),
        ({"add": {"alias": "x", "target": "good"}}, 422, "unknown_field"),
        ({}, 422, "invalid_request"),
    ],
)
def test_what_an_action_may_not_do(
    world: World, action: dict[str, Any], status: int, code: str | None
) -> None:
    world.change({"add": {"alias": "pets", "index": "good"}})
    answer = world.change(action, status=status)
    assert answer.get("code") == code
    assert world.meant()["pets"] == "good"


def reciprocal_ranks(texts: Mapping[str, str]) -> dict[str, float]:
    """By hand: BM25 puts the only document with the word first, so each is 1 or 0."""
    return {
        one["id"]: float(one["text"] in texts[next(iter(QRELS[one["id"]]))].split())
        for one in QUERIES
    }


def test_the_gate_refuses_a_drop_and_tells_the_numbers(world: World) -> None:
    world.change({"add": {"alias": "pets", "index": "good"}})
    gate = {"queries": QUERIES, "qrels": QRELS, "measure": "RR@10", "min_delta": -0.005}
    problem = world.change({"swap": {"alias": "pets", "index": "bad"}}, gate=gate, status=409)
    assert problem["code"] == "gate_failed"
    told = problem["gate"]
    before, after = reciprocal_ranks(GOOD), reciprocal_ranks(BAD)
    assert told["old"] == pytest.approx(sum(before.values()) / 3)
    assert told["new"] == pytest.approx(sum(after.values()) / 3)
    assert told["delta"] == pytest.approx(told["new"] - told["old"])
    assert (told["wins"], told["ties"], told["losses"]) == (0, 1, 2)
    assert told["p_value"] == 0.5  # of the 4 signs of two equal drops, 2 are as far from 0
    assert world.meant() == {"pets": "good"}
    assert len(world.history("pets")) == 1
    allowed = world.change(
        {"swap": {"alias": "pets", "index": "bad"}}, gate={**gate, "min_delta": -0.7}
    )
    assert allowed["gates"][0]["passed"]
    (newest, _) = world.history("pets")
    assert newest["why"]["gates"][0]["delta"] == pytest.approx(-2 / 3)
    better = world.change({"swap": {"alias": "pets", "index": "same"}}, gate=gate)
    assert better["gates"][0]["delta"] == pytest.approx(2 / 3)


def test_a_measure_may_be_spelled_as_on_the_command_line(world: World) -> None:
    gate = {"queries": QUERIES, "qrels": QRELS, "measure": "mrr@10"}
    told = world.change({"add": {"alias": "pets", "index": "same"}}, gate=gate)
    assert told["gates"][0]["measure"] == "RR@10"


def test_the_same_answers_pass_a_gate_of_zero(world: World) -> None:
    world.change({"add": {"alias": "pets", "index": "good"}})
    gate = {"queries": QUERIES, "qrels": QRELS, "min_delta": 0.0}
    (told,) = world.change({"swap": {"alias": "pets", "index": "same"}}, gate=gate)["gates"]
    assert (told["delta"], told["passed"], told["measure"]) == (0.0, True, "nDCG@10")


def test_judged_queries_of_the_data_directory(world: World) -> None:
    stored = {"queries": QUERIES, "qrels": QRELS}
    (world.home.path / "judged" / "pets.json").write_text(json.dumps(stored))
    (told,) = world.change({"add": {"alias": "pets", "index": "good"}}, gate={"judged": "pets"})[
        "gates"
    ]
    assert (told["judged"], told["n_queries"], told["old"], told["new"]) == ("pets", 3, None, 1.0)
    for name in ("pest", "../judged/pets", "/etc/passwd"):
        answer = world.change(
            {"swap": {"alias": "pets", "index": "same"}}, gate={"judged": name}, status=404
        )
        assert answer["code"] == "unknown_judged"
    (world.home.path / "judged" / "broken.json").write_text('{"queries": 3}')
    answer = world.change(
        {"swap": {"alias": "pets", "index": "same"}}, gate={"judged": "broken"}, status=422
    )
    assert str(world.home.path) not in json.dumps(answer)


@pytest.mark.parametrize(
    "gate",
    [
        {"queries": QUERIES},
        {"qrels": QRELS},
        {"judged": "x", "queries": QUERIES, "qrels": QRELS},
        {"queries": QUERIES, "qrels": {"q9": {"a": 1}}},
        {"queries": QUERIES, "qrels": {"q1": {}}},
        {"queries": QUERIES, "qrels": QRELS, "measure": "nDGC@10"},
        {"queries": QUERIES, "qrels": QRELS, "min_delta": 2.0},
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(world: World, gate: dict[str, Any]) -> None:
    world.change({"add": {"alias": "pets", "index": "good"}})
    world.change({"swap": {"alias": "pets", "index": "same"}}, gate=gate, status=422)
    assert world.meant() == {"pets": "good"}


def test_rollback_goes_to_the_previous_target_and_back(world: World) -> None:
    world.change({"add": {"alias": "pets", "index": "good"}})
    answer = world.client.post("/v1/aliases/pets/rollback")
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_roll_back")
    world.change({"swap": {"alias": "pets", "index": "bad"}})
    started = time.process_time()
    answer = world.client.post("/v1/aliases/pets/rollback")
    assert time.process_time() - started < 1.0  # milliseconds of work, however busy the machine
    AliasChange.model_validate(answer.json(), extra="forbid")
    assert (answer.json()["index"], answer.json()["why"]["action"]) == ("good", "rollback")
    assert world.first("pets", "cats")["hits"][0]["id"] == "a"
    assert world.client.post("/v1/aliases/pets/rollback").json()["index"] == "bad"
    assert world.client.post("/v1/aliases/none/rollback").status_code == 404
    assert world.client.delete("/v1/indexes/good").status_code == 204
    answer = world.client.post("/v1/aliases/pets/rollback")
    assert answer.json()["code"] == "nothing_to_roll_back"
    assert world.client.delete("/v1/indexes/bad").json()["code"] == "index_in_use"


def test_searches_during_swaps_see_one_index_or_the_other(world: World) -> None:
    world.change({"add": {"alias": "pets", "index": "good"}})
    stop = threading.Event()

    def swapping() -> None:
        target = 0
        while not stop.is_set():
            target = 1 - target
            aliases.apply(world.home, [Action("swap", "pets", ("good", "bad")[target])])

    thread = threading.Thread(target=swapping)
    thread.start()
    seen: set[str] = set()
    give_up = time.monotonic() + 30
    n = 0
    try:
        while (n < 60 or len(seen) < 2) and time.monotonic() < give_up:
            n += 1
            answer = world.first("pets", "cats")
            seen.add(answer["index"])
            assert answer["hits"][0]["id"] == {"good": "a", "bad": "b"}[answer["index"]]
    finally:
        stop.set()
        thread.join()
    assert seen == {"good", "bad"}


def test_an_alias_that_moved_while_it_was_measured_is_left_alone(world: World) -> None:
    aliases.apply(world.home, [Action("add", "pets", "good")])
    aliases.apply(world.home, [Action("swap", "pets", "bad")])
    with pytest.raises(Exception, match="means 'bad' now"):
        aliases.apply(world.home, [Action("swap", "pets", "same")], expected={"pets": "good"})
    assert world.meant() == {"pets": "bad"}


def test_an_index_of_vectors_has_no_gate(world: World) -> None:
    folder = registry.new_folder(world.home, "raw")
    Index.create(folder, n_terms=4, max_weight=4.0).close()
    with world.home.transaction() as connection:
        registry.enter(connection, "raw", folder, {})
    gate = {"queries": QUERIES, "qrels": QRELS}
    answer = world.change({"add": {"alias": "r", "index": "raw"}}, gate=gate, status=422)
    assert answer["code"] == "no_encoder"


def test_one_judged_query_has_no_p_value() -> None:
    judged = gates.Judged.checked({"q": "cats"}, {"q": {"a": 1}}, pointer="")
    told = gates.decide(gates.Gate(judged, min_delta=0.0), {"q": 0.5}, {"q": 0.4})
    assert (told["p_value"], told["passed"], told["delta"]) == (None, False, pytest.approx(-0.1))
    assert "0.5000 to 0.4000 (-0.1000, 1 query)" in gates.refused("x", told).detail


# ---- snapshots over HTTP -------------------------------------------------------------------------


def ok(answer: Any, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return dict(answer.json()) if answer.content else {}


@pytest.mark.parametrize("archive", [False, True])
def test_a_snapshot_is_taken_verified_restored_and_deleted(world: World, archive: bool) -> None:
    client = world.client
    task = ok(client.post("/v1/snapshots", json={"index": "good", "archive": archive}))
    TaskInfo.model_validate(task, extra="forbid")
    name = task["details"]["snapshot"]
    assert name.startswith(f"good-{task['details']['generation']}")
    listed = ok(client.get("/v1/snapshots"))
    SnapshotList.model_validate(listed, extra="forbid")
    assert [one["name"] for one in listed["snapshots"]] == [name]
    assert ok(client.get(f"/v1/snapshots/{name}")) == listed["snapshots"][0]
    verified = ok(client.post(f"/v1/snapshots/{name}/verify"))["details"]
    assert verified["bytes_verified"] == verified["bytes"] > 0
    again = ok(client.post("/v1/snapshots", json={"index": "good", "archive": archive}))
    assert again["details"]["snapshot"] == name  # of the same commit: it is there
    restored = ok(client.post(f"/v1/snapshots/{name}/restore", json={"index": "again"}))
    assert restored["details"]["n_docs"] == 3
    assert world.first("again", "cats")["hits"][0]["id"] == "a"
    taken = ok(client.post(f"/v1/snapshots/{name}/restore", json={"index": "again"}), 409)
    assert taken["code"] == "index_exists"
    ok(client.delete(f"/v1/snapshots/{name}"), 204)
    assert ok(client.get("/v1/snapshots"))["snapshots"] == []
    assert list((world.home.path / "snapshots").iterdir()) == []


@pytest.mark.parametrize("archive", [False, True])
def test_a_snapshot_of_an_index_made_anew_is_not_that_of_the_old_one(
    world: World, archive: bool
) -> None:
    """Commits begin at 1 again, so the old snapshot had the name, and was told to be the new."""

    def taken() -> dict[str, Any]:
        body = {"index": "pets", "archive": archive}
        return dict(ok(world.client.post("/v1/snapshots", json=body))["details"])

    def add(*names: str) -> None:
        ok(world.client.post("/v1/indexes", json={"name": "pets"}), 201)
        lines = [json.dumps({"id": name, "fields": {"text": f"cats {name}"}}) for name in names]
        kind = {"Content-Type": "application/x-ndjson"}
        ok(world.client.post("/v1/indexes/pets/documents", content="\n".join(lines), headers=kind))

    add("old")
    first = taken()
    ok(world.client.delete("/v1/indexes/pets"), 204)
    add("new", "newer")
    second = taken()
    stem = first["snapshot"].removesuffix(".tar.zst")
    assert second["snapshot"].removesuffix(".tar.zst") == f"{stem}-2"
    assert (first["n_docs"], second["n_docs"]) == (1, 2)
    assert taken()["snapshot"] == second["snapshot"]  # of the same commit: it is there
    for at, (told, ids) in enumerate(((first, ["old"]), (second, ["new", "newer"]))):
        url = f"/v1/snapshots/{told['snapshot']}/restore"
        ok(world.client.post(url, json={"index": f"back{at}"}))
        hits = world.first(f"back{at}", "cats")["hits"]
        assert sorted(hit["id"] for hit in hits) == ids


def test_an_archive_leaves_the_snapshot_beside_it(world: World) -> None:
    plain = ok(world.client.post("/v1/snapshots", json={"index": "good"}))["details"]["snapshot"]
    body = {"index": "good", "archive": True}
    packed = ok(world.client.post("/v1/snapshots", json=body))["details"]["snapshot"]
    names = [one["name"] for one in ok(world.client.get("/v1/snapshots"))["snapshots"]]
    assert sorted(names) == sorted([plain, packed])


@pytest.mark.parametrize("path", ["verify", "restore"])
def test_a_snapshot_that_is_deleted_meanwhile_is_not_called_damaged(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    name = ok(world.client.post("/v1/snapshots", json={"index": "good"}))["details"]["snapshot"]
    place = world.home.path / "snapshots" / name
    manifest = Manifest.read(place)

    def deleted(*_: object, **__: object) -> Verdict:
        snapshots.discard(place)
        if path == "restore":
            raise IndexCorrupt("a file is missing")
        return Verdict(manifest, 0, ("a file is missing",))

    monkeypatch.setattr(running, "verify_backup", deleted)
    monkeypatch.setattr(running.snapshots, "restore_as", deleted)
    problem = ok(world.client.post(f"/v1/snapshots/{name}/{path}", json={"index": "again"}), 404)
    assert problem["code"] == "unknown_snapshot"


def test_a_damaged_snapshot_is_named_and_restores_nothing(world: World) -> None:
    name = ok(world.client.post("/v1/snapshots", json={"index": "good"}))["details"]["snapshot"]
    catalog = world.home.path / "snapshots" / name / "catalog.sqlite"
    raw = bytearray(catalog.read_bytes())
    raw[len(raw) // 2] ^= 8
    catalog.write_bytes(raw)
    for path, body in (("verify", None), ("restore", {"index": "again"})):
        problem = ok(world.client.post(f"/v1/snapshots/{name}/{path}", json=body), 409)
        assert problem["code"] == "snapshot_damaged"
        assert "catalog.sqlite" in problem["detail"]
        assert str(world.home.path) not in json.dumps(problem)
    assert ok(world.client.get("/v1/indexes/again"), 404)["code"] == "unknown_index"
    folders = [path.name for path in (world.home.path / "indexes").iterdir()]
    assert not [one for one in folders if one.startswith((".again", "again"))]
    (catalog.parent / "manifest.json").write_text("{}")
    (shown,) = ok(world.client.get("/v1/snapshots"))["snapshots"]
    assert (shown["readable"], shown["of"]) == (False, None)
    ok(world.client.delete(f"/v1/snapshots/{name}"), 204)


@pytest.mark.parametrize(
    "name", ["..", ".", "%2e%2e", "good-1/..", "..%2findexes", "none-1", ".good.making", "%00"]
)
def test_no_name_of_a_snapshot_leads_out_of_its_folder(world: World, name: str) -> None:
    ok(world.client.post("/v1/snapshots", json={"index": "good"}))
    (world.home.path / "snapshots" / "link-1").symlink_to(world.home.path / "indexes")
    before = sorted(str(path) for path in world.home.path.rglob("*.seg"))
    for method, path in (("get", ""), ("delete", ""), ("post", "/verify"), ("post", "/restore")):
        options = {"json": {"index": "x"}} if path == "/restore" else {}
        answer = getattr(world.client, method)(f"/v1/snapshots/{name}{path}", **options)
        # `.` and `..` are taken out of an address before it is sent: that is another address.
        assert answer.status_code in (404, 405) or name in ("..", ".", "%2e%2e", "good-1/..")
    assert sorted(str(path) for path in world.home.path.rglob("*.seg")) == before
    assert world.client.get("/v1/snapshots/link-1").status_code == 404


def test_a_restored_index_remembers_no_tasks_of_another_life(world: World) -> None:
    """An ingestion remembers its task's number and chunk; in another data directory another task
    has that number, and its first chunks would be taken for done.
    """
    entry = registry.Registry.read(world.home).resolve("good")
    with Index.open(entry.path) as opened, opened.writer() as writer:
        writer.remember("ingest", {"task": 1, "chunk": 9})
    name = ok(world.client.post("/v1/snapshots", json={"index": "good"}))["details"]["snapshot"]
    ok(world.client.post(f"/v1/snapshots/{name}/restore", json={"index": "again"}))
    with Index.open(registry.Registry.read(world.home).resolve("again").path) as opened:
        assert opened.remembered("ingest") is None


def test_a_snapshot_keeps_the_settings_of_its_index(world: World) -> None:
    with world.home.transaction() as connection:
        registry.put_settings(connection, "good", {"encoder": "bm25", "passages": [8, 2]})
    name = ok(world.client.post("/v1/snapshots", json={"index": "good"}))["details"]["snapshot"]
    ok(world.client.post(f"/v1/snapshots/{name}/restore", json={"index": "again"}))
    assert ok(world.client.get("/v1/indexes/again"))["passages"] == {"length": 8, "overlap": 2}


def test_an_index_that_fell_back_serves_and_says_so(world: World) -> None:
    """A merged segment is damaged while nobody looks; whoever opens it next goes back."""
    path = registry.Registry.read(world.home).resolve("good").path
    with Index.open(path) as opened:
        opened.add([Document("d", {"text": "donkeys"})], opened.vectors_of("a"))
        opened.merge(settle=False)
        (file,) = opened.catalog.rows("SELECT file FROM segments WHERE retired IS NULL")[0]
    damaged = path / "segments" / str(file)
    damaged.write_bytes(damaged.read_bytes()[:-64])
    with TestClient(create_app(Settings({}, home=world.home.path))) as client:
        deadline = time.monotonic() + 20
        while client.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        answer = ok(client.get("/readyz"))
        Ready.model_validate(answer, extra="forbid")
        (check,) = [one for one in answer["checks"] if one["index"] == "good"]
        assert "its sources serve again" in check["warnings"][0]
        found = ok(client.post("/v1/indexes/good/search", json={"query": {"text": "cats"}}))
        assert sorted(hit["id"] for hit in found["hits"]) == ["a", "d"]
