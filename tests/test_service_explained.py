"""Explanations add up, origins and highlights are what the texts say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_world import NUMBERS, TABLE, VOCABULARY, WORDS, Served, build_world, ones, serving

from index import build_index
from lsr.encoders import BM25Encoder
from lsr.types import Document


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(build_world(tmp_path_factory.mktemp("explained"))) as served:
        yield served


@pytest.mark.parametrize("top", [None, 1, 2, 3, 100])
@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("numbers", ones(0, 1, 2, 3, 4, 5)),
        ("numbers", {"like": "n07"}),
        ("words", {"text": "sleeping cats rest, dog"}),
        ("papers", {"text": "cats and dogs asleep, sleeping"}),
    ],
)
def test_contributions_add_up_to_the_score_exactly(
    served: Served, index: str, query: Any, top: int | None
) -> None:
    """Whole points add up without rounding, and times the unit they are the very score."""
    explain = True if top is None else {"top_terms": top}
    hits = served.search(index, query=query, explain=explain, limit=20)["hits"]
    assert hits
    for hit in hits:
        told = hit["explain"]
        assert told["exact_sum"]
        points = sum(one["points"] for one in told["terms"]) + told["other"]["points"]
        assert points * told["unit"] == told["sum"] == hit["score"]
        assert top is None or len(told["terms"]) <= top
        assert (told["other"]["terms"] == 0) == (told["other"]["points"] == 0)
        parts = [one["points"] for one in told["terms"]]
        assert parts == sorted(parts, reverse=True)
        for one in told["terms"]:
            assert one["score"] == one["points"] * told["unit"]
            assert one["score"] == pytest.approx(one["query"] * one["doc"], rel=1e-12)
            assert one["share"] == pytest.approx(one["points"] / points)


def test_the_listed_terms_and_the_others_are_those_of_the_whole(served: Served) -> None:
    def explained(explain: Any) -> Any:
        return served.search("numbers", query=ones(*range(12)), explain=explain)["hits"][0]

    whole, part = explained(True), explained({"top_terms": 2})
    assert part["explain"]["terms"] == whole["explain"]["terms"][:2]
    rest = whole["explain"]["terms"][2:]
    assert part["explain"]["other"]["terms"] == len(rest) == len(NUMBERS[whole["id"]]) - 2
    assert part["explain"]["other"]["points"] == sum(one["points"] for one in rest)


def test_origins_are_literal_where_the_text_says_the_term(served: Served) -> None:
    hits = served.search("words", query={"text": "cats sleeping dog pet rest bone"}, explain=True)
    told = {
        hit["id"]: {one["term"]: one["origin"] for one in hit["explain"]["terms"]}
        for hit in hits["hits"]
    }
    assert told == {
        "cats": {
            "cat": "literal", "##s": "literal", "sleep": "literal", "##ing": "literal",
            "pet": "expansion", "rest": "expansion",
        },
        "dogs": {"dog": "literal", "pet": "expansion", "bone": "expansion"},
    }  # fmt: skip


def test_weights_shown_are_those_of_query_and_document(served: Served) -> None:
    (hit, _) = served.search("words", query={"text": "cat pet"}, explain=True)["hits"]
    assert hit["id"] == "cats"
    for one in hit["explain"]["terms"]:
        number = VOCABULARY.index(one["term"])
        assert one["index"] == number
        assert one["query"] == pytest.approx(TABLE[number], rel=1e-3), "12 bits"
        assert one["doc"] == WORDS["cats"][1][one["term"]]


def test_terms_of_bm25_are_always_literal(served: Served) -> None:
    hits = served.search("papers", query={"text": "cats sleep"}, explain=True)["hits"]
    assert {one["origin"] for hit in hits for one in hit["explain"]["terms"]} == {"literal"}


def test_without_an_encoder_origins_are_unavailable(served: Served) -> None:
    (hit, *_) = served.search("numbers", query=ones(1), explain=True)["hits"]
    assert [(one["term"], one["origin"]) for one in hit["explain"]["terms"]] == [
        (None, "unavailable")
    ]


# ---- highlights -------------------------------------------------------------------------------


def test_highlights_are_offsets_into_the_stored_text(served: Served) -> None:
    answer = served.search(
        "papers", query={"text": "sleeping cat"}, highlight={"fields": ["text", "title"]}, fields=[]
    )
    texts = {"d1": "coffee and sleep", "d2": "cats sleep all day", "d3": "dogs sleep too"}
    for hit in answer["hits"]:
        assert hit["fields"] == {}
        (text, title) = hit["highlights"]
        assert (text["field"], title["field"]) == ("text", "title")
        if hit["id"] not in texts:
            continue
        stored = texts[hit["id"]]
        assert (text["start"], text["end"], text["text"]) == (0, len(stored), stored)
        said = [(stored[one["start"] : one["end"]], one["terms"]) for one in text["spans"]]
        expected = [("cats", ["cat"]), ("sleep", ["sleep"])]
        assert said == [one for one in expected if one[0] in stored]
        assert {one["origin"] for one in text["spans"]} == {"literal"}


def test_pieces_of_a_word_are_one_highlight(served: Served) -> None:
    query = {"text": "cats sleeping"}
    answer = served.search("words", query=query, highlight={"fields": ["text"]})
    (highlight,) = answer["hits"][0]["highlights"]
    assert [(one["start"], one["end"], one["terms"]) for one in highlight["spans"]] == [
        (0, 4, ["cat", "##s"]),
        (5, 13, ["sleep", "##ing"]),
    ]


def test_offsets_count_code_points_and_hostile_text_stays_text(tmp_path: Path) -> None:
    text = "😀 <script>alert('é')</script> Cafe\u0301 😀 café & \"cats\""
    documents = [Document("a", {"text": text, "n": 3, "more": ["cafe"]})]
    encoder = BM25Encoder.fit([text])
    build_index(tmp_path / "odd.index", documents, encoder, source="test", progress=False)
    with serving({"odd": tmp_path / "odd.index"}) as served:
        answer = served.search(
            "odd", query={"text": "CAFÉ script"}, highlight={"fields": ["text", "n", "more", "x"]}
        )
    (highlight,) = answer["hits"][0]["highlights"]
    assert highlight["text"] == text
    assert [text[one["start"] : one["end"]] for one in highlight["spans"]] == [
        "script", "script", "Cafe\u0301", "café",
    ]  # fmt: skip
    assert [warning["values"] for warning in answer["warnings"]] == [["x"]]


@pytest.mark.parametrize("max_chars", [20, 41, 200])
def test_the_excerpt_holds_the_rarest_matches_and_whole_words(
    tmp_path: Path, max_chars: int
) -> None:
    filler = "nothing of any interest here "
    text = "zebra " + filler * 20 + "the zebra met a giraffe today " + filler * 20
    documents = [Document("a", {"text": text}), Document("b", {"text": "zebra"})]
    encoder = BM25Encoder.fit(document.text() for document in documents)
    build_index(tmp_path / "long.index", documents, encoder, source="test", progress=False)
    with serving({"long": tmp_path / "long.index"}) as served:
        hits = served.search(
            "long",
            query={"text": "giraffe zebra"},
            highlight={"fields": ["text"], "max_chars": max_chars},
            fields=[],
        )["hits"]
    (highlight,) = next(hit for hit in hits if hit["id"] == "a")["highlights"]
    excerpt = highlight["text"]
    assert excerpt == text[highlight["start"] : highlight["end"]]
    assert len(excerpt) <= max_chars
    assert "zebra met a giraffe" in excerpt, "both words, though one alone comes first"
    words = text.split()
    assert all(word in words for word in excerpt.split()), "no word is cut"
    assert len(highlight["spans"]) == 3, "spans tell of the whole text"


def test_an_index_without_encoder_has_no_highlights(served: Served) -> None:
    hits = served.search("numbers", query=ones(1), highlight={"fields": ["parity"]})["hits"]
    assert all(hit["highlights"] == [] for hit in hits)
