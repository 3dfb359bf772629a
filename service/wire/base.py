"""What every request and every answer is made of.

Unknown fields of requests are refused and nothing is converted: "3" is not 3 and true is not 1.
Answers are written straight from dictionaries, so their models check nothing while serving; the
tests hold every answer against its model.
"""

import json
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict
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
        raise PydanticCustomError("json", "cannot be stored: {why}", {"why": str(error)}) from error
    return given


JsonObject = Annotated[dict[str, Any], AfterValidator(_storable)]
"""Any JSON values by name."""


class Strict(BaseModel):
    """A request body, or a part of one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Answer(BaseModel):
    """An answer, or a part of one; clients should expect further fields in later releases."""
