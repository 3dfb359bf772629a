"""False negatives by score: documents that nobody judged and that score like an answer.

One pure function for the miner and for distillation; where scores come from is theirs to say. Among
a query's several positives the caller chooses the one to compare with.
"""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]


def false_negatives(
    scores: Scores,
    positive: float | Scores,
    *,
    margin: float | None = None,
    share: float | None = None,
) -> npt.NDArray[np.bool_]:
    """Mark negatives that score too close to `positive` to be trusted; same shape as `scores`.

    `positive` broadcasts against `scores`: one number for one query, (n, 1) for (n, m). A negative
    is marked at `positive - margin` or above, or at `share * positive` or above; what is None does
    not mark. About 3 is a margin for cross-encoder logits, 0.95 a share for cosines (NV-Retriever,
    arXiv 2407.15831). A share of a score below zero means nothing: there only what reaches the
    positive itself is marked. NaN, on either side, is unknown and marks nothing.

    >>> scores = np.array([0.2, 0.79, 0.9])
    >>> false_negatives(scores, 0.8, share=0.95).tolist()
    [False, True, True]
    >>> false_negatives(scores, 0.8, margin=0.7).tolist()
    [True, True, True]
    """
    reference = np.asarray(positive, np.float64)
    marked = np.zeros(np.broadcast_shapes(scores.shape, reference.shape), np.bool_)
    with np.errstate(invalid="ignore"):
        if margin is not None:
            marked |= scores >= reference - margin
        if share is not None:
            marked |= scores >= np.where(reference > 0, share * reference, reference)
    return marked
