"""What is wrong with a value of a request, in plain words: the one place that knows pydantic's.

By the type of its error, whatever the field. Errors of ours (`PydanticCustomError` in `wire/`) say
it themselves.
"""

from collections.abc import Mapping
from typing import Any

_WANTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a JSON object",
    "model_type": "a JSON object",
    "model_attributes_type": "a JSON object",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def wanted(error: Mapping[str, Any]) -> str:
    """What was wanted instead, of one of `ValidationError.errors()`.

    >>> wanted({"type": "less_than_equal", "ctx": {"le": 1000}, "msg": "Input should be ..."})
    'wanted at most 1,000'
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind in _WANTED:
        return f"wanted {_WANTED[kind]}"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"wanted {words} {_number(context[bound])}"
    match kind:
        case "missing":
            return "wanted, but missing"
        case "literal_error":
            return f"wanted {context['expected']}"
        case "too_short" | "string_too_short":
            return f"wanted at least {_counted(context['min_length'], error.get('input'))}"
        case "too_long" | "string_too_long":
            return f"wanted at most {_counted(context['max_length'], error.get('input'))}"
        case "string_pattern_mismatch":
            return f"wanted a string that matches {context['pattern']}"
    return str(error["msg"]).removeprefix("Value error, ").rstrip(".")


def _counted(n: int, what: object) -> str:
    unit = "character" if isinstance(what, str) else "item"
    return f"{n:,} {unit}" + ("" if n == 1 else "s")


def _number(value: float) -> str:
    """
    >>> _number(16777216.0), _number(1e-06), _number(3.4028234e38), _number(0.5)
    ('16,777,216', '0.000001', '3.4028234e+38', '0.5')
    """
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.9f}".rstrip("0") if abs(value) < 1e-4 else f"{value:.9g}"
