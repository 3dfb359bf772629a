"""What a trained encoder says of itself: measured scale and density, provenance, a short README."""

import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lsr.encoders.card import CARD
from lsr.encoders.folder import read_object, write_json
from lsr.types import SparseMatrix

from .data import Source
from .recipe import Recipe
from .report import Measured

_PERCENTILE = 99.99


def measure(vectors: SparseMatrix) -> Measured:
    """Measure document vectors; a matrix without any weight has `max_weight` 0.

    >>> from scipy import sparse
    >>> measure(sparse.csr_array(np.array([[0.0, 1.23], [0.0, 0.0]], np.float32)))
    Measured(max_weight=1.3, document_terms=0.5, empty_documents=1, n_documents=2)
    """
    top = float(np.percentile(vectors.data, _PERCENTILE)) if vectors.nnz else 0.0
    per_document = np.diff(vectors.indptr)
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
    seconds: float,
    measured: Measured,
    last_log: Mapping[str, float],
    resumes: Mapping[str, int],
) -> dict[str, Any]:
    """What `lsr.json` holds under "training"."""
    settings = asdict(recipe)
    settings.pop("path")
    # Where the checkpoint lay on the machine that trained is nobody's business; its name is.
    settings["model"]["backbone"] = Path(recipe.model.backbone).name
    settings["distillation"]["cache"] = Path(recipe.distillation.cache).name
    if recipe.data.mining is not None:
        settings["data"]["mining"]["miners"] = [
            Path(name).name for name in recipe.data.mining.miners
        ]
        settings["data"]["mining"]["teacher"] = Path(recipe.data.mining.teacher).name
    for teacher in settings["teachers"]:
        teacher["model"] = Path(teacher["model"]).name
    return {
        "recipe": settings,
        "recipe_fingerprint": recipe.fingerprint(),
        "data": [asdict(source) for source in sources],
        "seconds": round(seconds),
        "resumes": dict(resumes),
        "measured": asdict(measured),
        "last_log": {name: round(value, 6) for name, value in last_log.items()},
    }


def add_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Put the training record into the card of an encoder folder, and a README beside it."""
    card = read_object(folder / CARD)
    write_json(folder / CARD, {**card, "training": record})
    (folder / "README.md").write_text(_readme(card, record), encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any] | None:
    """The training record of an encoder folder; None if there is none."""
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        record = orjson.loads(path.read_bytes()).get("training")
    except (orjson.JSONDecodeError, AttributeError):
        return None
    return record if isinstance(record, dict) else None


def _resumed(record: Mapping[str, Any]) -> str:
    n = record["resumes"]["weights"]
    times = "once" if n == 1 else f"{n} times"
    return f" (resumed from weights {times}, optimiser re-warmed)" if n else ""


def _readme(card: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    recipe, measured = record["recipe"], record["measured"]
    model, stage = recipe["model"], recipe["stage"]["ranking"]
    backbone = model["backbone"] or "random weights"
    rows = "\n".join(
        f"| {s['name']} | {s['split']} | {s['n_queries']:,} | {s['n_positives']:,} "
        f"| {s['fingerprint']} |"
        for s in record["data"]
    )
    queries = (
        f"A query is its tokens, each weighted by a table ({model['query_table']}): no network is "
        "run for it."
        if model["kind"] == "inference-free"
        else "Queries and documents go through the same network."
        if model["kind"] == "siamese"
        else "Queries go through a network of their own."
    )
    facts = textwrap.fill(
        f"{queries} Start: {backbone}. Trained by `lsr train` for {stage['steps']:,} ranking steps "
        f"of {stage['batch']} queries in {record['seconds']:,} seconds{_resumed(record)}. "
        f"Documents have {measured['document_terms']} terms on average; the 99.99th percentile of "
        f"their weights, rounded up, is {card['max_weight']}.",
        width=100,
    )
    return f"""# {recipe["name"]}

{recipe["description"] or "A learned sparse encoder."}

{facts}

| data | split | queries | relevant pairs | fingerprint |
|---|---|---|---|---|
{rows}

Scores on the test splits of these collections are in-domain, not zero-shot. Whatever the starting
checkpoint had seen before is its publisher's to say. The recipe is in `lsr.json` under "training".

Load it with `lsr.encoders.load_encoder(folder)`, or with sentence-transformers' `SparseEncoder`.
"""
