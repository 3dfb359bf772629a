"""Marks on figures of systems that have seen the collection they are measured on."""

import json
from pathlib import Path

import pytest

from lsr.contamination import contamination, family

RECORD = {
    "recipe": {"model": {"seen": []}, "teachers": []},
    "backbone": {"name": "tiny-bert"},
    "data": [{"name": "scifact", "split": "train", "fingerprint": "f" * 16}],
    "development": None,
}


@pytest.fixture
def encoder(tmp_path):
    """Make an encoder folder with a training record and a README."""

    def make(name: str = "mine", *, readme: str = "", **changes: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        if changes.get("record", True):
            record = {**RECORD, **{k: v for k, v in changes.items() if k != "record"}}
            card = {"format": 1, "name": name, "training": record}
            (folder / "lsr.json").write_text(json.dumps(card))
        if readme:
            (folder / "README.md").write_text(readme)
        return folder

    return make


def reasons(folder: Path, dataset: str, split: str = "test", fingerprint: str = "0" * 16):
    found = contamination([folder], dataset=dataset, split=split, fingerprint=fingerprint)
    return [str(seen) for seen in found]


def test_training_data_of_the_same_name_marks(encoder):
    (reason,) = reasons(encoder(), "irds:beir/scifact")
    assert reason == "trained on scifact, its train split (its training record)"


def test_the_same_texts_under_another_name_are_found_by_their_fingerprint(encoder):
    (reason,) = reasons(encoder(), "renamed", "train", "f" * 16)
    assert "these very judgements" in reason


def test_an_encoder_that_never_saw_it_has_no_mark(encoder):
    assert reasons(encoder(), "cranfield") == []


def test_what_the_start_was_trained_on_marks(encoder):
    before = {**RECORD, "data": [{"name": "cranfield", "split": "train", "fingerprint": "c"}]}
    folder = encoder(backbone={"name": "base", "training": before})
    (reason,) = reasons(folder, "cranfield")
    assert "trained on cranfield" in reason
    assert reasons(folder, "scifact") == [
        "trained on scifact, its train split (its training record)"
    ]


def test_weights_chosen_on_a_collection_mark_it(encoder):
    folder = encoder(development={"name": "cranfield", "split": "test"})
    (reason,) = reasons(folder, "cranfield")
    assert reason == "its weights were chosen on cranfield test (its training record)"


def test_weights_chosen_on_a_group_mark_each_of_its_collections(encoder):
    ranked = "nanobeir/arguana, nanobeir/nfcorpus, nanobeir/touche2020"
    folder = encoder(development={"name": ranked, "split": "test"})
    assert reasons(folder, "nfcorpus") == [
        f"its weights were chosen on {ranked} test (its training record)"
    ]
    assert reasons(folder, "cranfield") == []


def test_a_sentence_about_several_collections_marks_each(encoder):
    said = "all sorts: MS MARCO, Natural Questions, SQuAD and more, in pairs"
    folder = encoder(recipe={"model": {"seen": [said]}, "teachers": []})
    for name in ("msmarco-dev", "nq", "xquad-en"):
        assert len(reasons(folder, name)) == 1
    assert reasons(folder, "cranfield") == []


def test_what_any_of_several_averaged_encoders_saw_marks(encoder):
    other = {"data": [], "recipe": {"model": {"seen": ["nq"]}, "teachers": []}}
    folder = encoder(averaged={"shares": [0.5, 0.5], "others": [other]})
    (reason,) = reasons(folder, "natural-questions")
    assert "trained on nq" in reason
    (reason,) = reasons(folder, "scifact")
    assert "its train split" in reason


def test_what_the_recipe_says_was_seen_upstream_marks(encoder):
    folder = encoder(recipe={"model": {"seen": ["nq"]}, "teachers": []})
    (reason,) = reasons(folder, "natural-questions")
    assert "trained on nq" in reason


@pytest.mark.parametrize(
    ("dataset", "marked"),
    [
        ("msmarco-dl19-mini", True),
        ("nanobeir/nq", True),
        ("xquad-en", True),
        ("cqadupstack/tex", True),
        ("cranfield", False),
        ("climate-fever", False),
    ],
)
def test_a_student_inherits_what_its_teachers_saw(encoder, dataset, marked):
    folder = encoder(recipe={"model": {"seen": []}, "teachers": [{"model": "all-MiniLM-L6-v2"}]})
    assert any("all-MiniLM-L6-v2" in reason for reason in reasons(folder, dataset)) == marked


def test_a_known_model_is_known_by_its_folders_name(encoder):
    folder = encoder("gte-small", record=False)
    assert reasons(folder, "nq") == ["gte-small was trained on nq (arXiv 2308.03281)"]
    assert reasons(folder, "scifact") == []


@pytest.mark.parametrize(
    ("name", "dataset", "marked"),
    [
        ("opensearch-project/opensearch-neural-sparse-encoding-v1", "msmarco", True),
        ("opensearch-project/opensearch-neural-sparse-encoding-v1", "scifact", False),
        ("opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte@main", "scifact", True),
        ("naver/efficient-splade-V-large-doc", "trec-dl-2019", True),
        ("naver/splade-v3", "msmarco", True),
        ("ibm-granite/granite-embedding-30m-sparse", "msmarco", False),  # no source says so
    ],
)
def test_a_name_on_the_hub_tells_what_is_published(name, dataset, marked):
    assert bool(reasons(Path(name), dataset)) == marked


def test_a_link_may_bear_the_name_of_the_model(encoder, tmp_path):
    link = tmp_path / "all-MiniLM-L6-v2"
    link.symlink_to(encoder("model", record=False))
    assert reasons(link, "xquad-en") != []


def test_an_encoder_named_after_a_model_it_was_not_made_of_is_not_marked(encoder):
    """Its own record is better evidence than a word in its name."""
    assert reasons(encoder("splade-v3-like"), "msmarco") == []


def test_a_model_cards_front_matter_is_read(encoder):
    readme = "---\nlicense: mit\ndatasets:\n- BeIR/fiqa\n- 'sentence-transformers/hotpotqa'\n---\nx"
    folder = encoder("other", record=False, readme=readme)
    assert reasons(folder, "fiqa") == ["other was trained on BeIR/fiqa (its model card)"]
    assert len(reasons(folder, "nanobeir/hotpotqa")) == 1
    inline = encoder("inline", record=False, readme="---\ndatasets: [fiqa, nq]\n---\n")
    assert len(reasons(inline, "nq")) == 1


def test_two_folders_with_the_same_story_tell_it_once(encoder):
    folder = encoder("gte-small", record=False)
    found = contamination([folder, folder], dataset="nq", split="test", fingerprint="")
    assert len(found) == 1


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("fever", "climate-fever"),
        ("nfcorpus", "nq"),
        ("scidocs", "scifact"),
        ("quora", "quorum"),
    ],
)
def test_neighbours_are_different_families(name, other):
    assert family(name) != family(other)
