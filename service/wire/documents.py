"""Documents: as they are given, changed and read."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from .base import Answer, JsonObject, Strict, Text
from .filters import Filter
from .queries import Vector, Weight


class DocumentBody(Strict):
    """One document without its id, which is in the address."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"fields": {"title": "Cats", "text": "cats sleep all day"}}]
        }
    )

    fields: JsonObject = Field(description="Any JSON values; the encoder reads some of them.")
    tokens: dict[Text, Weight] | None = Field(
        default=None, description="Weights by vocabulary entry, instead of encoding the text."
    )
    vector: Vector | None = Field(
        default=None, description="Weights by term number, instead of encoding the text."
    )


class DeleteRequest(Strict):
    """Which documents to delete: exactly one of `ids` and `filter`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ids": ["d1", "d2"]}, {"filter": {"lang": "de"}}]}
    )

    ids: Annotated[list[Text], Field(max_length=100_000)] | None = None
    filter: Filter | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "DeleteRequest":
        if (self.ids is None) == (self.filter is None):
            raise PydanticCustomError("exactly_one", "give exactly one of ids and filter")
        if self.filter == {}:
            raise PydanticCustomError(
                "empty_filter",
                "an empty filter would delete every document; to delete an index, DELETE "
                "/v1/indexes/NAME",
            )
        return self


class StoredDocument(Answer):
    """One document as it was given. `version` is the header ETag too, for If-Match."""

    index: str
    id: str
    version: int
    fields: dict[str, Any]


class WrittenDocument(Answer):
    """A document that is durable and searchable; `empty` when it has no term to be found by."""

    index: str
    id: str
    version: int
    generation: int
    empty: bool
