"""Documents as they were given."""

from typing import Any

from .base import Answer


class StoredDocument(Answer):
    """One document as it was given."""

    index: str
    id: str
    fields: dict[str, Any]
