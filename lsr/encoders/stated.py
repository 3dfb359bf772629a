"""What a folder's README says of a model that `lsr train` did not make: its YAML front matter."""

import re
from pathlib import Path
from typing import Any

_README = "README.md"


def front_matter(folder: Path, key: str) -> list[str]:
    """The words of a list, or of one value, in the front matter of the model card in `folder`."""
    readme = folder / _README
    if not readme.is_file():
        return []
    text = readme.read_text(encoding="utf-8", errors="replace")
    matter = re.match(r"---\r?\n(.*?)\r?\n---", text, re.S)
    found = matter and re.search(
        rf"^{key}:[ \t]*(\S[^\n]*)?((?:\r?\n[ \t]*-[ \t]+[^\n]+)*)", matter[1], re.M
    )
    if not found:
        return []
    inline = re.split(r"[,\[\]]", found[1] or "")
    listed = re.findall(r"-[ \t]+([^\n]+)", found[2])
    return [word.strip().strip("\"'") for word in (*inline, *listed) if word.strip()]


def stated_record(folder: Path) -> dict[str, Any]:
    """A record of training as far as the README has one: name, what it started from, its data.

    It has the form of the records that `lsr train` writes, so that what becomes of the model, by
    averaging or by training on, goes on telling what it had seen.
    """
    before: dict[str, Any] = {}
    for name in reversed(front_matter(folder, "base_model")):
        before = {"training": {"backbone": {"name": name, **before}}}
    licence = front_matter(folder, "license")
    stated = {"licence": licence[0]} if licence else {}
    return {
        "recipe": {"model": {"seen": front_matter(folder, "datasets")}, "teachers": []},
        "backbone": {"name": folder.resolve().name, **stated, **before},
        "data": [],
    }
