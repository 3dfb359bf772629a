"""Names that become part of addresses and of paths: one rule for indexes, aliases, snapshots and
encoders, and one way from a name to a path.
"""

import re
from pathlib import Path

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
NAME_WANTED = "1 to 63 lower-case letters, digits, '-' or '_', beginning with a letter or digit"


def is_name(text: str) -> bool:
    """Whether an index, an alias, a snapshot or an encoder may be called so.

    >>> is_name("papers-2"), is_name("../etc"), is_name("Papers")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def inside(folder: Path, *parts: str) -> Path:
    """The place below `folder` that these parts lead to, for parts that came from elsewhere.

    Raises `ValueError` for one that leaves the folder, also by way of a link.

    >>> inside(Path("/srv"), "a").name
    'a'
    >>> inside(Path("/srv"), "..", "etc")
    Traceback (most recent call last):
    ...
    ValueError: '../etc' leads out of its folder
    """
    shown = "/".join(parts)
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise ValueError(f"{shown!r} leads out of its folder")
    place = folder.joinpath(*parts)
    if not place.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{shown!r} leads out of its folder")
    return place
