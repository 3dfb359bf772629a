"""A learned encoder with the words of the text beside its terms: BM25 in columns of its own.

    document = [ learned document , weight * saturated tf of each word ]
    query    = [ learned query    , tf of each word * idf             ]

The score is the learned score plus `weight` times BM25's, from one index and one look-up. Sub-words
and 30,000 entries make a learned encoder weak on names, numbers and fields of knowledge it never
saw; stemmed words are exact there, and the network adds what matching words cannot find. Unlike
PROSPER's literal residual (`literal`) nothing of it is learned, so any encoder can be joined after
its training; `stage.ranking.words` of a recipe trains one for it.

Both parts are frozen: document frequencies are those of the texts the words were counted in, not of
the corpus that is searched. Rare words share BM25's buckets and count as never seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..errors import EncoderError
from ..types import SparseMatrix
from .bm25 import BM25Encoder, Statistics
from .card import Card
from .described import Described
from .folder import Fingerprint, read_object, replacing, write_json
from .inference_free import InferenceFreeEncoder
from .origins import Origin
from .protocol import QueryStrategy, SparseEncoder

FORMAT = 1
CLASS_NAME = "lsr.encoders.joined.JoinedEncoder"
LEARNED, WORDS = "learned", "words"
"""The folders of the two parts, each an encoder folder of its own."""
_SETTINGS = "joined.json"


@dataclass(frozen=True, eq=False)
class JoinedEncoder(Described):
    """An inference-free encoder and BM25 with frozen statistics, side by side."""

    learned: InferenceFreeEncoder
    words: BM25Encoder
    weight: float
    """What BM25's scores are multiplied by before they are added."""
    card: Card
    folder: Path | None = None
    """Where it was loaded from; None for an encoder made in memory."""

    @classmethod
    def of(
        cls, learned: InferenceFreeEncoder, words: BM25Encoder, *, weight: float, name: str
    ) -> "JoinedEncoder":
        """Join two encoders in memory; the card is the learned one's, for the joint scale."""
        if not (np.isfinite(weight) and weight > 0):
            raise EncoderError(
                f"words join with a weight above 0, got {weight}; leave them out otherwise"
            )
        scale = max(learned.max_weight, weight * words.max_weight)
        card = replace(learned.card, name=name, max_weight=scale, space=None, build=None)
        return cls(learned, words, float(weight), card)

    @cached_property
    def space(self) -> str:
        """16 hex digits: both spaces and the weight; query tables and frequencies may change."""
        if self.card.space is not None:
            return self.card.space
        fingerprint = Fingerprint()
        fingerprint.add("learned", self.learned.space.encode())
        fingerprint.add("words", self.words.space.encode())
        fingerprint.add("weight", repr(self.weight).encode())
        return fingerprint.hex()

    @property
    def n_terms(self) -> int:
        """The learned terms, and after them the words."""
        return self.learned.n_terms + self.words.n_terms

    @property
    def query_strategy(self) -> QueryStrategy:
        """Queries are looked up."""
        return "lookup"

    def encode_queries(self, texts: Sequence[str]) -> SparseMatrix:
        """(len(texts), n_terms) query weights; an empty text is an empty row."""
        return _side_by_side(
            self.learned.encode_queries(texts), self.words.encode_queries(texts), 1.0
        )

    def encode_documents(self, texts: Sequence[str], *, progress: bool = False) -> SparseMatrix:
        """(len(texts), n_terms) document weights; an empty text is an empty row."""
        return _side_by_side(
            self.learned.encode_documents(texts, progress=progress),
            self.words.encode_documents(texts),
            self.weight,
        )

    def origins(self, text: str, terms: Sequence[int]) -> list[Origin]:
        """What gives each learned term its weight; words are where they stand and have none."""
        return self.learned.origins(text, [t for t in terms if t < self.learned.n_terms])

    def idf(self, terms: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """What a query that says each of these terms once gives them."""
        first = self.learned.n_terms
        weights = np.zeros(len(terms), np.float32)
        mine = terms < first
        weights[mine] = self.learned.idf(terms[mine])
        weights[~mine] = self.words.idf(terms[~mine] - first)
        return weights

    def term_strings(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """Vocabulary entries; a word's stem is `word:stem`, as both parts may have the entry."""
        first = self.learned.n_terms
        return [
            self.learned.term_strings([t])[0]
            if t < first
            else f"word:{self.words.term_strings([t - first])[0]}"
            for t in map(int, terms)
        ]

    def with_words(self, words: BM25Encoder) -> "JoinedEncoder":
        """The same encoder with other document frequencies: the space stays, indexes stay valid.

        Raises `EncoderError` for words of other documents, which have another space.
        """
        if words.space != self.words.space:
            raise EncoderError(
                f"words of space {words.space} cannot replace those of '{self.name}', of space "
                f"{self.words.space}; only document frequencies may differ"
            )
        return replace(self, words=words, card=replace(self.card, build=None), folder=None)

    def save(self, folder: Path, *, queries_only: bool = False) -> None:
        """Write the encoder folder; `queries_only` leaves out the learned document network."""
        card = self.card
        if queries_only:
            card = replace(card, space=self.space, build=self.build)
        with replacing(folder) as fresh:
            module = {"idx": 0, "name": "0", "path": "", "type": CLASS_NAME}
            write_json(fresh / "modules.json", [module])
            write_json(fresh / _SETTINGS, {"format": FORMAT, "weight": self.weight})
            self.learned.save(fresh / LEARNED, queries_only=queries_only)
            self.words.save(fresh / WORDS)
            card.write(fresh)


def read_joined(folder: Path, card: Card, learned: SparseEncoder) -> JoinedEncoder:
    """Read what `save` wrote around `learned`, the encoder in its folder."""
    path = folder / _SETTINGS
    settings = read_object(path)
    weight = settings.get("weight")
    if settings.get("format") != FORMAT or isinstance(weight, bool):
        raise EncoderError(
            f"{path}: format {settings.get('format')!r}, this release reads {FORMAT}; join again"
        )
    if not isinstance(weight, int | float) or not weight > 0:
        raise EncoderError(f"{path}: weight must be a number above 0, got {weight!r}; join again")
    if not isinstance(learned, InferenceFreeEncoder):
        raise EncoderError(
            f"{folder / LEARNED} is a {type(learned).__name__}, an inference-free encoder was "
            "expected; copy the encoder again"
        )
    return JoinedEncoder(
        learned, BM25Encoder.load(folder / WORDS), float(weight), card, folder=folder
    )


def count_words(texts: Iterable[str], *, least: int = 3, name: str = "words") -> BM25Encoder:
    """BM25 fitted to `texts`, with the words of at least `least` of them; others share buckets.

    >>> words = count_words(["red bees", "bees", "red ants"], least=2)
    >>> words.statistics.terms, words.statistics.df.tolist()
    (('bee', 'red'), [2, 2])
    """
    whole = BM25Encoder.fit(texts)
    known = whole.statistics
    kept = np.flatnonzero(known.df >= least)
    fewer = Statistics(
        n_docs=known.n_docs,
        avgdl=known.avgdl,
        terms=tuple(known.terms[t] for t in kept),
        df=known.df[kept],
    )
    return BM25Encoder(fewer, name=name)


def _side_by_side(learned: SparseMatrix, words: SparseMatrix, weight: float) -> SparseMatrix:
    """[learned, weight * words] by rows.

    `scipy.sparse.hstack` takes 87 us for two single rows, a third of a query's encoding; this 31.
    """
    n_learned, n_words = np.diff(learned.indptr), np.diff(words.indptr)
    # A row's words stand behind its learned terms, and both behind all rows before.
    of_learned = np.arange(learned.nnz) + np.repeat(words.indptr[:-1], n_learned)
    of_words = np.arange(words.nnz) + np.repeat(learned.indptr[1:], n_words)
    indices = np.empty(learned.nnz + words.nnz, np.int32)
    data = np.empty(len(indices), np.float32)
    indices[of_learned], data[of_learned] = learned.indices, learned.data
    indices[of_words] = words.indices + learned.shape[1]
    data[of_words] = words.data * np.float32(weight)
    shape = (learned.shape[0], learned.shape[1] + words.shape[1])
    rows: SparseMatrix = sparse.csr_array(
        (data, indices, learned.indptr + words.indptr), shape=shape
    )
    return rows
