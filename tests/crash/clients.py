"""Clients of a server that may die at any moment: each knows what it was promised.

A client changes only what is its own, one request after the other, so it knows the state before the
request that was not answered and the state after it; after a restart the server must be in one of
the two.
"""

import json
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from .homes import integer_scores, line_of
from .model import Doc, Model, Vector
from .plans import MAX_WEIGHT, N_TERMS

TIMEOUT_S = 60.0
MAX_SNAPSHOTS = 6
"""So many at once, so that a long run is as heavy at its end as in its middle."""


class Unexpected(Exception):
    """A promise that was broken, or an answer that should not be."""


class Client:
    """A thread that makes changes until it cannot reach the server."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.rng = random.Random(seed)
        self.n_acknowledged = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._surprise: Unexpected | None = None

    def start(self, address: str) -> None:
        """Begin to change things."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, args=(address,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, at the latest with the request that runs."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def change(self, client: httpx.Client) -> None:
        """One change."""
        raise NotImplementedError

    def check(self, client: httpx.Client) -> None:
        """Compare what is there with what was promised; raises `Unexpected`."""
        raise NotImplementedError

    def look(self, client: httpx.Client) -> None:
        """As `check`; also raises what the thread did not expect."""
        if self._surprise is not None:
            surprise, self._surprise = self._surprise, None
            raise surprise
        self.check(client)

    def _run(self, address: str) -> None:
        with httpx.Client(base_url=address, timeout=TIMEOUT_S) as client:
            while not self._stopping.is_set():
                try:
                    self.change(client)
                    self.n_acknowledged += 1
                except httpx.TransportError:
                    return
                except Unexpected as error:
                    self._surprise = error
                    return


def answer_of(answer: httpx.Response, *statuses: int) -> Any:
    """The JSON of an answer with one of these statuses."""
    if answer.status_code not in statuses:
        request = answer.request
        raise Unexpected(
            f"{request.method} {request.url}: {answer.status_code} {answer.text[:400]}"
        )
    return answer.json() if answer.content else None


class Writer(Client):
    """Adds, replaces and deletes documents of its own in an index that it may share."""

    def __init__(self, index: str, letter: str, seed: int) -> None:
        super().__init__(f"{index}/{letter}", seed)
        self.index = index
        self.letter = letter
        self.before: dict[str, Doc] = {}
        self.after: dict[str, Doc] = {}
        self.again: Callable[[httpx.Client], None] | None = None
        self._version = 0

    def change(self, client: httpx.Client) -> None:
        """One request; its outcome is unknown until it is answered."""
        kind = self.rng.random()
        path = f"/v1/indexes/{self.index}/documents"
        self.after = dict(self.before)
        self.again = None
        if kind < 0.6:
            docs = [self._doc() for _ in range(self.rng.choice([1, 2, 5, 40]))]
            for doc in docs:
                self.after[doc.doc_id] = doc
            body = b"".join(line_of(doc) for doc in docs)
            key = f"{self.letter}-{self._version}"
            headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
            ack = self.rng.choice(["logged", "searchable"])

            def send(to: httpx.Client) -> None:
                answer_of(
                    to.post(path, content=body, headers=headers, params={"ack": ack}), 200, 202
                )

            self.again = send
            send(client)
        elif kind < 0.8:
            ids = [self._id() for _ in range(self.rng.randint(1, 6))]
            for doc_id in ids:
                self.after.pop(doc_id, None)
            answer_of(client.post(f"{path}/delete", json={"ids": ids}), 200, 202)
        else:
            doc = self._doc()
            self.after[doc.doc_id] = doc
            content = json.loads(line_of(doc))
            del content["id"]
            answer = client.put(f"{path}/{doc.doc_id}", json=content)
            if answer.status_code != 200:
                answer_of(answer, 409, 503)
                # Done or not: nothing else is asked until it shows.
                raise httpx.ReadError("a write whose outcome is open")
        self.before = self.after

    def check(self, client: httpx.Client) -> None:
        """Documents, then rankings with ties, then, half the time, the lost request once more."""
        known = {**self.before, **self.after}
        names = sorted(known)
        there: dict[str, Mapping[str, Any]] = {}
        for doc_id in names:
            answer = client.get(f"/v1/indexes/{self.index}/documents/{doc_id}")
            if answer.status_code != 404:
                there[doc_id] = answer_of(answer, 200)
        fields = {doc_id: dict(doc["fields"]) for doc_id, doc in there.items()}
        before = {doc_id: dict(doc.fields) for doc_id, doc in self.before.items()}
        after = {doc_id: dict(doc.fields) for doc_id, doc in self.after.items()}
        if fields not in (before, after):
            wrong = [i for i in names if fields.get(i) not in (before.get(i), after.get(i))]
            what = f"lost {wrong[:5]}" if wrong else "a change is there by half"
            raise Unexpected(f"{what}; {len(fields)} of {len(before)} or {len(after)} documents")
        wanted = self.after
        self.before = self.after = self.after if fields == after else self.before
        versions = {doc_id: doc["version"] for doc_id, doc in there.items()}
        docs = sorted(self.before.values(), key=lambda doc: versions[doc.doc_id])
        model = Model(N_TERMS, MAX_WEIGHT).added(docs)
        for _ in range(3):
            self._compare(client, model)
        if self.again is not None and self.rng.random() < 0.5:
            self.again(client)  # the same key: nothing changes if it was done, else it is done now
            self.before = self.after = wanted
        self.again = None

    def _compare(self, client: httpx.Client, model: Model) -> None:
        terms = sorted(self.rng.sample(range(N_TERMS), 5))
        query: Vector = {term: self.rng.randint(1, 4) / 2 for term in terms}
        vector = {"indices": list(query), "values": list(query.values())}
        body = {"query": {"vector": vector}, "limit": 1000, "fields": []}
        found = answer_of(client.post(f"/v1/indexes/{self.index}/search", json=body), 200)
        mine = [hit for hit in found["hits"] if hit["id"].startswith(self.letter)]
        got = integer_scores(mine, query)
        if got != model.ranked(query, 1000):
            raise Unexpected(f"{query} finds {got[:4]}, the reference {model.ranked(query, 4)}")

    def _id(self) -> str:
        return f"{self.letter}{self.rng.randrange(60)}"

    def _doc(self) -> Doc:
        self._version += 1
        terms = self.rng.sample(range(N_TERMS), self.rng.randint(1, 6))
        vector = {term: self.rng.randint(1, 8) / 2 for term in sorted(terms)}
        fields = {"text": f"version {self._version}", "lang": self.rng.choice(["de", "en"])}
        return Doc(self._id(), vector, fields)


