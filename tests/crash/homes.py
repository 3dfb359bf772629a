"""The workload of a data directory: requests to the app of `lsr serve --data`, in one process.

Its worker is a thread, so every operation of the service, its worker and its indexes is one that a
kill, a power loss or a full disk can meet. `serving.py` does the same to real processes.
"""

import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from lsr.errors import LsrError
from service import Settings, create_app

from .model import Doc, Model
from .plans import MAX_WEIGHT, N_TERMS, Maker
from .verdict import Verdict

FOLDER = "data"
SETTLE_S = 30.0
ALIAS = "live"


@dataclass(frozen=True, slots=True)
class CreateIndex:
    """An index for vectors."""

    name: str


@dataclass(frozen=True, slots=True)
class Ingest:
    """Documents in one request, acknowledged as `ack` says."""

    name: str
    docs: tuple[Doc, ...]
    ack: str


@dataclass(frozen=True, slots=True)
class DeleteDocs:
    """Documents less."""

    name: str
    doc_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Swap:
    """The alias means another index."""

    name: str


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """A copy of an index."""

    name: str


@dataclass(frozen=True, slots=True)
class Restore:
    """A new index of the newest snapshot of an index."""

    of: str
    name: str


@dataclass(frozen=True, slots=True)
class DropIndex:
    """An index less."""

    name: str


HomeStep = CreateIndex | Ingest | DeleteDocs | Swap | TakeSnapshot | Restore | DropIndex


@dataclass(frozen=True, slots=True)
class HomeModel:
    """What a data directory must hold; of snapshots, the documents each must have."""

    indexes: Mapping[str, Model] = field(default_factory=dict)
    alias: str | None = None
    snapshots: Mapping[str, Model] = field(default_factory=dict)

    def after(self, step: HomeStep) -> "HomeModel":
        """What a step leads to."""
        if isinstance(step, CreateIndex):
            return self._with(step.name, Model(N_TERMS, MAX_WEIGHT))
        if isinstance(step, Ingest):
            return self._with(step.name, self.indexes[step.name].added(step.docs))
        if isinstance(step, DeleteDocs):
            return self._with(step.name, self.indexes[step.name].without(step.doc_ids))
        if isinstance(step, Swap):
            return replace(self, alias=step.name)
        if isinstance(step, TakeSnapshot):
            taken = {**self.snapshots, step.name: self.indexes[step.name]}
            return replace(self, snapshots=taken)
        if isinstance(step, Restore):
            return self._with(step.name, self.snapshots[step.of])
        kept = {name: one for name, one in self.indexes.items() if name != step.name}
        return replace(self, indexes=kept)

    def _with(self, name: str, model: Model) -> "HomeModel":
        return replace(self, indexes={**self.indexes, name: model})


def service(seed: int) -> list[HomeStep]:
    """Collections, documents in and out, an alias to and fro, snapshots there and back."""
    make = Maker(seed)
    return [
        CreateIndex("one"),
        Ingest("one", make.docs(12), "logged"),
        CreateIndex("two"),
        Ingest("two", make.docs(5), "searchable"),
        Swap("one"),
        DeleteDocs("one", make.ids(12)),
        Ingest("one", make.docs(9), "searchable"),
        TakeSnapshot("one"),
        Swap("two"),
        Ingest("one", make.docs(9), "logged"),
        Restore("one", "three"),
        Ingest("three", make.docs(4), "logged"),
        Swap("three"),
        DropIndex("two"),
    ]


