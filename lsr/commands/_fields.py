"""The option that declares fields to filter by."""

import click

from ..errors import UsageError

field_option = click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME:KIND",
    help="Field to filter by: keyword, int, float, bool or date. Repeatable.",
)


def field_kind(text: str) -> tuple[str, str]:
    """NAME:KIND as (name, kind). Raises `UsageError`.

    >>> field_kind("lang:keyword")
    ('lang', 'keyword')
    """
    name, _, kind = text.rpartition(":")
    if not name or kind not in ("keyword", "int", "float", "bool", "date"):
        raise UsageError(
            f"--field {text}: wanted NAME:KIND with a kind of keyword, int, float, bool or date, "
            "for example lang:keyword"
        )
    if name == "_id":  # read as the id wherever it stands, so no document keeps it as a field
        raise UsageError(
            f"--field {text}: the id of a document is no field; to filter by it, have it in the "
            "corpus once more under another name"
        )
    return name, kind
