"""A new version of an index, made beside it while it is searched and written, then swapped in.

`run` belongs to no index, so that writes go on: it copies, catches up until little is left, and
queues `finish` among the tasks of the index. That catches up with the rest while no other task of
the index runs, verifies, measures, and swaps. Either begins again after a kill where it was; the
swap is one transaction.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from index import Index, query_encoder
from index.arrival import sync_tree
from index.rebuild import Weights, begun, catch_up, copy, refitted, split_anew, texts
from index.rebuild import finish as finished
from lsr.encoders import BM25Encoder
from lsr.errors import IndexCorrupt, UsageError
from lsr.files import sync_directory

from ..home import queue, registry, versions
from ..home.registry import LEARNS, Entry
from ..making import encoder_of
from ..problems import ProblemError
from ..receiving import submit
from ..versions import gate as gates
from .job import CanceledError, Job

ROUNDS = 10
FEW = 200
"""Documents that may be left for the step during which nothing is written to the index."""
POLL_S = 0.02


def run(job: Job) -> dict[str, Any]:
    """Make the new version and see it swapped in; what was done."""
    name = str(job.task.request["index"])
    staging = job.folder / "index"
    told: dict[str, Any] = {"index": name, "step": "copying"}
    try:
        number = _finishing(job)
        if number is None:
            _make(job, name, staging, told)
            asked = {"rebuild": job.task.id}
            number = submit(job.home, "rebuild_finish", name, asked).id
        details = _waited(job, number, told)
    except (CanceledError, ProblemError):
        shutil.rmtree(staging, ignore_errors=True)
        raise
    except (IndexCorrupt, UsageError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise _failed(job, str(error)) from error
    return {**details, "index": name}


def finish(job: Job) -> dict[str, Any]:
    """The last step, while no other task of the index runs."""
    rebuild = queue.task_of(job.home, int(job.task.request["rebuild"]))
    entry = job.entry()
    folder = job.home.path / "indexes" / f"{entry.name}-{rebuild.id:08x}"
    staging = job.home.path / "tasks" / str(rebuild.id) / "index"
    if entry.path == folder:  # killed behind the swap
        return _tidied(job, entry, folder, {"gate": None, "caught_up": 0})
    place = folder if folder.is_dir() else staging
    source = job.shelf.index(entry)
    wanted = rebuild.request
    told: dict[str, Any] = {"gate": None}
    try:
        with Index.open(place) as target:
            told["caught_up"] = catch_up(
                source, target, _weights(job, entry, source, place, wanted)
            )
            target.seal()
            if problems := target.check().problems:
                raise _failed(job, f"the new version is not sound: {problems[0]}")
            if wanted.get("gate"):
                told["gate"] = _measured(job, entry, source, target, wanted["gate"])
            told |= {"n_docs": target.n_docs, "generation": target.generation}
        if told["gate"] is not None and not told["gate"]["passed"]:
            queue.report(job.home, job.task.id, {"done": 0, "total": None}, told)
            raise gates.refused(f"index '{entry.name}'", told["gate"])
    except ProblemError:
        shutil.rmtree(place, ignore_errors=True)
        raise
    except UsageError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise _failed(job, str(error)) from error
    if place == staging:
        sync_tree(staging)
        staging.rename(folder)
        sync_directory(folder.parent)
    settings = _settings(entry, wanted)
    why = {"task": rebuild.id, "gate": told["gate"], "encoder": wanted.get("encoder")}
    try:
        with job.home.transaction() as connection:
            registry.move(connection, entry.name, folder, settings)
            versions.keep(
                connection,
                entry.name,
                entry.path.name,
                entry.settings,
                after=told["generation"],
                why=why,
            )
    except ProblemError:  # the index was deleted, so that nothing leads here
        shutil.rmtree(folder, ignore_errors=True)
        raise
    job.shelf.forget(entry.path)
    return _tidied(job, replace(entry, path=folder, settings=settings), folder, told)


def _make(job: Job, name: str, staging: Path, told: dict[str, Any]) -> None:
    entry = job.shelf.entry(name)
    if entry.mounted or entry.settings.get(LEARNS):
        raise ProblemError(
            "rebuild_failed",
            f"Index '{name}' has no documents yet."
            if not entry.mounted
            else f"Index '{name}' was named on the command line of the server.",
            hint="`lsr rebuild INDEX` rebuilds an index outside the data directory.",
        )
    wanted = job.task.request
    source = job.shelf.index(entry)

    def show(done: int, total: int) -> None:
        job.report({"done": done, "total": total}, told)

    weights = _weights(job, entry, source, staging, wanted)
    settings = source.settings
    if wanted.get("order") is not None:
        settings = replace(settings, order=wanted["order"])
    with begun(
        source, staging, weights, max_weight=wanted.get("max_weight"), settings=settings
    ) as target:
        copy(source, target, weights, progress=show)
        told["step"] = "catching up"
        for _ in range(ROUNDS):
            if catch_up(source, target, weights, progress=show) <= FEW:
                break
        told["step"] = "merging"
        show(target.n_docs, target.n_docs)
        target.merge()


def _weights(
    job: Job, entry: Entry, source: Index, place: Path, wanted: Mapping[str, Any]
) -> Weights:
    """Where the weights of the new version come from; of one that was begun, the same again."""
    windows = wanted.get("passages") or entry.settings.get("passages")
    windows = windows and (int(windows[0]), int(windows[1]))
    name = wanted.get("encoder")
    bm25 = source.encoder is not None and source.encoder.query_strategy == "bm25"
    if name == "bm25" and not bm25:
        if (place / "begun").exists():
            return Weights(BM25Encoder.load(place / "encoder"), windows)
        fields = ("title", "text") if source.encoder is None else source.encoder.text_fields
        return Weights(BM25Encoder.fit(texts(source, fields), text_fields=fields), windows)
    if name not in (None, "bm25"):
        return Weights(encoder_of(job.home, str(name)), windows)
    if bm25 and (name == "bm25" or wanted.get("max_weight") is None):
        return Weights(refitted(source, place), windows)
    if wanted.get("passages") and windows:
        return split_anew(source, job.shelf.document_encoder(entry, source), windows)
    return Weights()


def _measured(
    job: Job, entry: Entry, source: Index, target: Index, wanted: Mapping[str, Any]
) -> dict[str, Any]:
    gate = gates.Gate.asked(job.home, wanted)
    old = gates.values_of(source, job.shelf.query_encoder(entry, source), gate.judged, gate.measure)
    has_encoder = target.encoder is not None or target.encoder_folder.is_dir()
    encoder = query_encoder(target) if has_encoder else None
    return gates.decide(gate, old, gates.values_of(target, encoder, gate.judged, gate.measure))


def _settings(entry: Entry, wanted: Mapping[str, Any]) -> dict[str, Any]:
    settings = dict(entry.settings)
    if wanted.get("encoder") is not None:
        settings["encoder"] = wanted["encoder"]
    if wanted.get("passages") is not None:
        settings["passages"] = wanted["passages"]
    return settings


def _tidied(job: Job, entry: Entry, folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Behind the swap: the new version is an index like any other, versions too old are gone."""
    index = job.shelf.index(entry)
    finished(index)
    for old in versions.versions_of(job.home, entry.name)[versions.KEEP :]:
        with job.home.transaction() as connection:
            versions.forget(connection, old.number)
        job.shelf.forget(old.path)
        shutil.rmtree(old.path, ignore_errors=True)
    kept = [one.number for one in versions.versions_of(job.home, entry.name)]
    return {**told, "n_docs": index.n_docs, "generation": index.generation, "kept": kept}


