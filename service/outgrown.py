"""BM25 that has not seen most of what it searches: it counts words once, in the first documents.

With one document first and the other 1,399 of Cranfield after it, nDCG@10 was .2985; counted anew
by a rebuild, .3416. Nothing but these counts tells of it.
"""

from lsr.encoders import BM25Encoder, SparseEncoder

TIMES = 4
"""Documents for each that was counted. A quarter of a collection knows its common words well."""
MORE = 100
"""Documents that were not counted; a collection of fewer is being tried out."""
CODE = "bm25_outgrown"
REMEDY = "`lsr rebuild`, or POST to the index's /rebuild, counts anew."


def outgrown(encoder: SparseEncoder | None, n_docs: int) -> str | None:
    """What to tell of an index of `n_docs` documents; None where there is nothing to tell.

    >>> outgrown(BM25Encoder.fit(["cats sleep"]), 101) is None
    True
    >>> print(outgrown(BM25Encoder.fit(["cats sleep"]), 1_400))
    BM25 counted the words of 1 document, 1,400 are here now: it weighs words worse than it could
    """
    if not isinstance(encoder, BM25Encoder):
        return None
    n_seen = encoder.statistics.n_docs
    if n_docs < TIMES * n_seen or n_docs - n_seen <= MORE:
        return None
    counted = f"{n_seen:,} document{'' if n_seen == 1 else 's'}"
    return (
        f"BM25 counted the words of {counted}, {n_docs:,} are here now: it weighs words worse than "
        "it could"
    )
