"""Queries made from documents: a title, a heading or a first sentence, taken out of its document.

What became the query is removed from the text, so that to find it again is no copying: the rest of
an article must be found by its title, the rest of a section by its heading (inverse cloze task, Lee
et al., ACL 2019, arXiv 1906.00300).
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lsr.types import Document

from ..mining.cleaning import normalised

Origin = Literal["title", "heading", "sentence", "written"]

_TITLE_WORDS = (2, 25)
_SENTENCE_WORDS = (4, 30)
_LEFT_WORDS = 8  # a document shorter than that is no answer
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])|\n\s*\n")


@dataclass(frozen=True, slots=True)
class Passage:
    """A document as far as learning from it goes."""

    doc_id: str
    title: str
    text: str

    @classmethod
    def of(cls, document: Document, text_fields: Sequence[str]) -> "Passage":
        """Its title, if that is a field that is read, and the other fields that are read."""
        title = document.text(("title",)) if "title" in text_fields else ""
        rest = tuple(name for name in text_fields if name != "title")
        return cls(document.doc_id, title.strip(), document.text(rest).strip())

    @property
    def whole(self) -> str:
        """What an encoder reads."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class PseudoQuery:
    """A query, the document it was taken from, and what it was there."""

    text: str
    doc_id: str
    origin: Origin


def take_query(passage: Passage, *, seed: int) -> tuple[PseudoQuery, Passage] | None:
    """A query from one document, and the document without it; None where it has none to give.

    Which of title, heading and first sentence is taken depends on the seed and the document's id.
    """
    options: list[tuple[Origin, str, Passage]] = []
    words = len(passage.title.split())
    if _TITLE_WORDS[0] <= words <= _TITLE_WORDS[1]:
        text = passage.text
        if text.casefold().startswith(passage.title.casefold()):
            text = text[len(passage.title) :].lstrip(" .:-\n")
        options.append(("title", passage.title, Passage(passage.doc_id, "", text)))
    found = _first_heading(passage.text)
    if found is not None:
        heading, rest = found
        options.append(("heading", heading, Passage(passage.doc_id, passage.title, rest)))
    found = _first_sentence(passage.text)
    if found is not None:
        sentence, rest = found
        options.append(("sentence", sentence, Passage(passage.doc_id, passage.title, rest)))
    options = [option for option in options if len(option[2].text.split()) >= _LEFT_WORDS]
    if not options:
        return None
    digest = hashlib.blake2b(
        passage.doc_id.encode("utf-8", "surrogatepass"), digest_size=8
    ).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest, "little")])
    origin, query, rest_of = options[int(rng.integers(len(options)))]
    return PseudoQuery(" ".join(query.split()), passage.doc_id, origin), rest_of


def take_queries(
    passages: Iterable[Passage], *, seed: int
) -> tuple[list[PseudoQuery], list[Passage]]:
    """A query from each document that has one, and every document, without what was taken.

    A query whose words are those of another one is left out with it: it names no document. Both
    documents then stay whole.
    """
    whole = list(passages)
    taken = [take_query(passage, seed=seed) for passage in whole]
    times: dict[str, int] = {}
    for option in taken:
        if option is not None:
            key = normalised(option[0].text)
            times[key] = times.get(key, 0) + 1
    queries: list[PseudoQuery] = []
    left: list[Passage] = []
    for passage, option in zip(whole, taken, strict=True):
        if option is None or times[normalised(option[0].text)] > 1:
            left.append(passage)
        else:
            queries.append(option[0])
            left.append(option[1])
    return queries, left


def _first_heading(text: str) -> tuple[str, str] | None:
    """The first Markdown heading of at least two words, and the text without it."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        found = _HEADING.fullmatch(line.strip())
        if found and _TITLE_WORDS[0] <= len(found[1].split()) <= _TITLE_WORDS[1]:
            return found[1], "\n".join(lines[:number] + lines[number + 1 :]).strip()
    return None


def _first_sentence(text: str) -> tuple[str, str] | None:
    end = _SENTENCE_END.search(text)
    if end is None or text.lstrip().startswith("#"):
        return None
    sentence, rest = text[: end.start()].strip(), text[end.end() :].strip()
    low, high = _SENTENCE_WORDS
    return (sentence, rest) if low <= len(sentence.split()) <= high else None