class Admin(Client):
    """Moves an alias to and fro, and takes and deletes snapshots."""

    def __init__(self, seed: int) -> None:
        super().__init__("admin", seed)
        self.alias = {"one"}
        """What the alias may mean."""
        self.snapshots: dict[str, bool] = {}
        """Those that must be there (True) or may (False: being deleted)."""

    def change(self, client: httpx.Client) -> None:
        """A swap, a snapshot, or one snapshot less."""
        kind = self.rng.random()
        if kind < 0.6:
            wanted = self.rng.choice(["one", "two"])
            self.alias |= {wanted}
            swap = {"swap": {"alias": "live", "index": wanted}}
            answer_of(client.post("/v1/aliases", json={"actions": [swap]}), 200)
            self.alias = {wanted}
        elif len(self.snapshots) < 3 or (kind < 0.8 and len(self.snapshots) < MAX_SNAPSHOTS):
            name = self.rng.choice(["one", "two"])
            answer = client.post("/v1/snapshots", json={"index": name})
            if answer.status_code != 409:  # there is one of this commit already
                task = answer_of(answer, 200, 202)
                while task["state"] in ("queued", "running"):
                    self._stopping.wait(0.1)
                    task = answer_of(client.get(f"/v1/tasks/{task['id']}"), 200)
                if task["state"] != "succeeded":
                    raise Unexpected(f"no snapshot: {task}")
                self.snapshots[task["details"]["snapshot"]] = True
        else:
            name = self.rng.choice(sorted(self.snapshots))
            self.snapshots[name] = False
            answer_of(client.delete(f"/v1/snapshots/{name}"), 204, 404)
            del self.snapshots[name]

    def check(self, client: httpx.Client) -> None:
        """The alias means what it should; every snapshot is there and sound to the last byte."""
        aliases = answer_of(client.get("/v1/aliases"), 200)["aliases"]
        means = {one["alias"]: one["index"] for one in aliases}.get("live")
        if means not in self.alias:
            raise Unexpected(f"the alias means {means}, not one of {self.alias}")
        self.alias = {means}
        listed = answer_of(client.get("/v1/snapshots"), 200)["snapshots"]
        there = {one["name"] for one in listed}
        missing = {name for name, must in self.snapshots.items() if must} - there
        if missing:
            raise Unexpected(f"lost the snapshots {missing}")
        for name in sorted(there):
            answer = client.post(f"/v1/snapshots/{name}/verify")
            if self.snapshots.get(name) is False:  # it was being deleted
                continue
            task = answer_of(answer, 200)
            if task["state"] != "succeeded":
                raise Unexpected(f"snapshot {name}: {task['error']}")
        for name in sorted(there)[3:]:
            answer_of(client.delete(f"/v1/snapshots/{name}"), 204)
            there.discard(name)
        self.snapshots = {name: True for name in there if self.snapshots.get(name) is not False}


