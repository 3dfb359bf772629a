"""Tables as Markdown, for the pages that commands write."""

from collections.abc import Sequence


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]], *, text: int) -> str:
    """The cells as a Markdown table, its first `text` columns to the left, the others to the right.

    >>> print(markdown_table(["a|b", "n"], [["x", "1"]], text=1))
    | a\\|b | n |
    | --- | ---: |
    | x | 1 |
    """
    rule = ["---" if i < text else "---:" for i in range(len(header))]
    rows = ([*map(markdown_cell, header)], rule, *([*map(markdown_cell, line)] for line in lines))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def markdown_cell(text: str) -> str:
    """The text as it may stand between two bars, on one line."""
    return text.replace("|", "\\|").replace("\n", " ")