def _finishing(job: Job) -> int | None:
    """The last step of this task, if it was queued before a kill."""
    rows = job.home.rows(
        "SELECT id FROM tasks WHERE kind='rebuild_finish' AND "
        "json_extract(CAST(request AS TEXT), '$.rebuild')=?",
        job.task.id,
    )
    return int(rows[0][0]) if rows else None


def _waited(job: Job, number: int, told: dict[str, Any]) -> dict[str, Any]:
    """What the last step did. Raises what it failed with; cancels it when that is wanted."""
    told["step"] = "swapping"
    canceled = False
    while not (last := queue.task_of(job.home, number)).over:
        if not canceled:
            try:
                job.report({"done": 0, "total": None}, told)
            except CanceledError:
                canceled = True
                queue.cancel(job.home, number)
        time.sleep(POLL_S)
    if last.state == "canceled":
        raise CanceledError
    details = dict(last.details or {})
    if last.state == "failed" and last.error is not None:
        if details.get("gate"):
            told["gate"] = details["gate"]
            queue.report(job.home, job.task.id, {"done": 0, "total": None}, told)
        raise ProblemError(
            str(last.error["code"]), str(last.error["detail"]), hint=last.error["hint"]
        )
    return details


def _failed(job: Job, what: str) -> ProblemError:
    return ProblemError(
        "rebuild_failed",
        f"The rebuild was given up: {what.replace(f'{job.home.path}/', '')}",
        hint="The index is as it was.",
    )
