"""Inverse document frequency of every token of a tokenizer's vocabulary.

    idf[t] = ln(1 + (N - df[t] + s) / (df[t] + s)),  s = 1/2

N counts passages with at least one real token, df[t] those that hold t; text is tokenised whole,
without special tokens. A token never seen gets the limit df = 0, the largest value of the table:
published tables put 0 or 1 there, and then a rare, telling word weighs less than "what". How counts
are kept in files is the business of `token_counts`.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ..errors import EncoderError
from .token_counts import SMOOTHING, count_tokens
from .tokens import TextTokenizer


def idf_table(
    texts: Iterable[str],
    tokenizer: Tokenizer | TextTokenizer,
    *,
    n_terms: int | None = None,
    processes: int = 1,
) -> npt.NDArray[np.float32]:
    """(n_terms,) float32 idf of each token number; special tokens are 0.

    `n_terms` is needed where a model has more outputs than its tokenizer has tokens; the surplus,
    which no text can hold, is 0 too. Memory does not grow with the corpus.
    """
    whole = tokenizer if isinstance(tokenizer, TextTokenizer) else TextTokenizer.of(tokenizer)
    if n_terms is not None and n_terms < whole.n_tokens:
        raise EncoderError(
            f"an idf table of {n_terms} terms cannot hold the {whole.n_tokens} tokens of the "
            "tokenizer"
        )
    return count_tokens(texts, whole, processes=processes).idf(n_terms=n_terms)


def blend_idf(
    old: npt.NDArray[np.float32], new: npt.NDArray[np.float32], share: float
) -> npt.NDArray[np.float32]:
    """The table whose document frequencies are `share` parts `new` and the rest `old`.

    exp(-idf) is (df + s) / (N + 2 s), so the old counts need not be known. A weight of 0 is no
    frequency: where one table has it, the other decides.

    Here: ln(8/3), ln 10, ln 3.

    >>> old, new = np.log(np.float32([2, 10, 0.5])), np.log(np.float32([4, 10, 3]))
    >>> blend_idf(np.maximum(old, 0), new, 0.5).astype(float).round(4).tolist()
    [0.9808, 2.3026, 1.0986]
    """
    if old.shape != new.shape:
        raise EncoderError(
            f"tables of {old.shape} and {new.shape} weights cannot be blended; they belong to two "
            "encoders"
        )
    if not 0 <= share <= 1:
        raise EncoderError(f"blend = {share}: the share of the new table must lie in [0, 1]")
    frequency = (1 - share) * np.exp(-old.astype(np.float64)) + share * np.exp(
        -new.astype(np.float64)
    )
    blended = np.where((old > 0) & (new > 0), -np.log(frequency), np.maximum(old, new))
    return blended.astype(np.float32)


__all__ = ["SMOOTHING", "blend_idf", "idf_table"]
