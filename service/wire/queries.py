"""What to search for: a text, weighted tokens, a vector, or what resembles a document."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from index import MAX_QUERY_TERMS

from .base import Strict, Text, by_kind

LARGEST_WEIGHT = 3.4028234e38
"""The largest float32, as which the engine reads weights."""
LIKE_TERMS = 64
"""Terms of a document that stand for it where the request does not say how many."""

Weight = Annotated[float, Field(ge=0, le=LARGEST_WEIGHT)]


class Vector(Strict):
    """Sparse weights by term number, in any order, each term once."""

    indices: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=MAX_QUERY_TERMS)
    ]
    values: Annotated[list[Weight], Field(max_length=MAX_QUERY_TERMS)]


class Like(Strict):
    """A document of the index, whose stored vector is the query; it is no hit of its own."""

    id: Text
    terms: Annotated[int, Field(ge=1, le=MAX_QUERY_TERMS)] = Field(
        default=LIKE_TERMS, description="How many terms, the heaviest, stand for the document."
    )


LikeInput = Annotated[
    Annotated[Text, Tag("id")] | Annotated[Like, Tag("document")],
    by_kind(
        {"string": "id", "object": "document"}, 'wanted the id of a document or {"id": "d1"}, say'
    ),
]

KINDS = ("text", "tokens", "vector", "like")


class QueryInput(Strict):
    """What to search for: exactly one of `text`, `tokens`, `vector` and `like`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["text"], "properties": {"text": {"type": "string"}}},
                {"required": ["tokens"], "properties": {"tokens": {"type": "object"}}},
                {"required": ["vector"], "properties": {"vector": {"type": "object"}}},
                {"required": ["like"], "properties": {"like": {"type": ["string", "object"]}}},
            ]
        }
    )

    text: Text | None = Field(
        default=None, description="Natural language, for the encoder of the index."
    )
    tokens: Annotated[dict[Text, Weight], Field(max_length=MAX_QUERY_TERMS)] | None = Field(
        default=None, description="Weights by vocabulary entry; unknown ones are reported."
    )
    vector: Vector | None = Field(default=None, description="Weights by term number.")
    like: LikeInput | None = Field(
        default=None, description="The id of a document of this index: find what resembles it."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "exactly_one",
                "a query is exactly one of text, tokens, vector and like, got {given}",
                {"given": " and ".join(given) or "none of them"},
            )
        return self
