"""What every error looks like."""

from pydantic import BaseModel, ConfigDict, Field

from .base import Answer


class FaultShape(Answer):
    """One place of the request that is wrong."""

    pointer: str = Field(description="JSON pointer into the body (RFC 6901).")
    message: str
    value: bool | int | float | str | None = None
    allowed: list[str] | None = None


class Problem(BaseModel):
    """RFC 9457 problem details: what every error looks like."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/unknown-field",
                    "title": "Unknown field",
                    "status": 422,
                    "code": "unknown_field",
                    "detail": "/limt is not a field of this request.",
                    "instance": "/v1/indexes/papers/search",
                    "errors": [{"pointer": "/limt", "message": "unknown field", "value": 5}],
                    "hint": "Did you mean 'limit'?",
                    "request_id": "5b0c6e1f2a3d4e5f",
                }
            ]
        },
    )

    type: str = Field(description="Address of the page that explains `code`.")
    title: str
    status: int
    code: str = Field(description="Stable; meant for programs.")
    detail: str
    instance: str
    errors: list[FaultShape]
    hint: str | None
    request_id: str | None = Field(description="Also the header X-Request-Id, and in the log.")


class ProblemKind(Answer):
    """What a code means."""

    type: str
    code: str
    title: str
    status: int
    meaning: str
