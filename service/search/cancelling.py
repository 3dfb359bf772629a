"""Searches that end before they have their answer."""

from index import Cancel

from ..problems import ProblemError


def called_off() -> ProblemError:
    """The problem of a search whose client left, or whose time is over."""
    return ProblemError("cancelled", "The search was called off.")


def require_wanted(cancel: Cancel | None) -> None:
    """Raise the problem `cancelled` once nobody waits for the answer, or its time is over."""
    if cancel is not None and cancel.is_set():
        raise called_off()
