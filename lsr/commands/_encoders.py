"""`--encoder bm25|NAME|FOLDER` and the options that only a fitted BM25 has, for several verbs.

Where an index is built the default is what `LSR_ENCODER` names, else the shipped encoder; elsewhere
it is BM25.
"""

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from ..errors import EncoderError, UsageError
from ..shipped import ENCODERS
from ..systems import BM25, MINI
from . import _completing as complete
from . import _printing as out
from ._census import Census

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..encoders import SparseEncoder
    from ..encoders.analysis import StemmerName
    from ..encoders.side import Precision

R = TypeVar("R")

DEFAULT_VARIABLE = "LSR_ENCODER"
"""The encoder of `lsr index` and `lsr demo` where --encoder names none."""


@dataclass(frozen=True)
class EncoderChoice:
    """What the options ask for: a folder, or BM25 to be fitted to the corpus at hand."""

    encoder: str
    k1: float | None = None
    b: float | None = None
    keep_stopwords: bool = False
    stemmer: "StemmerName | None" = None
    precision: "Precision" = "float32"
    windows: int | None = None
    """Tokens that windows of a long document share; None leaves it to the encoder's card."""
    text_fields: tuple[str, ...] = ()
    """Fields that are read; none leaves it to the encoder's card."""

    @property
    def is_bm25(self) -> bool:
        """Whether the encoder has yet to be fitted."""
        return self.encoder == BM25

    def arguments(self) -> list[str]:
        """The options that ask for this again, for printing."""
        words = ["--encoder", self.encoder]
        for name, value in (("--k1", self.k1), ("--b", self.b), ("--stemmer", self.stemmer)):
            words += [] if value is None else [name, str(value)]
        words += [] if self.precision == "float32" else ["--precision", self.precision]
        words += [] if self.windows is None else ["--windows", str(self.windows)]
        return [*words, "--keep-stopwords"] if self.keep_stopwords else words

    def key(self) -> str:
        """What decides the vectors of a given corpus, found without reading the corpus."""
        if not self.is_bm25:
            encoder = self.load_folder()
            return f"{encoder.space} {encoder.build} {self.precision} {self.windows}"
        from ..datasets.dataset import fingerprint_files
        from ..encoders import bm25

        folder = Path(bm25.__file__).parent
        code = fingerprint_files([folder / "bm25.py", folder / "analysis.py"], root=folder)
        return " ".join([*self.arguments(), code])

    def load(self, corpus: "Dataset") -> "tuple[SparseEncoder, Census]":
        """The encoder, and what the documents hold: their number tells progress the time left.

        Raises `DatasetError` for a corpus without any text.
        """
        if self.is_bm25:
            return self._fit(corpus)
        encoder = self.load_folder()
        census = Census()
        # A second reading costs a thousandth of what the network takes for the documents.
        for _ in census.texts(corpus, encoder.text_fields):
            pass
        census.require_text(corpus, encoder.text_fields)
        return encoder, census

    def load_folder(self) -> "SparseEncoder":
        """The encoder of a folder."""
        from ..encoders import with_text_fields

        encoder = self._windowed()
        return with_text_fields(encoder, self.text_fields or encoder.text_fields)

    def _windowed(self) -> "SparseEncoder":
        from ..encoders import learned_part, load_encoder, with_windows
        from ..encoders.layout import HUB_NAME

        hub_name = HUB_NAME.fullmatch(self.encoder) is not None
        if not Path(self.encoder).is_dir() and not hub_name and self.encoder not in ENCODERS:
            raise EncoderError(
                f"{self.encoder}: no such folder; wanted bm25, {' or '.join(ENCODERS)} or a folder "
                "with modules.json, such as `lsr train` writes"
            )
        encoder = load_encoder(self.encoder, precision=self.precision)
        if self.windows is None:
            return encoder
        if learned_part(encoder) is None:
            raise UsageError(
                f"--windows {self.windows}: the encoder {self.encoder} has no network with a "
                "length limit; leave the option out"
            )
        return with_windows(encoder, self.windows)

    def _fit(self, corpus: "Dataset") -> "tuple[SparseEncoder, Census]":
        from ..encoders.analysis import Analyser
        from ..encoders.bm25 import BM25Encoder
        from ..encoders.card import DEFAULT_TEXT_FIELDS
        from ..progress import bar

        started = time.perf_counter()
        census = Census()
        fields = self.text_fields or DEFAULT_TEXT_FIELDS
        encoder = BM25Encoder.fit(
            bar(census.texts(corpus, fields), unit="documents", desc="fitting"),
            k1=0.9 if self.k1 is None else self.k1,
            b=0.4 if self.b is None else self.b,
            analyser=Analyser(self.stemmer or "porter", stop_words=not self.keep_stopwords),
            text_fields=fields,
        )
        census.require_text(corpus, fields)
        n_terms = out.counted(len(encoder.statistics.terms), "term")
        out.note(
            "fitted",
            out.columns("bm25", f"k1 {encoder.k1:g}, b {encoder.b:g}, {n_terms}, ")
            + f"{encoder.statistics.avgdl:.0f} a document, "
            + out.duration(time.perf_counter() - started),
        )
        return encoder, census


