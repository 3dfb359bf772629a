"""`shards.json`: what makes several indexes one set, cut by documents and searched as one.

    papers.index/
      shards.json          how many shards, what each holds, which encoder; written last
      shard-000.index/     an ordinary index with shard.json, which says whose it is
      shard-001.index/

Documents keep the order of their corpus: shard 0 holds the first, so that (shard, docid) is the
order of one index of them all.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from lsr.errors import IndexCorrupt, IndexNotFound, IndexVersion, ShardMissing
from lsr.files import atomic_write

from .catalog import FILE_NAME as CATALOG
from .changes import LAST_DOCID

FILE_NAME = "shards.json"
MEMBER_NAME = "shard.json"
FORMAT = 1


def holds_index(path: Path) -> bool:
    """Whether an index, or a set of shards, lies at `path`: only such a directory is replaced."""
    return any((path / name).is_file() for name in (CATALOG, FILE_NAME))


def holds_shard(path: Path) -> bool:
    """Whether the index at `path` is a shard of a set beside it."""
    return (path / MEMBER_NAME).is_file() and (path.parent / FILE_NAME).is_file()


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard of a set, a directory beside `shards.json`.

    `last_docid` is the largest it has given away, `generation` the commit that was published.
    """

    name: str
    n_docs: int
    last_docid: int
    generation: int


@dataclass(frozen=True, slots=True)
class ShardSet:
    """A set of shards as `shards.json` tells it; `name` is drawn anew for every set that is built.

    `space`, `build` and `max_weight` are those of the encoder that every shard was built by: equal
    ones make equal scores.
    """

    name: str
    space: str | None
    build: str | None
    n_terms: int
    max_weight: float
    shards: tuple[Shard, ...]

    @property
    def n_docs(self) -> int:
        """Documents of all shards."""
        return sum(shard.n_docs for shard in self.shards)

    @property
    def starts(self) -> list[int]:
        """What to add to the docids of each shard so that all shards count on.

        >>> shards = (Shard("a", 3, 3, 1), Shard("b", 2, 4, 1), Shard("c", 1, 1, 1))
        >>> ShardSet("x", None, None, 10, 1.0, shards).starts
        [0, 3, 7]
        """
        return list(accumulate((shard.last_docid for shard in self.shards[:-1]), initial=0))

    def write(self, folder: Path) -> None:
        """Write `shards.json`, whole or not at all."""
        facts = asdict(self)
        with atomic_write(folder / FILE_NAME) as file:
            told = {"format": FORMAT, **facts, "sha256": _digest(facts)}
            file.write(orjson.dumps(told, option=orjson.OPT_INDENT_2))

    @classmethod
    def read(cls, folder: Path) -> "ShardSet":
        """Read `shards.json`. Raises `IndexNotFound`, `IndexVersion` or `IndexCorrupt`."""
        path = folder / FILE_NAME
        try:
            facts = orjson.loads(path.read_bytes())
            version, digest = facts.pop("format"), facts.pop("sha256")
        except FileNotFoundError:
            raise IndexNotFound(
                f"{folder}: no set of shards here ({FILE_NAME} is missing); build one with "
                f"`lsr index CORPUS {folder} --shards N`"
            ) from None
        except (OSError, KeyError, AttributeError, TypeError, ValueError) as error:
            raise _corrupt(path, f"cannot be read ({error})") from error
        if version != FORMAT:
            raise IndexVersion(
                f"{path}: format {version}, this release reads {FORMAT}; open it with the release "
                "that wrote it, or build the shards again"
            )
        if _digest(facts) != digest:
            raise _corrupt(path, "its contents contradict its checksum")
        shards = tuple(Shard(**shard) for shard in facts.pop("shards"))
        found = cls(**facts, shards=shards)
        if found.starts[-1] + shards[-1].last_docid > LAST_DOCID:
            raise _corrupt(path, f"its docids exceed {LAST_DOCID:,}, the last of 32 bits")
        return found


def write_member(shard: Path, *, set_name: str, number: int) -> None:
    """Say in the directory of a shard which set it belongs to."""
    with atomic_write(shard / MEMBER_NAME) as file:
        file.write(orjson.dumps({"set": set_name, "number": number}))


def check_member(shard: Path, *, set_name: str, number: int) -> None:
    """Refuse a directory that is not this shard of this set: `ShardMissing` where there is none,
    `IndexCorrupt` for one of another set or place.
    """
    path = shard / MEMBER_NAME
    try:
        told = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise ShardMissing(
            f"{shard}: shard {number} of the set is missing ({MEMBER_NAME} is not there); put a "
            "copy back, or build the shards again",
            shards=(number,),
        ) from None
    except (OSError, ValueError) as error:
        raise _corrupt(path, f"cannot be read ({error})") from error
    if told != {"set": set_name, "number": number}:
        raise _corrupt(path, f"says {told}, wanted shard {number} of set {set_name}")


def same_everywhere(name: str, values: Sequence[Any], *, where: Path) -> Any:
    """The value that all shards share. Raises `IndexCorrupt` where they differ."""
    for number, value in enumerate(values):
        if value != values[0]:
            raise IndexCorrupt(
                f"{where}: shard {number} has {name} = {value}, shard 0 has {values[0]}; their "
                "scores cannot be compared. Build the shards again"
            )
    return values[0]


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _corrupt(path: Path, why: str) -> IndexCorrupt:
    return IndexCorrupt(f"{path}: {why}; restore a copy, or build the shards again")
