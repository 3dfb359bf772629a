"""How many documents a query matches: the union of its terms' documents, exactly."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .engine import documents_with
from .live import Live, count, everything
from .quantize import IntegerQuery
from .segment import Segment
from .snapshot import Snapshot


def n_matching(
    snapshot: Snapshot, live: Sequence[Live | None], query: IntegerQuery, *, by_group: bool
) -> int:
    """Documents that `live` allows and that share a term with the query; with `by_group`, passages
    of one document count once (they always lie in one segment).
    """
    # Light terms are the frequent ones: with them the union is soonest everything.
    terms = query.terms[np.argsort(query.weights, kind="stable")]
    total = 0
    for view, allowed in zip(snapshot.views, live, strict=True):
        words = _matching(view.segment, allowed, terms)
        total += view.segment.n_groups_in(words) if by_group else count(words, len(words) * 32)
    return total


def _matching(segment: Segment, allowed: Live | None, terms: npt.NDArray[np.uint32]) -> Live:
    wanted = everything(segment.n_docs) if allowed is None else allowed
    found = np.zeros_like(wanted)
    if wanted.any():
        for term in terms.tolist():
            found |= documents_with(segment, term) & wanted
            if np.array_equal(found, wanted):
                break  # the others can add none
    return found
