"""How far a corpus has moved from the document frequencies that an encoder's query weights imply.

A query weight idf[t] = ln(1 + (N - df + s) / (df + s)) says that t is in a share
(df + s) / (N + 2 s) = exp(-idf[t]) of the documents. Those shares and the ones counted in the
corpus, each divided by its sum, are two distributions over terms; their Jensen-Shannon divergence
(Lin, 1991) lies between 0, the same, and 1 bit, no term in common. Counts of a sample differ by
chance alone, so the divergence of a sample drawn from the encoder's own shares is the floor.

Whether that matters is measured too: the same queries with query weights counted here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

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
)
from lsr.encoders.bm25 import Statistics

from ..latency import overlap
from .case import Case
from .finding import Finding, graded, several, skipped

WARN, FAIL = 0.15, 0.6
"""Bits above the floor. Two collections of one field have 0.15 between them (SciFact and Medline,
BoolQ and WikiQA), of two fields 0.25 to 0.5; more is another language or other preprocessing."""
N_TERMS = 10

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
    if isinstance(encoder, BM25Encoder):
        shares = np.zeros(encoder.n_terms)
        df = encoder.statistics.df
        shares[: len(df)] = df / max(1, encoder.statistics.n_docs)
        return shares
    if not isinstance(encoder, InferenceFreeEncoder):
        return None
    weights = encoder.queries.weights.astype(np.float64)
    shares = np.exp(-weights) - np.exp(-weights.max(initial=0.0))
    shares[(weights <= 0) | (weights == 1.0)] = 0.0
    clipped: Shares = np.clip(shares, 0.0, 1.0)
    return clipped


def count(encoder: SparseEncoder, texts: Sequence[str]) -> TokenCounts:
    """Of how many texts each term of a query table is a word or token."""
    if isinstance(encoder, InferenceFreeEncoder):
        return count_tokens(texts, encoder.queries.tokenizer)
    rows = encoder.encode_documents(texts)
    df = np.bincount(rows.indices, minlength=encoder.n_terms).astype(np.int64)
    return TokenCounts(df, int((np.diff(rows.indptr) > 0).sum()), "", (), ())


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
    assert isinstance(encoder, BM25Encoder)
    known = replace(
        encoder.statistics,
        n_docs=counts.n_passages,
        df=counts.df[: len(encoder.statistics.terms)].astype(np.uint32),
    )
    return _with_statistics(encoder, known)


def check_drift(case: Case) -> Finding:
    """Warn where an idf table is about another corpus."""
    if case.encoder is None:
        return skipped("drift", "no encoder")
    if isinstance(case.encoder, JoinedEncoder):
        return skipped("drift", "terms were learned, and words counted elsewhere, on purpose")
    implied = implied_shares(case.encoder)
    if implied is None:
        return skipped("drift", "query weights come of a network, not of a table of idf")
    if not implied.any():
        return skipped("drift", "the query table holds no idf: its weights are all the same")
    found = drift(case, case.encoder, implied)
    above = max(0.0, found.divergence - found.floor)
    moved = [f"{m.term} {100 * m.implied:.2g} to {100 * m.counted:.2g} %" for m in found.moved]
    is_bm25 = isinstance(case.encoder, BM25Encoder)
    return Finding(
        "drift",
        graded(above, warn=WARN, fail=FAIL),
        f"Jensen-Shannon divergence {found.divergence:.3f} bits between the idf's document "
        f"frequencies and those of {found.n_texts:,} texts (by chance {found.floor:.3f}); with idf "
        f"counted here {100 * found.overlap:.0f} % of the top 10 stay"
        + (f"; moved most: {several(moved)}" if moved and above > WARN else ""),
        "words weigh what they were worth in another corpus; "
        + (
            "BM25's counts are renewed by building again"
            if is_bm25
            else "a new table needs no "
            "training, indexes stay valid; a table that was learned and not counted may differ and "
            "be right: measure before you keep it"
        ),
        _next(case, is_bm25=is_bm25),
        asdict(found),
    )


def _next(case: Case, *, is_bm25: bool) -> tuple[str, ...]:
    if is_bm25:
        return ("lsr", "index", case.corpus, case.place, "--encoder", "bm25", "--overwrite")
    encoder = case.encoder_name
    return ("lsr", "idf", case.corpus, "--encoder", encoder, "--output", f"{encoder}-refreshed")


def _with_statistics(encoder: BM25Encoder, statistics: Statistics) -> BM25Encoder:
    return BM25Encoder(
        statistics,
        k1=encoder.k1,
        b=encoder.b,
        analyser=encoder.analyser,
        name=encoder.name,
        text_fields=encoder.text_fields,
    )


def _parts(one: Shares, other: Shares) -> Shares:
    """(n_terms,) what each term adds to the divergence; they sum to it."""
    p, q = (x / x.sum() if x.sum() else x for x in (one, other))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = [np.where(x > 0, x * np.log2(x / middle), 0.0) for x in (p, q)]
    return (halves[0] + halves[1]) / 2
