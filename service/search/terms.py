"""Terms that a hit must or may not hold, and the score that it must reach."""

from collections.abc import Sequence

import numpy as np

from lsr.encoders import BM25Encoder, word_terms
from lsr.types import SparseMatrix

from ..collection import Collection
from ..problems import Fault, ProblemError, did_you_mean, shown
from ..wire.search import RelativeScore

MAX_COMPARED = 5_000
"""Entries of a vocabulary that a misspelt one is compared with."""


def term_numbers(collection: Collection, terms: Sequence[str | int], field: str) -> list[int]:
    """The numbers of `terms`: numbers, entries of the vocabulary, or words that a text is read by
    as one entry ("cats" where that is "cat"). Raises `ProblemError` for any other.
    """
    numbers = []
    for at, term in enumerate(terms):
        number = term if isinstance(term, int) else collection.term_numbers.get(term)
        if number is None and isinstance(term, str):
            entries = _entries_of(collection, term)
            number = collection.term_numbers.get(entries[0]) if len(entries) == 1 else None
        if number is None or number >= collection.index.n_terms:
            raise _unknown(collection, term, f"/{field}/{at}")
        numbers.append(number)
    return numbers


def _unknown(collection: Collection, term: str | int, pointer: str) -> ProblemError:
    if isinstance(term, int):
        return ProblemError(
            "invalid_query",
            f"Term number {shown(term)} is outside the vocabulary of {collection.index.n_terms} "
            "terms.",
            faults=[Fault(pointer, f"wanted 0 to {collection.index.n_terms - 1}")],
        )
    if collection.encoder is None:
        return ProblemError(
            "no_encoder",
            f"Index '{collection.name}' was built from vectors, so its terms have no names.",
            hint="Give term numbers.",
            faults=[Fault(pointer, "wanted a term number", shown(term))],
        )
    entries = _entries_of(collection, term)
    listed = " and ".join(f"'{one}'" for one in entries[:5])
    return ProblemError(
        "invalid_query",
        f"'{term[:100]}' is no entry of the encoder's vocabulary.",
        hint=f"A text that says it is read as {listed}." if entries else _similar(collection, term),
        faults=[Fault(pointer, "not in the vocabulary", shown(term))],
    )


def _similar(collection: Collection, term: str) -> str | None:
    """A hint naming an entry like `term`; none for a key with a filter, which would read in it what
    documents say that it may not see.
    """
    if collection.view:
        return None
    known: Sequence[str] = list(collection.term_numbers)
    if len(known) > MAX_COMPARED:  # each comparison takes microseconds
        known = [one for one in known if one[:2] == term[:2]][:MAX_COMPARED]
    return did_you_mean(term, known)


def _entries_of(collection: Collection, word: str) -> list[str]:
    """The entries of the vocabulary that a text which says this word is searched by, where that
    needs no network: words if the encoder has words, else sub-words.

    None for a word that BM25 has never seen. Words beside a network were counted in other texts, so
    there each is searched for, rare ones by a number that they share.
    """
    encoder = collection.encoder
    if encoder is None or encoder.query_strategy == "model":
        return []
    numbers = word_terms(encoder, word)
    if isinstance(encoder, BM25Encoder):
        numbers = numbers[numbers < len(encoder.statistics.terms)]
    return encoder.term_strings(numbers)


def best_possible(collection: Collection, query: SparseMatrix) -> float:
    """The score that no document exceeds: every term of the query at its heaviest."""
    index = collection.index
    integers = index.rounded(query.indices, query.data)
    if not len(integers):
        return 0.0
    impacts = index.heaviest(integers.terms) / index.scale
    return float(np.dot(integers.weights.astype(np.float64), impacts)) * integers.unit


def threshold_of(
    collection: Collection,
    query: SparseMatrix,
    wanted: float | RelativeScore | None,
    *,
    best: float | None = None,
) -> dict[str, float] | None:
    """The least score of a hit as the answer tells it; None where none was asked for.

    `best` is the best possible score where an earlier page has told it.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, RelativeScore):
        return {"value": wanted}
    if best is None:
        best = best_possible(collection, query)
    return {"value": best * wanted.relative, "best_possible": best}
