"""Text to index terms: split into words, lower-case, drop English stop words, stem.

Splitting follows the rules of Unicode's word boundaries (UAX #29) that matter for retrieval, as
Lucene's StandardTokenizer does: letters, digits, marks and underscores hold together; an apostrophe
or full stop between two letters and a full stop or comma between two digits do not split ("don't",
"u.s.a", "3.14", "1,000"); ideographs and hiragana stand alone. Left out: dictionary segmentation
(Thai, Khmer) and emoji as words.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Literal, get_args

import Stemmer  # type: ignore[import-not-found]

from ..errors import EncoderError

StemmerName = Literal[
    "porter", "english", "none", "arabic", "armenian", "basque", "catalan", "czech", "danish",
    "dutch", "estonian", "finnish", "french", "german", "greek", "hindi", "hungarian",
    "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "polish", "portuguese",
    "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
]  # fmt: skip
"""Lucene's for English, Snowball's newer one, none, and those of Snowball for other languages."""

STOP_WORDS = frozenset(  # a list of one word a line would be thirty-three lines
    """a an and are as at be but by for if in into is it no not of on or such that the their then
    there these they this to was will with""".split()  # noqa: SIM905
)
"""Lucene's 33 English stop words."""

MAX_WORD = 255
"""Characters kept of one word, Lucene's limit: base64 and DNA must not fill the vocabulary."""

REVISION = 2
"""Raised when equal settings give other terms than before, so that indexes of the old ones are
refused. 2: stems as Lucene's."""

_TURKISH = str.maketrans("Iİ", "ıi")

_CACHE_LIMIT = 1_000_000  # words; about 150 MB, far above the vocabulary of any natural corpus


@dataclass(frozen=True)
class Analyser:
    """How text becomes terms; equal settings give equal terms on every machine.

    `stemmer` is "porter" (Lucene's for English, term for term), "english" (Porter 2), "none", or a
    language of Snowball's, with which no word is a stop word: idf makes frequent ones weigh little.

    >>> Analyser().terms("The dog's running in the U.K., isn't it?")
    ['dog', 'run', 'u.k', "isn't"]
    >>> Analyser(stemmer="none", stop_words=False).terms("The Naïve café")
    ['the', 'naïve', 'café']
    >>> Analyser(stemmer="german").terms("An den Häusern")
    ['an', 'den', 'haus']
    """

    stemmer: StemmerName = "porter"
    stop_words: bool = True

    def __post_init__(self) -> None:
        if self.stemmer not in get_args(StemmerName):
            raise EncoderError(
                f"unknown stemmer {self.stemmer!r}; "
                f"choose one of {', '.join(get_args(StemmerName))}"
            )

    def terms(self, text: str) -> list[str]:
        """The terms of `text` in order; empty for a text without words."""
        term_of = _terms(self.stemmer, self.stop_words)
        return [term for term in map(term_of.__getitem__, words(self.cased(text))) if term]

    def cased(self, text: str) -> str:
        """`text`, as long as before, ready for lower-casing: in Turkish I is not the capital of i.

        >>> words(Analyser(stemmer="turkish").cased("IŞIK İstanbul"))
        ['ışık', 'istanbul']
        """
        return text.translate(_TURKISH) if self.stemmer == "turkish" else text

    def term(self, word: str) -> str:
        """The term of one word as `words` returns it; empty if it is dropped."""
        return _terms(self.stemmer, self.stop_words)[word]

    def as_json(self) -> dict[str, str | bool]:
        """The settings as a JSON object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, settings: Mapping[str, object]) -> "Analyser":
        """Settings from JSON; an unknown key or a value of the wrong type is an `EncoderError`."""
        unknown = sorted(set(settings) - {"stemmer", "stop_words"})
        if unknown:
            raise EncoderError(
                f"unknown analyser setting {unknown[0]!r}; this release knows stemmer, stop_words"
            )
        stemmer = settings.get("stemmer", "porter")
        stop_words = settings.get("stop_words", True)
        if not isinstance(stemmer, str) or not isinstance(stop_words, bool):
            raise EncoderError(
                f"analyser settings must be a string and a boolean, got {stemmer!r}, {stop_words!r}"
            )
        return cls(stemmer=stemmer, stop_words=stop_words)  # type: ignore[arg-type]


ENGLISH = Analyser()
"""Lucene's English analysis: its stop words and the Porter stemmer."""


