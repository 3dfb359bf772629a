"""What came of looking at the remains."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["sound", "lost", "half", "unsound"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`lost`: something acknowledged is missing. `half`: a change is there in part. `unsound`: the
    index contradicts itself, ranks otherwise than the reference, or cannot be opened.

    `step` is how many steps of the plan are there, when it is sound.
    """

    outcome: Outcome
    why: str = ""
    step: int = 0
