"""Copies and near-copies: a document that says what an answer says is no negative."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """The words alone: compatibility forms, lower case, no punctuation, one space.

    >>> normalised("The  ﬁrst, the BEST!")
    'the first the best'
    """
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


class Copies:
    """Compares documents by their words; each is taken apart once."""

    def __init__(self, documents: Sequence[str], *, near_copy: float) -> None:
        self._documents = documents
        self._near_copy = near_copy
        self._words: dict[int, tuple[str, frozenset[str]]] = {}

    def text(self, row: int) -> str:
        """The normalised text of a document."""
        return self._of(row)[0]

    def copies_one_of(self, row: int, others: Iterable[int]) -> bool:
        """Whether the document has the normalised text of another one, or nearly its words.

        Nearly: the Jaccard similarity of the two sets of words is at least `near_copy`; 1 leaves it
        at equal sets.
        """
        text, words = self._of(row)
        for other in others:
            other_text, other_words = self._of(other)
            if text == other_text:
                return True
            smaller, larger = sorted((len(words), len(other_words)))
            # The similarity is at most the ratio of the sizes: most pairs end here.
            if not larger or smaller < self._near_copy * larger:
                continue
            shared = len(words & other_words)
            if shared >= self._near_copy * (smaller + larger - shared):
                return True
        return False

    def _of(self, row: int) -> tuple[str, frozenset[str]]:
        found = self._words.get(row)
        if found is None:
            text = normalised(self._documents[row])
            found = self._words[row] = (text, frozenset(text.split()))
        return found
