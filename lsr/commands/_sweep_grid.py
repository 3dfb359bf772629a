"""What `lsr sweep` tries: the grid of a preset, a TOML file or options, and its configurations.

Building an index costs seconds to minutes, searching it otherwise costs less, so a configuration is
a `Build` (encoder, pruning, quantisation) and a `Search` (query cap, approximation) of it. Every
list of the grid is tried beside leaving its axis alone, and builds are crossed with searches. The
ways of pruning are alternatives to one another; what combines them is a [[prune]] table.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from index import Approximate, Pruning, Settings

from ..errors import RecipeError, UsageError
from ..typed_toml import build

QUANTISATIONS = ("8bit", "4bit", "2bit", "binary")
"""8bit and binary are what `lsr index` builds. 4bit and 2bit keep 15 and 3 levels of weight inside
8-bit impacts: they say what fewer bits would cost in quality, and save no bytes here."""
LEVELS: Mapping[str, int] = {"4bit": 15, "2bit": 3}


@dataclass(frozen=True)
class Grid:
    """Values to try on each axis. Encoders and quantisations are tried as listed."""

    encoder: tuple[str, ...] = ()
    prune_terms: tuple[int, ...] = ()
    prune_mass: tuple[float, ...] = ()
    prune_ratio: tuple[float, ...] = ()
    prune_postings: tuple[float, ...] = ()
    prune: tuple[Pruning, ...] = ()
    """Several ways at once, as `lsr index` takes them."""
    quantise: tuple[str, ...] = ("8bit",)
    query_terms: tuple[int, ...] = ()
    recall: tuple[float, ...] = ()
    pages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for one in self.quantise:
            if one not in QUANTISATIONS:
                raise UsageError(f"quantise {one!r}: wanted one of {', '.join(QUANTISATIONS)}")
        if any(n < 1 for n in self.query_terms):
            raise UsageError(f"query_terms {self.query_terms}: wanted whole numbers of at least 1")
        self.prunings()
        self.approximations()

    def prunings(self) -> list[Pruning]:
        """All ways of pruning, none first. Raises `UsageError` for what cannot be."""
        ways = [Pruning()]
        ways += [Pruning(terms=n) for n in self.prune_terms]
        ways += [Pruning(mass=share) for share in self.prune_mass]
        ways += [Pruning(ratio=share) for share in self.prune_ratio]
        ways += [Pruning(postings=share_or_n) for share_or_n in self.prune_postings]
        return list(dict.fromkeys([*ways, *self.prune]))

    def approximations(self) -> list[Approximate | None]:
        """Exact search and all approximate ones. Raises `QueryError` for what cannot be."""
        less = [Approximate(recall=share) for share in self.recall]
        less += [Approximate(pages=n) for n in self.pages]
        return [None, *dict.fromkeys(less)]

    def builds(self, encoder: str) -> "list[Build]":
        """Every index to build of an encoder's vectors, the whole one first."""
        return [
            Build(encoder, pruning, quantise)
            for quantise in dict.fromkeys(self.quantise)
            for pruning in self.prunings()
            # All postings of a binary list weigh the same, so none of them is the heaviest.
            if quantise != "binary" or pruning.postings is None
        ]

    def searches(self) -> "list[Search]":
        """Every way to search each of them, the whole one first."""
        caps = dict.fromkeys((None, *self.query_terms))
        return [Search(cap, less) for cap in caps for less in self.approximations()]


@dataclass(frozen=True)
class Build:
    """One index."""

    encoder: str
    pruning: Pruning
    quantise: str

    @property
    def settings(self) -> Settings:
        """As the index records them."""
        return Settings(pruning=self.pruning, binary=self.quantise == "binary")

    @property
    def simulated(self) -> bool:
        """Whether `lsr index` cannot build it: only its quality is real, not its size."""
        return self.quantise in LEVELS

    def words(self) -> list[str]:
        """What is left out, in words; nothing of a whole index."""
        pruning = self.pruning
        words = [] if pruning.terms is None else [f"{pruning.terms} terms"]
        words += [] if pruning.mass is None else [f"{100 * pruning.mass:g} % of mass"]
        words += [] if pruning.ratio is None else [f"above {pruning.ratio:g} of the largest"]
        if pruning.postings is not None:
            lists = pruning.postings
            words.append(f"{100 * lists:g} % of lists" if lists < 1 else f"lists of {lists:,.0f}")
        return words if self.quantise == "8bit" else [*words, self.quantise]

    def options(self) -> list[str]:
        """The options of `lsr index` that build it."""
        pruning = self.pruning
        given = (
            ("--prune-terms", pruning.terms),
            ("--prune-mass", pruning.mass),
            ("--prune-ratio", pruning.ratio),
            ("--prune-postings", pruning.postings),
        )
        words: list[str] = []
        for name, value in given:
            words += [] if value is None else [name, f"{value:.15g}"]
        return [*words, "--binary"] if self.quantise == "binary" else words


@dataclass(frozen=True)
class Search:
    """One way to search an index."""

    query_terms: int | None = None
    approximate: Approximate | None = None

    def words(self) -> list[str]:
        """What is asked for less than, in words; nothing of a whole and exact search."""
        words = [] if self.query_terms is None else [f"{self.query_terms} query terms"]
        if self.approximate is not None:
            recall, pages = self.approximate.recall, self.approximate.pages
            words.append(f"{pages} pages" if recall is None else f"recall {recall:g}")
        return words

    def options(self) -> list[str]:
        """The options of `lsr search` that ask for it."""
        words = [] if self.query_terms is None else ["--query-terms", str(self.query_terms)]
        if self.approximate is None:
            return words
        recall, pages = self.approximate.recall, self.approximate.pages
        return [
            *words,
            *(["--pages", str(pages)] if recall is None else ["--recall", f"{recall:g}"]),
        ]


SMALL = Grid(
    prune_terms=(16, 32, 64, 128),
    prune_mass=(0.8, 0.9),
    prune_ratio=(0.1, 0.2),
    prune_postings=(0.5,),
    quantise=("8bit", "binary"),
    query_terms=(8,),
)
FULL = Grid(
    prune_terms=(8, 16, 24, 32, 48, 64, 96, 128, 192),
    prune_mass=(0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    prune_ratio=(0.05, 0.1, 0.2, 0.3),
    prune_postings=(0.25, 0.5, 0.75),
    prune=(Pruning(terms=32, postings=0.5), Pruning(terms=64, postings=0.5)),
    quantise=QUANTISATIONS,
    query_terms=(4, 8, 16, 32),
    recall=(0.9, 0.95),
    pages=(4, 16),
)
PRESETS = {"small": SMALL, "full": FULL}


def read_grid(name: str) -> Grid:
    """A preset by its name, or the TOML file at this path. Raises `RecipeError`."""
    if name in PRESETS:
        return PRESETS[name]
    try:
        table = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(
            f"--grid {name}: no such file; wanted {', '.join(PRESETS)} or a TOML file"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"--grid {name}: cannot be read as TOML: {error}") from error
    return build(Grid, table, name)


def with_axes(grid: Grid, given: Mapping[str, Sequence[Any]]) -> Grid:
    """The grid with the axes that options name in place of its own."""
    known = {field.name for field in fields(Grid)}
    assert given.keys() <= known, f"no such axes: {given.keys() - known}"
    return replace(grid, **{name: tuple(values) for name, values in given.items() if values})
