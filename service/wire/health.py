"""How the server has been."""

from pydantic import Field

from .base import Answer


class IndexMinute(Answer):
    """The searches of one index in one minute; percentiles are null where there was none."""

    searches: int
    zero_hit_share: float
    errors: int = Field(description="Searches that a fault of the server ended.")
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Minute(Answer):
    """One minute; indexes that nobody searched are left out."""

    at: int = Field(description="When it began, in seconds since 1970.")
    indexes: dict[str, IndexMinute]
    unfinished: bool = False


class EffectivenessPoint(Answer):
    """How good the answers of an index to its judged queries were at one moment."""

    index: str
    at: float
    generation: int
    measure: str
    value: float
    n_queries: int


class HealthHistory(Answer):
    """The oldest first."""

    minutes: list[Minute]
    effectiveness: list[EffectivenessPoint]
