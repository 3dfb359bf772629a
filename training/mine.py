"""Hard negatives from BM25: documents that share a query's words and are not its answer.

Exhaustive within one collection, in memory. The first ranks are left out, since documents there are
often answers that nobody judged.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lsr.encoders.bm25 import BM25Encoder

Rows = npt.NDArray[np.int32]
"""Row numbers of documents or queries."""

_BLOCK = 512


def mine_bm25(
    queries: Sequence[str],
    positives: Sequence[Sequence[int]],
    documents: Sequence[str],
    rows: Rows,
    *,
    first: int,
    depth: int,
) -> list[Rows]:
    """Per query the documents ranked `first` (0-based) to `depth` by BM25, positives removed.

    `documents` are the texts of one collection and `rows` what each is called in the result.
    """
    encoder = BM25Encoder.fit(documents)
    vectors = encoder.encode_documents(documents).T.tocsr()
    mined: list[Rows] = []
    for at in range(0, len(queries), _BLOCK):
        scores = (encoder.encode_queries(queries[at : at + _BLOCK]) @ vectors).tocsr()
        for i in range(scores.shape[0]):
            a, b = scores.indptr[i], scores.indptr[i + 1]
            order = np.argsort(-scores.data[a:b], kind="stable")[:depth]
            ranked = rows[scores.indices[a:b][order]][first:]
            mined.append(np.setdiff1d(ranked, positives[at + i]).astype(np.int32))
    return mined