class Restorer(Client):
    """Makes indexes of snapshots, and deletes them."""

    def __init__(self, seed: int) -> None:
        super().__init__("restorer", seed)
        self.made: dict[str, int] = {}
        self.unknown: set[str] = set()
        self._number = 0

    def change(self, client: httpx.Client) -> None:
        """One restored index more, or one less."""
        if len(self.made) > 2:
            name = self.rng.choice(sorted(self.made))
            self.unknown.add(name)
            n_docs = self.made.pop(name)
            answer = client.delete(f"/v1/indexes/{name}")
            if answer.status_code == 409:  # somebody reads it
                self.made[name] = n_docs
            else:
                answer_of(answer, 204)
            self.unknown.discard(name)
            return
        listed = answer_of(client.get("/v1/snapshots"), 200)["snapshots"]
        whole = [one for one in listed if one["readable"]]
        if not whole:
            self._stopping.wait(0.1)
            return
        self._number += 1
        name = f"restored-{self._number}"
        self.unknown.add(name)
        path = f"/v1/snapshots/{self.rng.choice(whole)['name']}/restore"
        task = client.post(path, json={"index": name})
        if task.status_code in (404, 409, 422):  # the snapshot was deleted meanwhile
            self.unknown.discard(name)
            return
        told = answer_of(task, 200, 202)
        if told["state"] == "succeeded":
            self.made[name] = told["details"]["n_docs"]
            self.unknown.discard(name)

    def check(self, client: httpx.Client) -> None:
        """Every restored index is there with all of its documents; none is there by half."""
        listed = answer_of(client.get("/v1/indexes"), 200)["indexes"]
        there = {one["name"] for one in listed if one["name"].startswith("restored-")}
        if missing := self.made.keys() - there:
            raise Unexpected(f"lost the indexes {missing}")
        if strange := there - self.made.keys() - self.unknown:
            raise Unexpected(f"indexes that were deleted: {strange}")
        for name in sorted(there):
            told = answer_of(client.get(f"/v1/indexes/{name}"), 200)
            if name in self.made and told["n_docs"] != self.made[name]:
                raise Unexpected(f"{name}: {told['n_docs']} documents, not {self.made[name]}")
            self.made[name] = told["n_docs"]
        self.unknown = set()


class Texts(Client):
    """Indexes of texts: BM25 learns from the first documents, which are acknowledged before."""

    def __init__(self, seed: int) -> None:
        super().__init__("texts", seed)
        self.made: dict[str, set[int]] = {}
        """Index name: how many documents it may hold."""
        self.unknown: set[str] = set()
        self._number = 0

    def change(self, client: httpx.Client) -> None:
        """A new index with twenty documents and twenty more, or an index less."""
        self._stopping.wait(0.3)  # creating many would leave little time for anything else
        if len(self.made) > 2:
            name = min(self.made)
            del self.made[name]
            self.unknown.add(name)
            answer_of(client.delete(f"/v1/indexes/{name}"), 204)
            self.unknown.discard(name)
        self._number += 1
        name = f"texts-{self._number}"
        self.unknown.add(name)
        answer_of(client.post("/v1/indexes", json={"name": name}), 201)
        self.unknown.discard(name)
        self.made[name] = {0}
        for first in (0, 20):
            lines = [
                {"id": f"t{n}", "fields": {"text": f"word{n % 3} common only{n}"}}
                for n in range(first, first + 20)
            ]
            body = "\n".join(map(json.dumps, lines)).encode()
            self.made[name] |= {first + 20}
            path = f"/v1/indexes/{name}/documents"
            headers = {"Content-Type": "application/x-ndjson"}
            answer_of(
                client.post(path, content=body, headers=headers, params={"ack": "logged"}), 200, 202
            )
            self.made[name] = {first + 20}

    def check(self, client: httpx.Client) -> None:
        """Each has its documents, all of which a common word finds."""
        listed = answer_of(client.get("/v1/indexes"), 200)["indexes"]
        there = {one["name"] for one in listed if one["name"].startswith("texts-")}
        if missing := self.made.keys() - there:
            raise Unexpected(f"lost the indexes {missing}")
        for name in sorted(there & self.made.keys()):
            body = {"query": {"text": "common"}, "limit": 100, "fields": []}
            found = answer_of(client.post(f"/v1/indexes/{name}/search", json=body), 200)["hits"]
            if len(found) not in self.made[name]:
                raise Unexpected(f"{name}: {len(found)} documents, wanted {self.made[name]}")
            self.made[name] = {len(found)}
        for name in sorted(there - self.made.keys()):  # created, or being deleted, unanswered
            answer_of(client.delete(f"/v1/indexes/{name}"), 204)
        self.unknown = set()
