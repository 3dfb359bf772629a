"""Rebuilding an index, and the versions that rebuilds keep."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from .aliases import GateRequest
from .base import Answer, Strict, Text
from .indexes import Passages


class RebuildRequest(Strict):
    """How the new version differs; all left out, BM25 counts anew and others are rounded anew."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {},
                {"encoder": "bm25", "gate": {"judged": "docs", "min_delta": -0.005}},
                {"passages": {"length": 256, "overlap": 32}},
            ]
        }
    )

    encoder: Text | None = Field(
        default=None, description="An encoder, named as for a new index, to encode every text anew."
    )
    max_weight: float | None = Field(
        default=None,
        ge=1e-6,
        le=1e6,
        description="The weight of the largest impact, for stored vectors.",
    )
    order: Literal["bp", "none"] | None = None
    passages: Passages | None = Field(default=None, description="Split texts anew.")
    gate: GateRequest | None = Field(
        default=None, description="Keep the old version if the new one answers worse."
    )


class VersionInfo(Answer):
    """An earlier version, in service `until` then (seconds since 1970)."""

    version: int
    until: float
    n_docs: int | None
    encoder: str | None
    bytes: int
    why: dict[str, Any] = Field(
        description="The task that replaced it, and what its gate measured."
    )


class VersionList(Answer):
    """Earlier versions of an index, the newest first."""

    versions: list[VersionInfo]
