"""What --prune-postings takes: a share of every list, or a number of its postings."""

from ..errors import UsageError


def postings_kept(text: str) -> float:
    """A share below 1 or a whole number, which are told apart by how they are written.

    1.0 was one posting a term where somebody meant all of them. Raises `UsageError`.

    >>> postings_kept("0.8"), postings_kept("100")
    (0.8, 100.0)
    """
    try:
        kept = float(text)
    except ValueError:
        kept = 0.0
    if 0 < kept < 1 or (kept >= 1 and text.strip().isdecimal()):
        return kept
    raise UsageError(
        f"--prune-postings {text}: wanted a share of every list, above 0 and below 1, such as 0.8, "
        "or the whole number of postings that each keeps, such as 100; without the option all stay"
    )
