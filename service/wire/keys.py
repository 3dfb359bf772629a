"""Keys: what may be asked of them, and what is told."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .base import Answer, Strict, Text
from .filters import Filter


class CreateKey(Strict):
    """A new key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "the page", "scopes": ["search:docs-*"], "expires_in_s": 7776000},
                {"name": "a tenant", "scopes": ["search:docs"], "filter": {"tenant": "t1"}},
            ]
        }
    )

    name: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        description="For people: who has the key, what it is for."
    )
    scopes: Annotated[list[Text], Field(min_length=1, max_length=64)] = Field(
        default=["search:*"],
        description="ACTION:PATTERN; actions are search, write, admin and monitor, a pattern is "
        "the name of an index in which * stands for any characters.",
    )
    expires_in_s: Annotated[float, Field(gt=0, le=3.2e9)] | None = Field(
        default=None, description="Seconds until the key is worth nothing; never by default."
    )
    filter: Filter | None = Field(
        default=None,
        description="Holds in addition to the filter of every request: all else is not there.",
    )


class KeyInfo(Answer):
    """A key without its secret; times in seconds since the epoch."""

    id: str
    name: str
    scopes: list[str]
    filter: dict[str, Any] | None
    created: float
    expires: float | None
    revoked: float | None
    state: Literal["active", "expired", "revoked"]


class NewKey(KeyInfo):
    """A key as it is made."""

    key: str = Field(description="The secret. It is told this once and kept nowhere.")


class KeyList(Answer):
    """All keys, the oldest first."""

    keys: list[KeyInfo]