class Serving:
    """The app on a data directory, while the `with` body runs."""

    def __init__(self, root: Path) -> None:
        self._data = root / FOLDER
        self._stack = ExitStack()

    def __enter__(self) -> TestClient:
        logging.disable()
        self._stack.callback(logging.disable, logging.NOTSET)
        app = create_app(Settings(indexes={}, home=self._data, work_inside=True))
        client = self._stack.enter_context(TestClient(app, raise_server_exceptions=True))
        client.app_state["engine"].wait(30)
        return client

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class HomeWorld:
    """Acts out steps; the app is started when one first needs it."""

    def __init__(self, root: Path) -> None:
        self._serving = Serving(root)
        self._client: TestClient | None = None

    def act(self, step: HomeStep) -> None:
        """When this returns, the step was acknowledged."""
        if self._client is None:
            self._client = self._serving.__enter__()
        client = self._client
        if isinstance(step, CreateIndex):
            sizes = {"encoder": None, "n_terms": N_TERMS, "max_weight": MAX_WEIGHT}
            body = {"name": step.name, "fields": {"lang": "keyword"}, **sizes}
            _told(client.post("/v1/indexes", json=body), 201)
        elif isinstance(step, Ingest):
            path = f"/v1/indexes/{step.name}/documents"
            headers = {"Content-Type": "application/x-ndjson"}
            body_lines = b"".join(line_of(doc) for doc in step.docs)
            answer = client.post(
                path, content=body_lines, headers=headers, params={"ack": step.ack}
            )
            _told(answer, 200, 202)
        elif isinstance(step, DeleteDocs):
            path = f"/v1/indexes/{step.name}/documents/delete"
            _told(client.post(path, json={"ids": list(step.doc_ids)}), 200)
        elif isinstance(step, Swap):
            swap = {"alias": ALIAS, "index": step.name, "must_exist": False}
            _told(client.post("/v1/aliases", json={"actions": [{"swap": swap}]}), 200)
        elif isinstance(step, TakeSnapshot):
            _settled(client)
            _succeeded(client.post("/v1/snapshots", json={"index": step.name}))
        elif isinstance(step, Restore):
            path = f"/v1/snapshots/{_newest(client, step.of)}/restore"
            _succeeded(client.post(path, json={"index": step.name}))
        else:
            _settled(client)
            _told(client.delete(f"/v1/indexes/{step.name}"), 204)

    def close(self) -> None:
        """Stop the app in good order."""
        if self._client is not None:
            self._serving.__exit__()
            self._client = None


def verified_home(
    root: Path, models: Sequence[HomeModel], *, acked: int, begun: int, seed: int, go_on: bool
) -> Verdict:
    """The data directory must be as after `acked` steps or as after `begun`."""
    try:
        with Serving(root) as client:
            _settled(client)
            reasons = []
            for step in sorted({acked, begun}, reverse=True):
                reason = _differs(client, models[step], random.Random(seed))
                if not reason:
                    if go_on and (problem := _goes_on(client, models[step])):
                        return Verdict("unsound", f"going on: {problem}")
                    return Verdict("sound", step=step)
                reasons.append(f"after {step} steps: {reason}")
            return Verdict("lost" if acked == begun else "half", "; ".join(reasons))
    except (Damaged, LsrError) as error:
        return Verdict("unsound", str(error))


class Damaged(Exception):
    """An answer that says that something is wrong, or should not be."""


def home_differs(client: TestClient, model: HomeModel) -> str:
    """How everything in the directory differs from the model; empty when nothing does.

    Raises `Damaged` where the service itself says that something is wrong.
    """
    _settled(client)
    for one in _told(client.get("/v1/snapshots"), 200)["snapshots"]:
        if not one["readable"]:
            raise Damaged(f"the snapshot {one['name']} is listed as damaged")
    return _differs(client, model, random.Random(1))


def line_of(doc: Doc) -> bytes:
    """A document as a line of NDJSON that brings its vector."""
    vector = {"indices": list(doc.vector), "values": list(doc.vector.values())}
    told = {"id": doc.doc_id, "fields": dict(doc.fields), "vector": vector}
    return json.dumps(told).encode() + b"\n"


def integer_scores(
    hits: Sequence[Mapping[str, Any]], query: Mapping[int, float]
) -> list[tuple[str, int]]:
    """(id, score) of each hit in the integers that the reference counts in."""
    unit = float(np.float32(MAX_WEIGHT / 255)) * max(query.values()) / 4095
    return [(str(hit["id"]), round(hit["score"] / unit)) for hit in hits]