def words(text: str) -> list[str]:
    """Split into lower-case words, stop words and inflection untouched.

    Composed and decomposed accents give the same word (NFC); soft hyphens are ignored.

    >>> words("Größe 1,024.5 snake_case e-mail 北京")
    ['größe', '1,024.5', 'snake_case', 'e', 'mail', '北', '京']
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _unicode_word().findall(_composed(text))


def word_places(text: str) -> list[tuple[str, int, int]]:
    """`words` with the characters [start, end) of `text` that each was read from.

    Empty for the rare text whose composed form cannot be laid beside its own characters.

    >>> word_places("A soft\u00adly Cafe\u0301!")
    [('a', 0, 1), ('softly', 2, 9), ('café', 10, 15)]
    """
    if text.isascii():
        return [(found[0], *found.span()) for found in _ASCII_WORD.finditer(text.lower())]
    composed = _composed(text)
    found = _unicode_word().finditer(composed)
    lowered = text.lower()  # never shorter, so of equal length means character for character
    as_it_is = len(lowered) == len(text) and unicodedata.is_normalized("NFC", lowered)
    if as_it_is and "\u00ad" not in text:
        return [(one[0], *one.span()) for one in found]
    starts, ends, pieces = [], [], []
    at = 0
    while at < len(text):
        after = at + 1
        while after < len(text) and _joins(text[after - 1], text[after]):
            after += 1
        piece = _composed(text[at:after])
        pieces.append(piece)
        starts += [at] * len(piece)
        ends += [after] * len(piece)
        at = after
    # A sigma at the end of a word is lower-cased by what surrounds it, to one character all the
    # same.
    if "".join(pieces).replace("ς", "σ") != composed.replace("ς", "σ"):
        return []
    return [(one[0], starts[one.start()], ends[one.end() - 1]) for one in found]


def word_at(places: Iterable[tuple[str, int, int]], text: str, start: int, end: int) -> str:
    """The whole word, as the text spells it, that the characters [start, end) are of.

    `places` are `word_places(text)`; where no word holds them all, they alone.

    >>> text = "Caffeine, too"
    >>> [word_at(word_places(text), text, *span) for span in ((0, 3), (3, 8), (8, 9), (6, 13))]
    ['Caffeine', 'Caffeine', ',', 'ne, too']
    """
    whole = (text[a:b] for _, a, b in places if a <= start and end <= b)
    return next(whole, text[start:end])


def _composed(text: str) -> str:
    """The form in which words are found: lower case, NFC, one apostrophe, no soft hyphens."""
    return unicodedata.normalize("NFC", text.lower()).replace("\u00ad", "").replace("’", "'")


def _joins(before: str, character: str) -> bool:
    """Whether two characters may compose: a combining mark, or a Korean vowel or final."""
    korean = "\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"
    return unicodedata.combining(character) != 0 or (korean and "\u1160" <= character <= "\u11ff")


# A word must hold a letter or digit; `_` alone is punctuation.
_ASCII_WORD = re.compile(
    r"_*+[a-z0-9]\w*+"
    r"(?:['.,](?:(?<=[a-z]['.])(?=[a-z])|(?<=[0-9]['.,])(?=[0-9]))\w++)*+",
    re.ASCII,
)


@cache
def _unicode_word() -> re.Pattern[str]:
    # Python's \w holds no combining marks, so Indic vowel signs would cut words in two.
    alone = "\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    marks = _ranges_of_marks()
    letter = rf"[^\W\d_{alone}]"
    inner = rf"(?:[^\W{alone}]|[{marks}])"
    return re.compile(
        rf"[{alone}][{marks}]*|_*[^\W_{alone}]{inner}*"
        rf"(?:['.,·](?:(?<={letter}['.·])(?={letter})|(?<=\d['.,])(?=\d)){inner}+)*"
    )


def _ranges_of_marks() -> str:
    """The body of a regular-expression class with every combining mark and joiner (20 ms, once)."""
    marks = [n for n in range(0x300, 0x1E95B) if unicodedata.category(chr(n))[0] == "M"]
    ranges: list[tuple[int, int]] = []
    for n in [*marks, 0x200C, 0x200D]:
        if ranges and ranges[-1][1] == n - 1:
            ranges[-1] = (ranges[-1][0], n)
        else:
            ranges.append((n, n))
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def _stemmer(name: StemmerName) -> Callable[[str], str] | None:
    if name == "none":
        return None
    try:
        stem: Callable[[str], str] = Stemmer.Stemmer(name).stemWord
    except KeyError:
        raise EncoderError(
            f"stemmer {name!r} is none of PyStemmer {Stemmer.version()}'s; "
            "pip install 'PyStemmer>=3.1'"
        ) from None
    return (lambda word: _as_lucene(word, stem)) if name == "porter" else stem


def _as_lucene(word: str, stem: Callable[[str], str]) -> str:
    """Porter's stem as Lucene has it, from that of Snowball's "porter" (`stem`).

    Porter's own program, which Lucene follows, departs from his paper of 1980 in three places:
    words of two characters are left alone ("us", "vs", not "u" and "v"), and step 2 has two more
    rules, "logi" becomes "log" ("psychology" meets "psychological") and "bli" becomes "ble" in
    place of "abli" becoming "able" ("infallibly" meets "infallible"). Snowball has none of these,
    and takes one of two equal consonants away for common pairs only ("planning", not "trekking").
    https://tartarus.org/martin/PorterStemmer/
    """
    if len(word) <= 2:
        return word
    ending = _LOGI_OR_BLI.search(word)
    if ending is not None and "vc" in _sounds(word[: ending.start()]):
        # Steps 3 to 5 leave "log" alone, and steps 1 and 2 leave "ble".
        before = word[: ending.end(1)]
        return before if ending[1] == "log" else stem(before + "e")
    twice = _RARE_PAIR.search(word)
    if twice is not None and "v" in _sounds(word[: twice.start()]):
        return stem(word[: twice.end(1)])
    return stem(word)


# What step 1 brings to "logi" and "bli", and pairs of consonants that Snowball keeps.
_LOGI_OR_BLI = re.compile(r"(log|bl)(?:ies|[iy](?:ed|ing)?s?)$")
_RARE_PAIR = re.compile(r"([chjkqvwx])\1(?:ed|ing)s?$")


def _sounds(letters: str) -> str:
    """One `v` or `c` a letter; a `y` after a consonant is a vowel, at the start or after one not.

    Porter's measure is the number of times that `vc` occurs.
    """
    sounds = ""
    for letter in letters:
        is_vowel = letter in "aeiou" or (letter == "y" and sounds.endswith("c"))
        sounds += "v" if is_vowel else "c"
    return sounds


class _TermOfWord(dict[str, str]):
    """word -> term, filled on demand: most words of a corpus are repeats."""

    def __init__(self, stemmer: StemmerName, stop_words: bool) -> None:
        super().__init__()
        self._stem = _stemmer(stemmer)
        english = stemmer in ("porter", "english", "none")
        self._stop_words = STOP_WORDS if stop_words and english else frozenset[str]()

    def __missing__(self, word: str) -> str:
        if len(self) >= _CACHE_LIMIT:
            self.clear()
        term = word[:MAX_WORD].removesuffix("'s")
        if term in self._stop_words:
            term = ""
        elif self._stem is not None:
            term = self._stem(term)
        self[word] = sys.intern(term)
        return term


@cache
def _terms(stemmer: StemmerName, stop_words: bool) -> _TermOfWord:
    return _TermOfWord(stemmer, stop_words)
