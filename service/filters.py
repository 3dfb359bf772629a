"""A filter in the terms of an index: checked, its masks made, its mistakes told as problems."""

from collections.abc import Mapping
from typing import Any

from index import Index
from index.filtering import Expression, parsed
from lsr.errors import FilterError, UnknownField

from .problems import Fault, ProblemError, did_you_mean, pointer, shown


def check(index: Index, filter: Mapping[str, Any] | None) -> Expression | None:
    """Raises `ProblemError` for a filter that cannot mean anything to this index."""
    try:
        return parsed(filter, index.fields)
    except FilterError as error:
        raise problem_of(error) from error


def prepare(index: Index, filter: Mapping[str, Any] | None) -> None:
    """`check`, and make the masks that a search with this filter will use: segments keep them."""
    try:
        index.prepare(filter)
    except FilterError as error:
        raise problem_of(error) from error


def problem_of(error: FilterError) -> ProblemError:
    """A mistake in a filter, with its place and what was probably meant."""
    names = [str(name)[:100] for name in error.allowed]
    where = pointer(["filter", *error.path])
    fault = Fault(where, error.reason[:1000], shown(error.got), allowed=names or None)
    meant = did_you_mean(str(error.got), names)
    if isinstance(error, UnknownField):
        name = str(error.got)[:100]
        known = ", ".join(f"'{one}'" for one in names) or "none"
        return ProblemError(
            "unknown_filter_field",
            f"Field '{name}' was not declared when the index was built; declared: {known}.",
            hint=meant
            or "The fields of an index are declared when it is made: make a new one that declares "
            f"'{name}' (POST /v1/indexes with `fields`, or `lsr index --field {name}:keyword` for "
            "one named on the server's command line), and add the documents again.",
            faults=[fault],
        )
    hint = meant or (f"Use one of {', '.join(names)}." if names else None)
    return ProblemError(
        "invalid_filter", f"{where}: {error.reason[:1000]}.", hint=hint, faults=[fault]
    )