def _told(answer: Any, *statuses: int) -> Any:
    if answer.status_code not in statuses:
        raise Damaged(f"{answer.request.method} {answer.request.url}: {answer.text[:300]}")
    return answer.json() if answer.content else None


def _succeeded(answer: Any) -> Any:
    task = _told(answer, 200)
    if task["state"] != "succeeded":
        raise Damaged(f"{task}")
    return task


def _settled(client: TestClient) -> None:
    give_up = time.monotonic() + SETTLE_S
    while time.monotonic() < give_up:
        tasks = _told(client.get("/v1/tasks", params={"limit": 100}), 200)["tasks"]
        for one in tasks:  # a restore that was not answered may be done already when it comes again
            if one["state"] == "failed" and one["error"]["code"] != "index_exists":
                raise Damaged(f"a task failed: {one}")
        if all(one["state"] in ("succeeded", "failed") for one in tasks):
            return
        time.sleep(0.005)
    raise Damaged(f"tasks that do not end: {tasks}")


def _newest(client: TestClient, of: str) -> str:
    listed = _told(client.get("/v1/snapshots"), 200)["snapshots"]
    mine = [one for one in listed if one["of"] == of and one["readable"]]
    return str(max(mine, key=lambda one: one["generation"])["name"])


def _differs(client: TestClient, model: HomeModel, rng: random.Random) -> str:
    """How the directory differs from the model; empty when it does not."""
    there = {one["name"] for one in _told(client.get("/v1/indexes"), 200)["indexes"]}
    if there != set(model.indexes):
        return f"indexes {sorted(there)}, wanted {sorted(model.indexes)}"
    aliases = _told(client.get("/v1/aliases"), 200)["aliases"]
    means = {one["alias"]: one["index"] for one in aliases}.get(ALIAS)
    if means != model.alias:
        return f"the alias means {means}, wanted {model.alias}"
    for name, one in model.indexes.items():
        if reason := _index_differs(client, name, one, rng):
            return f"{name}: {reason}"
    for of, one in model.snapshots.items():
        listed = _told(client.get("/v1/snapshots"), 200)["snapshots"]
        if of not in [told["of"] for told in listed]:
            return f"no snapshot of {of}"
        newest = _newest(client, of)
        task = _succeeded(client.post(f"/v1/snapshots/{newest}/verify"))
        if task["details"]["n_docs"] != len(one.documents):
            return f"{newest}: {task['details']['n_docs']} documents"
    return ""


def _index_differs(client: TestClient, name: str, model: Model, rng: random.Random) -> str:
    n_docs = _told(client.get(f"/v1/indexes/{name}"), 200)["n_docs"]
    if n_docs != len(model.documents):
        return f"{n_docs} documents, wanted {len(model.documents)}"
    for doc in model.documents.values():
        answer = client.get(f"/v1/indexes/{name}/documents/{doc.doc_id}")
        if answer.status_code == 404:
            return f"{doc.doc_id} is missing"
        if _told(answer, 200)["fields"] != dict(doc.fields):
            return f"{doc.doc_id} is another version"
    for _ in range(3):
        terms = sorted(rng.sample(range(N_TERMS), 5))
        query = {term: rng.randint(1, 4) / 2 for term in terms}
        vector = {"indices": list(query), "values": list(query.values())}
        body = {"query": {"vector": vector}, "limit": 100}
        hits = _told(client.post(f"/v1/indexes/{name}/search", json=body), 200)["hits"]
        if integer_scores(hits, query) != model.ranked(query, 100):
            return f"{query} is ranked otherwise than by the reference"
    return ""


def _goes_on(client: TestClient, model: HomeModel) -> str:
    """Write to each index, and take and verify a snapshot of one."""
    for name, one in model.indexes.items():
        doc = Doc("new", {3: 1.5}, {"text": "after the crash", "lang": "en"})
        path = f"/v1/indexes/{name}/documents"
        headers = {"Content-Type": "application/x-ndjson"}
        _succeeded(client.post(path, content=line_of(doc), headers=headers))
        if reason := _index_differs(client, name, one.added([doc]), random.Random(0)):
            return f"{name}: {reason}"
    return ""
