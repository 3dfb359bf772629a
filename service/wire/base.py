"""What every request and every answer is made of.

Unknown fields of requests are refused and nothing is converted: "3" is not 3 and true is not 1.
Answers are written straight from dictionaries, so their models check nothing while serving; the
tests hold every answer against its model.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator
from pydantic_core import PydanticCustomError


def _well_formed(text: str) -> str:
    """JSON can escape half a surrogate pair, which UTF-8 cannot hold, so no answer could either."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError(
            "lone_surrogate",
            "half a surrogate pair at character {at} is no character",
            {"at": error.start},
        ) from error
    return text


Text = Annotated[str, AfterValidator(_well_formed)]


def _storable(given: Any) -> Any:
    """Stored as JSON, and read again as what was given: numbers of 64 bits, no NaN, sane depth."""
    try:
        orjson.dumps(given)
        json.dumps(given, allow_nan=False)  # orjson writes null for what is no number
    except (TypeError, ValueError) as error:
        raise PydanticCustomError(
            "json", "cannot be stored: {why}", {"why": why_no_json(error)}
        ) from error
    return given


def why_no_json(error: Exception) -> str:
    """What the writers of JSON refuse, in our words."""
    for said, plain in _NO_JSON.items():
        if said in str(error):
            return plain
    return "it cannot be written as JSON"


_NO_JSON = {
    "64-bit": "a whole number in it has more than 64 bits",
    "ecursion": "it is nested too deeply",
    "surrogates": "half a surrogate pair in it is no character",
    "Out of range float": "NaN and infinity in it are no numbers of JSON",
}


JsonObject = Annotated[dict[str, Any], AfterValidator(_storable)]
"""Any JSON values by name."""


class Strict(BaseModel):
    """A request body, or a part of one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Kind = Literal["string", "number", "boolean", "list", "object"]


def by_kind(tags: Mapping[Kind, str], wanted: str) -> Any:
    """Which alternative of a union a value means, by its kind of JSON.

    So errors speak of the one that was meant, and of a value that is none of them say `wanted`.
    """
    return Discriminator(
        lambda value: tags.get(_kind_of(value)) if value is not None else None,
        custom_error_type="kind",
        custom_error_message=wanted,
    )


def _kind_of(value: Any) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "object"


class Answer(BaseModel):
    """An answer, or a part of one; clients should expect further fields in later releases."""
