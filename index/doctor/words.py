"""Out-of-vocabulary words: those a sub-word tokenizer cannot read, or shatters into many pieces.

A word that becomes [UNK] is lost; one in four or more pieces is matched by fragments that it shares
with unrelated words. Words without a letter or digit are not counted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from lsr.encoders import TextTokenizer, words_part

from .case import Case
from .finding import Finding, graded, percent, several, skipped, worst

MANY = 4
"""Pieces that make a word shattered."""
WARN_SHATTERED, FAIL_SHATTERED = 0.06, 0.2
"""BERT's vocabulary shatters 0.4 to 1.2 % of the words of web passages (InsuranceQA, WikiQA, MS
MARCO), 3.5 to 4.2 % of those of biomedical abstracts (SciFact, Medline, NFCorpus); beyond lies
another language or a jargon it has never seen."""
WARN_UNKNOWN, FAIL_UNKNOWN = 0.005, 0.05
_BATCH = 256


@dataclass(frozen=True, slots=True)
class WordPieces:
    """How a tokenizer reads the words of some texts; shares are of word occurrences."""

    n_words: int
    mean_pieces: float
    shattered: float
    unknown: float
    examples: tuple[str, ...]
    """The most frequent words that are shattered or unknown."""


def word_pieces(texts: Sequence[str], tokenizer: TextTokenizer) -> WordPieces:
    """Count pieces of words over whole texts, beyond the length limit too."""
    whole = tokenizer.limited(None)
    unknown_token = getattr(whole.tokenizer.model, "unk_token", None)
    unknown_id = None if unknown_token is None else whole.tokenizer.token_to_id(unknown_token)
    n_words = n_pieces = n_shattered = n_unknown = 0
    bad: Counter[str] = Counter()
    for text in texts:
        encoding = whole.encoding(text)
        ids, words, offsets = encoding.ids, encoding.word_ids, encoding.offsets
        if not ids:
            continue
        numbers = np.array([-1 if word is None else word for word in words])
        first = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
        ends = np.r_[first[1:], len(numbers)]
        for a, b in zip(first.tolist(), ends.tolist(), strict=True):
            word = text[offsets[a][0] : offsets[b - 1][1]]
            if not any(map(str.isalnum, word)):
                continue
            n_words += 1
            n_pieces += b - a
            lost = unknown_id is not None and unknown_id in ids[a:b]
            n_unknown += lost
            n_shattered += b - a >= MANY
            if lost or b - a >= MANY:
                bad[word] += 1
    total = max(1, n_words)
    return WordPieces(
        n_words,
        n_pieces / total,
        n_shattered / total,
        n_unknown / total,
        tuple(word for word, _ in bad.most_common(8)),
    )


def check_words(case: Case) -> Finding:
    """Warn where the vocabulary of the encoder is not that of the corpus."""
    tokenizer = case.tokenizer
    if tokenizer is None:
        reason = "no sub-words: bm25 indexes words as they are" if case.encoder else "no encoder"
        return skipped("words", reason)
    found = word_pieces(case.texts, tokenizer)
    if not found.n_words:
        return skipped("words", f"no words in {len(case.texts):,} texts")
    level = worst(
        graded(found.shattered, warn=WARN_SHATTERED, fail=FAIL_SHATTERED),
        graded(found.unknown, warn=WARN_UNKNOWN, fail=FAIL_UNKNOWN),
    )
    whole = words_part(case.encoder) is not None
    if whole:  # whatever becomes of the pieces, the word itself is found
        level = "ok"
    return Finding(
        "words",
        level,
        f"{percent(found.shattered)} of {found.n_words:,} words in {MANY} or more pieces, "
        f"{percent(found.unknown)} unknown, {found.mean_pieces:.2f} pieces each"
        + (f"; for example {several(list(found.examples))}" if found.examples else "")
        + ("; each is indexed whole, too" if whole else ""),
        "such words are found through fragments of other words, or not at all; compare with whole "
        "words, and think of a backbone whose vocabulary fits",
        ("lsr", "evaluate", case.corpus, "--encoder", "bm25"),
        asdict(found),
    )
