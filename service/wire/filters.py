"""Which documents may be found: an expression over declared fields, see `index/filtering.py`."""

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from .base import why_no_json

_DESCRIPTION = (
    'By declared field a value, a list of which any will do, or conditions (`{"year": {"gte": '
    '2020}}`); or a tree of `{"all": [...]}`, `{"any": [...]}`, `{"not": ...}` and leaves like '
    '`{"field": "year", "gte": 2020}`. Conditions are eq, in, gt, gte, lt, lte and exists; dates '
    "are ISO 8601 strings. A document without a value satisfies only `exists: false` and `not`."
)


def _as_json(given: dict[str, Any]) -> dict[str, Any]:
    """What the index reads are strings that UTF-8 holds and numbers of 64 bits, nested sanely."""
    try:
        orjson.dumps(given)
    except TypeError as error:
        raise PydanticCustomError(
            "filter", "not a filter: {why}", {"why": why_no_json(error)}
        ) from error
    return given


Filter = Annotated[
    dict[str, Any],
    AfterValidator(_as_json),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": True,
            "description": _DESCRIPTION,
            "examples": [
                {"lang": "en", "year": {"gte": 2020}},
                {"any": [{"field": "lang", "eq": "en"}, {"not": {"field": "year", "lt": 2000}}]},
            ],
        }
    ),
]
