"""Judged queries are asked as often as wanted, and their mean is what the measure says it is."""

import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lsr.errors import IndexCorrupt
from service import Settings, create_app
from service.home.registry import Registry
from service.wire.health import HealthHistory
from service.worker.canary import Canary
from service.worker.job import Shelf

PETS = [("a", "cats sleep all day"), ("b", "dogs bark all night"), ("c", "cats and dogs")]
JUDGED = {
    "queries": [{"id": "q1", "text": "cats"}, {"id": "q2", "text": "bark"}],
    "qrels": {"q1": {"a": 2, "c": 1}, "q2": {"a": 1}},
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings({}, home=tmp_path / "data", work_inside=True, canary_minutes=0)
    with TestClient(create_app(settings)) as client:
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        lines = "".join(json.dumps({"id": i, "fields": {"text": t}}) + "\n" for i, t in PETS)
        added = client.post(
            "/v1/indexes/pets/documents",
            content=lines.encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert added.status_code == 200
        yield client


def points(client: TestClient) -> list[dict[str, Any]]:
    answer = client.get("/v1/health-history").json()
    HealthHistory.model_validate(answer)
    return list(answer["effectiveness"])


def gain(ranking: list[str], grades: dict[str, int]) -> float:
    """nDCG@10 in five lines."""
    dcg = sum(grades.get(one, 0) / math.log2(i + 2) for i, one in enumerate(ranking[:10]))
    ideal = sorted(grades.values(), reverse=True)[:10]
    return dcg / sum(grade / math.log2(i + 2) for i, grade in enumerate(ideal))


def test_judged_queries_go_on_after_a_page_that_could_not_be_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = client.app_state["engine"].home  # type: ignore[attr-defined]
    shelf, stopping, calls = Shelf(home), threading.Event(), []

    def registry() -> Registry:
        calls.append(1)
        if len(calls) < 2:
            raise IndexCorrupt("service.sqlite: a page does not match its checksum")
        stopping.set()
        return Registry.read(home)

    monkeypatch.setattr(shelf, "registry", registry)
    Canary(home, shelf, 0.01).run(stopping)
    assert len(calls) == 2


def test_an_index_is_measured_when_it_is_due(client: TestClient) -> None:
    home = client.app_state["engine"].home  # type: ignore[attr-defined]
    now = [time.time()]
    canary = Canary(home, Shelf(home), 60.0, clock=lambda: now[0])
    canary.look()
    assert points(client) == [], "no judged queries, no points"
    (home.path / "judged" / "pets.json").write_text(json.dumps(JUDGED))
    (home.path / "judged" / "nothing.json").write_text(json.dumps(JUDGED))
    canary.look()
    canary.look()
    (point,) = points(client)
    wanted = 0.0
    for query in JUDGED["queries"]:
        body = {"query": {"text": query["text"]}}  # type: ignore[index]
        hits = client.post("/v1/indexes/pets/search", json=body).json()["hits"]
        wanted += gain([h["id"] for h in hits], JUDGED["qrels"][query["id"]]) / 2  # type: ignore[index,call-overload]
    assert point["value"] == pytest.approx(wanted)
    assert 0 < point["value"] < 1
    assert (point["index"], point["measure"], point["n_queries"]) == ("pets", "nDCG@10", 2)
    now[0] += 61
    canary.look()
    assert len(points(client)) == 2
    assert 'lsr_effectiveness{index="pets"}' in client.get("/metrics").text


def test_damaged_judgements_are_logged_and_stop_nothing(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    home = client.app_state["engine"].home  # type: ignore[attr-defined]
    (home.path / "judged" / "pets.json").write_text("{")
    Canary(home, Shelf(home), 60.0).look()
    assert "judged queries 'pets' were not measured" in caplog.text
    assert points(client) == []


def test_the_worker_asks_by_itself(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = Settings({}, home=data, work_inside=True, canary_minutes=0.001)
    with TestClient(create_app(settings)) as client:
        assert client.post("/v1/indexes", json={"name": "pets"}).status_code == 201
        line = json.dumps({"id": "a", "fields": {"text": "cats"}}).encode()
        client.post(
            "/v1/indexes/pets/documents",
            content=line,
            headers={"Content-Type": "application/x-ndjson"},
        )
        (data / "judged" / "pets.json").write_text(json.dumps(JUDGED))
        deadline = time.monotonic() + 30
        while len(points(client)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_an_alias_has_a_line_of_its_own_that_goes_on_over_a_swap(client: TestClient) -> None:
    """It stopped under the old index's name, and another began, so that no drop was ever seen."""
    home = client.app_state["engine"].home  # type: ignore[attr-defined]
    assert client.post("/v1/indexes", json={"name": "other"}).status_code == 201
    now = [time.time()]
    canary = Canary(home, Shelf(home), 60.0, clock=lambda: now[0])
    for name in ("pets", "current"):
        (home.path / "judged" / f"{name}.json").write_text(json.dumps(JUDGED))
    line = json.dumps({"id": "z", "fields": {"text": "zebras"}}).encode()
    kind = {"Content-Type": "application/x-ndjson"}
    client.post("/v1/indexes/other/documents", content=line, headers=kind)
    for how, target in (("add", "pets"), ("swap", "other")):
        action = {how: {"alias": "current", "index": target}}
        swapped = client.post("/v1/aliases", json={"actions": [action]})
        assert swapped.status_code == 200, swapped.text
        canary.look()
        now[0] += 61
    told = [(one["index"], one["value"] > 0) for one in points(client)]
    assert sorted(told) == [("current", False), ("current", True), ("pets", True), ("pets", True)]
    assert 'lsr_effectiveness{index="current"} 0' in client.get("/metrics").text
