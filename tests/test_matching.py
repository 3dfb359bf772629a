"""Where a text says a term: the same words as searching reads, at the characters they stand at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_world import table_encoder

from lsr.encoders import (
    BM25Encoder,
    cut_off,
    said,
)
from lsr.encoders.analysis import word_places, words

HARD = "AaéÉe\u0301İıΣσςßﬁ\u00ad’'.,_ 12\u1100\u1161\u11a8가각\u0958नी北京か\u0300\u200d"


@given(st.text(max_size=30) | st.text(alphabet=HARD, max_size=30))
def test_places_name_the_words_that_searching_reads(text: str) -> None:
    places = word_places(text)
    assert [word for word, _, _ in places] == words(text) or not places
    end = 0
    for word, start, stop in places:
        assert end <= start < stop <= len(text), "in order, apart, inside the text"
        end = stop
        # Read alone, the characters are the word; only a final sigma depends on its surroundings.
        assert [one.replace("ς", "σ") for one in words(text[start:stop])] == [
            word.replace("ς", "σ")
        ] or len(words(text[start:stop])) != 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Naïve Café", ["Naïve", "Café"]),
        ("Cafe\u0301 Zu\u0308rich", ["Cafe\u0301", "Zu\u0308rich"]),
        ("İstanbul cats", ["İstanbul", "cats"]),
        ("soft\u00adly dogs", ["soft\u00adly", "dogs"]),
        (
            "\u1112\u1161\u11ab\u1100\u1173\u11af cats",
            ["\u1112\u1161\u11ab\u1100\u1173\u11af", "cats"],
        ),
        ("𝒳 😀 cats", ["𝒳", "cats"]),
    ],
)
def test_places_are_those_of_the_original_characters(text: str, expected: list[str]) -> None:
    assert [text[start:end] for _, start, end in word_places(text)] == expected


def test_bm25_says_the_terms_of_its_document_vectors() -> None:
    encoder = BM25Encoder.fit(["cats sleep", "dogs bark"])
    text = "The cats' sleeping dog, a Zebra"
    found = said(encoder, text)
    assert found is not None
    assert {one.term for one in found} == set(encoder.encode_documents([text]).indices.tolist())
    assert [text[one.start : one.end] for one in found] == ["cats", "sleeping", "dog", "Zebra"]


@pytest.mark.parametrize("max_length", [None, 2])
def test_sub_words_say_their_characters_beyond_any_length_limit(max_length: int | None) -> None:
    text = "Ünter CATS, sleeping"
    found = said(table_encoder(max_length), text)
    assert found is not None
    spoken = [(one.term, text[one.start : one.end]) for one in found if one.term]
    assert spoken == [(1, "CAT"), (2, "S"), (3, "sleep"), (4, "ing")]


@pytest.mark.parametrize(
    ("max_length", "text", "expected"),
    [
        (None, "cat " * 99, False),
        (3, "cat dog cat", False),
        (3, "cat dog cat dog", True),
        (3, "", False),
        (100, "cat " * 100, False),
        (100, "cat " * 101, True),
    ],
)
def test_a_text_beyond_the_length_limit_is_cut_off(
    max_length: int | None, text: str, expected: bool
) -> None:
    encoder = table_encoder(max_length)
    assert cut_off(encoder, text, document=False) is expected
    assert cut_off(encoder, text, document=True) is None, "its document network is elsewhere"
    bm25 = BM25Encoder.fit(["cat"])
    assert cut_off(bm25, text, document=True) is cut_off(bm25, text, document=False) is False
