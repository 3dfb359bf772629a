"""How far a corpus has moved from the document frequencies that an encoder's query weights imply.

A query weight idf[t] = ln(1 + (N - df + s) / (df + s)) says that t is in a share
(df + s) / (N + 2 s) = exp(-idf[t]) of the documents. Those shares and the ones counted in the
corpus, each divided by its sum, are two distributions over terms; their Jensen-Shannon divergence
(Lin, 1991) lies between 0, the same, and 1 bit, no term in common. Counts of a sample differ by
chance alone, so the divergence of a sample drawn from the encoder's own shares is the floor.

Whether that matters is measured too: the same queries with query weights counted here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon

from lsr.encoders import (
    BM25Encoder,
    InferenceFreeEncoder,
    JoinedEncoder,
    SparseEncoder,
    TokenCounts,
    count_tokens,
    words_part,
)

from ..latency import overlap
from .case import Case
from .finding import Finding, graded, several, skipped

WARN, FAIL = 0.15, 0.6
"""Bits above the floor. Two collections of one field have 0.15 between them (SciFact and Medline,
BoolQ and WikiQA), of two fields 0.25 to 0.5; more is another language or other preprocessing.

Words beside a network are a part of the score, and frequencies of general texts served about as
well as those of the corpus (lsr-mini, nDCG@10 .328 and .326 for queries of NFCorpus's dev split,
.767 and .778 for SciFact's train split): there a divergence above FAIL warns, and nothing fails."""
N_TERMS = 10
LEARNED = "one learned and not counted may differ and be right: measure before you keep it"

Shares = npt.NDArray[np.float64]
"""(n_terms,) share of the documents that hold each term."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A term and the shares of documents that hold it: as the encoder has it, and as counted."""

    term: str
    implied: float
    counted: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Divergence in bits; `overlap` of top tens with the encoder's and with counted weights."""

    n_texts: int
    divergence: float
    floor: float
    overlap: float
    moved: tuple[Moved, ...]
    """The terms that add most to the divergence."""


def implied_shares(encoder: SparseEncoder) -> Shares | None:
    """What the query weights say of document frequencies; None for an encoder without a table.

    Weights of 0 and of exactly 1 say nothing: published tables have them for tokens that were never
    counted. The largest weight is that of tokens never seen.
    """
    if (words := words_part(encoder)) is not None:
        first, bm25 = words
        shares = np.zeros(encoder.n_terms)
        df = bm25.statistics.df
        shares[first : first + len(df)] = df / max(1, bm25.statistics.n_docs)
        return shares
    if not isinstance(encoder, InferenceFreeEncoder):
        return None
    weights = encoder.queries.weights.astype(np.float64)
    shares = np.exp(-weights) - np.exp(-weights.max(initial=0.0))
    shares[(weights <= 0) | (weights == 1.0)] = 0.0
    clipped: Shares = np.clip(shares, 0.0, 1.0)
    return clipped


def count(encoder: SparseEncoder, texts: Sequence[str]) -> TokenCounts:
    """Of how many texts each term of a query table is a word or token.

    Where words stand beside a network, words alone: its own table was learned, not counted. Rare
    words share their buckets by design and say nothing of drift.
    """
    if isinstance(encoder, InferenceFreeEncoder):
        return count_tokens(texts, encoder.queries.tokenizer)
    words = words_part(encoder)
    assert words is not None
    first, bm25 = words
    counted, n_texts = bm25.count(texts)
    df = np.zeros(encoder.n_terms, np.int64)
    df[first : first + len(counted)] = counted
    if isinstance(encoder, JoinedEncoder):
        df[first + len(bm25.statistics.terms) :] = 0
    return TokenCounts(df, n_texts, "", (), ())


def divergence(one: Shares, other: Shares) -> float:
    """Jensen-Shannon divergence in bits of two vectors, each divided by its sum.

    >>> divergence(np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.0, 3.0]))
    1.0
    """
    if not one.sum() or not other.sum():
        return 0.0 if one.sum() == other.sum() else 1.0
    return float(jensenshannon(one, other, base=2) ** 2)


def drift(case: Case, encoder: SparseEncoder, implied: Shares) -> Drift:
    """Compare `implied` with the sampled texts, and the answers of both query weights."""
    counts = count(encoder, case.texts)
    counted = np.zeros(len(implied))
    counted[: len(counts.df)] = counts.df / max(1, counts.n_passages)
    counted[list(counts.special)] = 0.0
    if isinstance(encoder, InferenceFreeEncoder):
        told = encoder.queries.weights
        counted[(told <= 0) | (told == 1.0)] = 0.0
    by_chance = case.rng().binomial(counts.n_passages, implied) / max(1, counts.n_passages)
    parts = _parts(implied, counted)
    order = np.argsort(-parts, kind="stable")[:N_TERMS]
    order = order[parts[order] > 0]
    same = 1.0
    if case.queries.texts:
        asked = encoder.encode_queries(list(case.queries.texts))
        fresh = refreshed(encoder, counts).encode_queries(list(case.queries.texts))
        before, after = (case.index.search_batch(rows, 10) for rows in (asked, fresh))
        same = overlap([x.ranking.docids for x in after], [x.ranking.docids for x in before])
    return Drift(
        len(case.texts),
        divergence(implied, counted),
        divergence(implied, by_chance),
        same,
        tuple(
            Moved(name, float(implied[term]), float(counted[term]))
            for name, term in zip(case.names(order), order.tolist(), strict=True)
        ),
    )


def refreshed(encoder: SparseEncoder, counts: TokenCounts) -> SparseEncoder:
    """The encoder with the query weights that `counts` give; its space and indexes stay."""
    if isinstance(encoder, InferenceFreeEncoder):
        return encoder.with_table(counts.idf(n_terms=encoder.n_terms))
    words = words_part(encoder)
    assert words is not None
    first, bm25 = words
    fresh = bm25.with_frequencies(counts.df[first:], counts.n_passages)
    return encoder.with_words(fresh) if isinstance(encoder, JoinedEncoder) else fresh


def check_drift(case: Case) -> Finding:
    """Warn where an idf table is about another corpus."""
    if case.encoder is None:
        return skipped("drift", "no encoder")
    implied = implied_shares(case.encoder)
    if implied is None:
        return skipped("drift", "query weights come of a network, not of a table of idf")
    if not implied.any():
        return skipped("drift", "the query table holds no idf: its weights are all the same")
    found = drift(case, case.encoder, implied)
    above = max(0.0, found.divergence - found.floor)
    moved = [f"{m.term} {100 * m.implied:.2g} to {100 * m.counted:.2g} %" for m in found.moved]
    is_bm25 = isinstance(case.encoder, BM25Encoder)
    joined = isinstance(case.encoder, JoinedEncoder)
    level = graded(above, warn=FAIL) if joined else graded(above, warn=WARN, fail=FAIL)
    return Finding(
        "drift",
        level,
        f"Jensen-Shannon divergence {found.divergence:.3f} bits between the idf's document "
        f"frequencies {'of words ' if joined else ''}and those of {found.n_texts:,} texts (by "
        f"chance {found.floor:.3f}); with idf counted here {100 * found.overlap:.0f} % of the top "
        "10 stay" + (f"; moved most: {several(moved)}" if moved and level != "ok" else ""),
        "words weigh what they were worth in another corpus; "
        + (
            "BM25's counts are renewed by building again"
            if is_bm25
            else "a new table needs no training, indexes stay valid; "
            + ("measure before you keep it" if joined else LEARNED)
        ),
        _next(case, is_bm25=is_bm25),
        asdict(found),
    )


def _next(case: Case, *, is_bm25: bool) -> tuple[str, ...]:
    if is_bm25:
        return ("lsr", "index", case.corpus, case.place, "--encoder", "bm25", "--overwrite")
    encoder = case.encoder_name
    return ("lsr", "idf", case.corpus, "--encoder", encoder, "--output", f"{encoder}-refreshed")


def _parts(one: Shares, other: Shares) -> Shares:
    """(n_terms,) what each term adds to the divergence; they sum to it."""
    p, q = (x / x.sum() if x.sum() else x for x in (one, other))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = [np.where(x > 0, x * np.log2(x / middle), 0.0) for x in (p, q)]
    return (halves[0] + halves[1]) / 2
