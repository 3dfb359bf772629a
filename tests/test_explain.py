"""`lsr explain` against the search itself: the same scores and ranks, and lifts that do lift."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from index import Index, query_encoder
from lsr.__main__ import run
from lsr.types import canonical

TEXTS = {
    "a": "green tea leaves hold caffeine and tannin",
    "b": "coffee holds more caffeine than green tea",
    "c": "people sleep at night without coffee",
    "d": "night trains carry people and mail",
    "e": "tea tea tea",
}
QUESTION = "does green tea help people sleep"


@pytest.fixture
def index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    corpus = tmp_path / "drinks.tsv"
    corpus.write_text("".join(f"{doc_id}\t{text}\n" for doc_id, text in TEXTS.items()))
    assert run(["index", str(corpus), str(tmp_path / "drinks.index")]) == 0
    capsys.readouterr()
    return tmp_path / "drinks.index"


@pytest.fixture
def other(index: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The same documents with words as they are, so in another space."""
    path = index.with_name("other.index")
    options = ["--stemmer", "none", "--b", "0.9"]
    assert run(["index", str(index.with_name("drinks.tsv")), str(path), *options]) == 0
    capsys.readouterr()
    return path


def explained(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["explain", *words, "--json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_every_document_has_the_score_and_rank_of_the_search(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", str(index), QUESTION, "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
    found = {hit["doc_id"]: (hit["rank"], hit["score"]) for hit in hits}
    answer = explained(capsys, str(index), QUESTION, *TEXTS)
    for row in answer["indexes"][0]["documents"]:  # type: ignore[index]
        assert (row["rank"], row["score"]) == found.get(row["doc_id"], (None, 0.0))
        assert sum(part["score"] for part in row["terms"]) == pytest.approx(row["score"])
        if row["score"]:
            assert sum(part["share"] for part in row["terms"]) == pytest.approx(1)
        # Together they are the question, each term once: `does` and `help` are in no document.
        terms = [part["term"] for part in [*row["terms"], *row["missing"]] if part["heaviest"]]
        assert sorted(terms) == ["green", "peopl", "sleep", "tea"]
        assert len([part for part in row["missing"] if not part["heaviest"]]) == 2


def test_the_weight_that_lifts_lifts(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written into the document, it reaches the target's rank, and a tenth less does not."""
    answer = explained(capsys, str(index), QUESTION, "d", "-k", "2")
    row = answer["indexes"][0]["documents"][0]  # type: ignore[index]
    assert row["target"]["rank"] == 2
    lifted = 0
    for part in [*row["terms"], *row["missing"]]:
        if part["needed"] is None:
            assert (
                part["doc_weight"] + row["target"]["gap"] / part["query_weight"]
                > (part["heaviest"])
            )
            continue
        lifted += 1
        ranks = []
        for number, factor in enumerate((1.02, 0.9)):
            copy = tmp_path / f"copy-{part['term']}-{number}"
            shutil.copytree(index, copy)
            with Index.open(copy) as opened:
                vector = opened.vectors_of("d").tolil()
                vector[0, part["index"]] = part["needed"] * factor
                document = opened.get("d")
                assert document is not None
                opened.add([document], canonical(vector.tocsr().astype(np.float32)))
                query = query_encoder(opened).encode_queries([QUESTION])
                ranks.append(opened.search(query, 5).doc_ids.index("d") + 1)
        assert ranks[0] <= 2 < ranks[1]
    assert lifted


def test_people_see_a_table_that_adds_up_and_what_is_lacking(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(index), QUESTION, "d", "e"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "document   d                   night trains carry people and mail"
    assert any(line.startswith("tea (lacks)") for line in lines)
    assert sum(" (in no document)" in line for line in lines) == 4
    start = lines.index(f"compared   {index}")
    assert lines[start + 1].split() == ["term", "d", "e", "difference", "share", "share"]
    columns = [line.split()[1:4] for line in lines[start + 2 : -1]]
    *terms, total = np.array(columns, float)
    assert np.abs(np.sum(terms, axis=0) - total).max() < 0.002  # printed to three places
    assert lines[-1].startswith("next       lsr search")


def test_two_indexes_are_compared_term_by_term_and_units_are_not_confused(
    index: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(index), QUESTION, "d", "--vs", str(other)]) == 0
    printed = capsys.readouterr().out
    assert "compare the shares" in printed
    table = printed.split("compared   d\n")[1].splitlines()
    assert [line.split()[0] for line in table[1:4]] == ["people", "peopl", "total"]
    answer = explained(capsys, str(index), QUESTION, "d", "--vs", str(other))
    assert answer["comparable_scores"] is False
    assert run(["explain", str(index), QUESTION, "d", "--vs", str(index)]) == 0
    assert "compare the shares" not in capsys.readouterr().out


def test_a_document_that_shares_nothing_is_explained_all_the_same(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(index), "tannin", "d"]) == 0
    printed = capsys.readouterr().out
    assert "not found: shares no term with the question (5 documents)" in printed
    assert "to rank 1, a with" in printed
    assert run(["explain", str(index), "the", "d"]) == 0
    assert "the encoder makes no term of the question" in capsys.readouterr().out


def test_a_document_further_down_is_looked_for_deeper(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ranks = []
    for near, deep in ((1000, 1000), (1, 1000), (1, 2)):
        monkeypatch.setattr("lsr.commands._explaining.NEAR", near)
        monkeypatch.setattr("lsr.commands._explaining.DEEP", deep)
        answer = explained(capsys, str(index), QUESTION, "d", "-k", "1")
        ranks.append(answer["indexes"][0]["documents"][0]["rank"])  # type: ignore[index]
    assert ranks[0] == ranks[1] > 2
    assert ranks[2] is None
    assert run(["explain", str(index), QUESTION, "d"]) == 0
    assert "beyond rank 2 of 5 documents" in capsys.readouterr().out


def test_unknown_documents_are_named(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", str(index), "tea", "nope"]) == 2
    assert "no document with id 'nope'" in capsys.readouterr().err
    assert run(["explain", str(index), "tea", "a", "a"]) == 2
    assert "named twice" in capsys.readouterr().err
