"""Inverse document frequency of every token of a tokenizer's vocabulary, in one streaming pass.

    idf[t] = ln(1 + (N - df[t] + 1/2) / (df[t] + 1/2))

N counts passages with at least one real token, df[t] those that hold t; text is tokenised whole,
without special tokens. A token never seen gets the limit df = 0, the largest value of the table:
published tables put 0 or 1 there, and then a rare, telling word weighs less than "what".
"""

from collections.abc import Iterable
from itertools import islice

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ..errors import EncoderError
from .counting import occurrences
from .tokens import TextTokenizer

_BATCH = 2_048  # texts tokenised at once; enough to keep every core of the tokenizer busy


def idf_table(
    texts: Iterable[str], tokenizer: Tokenizer | TextTokenizer, *, n_terms: int | None = None
) -> npt.NDArray[np.float32]:
    """(n_terms,) float32 idf of each token number; special tokens are 0.

    `n_terms` is needed where a model has more outputs than its tokenizer has tokens; the surplus,
    which no text can hold, is 0 too. Memory does not grow with the corpus.
    """
    whole = (
        tokenizer if isinstance(tokenizer, TextTokenizer) else TextTokenizer.of(tokenizer)
    ).limited(None)
    n_tokens = whole.n_tokens
    n_terms = n_tokens if n_terms is None else n_terms
    if n_terms < n_tokens:
        raise EncoderError(
            f"an idf table of {n_terms} terms cannot hold the {n_tokens} tokens of the tokenizer"
        )
    special = whole.special_ids()
    real = np.ones(n_terms, np.float32)
    real[special] = 0.0
    df = np.zeros(n_terms, np.int64)
    n_passages = 0
    stream = iter(texts)
    while batch := list(islice(stream, _BATCH)):
        present = occurrences(whole.ids(batch, special=False), n_terms)
        n_passages += int(np.count_nonzero(present @ real))
        df += np.bincount(present.indices, minlength=n_terms)
    table = np.log1p((n_passages - df + 0.5) / (df + 0.5))
    table[special] = 0.0
    table[n_tokens:] = 0.0
    return table.astype(np.float32)
