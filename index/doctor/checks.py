"""The list of checks, in the order of a document's way: stored, read, weighted, found."""

from collections.abc import Callable, Iterable, Sequence

from .case import Case
from .density import check_density
from .drift import check_drift
from .empty import check_empty
from .finding import Finding
from .hits import check_hits
from .integrity import check_integrity
from .lists import check_lists
from .recall import check_recall
from .saturation import check_saturation
from .truncation import check_truncation
from .twins import check_twins
from .vocabulary import check_vocabulary
from .words import check_words

Check = Callable[[Case], Finding]

CHECKS: tuple[Check, ...] = (
    check_integrity,
    check_words,
    check_truncation,
    check_empty,
    check_density,
    check_vocabulary,
    check_saturation,
    check_twins,
    check_drift,
    check_hits,
    check_lists,
    check_recall,
)
"""A further check is a function from a case to a finding, added here."""


def examine(
    case: Case, checks: Sequence[Check] = CHECKS, *, done: Callable[[int], None] = lambda n: None
) -> list[Finding]:
    """Make every check; `done` is told of each."""
    found = []
    for check in checks:
        found.append(check(case))
        done(1)
    return found


def is_healthy(findings: Iterable[Finding]) -> bool:
    """No finding fails."""
    return all(finding.level != "fail" for finding in findings)
