"""What ails an index or its encoder: measurements, and findings that say what to do about them."""

from .case import Case, open_case
from .checks import CHECKS, Check, examine, is_healthy
from .finding import ORDER, Finding, Level
from .questions import Questions

__all__ = [
    "CHECKS",
    "ORDER",
    "Case",
    "Check",
    "Finding",
    "Level",
    "Questions",
    "examine",
    "is_healthy",
    "open_case",
]
