"""Snapshots: verified copies in the server's data directory."""

from pydantic import ConfigDict, Field

from .base import Answer, Strict, Text


class CreateSnapshot(Strict):
    """Which index to copy, as of its newest commit."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"index": "docs"}, {"index": "docs", "archive": True}]}
    )

    index: Text
    archive: bool = Field(default=False, description="One .tar.zst file instead of a directory.")


class RestoreSnapshot(Strict):
    """The new index to make of a snapshot."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"index": "docs-again"}]})

    index: Text


class SnapshotInfo(Answer):
    """One snapshot; of an archive, which tells them only when it is read, the rest is null."""

    name: str
    readable: bool | None = Field(
        description="False where the manifest itself is damaged; null for an archive, which only "
        "verifying reads."
    )
    archive: bool
    of: str | None = Field(description="The index that was copied.")
    generation: int | None
    n_docs: int | None
    bytes: int | None
    created: float | None = Field(description="In seconds since 1970.")
    encoder: str | None


class SnapshotList(Answer):
    """All snapshots, by name."""

    snapshots: list[SnapshotInfo]
