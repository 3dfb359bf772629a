"""`lsr reproduce mini --stage N`: the commands that made the shipped encoder, in order."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

NAME = "mini"
UNSEEN = ("cranfield", "cisi", "cacm", "medline", "vaswani", "python-docs")
"""Collections of which nothing was trained on, chosen by or counted."""
_COUNTED = ("boolq", "medquad", "insuranceqa", "pubmed-title2abstract", "debian-descriptions")


@dataclass(frozen=True, slots=True)
class Stage:
    """One command; its result is what the next one reads."""

    says: str
    command: tuple[str, ...]


def stages(folder: Path, wikipedia: str) -> list[Stage]:
    """All of them, with results in `folder`; `wikipedia` is a file of paragraphs to count."""
    trained, small, whole = (str(folder / name) for name in ("trained", "int8", "lsr-mini"))
    corpora = [word for name in (wikipedia, *_COUNTED) for word in ("--words", name)]
    return [
        Stage("train", ("train", "lsr-mini", trained)),
        Stage("round", ("onnx", trained, small, "--int8", "--texts", "medquad")),
        Stage("join", ("join", small, whole, *corpora, "--most", "30000", "--name", "lsr-mini")),
        Stage("measure", ("evaluate", *UNSEEN, "--encoder", whole)),
    ]


def stage(number: int, folder: Path, wikipedia: str) -> Stage:
    """The stage of this number, from 1. Raises `UsageError`."""
    every = stages(folder, wikipedia)
    if not 1 <= number <= len(every):
        raise UsageError(f"--stage {number}: wanted 1 to {len(every)}")
    return every[number - 1]