def default_encoder(otherwise: str) -> str:
    """What `LSR_ENCODER` names, else `otherwise`."""
    return os.environ.get(DEFAULT_VARIABLE) or otherwise


def encoder_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command --encoder, by default bm25, and BM25's options; it gets them as `choice`."""
    return _options(function, "What makes the vectors. Default: bm25", lambda: BM25)


def index_encoder_options(function: Callable[..., R]) -> Callable[..., R]:
    """The same, by default `LSR_ENCODER`, else lsr-mini; options of bm25's own ask for bm25."""
    told = (
        f"What makes the vectors. Default: bm25 where one of its options is given, else "
        f"${DEFAULT_VARIABLE}, else {MINI}, which is shipped"
    )
    return _options(function, told, lambda: default_encoder(MINI))


def _known_stemmer(_: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """The name as it is; a usage error for one that no stemmer has."""
    from ..encoders.analysis import StemmerName

    if name is not None and name not in get_args(StemmerName):
        known = ", ".join(get_args(StemmerName))
        raise click.BadParameter(f"'{name}' is not one of {known}.", param=option)
    return name


def _options(function: Callable[..., R], told: str, default: Callable[[], str]) -> Callable[..., R]:
    @click.option(
        "--encoder", metavar="bm25|NAME|FOLDER", shell_complete=complete.encoders, help=told
    )
    @click.option("--k1", type=float, help="BM25: saturation of term frequency. Default: 0.9")
    @click.option("--b", type=float, help="BM25: length normalisation, 0 to 1. Default: 0.4")
    @click.option("--keep-stopwords", is_flag=True, help="BM25: index words such as 'the' as well.")
    @click.option(
        "--stemmer",
        metavar="porter|english|none|german|...",
        callback=_known_stemmer,
        help="BM25: how words lose their endings; other languages by name. Default: porter",
    )
    @click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="A network: what it multiplies in. bfloat16 is faster on recent processors.",
    )
    @click.option(
        "--windows",
        type=click.IntRange(min=0),
        metavar="OVERLAP",
        help="A network: encode long documents in windows that share so many tokens.",
    )
    @functools.wraps(function)
    def wrapper(
        *,
        encoder: str | None,
        k1: float | None,
        b: float | None,
        keep_stopwords: bool,
        stemmer: "StemmerName | None",
        precision: "Precision",
        windows: int | None,
        **others: Any,
    ) -> R:
        settings = {"--k1": k1, "--b": b, "--stemmer": stemmer}
        given = [name for name, value in settings.items() if value is not None]
        given += ["--keep-stopwords"] if keep_stopwords else []
        if encoder is None:
            encoder = BM25 if given else default()
        if encoder != BM25 and given:
            raise UsageError(
                f"{given[0]} belongs to bm25, which is fitted to the corpus; the encoder {encoder} "
                "has its settings in its folder"
            )
        if encoder == BM25 and windows is not None:
            raise UsageError(
                f"--windows {windows} belongs to encoders with a network; bm25 reads all of a text"
            )
        choice = EncoderChoice(encoder, k1, b, keep_stopwords, stemmer, precision, windows)
        return function(choice=choice, **others)

    return wrapper
