"""BM25 as a sparse encoder: saturated term frequency in the document, idf in the query.

    document[t] = tf / (tf + k1 (1 - b + b dl / avgdl))
    query[t]    = qtf ln(1 + (N - df + .5) / (df + .5))

Their dot product is Lucene's BM25 score. Document weights lie below 1, so 8-bit impacts tie rarely,
and document frequencies touch only the query side. Robertson and Zaragoza 2009; Lucene's idf.

Terms seen when fitting have numbers in alphabetical order. `N_BUCKETS` more numbers are shared, by
CRC-32, among all other terms, so that documents added later stay searchable without a new encoder.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from ..errors import EncoderError, UsageError
from ..types import SparseMatrix
from .analysis import ENGLISH, REVISION, Analyser, word_places, words
from .card import DEFAULT_TEXT_FIELDS, Card
from .counting import occurrences, require_texts
from .folder import Fingerprint, read_object, replacing, write_json
from .protocol import QueryStrategy

N_BUCKETS = 16_384
_MOST_K1 = 500
_BATCH = 2_048  # texts counted at once
FORMAT = 1
CLASS_NAME = "lsr.encoders.bm25.BM25Encoder"
_SETTINGS, _TERMS, _TABLE = "bm25.json", "terms.txt", "df.safetensors"


@dataclass(frozen=True)
class Statistics:
    """What fitting learns from a corpus."""

    n_docs: int
    """Documents with at least one term."""
    avgdl: float
    """Mean number of terms of those documents."""
    terms: tuple[str, ...]
    """Distinct terms in code point order."""
    df: npt.NDArray[np.uint32]
    """(len(terms),) documents that hold each term."""


class BM25Encoder:
    """BM25 with frozen statistics; documents and queries go through one analyser."""

    query_strategy: QueryStrategy = "bm25"

    def __init__(
        self,
        statistics: Statistics,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        analyser: Analyser = ENGLISH,
        name: str = "bm25",
        text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
        folder: Path | None = None,
    ) -> None:
        _require_possible(k1, b)
        self.statistics = statistics
        self.k1, self.b, self.analyser = float(k1), float(b), analyser
        self.name, self.text_fields = name, tuple(text_fields)
        self.n_terms = len(statistics.terms) + N_BUCKETS
        self.max_weight = 1.0
        self.folder = folder
        self._space: str | None = None
        self._numbers = _TermNumbers(analyser, statistics.terms)
        df = np.concatenate([statistics.df, np.zeros(N_BUCKETS)]).astype(np.float64)
        self._idf = np.log1p((statistics.n_docs - df + 0.5) / (df + 0.5)).astype(np.float32)

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        k1: float = 0.9,
        b: float = 0.4,
        analyser: Analyser = ENGLISH,
        name: str = "bm25",
        text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
    ) -> "BM25Encoder":
        """Count terms in one pass over `texts`; memory grows with the vocabulary, not the corpus.

        Raises `UsageError` for one text, or a k1 or b that cannot be, before it reads any text.

        >>> encoder = BM25Encoder.fit(["sleep and caffeine", "coffee"])
        >>> encoder.term_strings(encoder.encode_documents(["Caffeine!"]).indices)
        ['caffein']
        """
        require_texts(texts)
        _require_possible(k1, b)
        df: Counter[str] = Counter()
        n_docs = n_tokens = 0
        for text in texts:
            terms = analyser.terms(text)
            if terms:
                n_docs += 1
                n_tokens += len(terms)
                df.update(set(terms))
        ordered = tuple(sorted(df))
        statistics = Statistics(
            n_docs=n_docs,
            avgdl=n_tokens / n_docs if n_docs else 1.0,
            terms=ordered,
            df=np.fromiter((df[term] for term in ordered), np.uint32, len(ordered)),
        )
        return cls(statistics, k1=k1, b=b, analyser=analyser, name=name, text_fields=text_fields)

    @property
    def space(self) -> str:
        """16 hex digits: terms, analyser, k1, b and avgdl; document frequencies may change."""
        if self._space is None:
            fingerprint = Fingerprint()
            document_side = (self.k1, self.b, self.statistics.avgdl, N_BUCKETS, REVISION)
            fingerprint.add("bm25", repr((document_side, self.analyser)).encode())
            fingerprint.add("terms", "\n".join(self.statistics.terms).encode())
            self._space = fingerprint.hex()
        return self._space

    @property
    def build(self) -> str:
        """16 hex digits: space and document frequencies, the same in memory and on disk."""
        fingerprint = Fingerprint()
        fingerprint.add(self.space, self.statistics.df.tobytes())
        return fingerprint.hex()

    def encode_documents(self, texts: Sequence[str]) -> SparseMatrix:
        """(len(texts), n_terms) weights below 1; a text without terms is an empty row."""
        counts = self._counts(texts)
        lengths = np.asarray(counts.sum(axis=1), dtype=np.float64)
        norms = self.k1 * (1 - self.b + self.b * lengths / self.statistics.avgdl)
        tf = counts.data.astype(np.float64)
        counts.data = (tf / (tf + np.repeat(norms, np.diff(counts.indptr)))).astype(np.float32)
        return counts

    def encode_queries(self, texts: Sequence[str]) -> SparseMatrix:
        """(len(texts), n_terms) weights: how often the query says a term, times its idf."""
        counts = self._counts(texts)
        counts.data = counts.data * self._idf[counts.indices]
        return counts

    def with_frequencies(self, df: npt.NDArray[np.integer], n_docs: int) -> "BM25Encoder":
        """The same encoder with other document frequencies: the space stays, indexes stay valid.

        `df` is (n_terms,), counted in `n_docs` documents with at least one term, as `count` does;
        the terms that share buckets stay unseen.
        """
        known = df[: len(self.statistics.terms)].astype(np.uint32)
        counted = replace(self.statistics, df=known, n_docs=n_docs)
        return BM25Encoder(
            counted,
            k1=self.k1,
            b=self.b,
            analyser=self.analyser,
            name=self.name,
            text_fields=self.text_fields,
        )

    def count(self, texts: Iterable[str]) -> tuple[npt.NDArray[np.int64], int]:
        """(n_terms,) in how many texts each term is, and how many texts have a term at all."""
        df = np.zeros(self.n_terms, np.int64)
        n_docs = 0
        waiting = iter(texts)
        while batch := list(islice(waiting, _BATCH)):
            rows = self._counts(batch)
            df += np.bincount(rows.indices, minlength=self.n_terms)
            n_docs += int(np.count_nonzero(np.diff(rows.indptr)))
        return df, n_docs

    def places(self, text: str) -> list[tuple[int, int, int]]:
        """(term, start, end) of every word of `text` that is no stop word, in order."""
        found = word_places(self.analyser.cased(text))
        numbered = ((self._numbers[word], start, end) for word, start, end in found)
        return [place for place in numbered if place[0] >= 0]

    def idf(self, terms: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """What a query that says each of these terms once gives them."""
        weights: npt.NDArray[np.float32] = self._idf[terms]
        return weights

    def term_strings(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """The terms with these numbers; a bucket of unseen terms is `unseen:n`."""
        fitted = self.statistics.terms
        return [
            fitted[t] if t < len(fitted) else f"unseen:{t - len(fitted)}" for t in map(int, terms)
        ]

    def save(self, folder: Path, *, queries_only: bool = False) -> None:
        """Write the encoder folder; queries need all of it, so `queries_only` changes nothing."""
        with replacing(folder) as fresh:
            module = {"idx": 0, "name": "0", "path": "", "type": CLASS_NAME}
            write_json(fresh / "modules.json", [module])
            settings = {
                "format": FORMAT,
                "k1": self.k1,
                "b": self.b,
                "avgdl": self.statistics.avgdl,
                "n_docs": self.statistics.n_docs,
                "n_buckets": N_BUCKETS,
                "analyser": self.analyser.as_json(),
            }
            write_json(fresh / _SETTINGS, settings)
            (fresh / _TERMS).write_text(
                "".join(f"{term}\n" for term in self.statistics.terms), encoding="utf-8"
            )
            save_file({"df": self.statistics.df}, fresh / _TABLE)
            Card(self.name, self.max_weight, self.text_fields).write(fresh)

    @classmethod
    def load(cls, folder: Path) -> "BM25Encoder":
        """Read a folder that `save` wrote."""
        path = folder / _SETTINGS
        settings = read_object(path)
        if (settings.get("format"), settings.get("n_buckets")) != (FORMAT, N_BUCKETS):
            raise EncoderError(
                f"{path}: format {settings.get('format')!r} with {settings.get('n_buckets')!r} "
                f"buckets, this release reads {FORMAT} with {N_BUCKETS}; fit the encoder again"
            )
        k1, b, avgdl = (_number(path, settings, key) for key in ("k1", "b", "avgdl"))
        try:
            _require_possible(k1, b)
        except UsageError as error:
            raise EncoderError(f"{path}: {error}; fit the encoder again") from None
        n_docs = settings.get("n_docs")
        if not isinstance(n_docs, int) or n_docs < 0 or avgdl <= 0:
            raise EncoderError(f"{path}: n_docs = {n_docs!r}, avgdl = {avgdl} cannot be true")
        if not isinstance(settings.get("analyser"), Mapping):
            raise EncoderError(f"{path}: analyser must be an object; fit the encoder again")
        terms, df = _read_terms(folder)
        if len(df) and int(df.max()) > n_docs:
            raise EncoderError(
                f"{folder / _TABLE}: a term is in {int(df.max())} documents of {n_docs}; "
                "files of two encoders were mixed, fit it again"
            )
        card = Card.read(folder)
        return cls(
            Statistics(n_docs, avgdl, terms, df),
            k1=k1,
            b=b,
            analyser=Analyser.from_json(settings["analyser"]),
            name=card.name,
            text_fields=card.text_fields,
            folder=folder,
        )

    def _counts(self, texts: Sequence[str]) -> SparseMatrix:
        require_texts(texts)
        number_of = self._numbers.__getitem__
        cased = map(self.analyser.cased, texts)
        return occurrences((list(map(number_of, words(text))) for text in cased), self.n_terms)


class _TermNumbers(dict[str, int]):
    """word -> column, filled on demand; -1 for words that the analyser drops."""

    def __init__(self, analyser: Analyser, terms: Sequence[str]) -> None:
        super().__init__()
        self._analyser = analyser
        self._fitted = {term: number for number, term in enumerate(terms)}

    def __missing__(self, word: str) -> int:
        if len(self) >= 1_000_000:  # words; bounds the memory of a long-lived service
            self.clear()
        term = self._analyser.term(word)
        number = -1
        if term:
            bucket = len(self._fitted) + zlib.crc32(term.encode()) % N_BUCKETS
            number = self._fitted.get(term, bucket)
        self[word] = number
        return number


def _require_possible(k1: float, b: float) -> None:
    # Above that a word said once, 1 / (1 + k1), is less than half of impact 1 of 255: it is lost.
    if not (0 <= k1 <= _MOST_K1 and 0 <= b <= 1):
        raise UsageError(
            f"BM25 wants k1 from 0 to {_MOST_K1} and b from 0 to 1, got k1 = {k1}, b = {b}"
        )


def _number(path: Path, settings: Mapping[str, Any], key: str) -> float:
    value = settings.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EncoderError(f"{path}: {key} must be a number, got {value!r}; fit the encoder again")
    return float(value)


def _read_terms(folder: Path) -> tuple[tuple[str, ...], npt.NDArray[np.uint32]]:
    try:
        text = (folder / _TERMS).read_text(encoding="utf-8")
        terms = tuple(text.split("\n")[:-1])
        df = load_file(folder / _TABLE)["df"]
    except Exception as error:  # safetensors has its own exception, outside every common base
        raise EncoderError(
            f"{folder}: {_TERMS} or {_TABLE} cannot be read ({error}); fit the encoder again"
        ) from error
    if df.dtype != np.uint32 or df.shape != (len(terms),):
        raise EncoderError(
            f"{folder}: {_TERMS} has {len(terms)} terms, {_TABLE} has {df.dtype}{list(df.shape)}; "
            "files of two encoders were mixed, fit it again"
        )
    return terms, df
