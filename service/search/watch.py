"""Where the time of a request went."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds by stage; a stage that runs twice adds up. `blocks_scored` of `blocks` blocks of
    documents were looked at by the last ranking.
    """

    stages: dict[str, float] = field(default_factory=dict)
    blocks: int = 0
    blocks_scored: int = 0
    _started: float = field(default_factory=time.perf_counter)
    _lap: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to `stage`."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + (now - self._lap) * 1000
        self._lap = now

    def elapsed_ms(self) -> float:
        """Since the beginning."""
        return (time.perf_counter() - self._started) * 1000

    def as_milliseconds(self) -> dict[str, float]:
        """Every stage and the total."""
        total = self.elapsed_ms()
        return {stage: round(ms, 3) for stage, ms in self.stages.items()} | {
            "total": round(total, 3)
        }


def server_timing(times: Mapping[str, float]) -> str:
    """The value of `Server-Timing`, which browsers show.

    >>> server_timing({"encode": 0.4, "total": 2.6})
    'encode;dur=0.4, total;dur=2.6'
    """
    return ", ".join(f"{stage};dur={ms}" for stage, ms in times.items())
