"""What a trained encoder says of itself: measured scale and density, provenance, a short README."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lsr.encoders.card import CARD
from lsr.encoders.folder import read_object, write_json
from lsr.errors import EncoderError
from lsr.types import SparseMatrix

from .data import Source
from .provenance import (
    backbone_licence,
    command_line,
    commit,
    data_licences,
    heritage_of,
    in_beir,
    versions,
)
from .readme import readme
from .recipe import Recipe, checkpoint_folder
from .report import Measured
from .run_record import RunRecord

_PERCENTILE = 99.99


def measure(vectors: SparseMatrix, *, most_terms: int | None = None) -> Measured:
    """Measure document vectors, of which an encoder keeps the heaviest `most_terms`; a matrix
    without any weight has `max_weight` 0.

    >>> from scipy import sparse
    >>> measure(sparse.csr_array(np.array([[0.0, 1.23], [0.0, 0.0]], np.float32)))
    Measured(max_weight=1.3, document_terms=0.5, empty_documents=1, n_documents=2)
    """
    top = float(np.percentile(vectors.data, _PERCENTILE)) if vectors.nnz else 0.0
    per_document = np.minimum(np.diff(vectors.indptr), most_terms or vectors.shape[1])
    return Measured(
        max_weight=math.ceil(round(top * 10, 6)) / 10,
        document_terms=round(float(per_document.mean()), 1),
        empty_documents=int((per_document == 0).sum()),
        n_documents=int(vectors.shape[0]),
    )


def training_record(
    recipe: Recipe,
    sources: tuple[Source, ...],
    *,
    backbone: Path | None,
    development: Mapping[str, Any] | None,
    measured: Measured,
    last_log: Mapping[str, float],
    run: RunRecord,
    processes: int,
) -> dict[str, Any]:
    """What `lsr.json` holds under "training"; `backbone` is the folder it started from."""
    settings = asdict(recipe)
    settings.pop("path")
    # Where things lay on the machine that trained is nobody's business; their names are.
    for key in ("backbone", "query_backbone"):
        settings["model"][key] = _last_name(settings["model"][key])
    for key in ("cache", "vectors"):
        settings["distillation"][key] = Path(settings["distillation"][key]).name
    if recipe.data.mining is not None:
        settings["data"]["mining"]["miners"] = [
            Path(name).name for name in recipe.data.mining.miners
        ]
        settings["data"]["mining"]["teacher"] = Path(recipe.data.mining.teacher).name
    for teacher in settings["teachers"]:
        teacher["model"] = _last_name(teacher["model"])
    licences = data_licences(recipe, sources)
    before = heritage_of(backbone)
    return {
        "recipe": settings,
        "recipe_fingerprint": recipe.fingerprint(),
        "backbone": {
            "name": settings["model"]["backbone"] or "random weights",
            "licence": backbone_licence(recipe, backbone),
        }
        | ({"training": before} if before else {}),
        **_of_queries(recipe, settings["model"]["query_backbone"]),
        "data": [
            {
                **asdict(source),
                "name": _public_name(source.name),
                "licence": licence,
                "beir": in_beir(source.name),
            }
            for source, licence in zip(sources, licences, strict=True)
        ],
        "development": development,
        "seconds": round(run.seconds),
        "stages": {name: round(seconds) for name, seconds in run.stage_seconds.items()},
        "tokens": run.stage_tokens,
        "processes": processes,
        "resumes": run.resumes,
        "measured": asdict(measured),
        "last_log": {name: round(value, 6) for name, value in last_log.items()},
        "command": command_line(),
        "versions": versions(),
        "commit": commit(),
    }


def _of_queries(recipe: Recipe, name: str) -> dict[str, Any]:
    """What the network of queries started from, where it has a checkpoint of its own."""
    if not recipe.model.query_backbone:
        return {}
    folder = checkpoint_folder(recipe, recipe.model.query_backbone, key="model.query_backbone")
    before = heritage_of(folder)
    # `model.licence` is the documents' backbone's.
    unsaid = replace(recipe, model=replace(recipe.model, licence=""))
    started = {"name": name, "licence": backbone_licence(unsaid, folder)}
    return {"query_backbone": started | ({"training": before} if before else {})}


def _last_name(path_or_hub_name: str) -> str:
    path = Path(path_or_hub_name).expanduser()
    return path.name if path.is_absolute() or path.is_dir() else path_or_hub_name


def _public_name(collection: str) -> str:
    return Path(collection).name if Path(collection).expanduser().is_absolute() else collection


def add_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Put the training record into the card of an encoder folder, and a README beside it."""
    card = {**read_object(folder / CARD), "training": record}
    write_json(folder / CARD, card)
    (folder / "README.md").write_text(readme(folder, card, record), encoding="utf-8")


def attach_results(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Put what `lsr evaluate --json` printed into the card and the README of an encoder folder.

    A result for the same collection and split takes the place of an earlier one.
    """
    record = read_record(folder)
    if record is None:
        raise EncoderError(
            f"{folder}: {CARD} has no record of a training by `lsr train`, so there is no model "
            "card to put results into; write them into its README.md by hand."
        )
    card = read_object(folder / CARD)
    by_place = {(row["dataset"], row["split"]): row for row in card.get("results", [])}
    by_place |= {(row["dataset"], row["split"]): row for row in map(_result, results)}
    card["results"] = list(by_place.values())
    write_json(folder / CARD, card)
    (folder / "README.md").write_text(readme(folder, card, record), encoding="utf-8")


_OF_RESULT = ("dataset", "split", "dataset_fingerprint", "n_queries", "measures", "command")


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in _OF_RESULT if key not in row]
    if missing:
        raise EncoderError(
            f"an evaluation has no {', '.join(missing)}; wanted what `lsr evaluate --json` prints"
        )
    marks = row.get("contamination", ())
    return {key: row[key] for key in _OF_RESULT} | ({"contamination": list(marks)} if marks else {})


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of an encoder that `lsr train` made; None if there is none."""
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        record = orjson.loads(path.read_bytes()).get("training")
    except (orjson.JSONDecodeError, AttributeError):
        return None
    # One that `lsr average` took from a README says nothing of a run.
    return record if isinstance(record, dict) and "recipe_fingerprint" in record else None
