"""`--dense`, `--fuse` and `--rerank`: a system by options, for the shell."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import UsageError
from ..systems import CROSS_ENCODER, DENSE, Fusion, System, is_dense, read_systems
from ._encoders import EncoderChoice
from ._entrants import ByOptions, Entrant, FromRun, OfFile
from ._typed import is_given, refuse_given

R = TypeVar("R")

_OF_ENCODERS = ("k1", "b", "keep_stopwords", "stemmer", "precision", "windows")
"""Options that say how vectors are made, beside --encoder."""


@dataclass(frozen=True)
class SystemOptions:
    """What the three options say."""

    dense: Path | None = None
    fuse: Fusion | None = None
    rerank: str | None = None

    def words(self, choice: EncoderChoice) -> tuple[str, ...]:
        """The options that ask for this again."""
        alone = self.dense is not None and self.fuse is None
        found = [] if alone else ["--encoder", choice.encoder]
        for name, value in (("dense", self.dense), ("fuse", self.fuse), ("rerank", self.rerank)):
            found += [] if value is None else [f"--{name}", str(value)]
        return tuple(found)

    def system(self, choice: EncoderChoice) -> System | None:
        """The system they ask for; None where `choice` alone says it all."""
        if self == SystemOptions():
            return None
        if self.fuse is not None and self.dense is None:
            raise UsageError(f"--fuse {self.fuse} needs --dense FOLDER to fuse --encoder with")
        alone = self.dense is not None and self.fuse is None
        plain = EncoderChoice(choice.encoder, precision=choice.precision)
        if choice != plain:
            raise UsageError(
                "options of an encoder's own, such as --k1 or --windows, do not go with --dense "
                "and --rerank"
            )
        retrievers = [] if alone else [choice.encoder]
        retrievers += [] if self.dense is None else [f"{DENSE}{self.dense}"]
        rerank = self.rerank
        if rerank is not None and not rerank.startswith((DENSE, CROSS_ENCODER)):
            rerank = f"{CROSS_ENCODER}{rerank}"
        names = "+".join(_short(name) for name in retrievers)
        return System(
            name=names if rerank is None else f"{names}>{_short(rerank)}",
            retrievers=tuple(retrievers),
            fuse=self.fuse or "rrf",
            rerank=rerank,
            precision=choice.precision,
        )


systems_option = click.option(
    "--systems",
    "systems_path",
    type=click.Path(path_type=Path),
    help="A TOML file with a [[system]] table for each system to measure.",
)


def system_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add the three options; they arrive as `parts`."""

    @click.option(
        "--dense",
        type=click.Path(path_type=Path, file_okay=False),
        help="A sentence-transformers folder to search with: alone, or with --fuse.",
    )
    @click.option(
        "--fuse",
        type=click.Choice(["rrf", "minmax", "zscore"]),
        help="Fuse the answers of --encoder and --dense: reciprocal ranks, or scaled scores.",
    )
    @click.option(
        "--rerank",
        metavar="FOLDER",
        help="A cross-encoder, or dense:FOLDER, that orders the first 100 anew.",
    )
    @functools.wraps(function)
    def wrapper(*, dense: Path | None, fuse: Fusion | None, rerank: str | None, **others: Any) -> R:
        # bm25 is also what is left unsaid.
        given = is_given(click.get_current_context(), "encoder")
        if dense is not None and fuse is None and given:
            raise UsageError(
                f"--encoder {others['choice'].encoder} and --dense {dense} are two retrievers; say "
                "how to fuse them with --fuse rrf, minmax or zscore, or leave one out"
            )
        return function(parts=SystemOptions(dense, fuse, rerank), **others)

    return wrapper


def entrants_of(
    choice: EncoderChoice,
    parts: SystemOptions,
    index_path: Path | None,
    from_run: Path | None,
    systems: Path | None,
) -> list[Entrant]:
    """Who takes part: what the options ask for, or every system of a file."""
    system = parts.system(choice)
    answers = (
        ("--dense, --fuse or --rerank", system),
        ("--index", index_path),
        ("--from-run", from_run),
        ("--systems", systems),
    )
    given = [option for option, value in answers if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are two answers to one question; give one")
    if from_run is not None:
        refuse_given(("encoder", *_OF_ENCODERS), f"--from-run {from_run} is searched already")
        return [FromRun(from_run)]
    if systems is not None:
        refuse_given(("encoder", *_OF_ENCODERS), f"--systems {systems} names its encoders itself")
        return [OfFile(system) for system in read_systems(systems)]
    if system is not None:
        return [OfFile(system, parts.words(choice))]
    if index_path is not None:
        of_bm25 = ("encoder",) if choice.is_bm25 else ()
        refuse_given((*of_bm25, *_OF_ENCODERS), f"--index {index_path} has an encoder of its own")
    return [ByOptions(choice, index_path)]


def _short(retriever: str) -> str:
    folder = retriever.removeprefix(DENSE).removeprefix(CROSS_ENCODER)
    return Path(folder).name if is_dense(retriever) or "/" in folder else folder
