"""Origins that an index keeps: those the network gives, also after merges, shown by highlights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pytest
from service_world import VOCABULARY, WORDS, build_world, matrix_of, serving, table_encoder

from index import Index, trace_all
from index.rebuild import Weights, rebuild_index
from lsr import __main__ as command
from lsr.encoders import BM25Encoder, InferenceFreeEncoder, Origin
from lsr.encoders.protocol import SparseEncoder
from lsr.errors import EncoderError
from lsr.types import Document, SparseMatrix

PLACES = {"pet": (0, 4), "rest": (5, 13), "bone": (2, 5)}
"""What the network below says of each expansion term."""


@dataclass(frozen=True, eq=False)
class Tracing(InferenceFreeEncoder):
    """The table encoder with a network that was asked, and what it says by heart."""

    def origins(self, text: str, terms: Sequence[int]) -> list[Origin]:
        told = []
        for term in terms:
            name = VOCABULARY[term]
            span = PLACES.get(name)
            told.append(Origin(term, 1.0, name, span, 0, literal=False))
        return told


def tracing_encoder() -> Tracing:
    plain = table_encoder()
    return Tracing(plain.queries, None, plain.card)


class Reading(Tracing):
    """One that reads documents too: a `bone` is in each of them."""

    def __init__(self) -> None:
        plain = table_encoder()
        super().__init__(plain.queries, None, plain.card)

    def encode_documents(self, texts: Sequence[str]) -> SparseMatrix:
        return matrix_of([{VOCABULARY.index("bone"): 2.0} for _ in texts], len(VOCABULARY))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build_world(tmp_path)["words"]


def docid_of(index: Index, doc_id: str) -> int:
    docid = index.version(doc_id)
    assert docid is not None
    return docid


def test_origins_are_kept_for_the_terms_that_the_text_does_not_say(path: Path) -> None:
    with Index.open(path) as index:
        docids = [docid_of(index, one) for one in WORDS]
        assert index.origins_of(docids) == [None] * 3
        generation = index.generation
        assert trace_all(index, tracing_encoder(), progress=False) == 3
        number = VOCABULARY.index
        assert index.origins_of(docids) == [
            {number("pet"): (0, 4), number("rest"): (5, 13)},
            {number("pet"): (0, 4), number("bone"): (2, 5)},
            {},
        ]
        assert index.generation == generation, "searches and their caches are not touched"
        assert trace_all(index, tracing_encoder(), progress=False) == 0
        assert index.check().sound


def test_origins_go_with_their_documents_and_new_ones_are_traced(path: Path) -> None:
    with Index.open(path) as index:
        trace_all(index, tracing_encoder(), progress=False)
        old = docid_of(index, "cats")
        row = {VOCABULARY.index(t): w for t, w in WORDS["cats"][1].items()}
        index.add([Document("cats", {"text": "Cats sleeping"})], matrix_of([row], 9))
        new = docid_of(index, "cats")
        assert index.origins_of([new]) == [None]
        index.merge()
        assert index.origins_of([old]) == [None], "a version that is gone leaves nothing behind"
        assert index.origins_of([docid_of(index, "dogs")]) != [None]
        assert trace_all(index, tracing_encoder(), progress=False) == 1
        assert index.origins_of([new]) != [None]


def by_id(path: Path) -> dict[str, object]:
    with Index.open(path) as index:
        return {one: index.origins_of([docid_of(index, one)])[0] for one in WORDS}


def test_a_rebuild_from_stored_vectors_keeps_origins(path: Path) -> None:
    """They were dropped: text and terms are the same, so nothing has to be asked again."""
    with Index.open(path) as index:
        trace_all(index, tracing_encoder(), progress=False)
        row = {VOCABULARY.index(t): w for t, w in WORDS["dogs"][1].items()}
        index.add([Document("dogs", {"text": "a dog"})], matrix_of([row], 9))  # not traced again
    before = by_id(path)
    assert before["cats"]
    assert before["dogs"] is None
    assert rebuild_index(path, Weights(), max_weight=128.0).n_untraced == 1
    assert by_id(path) == before


def test_a_rebuild_by_an_encoder_asks_it_for_origins_again(path: Path) -> None:
    with Index.open(path) as index:
        trace_all(index, tracing_encoder(), progress=False)
    assert rebuild_index(path, Weights(Reading())).n_untraced == 0
    found = by_id(path)
    # It gives `bone` to every document, and says so by heart.
    assert found == {
        "cats": {VOCABULARY.index("bone"): (2, 5)},
        "dogs": {VOCABULARY.index("bone"): (2, 5)},
        "empty": {VOCABULARY.index("bone"): (2, 5)},
    }


class Mute(Reading):
    """One that cannot tell: a graph, or a network without torch."""

    def origins(self, text: str, terms: Sequence[int]) -> list[Origin]:
        raise EncoderError("a graph gives pooled weights only")


@pytest.mark.parametrize(
    ("encoder", "n"), [(Mute(), 3), (BM25Encoder.fit(["cats sleeping", "a dog"]), 0)]
)
def test_a_rebuild_tells_what_has_no_origins_any_more(
    path: Path, encoder: SparseEncoder, n: int
) -> None:
    """Terms of BM25 are all in their texts, and miss nothing."""
    with Index.open(path) as index:
        trace_all(index, tracing_encoder(), progress=False)
    assert rebuild_index(path, Weights(encoder)).n_untraced == n


def test_a_rebuild_of_what_was_never_traced_traces_nothing(path: Path) -> None:
    assert rebuild_index(path, Weights(Reading())).n_untraced == 0
    assert set(by_id(path).values()) == {None}


def test_highlights_show_what_an_expansion_came_from(path: Path) -> None:
    with Index.open(path) as index:
        trace_all(index, tracing_encoder(), progress=False)
    with serving({"words": path}) as served:
        hits = served.search(
            "words", query={"text": "cat pet bone"}, highlight={"fields": ["text"]}, explain=True
        )["hits"]
    spans = {
        hit["id"]: [
            (one["start"], one["end"], one["terms"], one["origin"])
            for one in hit["highlights"][0]["spans"]
        ]
        for hit in hits
    }
    assert spans == {
        "cats": [(0, 3, ["cat"], "literal"), (0, 4, ["pet"], "expansion")],
        "dogs": [(0, 4, ["pet"], "expansion"), (2, 5, ["bone"], "expansion")],
    }


def saved(checkpoint: Path, folder: Path) -> InferenceFreeEncoder:
    """An encoder around a tiny network; skips without torch."""
    pytest.importorskip("torch")
    from lsr.encoders.splade import SpladeModel

    model = SpladeModel.from_checkpoint(checkpoint)
    encoder = InferenceFreeEncoder.of(model, np.ones(model.n_terms, np.float32), name="tiny")
    encoder.save(folder)
    return encoder


def test_the_command_keeps_what_the_network_says(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real network, passages and all: each kept span is the one that it names when asked."""
    from lsr.encoders import said

    encoder = saved(tiny_checkpoint, tmp_path / "tiny")
    corpus = tmp_path / "docs.jsonl"
    texts = ["the cat sat on the mat", "the dog sat the cat sat the dog sat on a mat"]
    rows = [{"_id": f"d{i}", "title": "a dog", "text": text} for i, text in enumerate(texts)]
    corpus.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    path = tmp_path / "docs.index"
    words = ["index", str(corpus), str(path), "--encoder", str(tmp_path / "tiny")]
    assert command.run([*words, "--passages", "6/2", "--origins", "--json"]) == 0
    report = orjson.loads(capsys.readouterr().out)
    n_kept = 0
    with Index.open(path) as index:
        views = index.refresh().views
        docids = np.concatenate([view.segment.docids for view in views])
        assert report["n_traced"] == len(docids) == report["n_passages"] > 2
        for docid, known in zip(docids.tolist(), index.origins_of(docids.tolist()), strict=True):
            (document,) = index.documents([docid])
            (span,) = index.spans([docid])
            whole = document.text()
            start, end = span or (0, len(whole))
            spoken = {one.term for one in said(encoder, whole[start:end]) or ()}
            assert known is not None
            assert not spoken & set(known)
            for origin in encoder.origins(whole[start:end], sorted(known)):
                assert origin.span is not None
                place = (origin.span[0] + start, origin.span[1] + start)
                assert known[origin.term] == place
                n_kept += 1
    assert n_kept > 0
    assert command.run(["trace", str(path), "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["n_traced"] == 0
    assert command.run(["index", str(corpus), str(tmp_path / "b.index"), "--origins"]) == 2
    assert "no origins to keep" in capsys.readouterr().err
    assert not (tmp_path / "b.index").exists()


def test_the_command_reads_the_fields_that_the_index_was_built_of(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder of the encoder says title and text, which these documents do not have."""
    encoder = saved(tiny_checkpoint, tmp_path / "tiny")
    (tmp_path / "docs.jsonl").write_bytes(b'{"_id": "d", "body": "the cat sat on the mat"}')
    path = str(tmp_path / "docs.index")
    words = ["index", str(tmp_path / "docs.jsonl"), path, "--encoder", str(tmp_path / "tiny")]
    assert command.run([*words, "--text-field", "body"]) == 0
    assert command.run(["trace", path]) == 0
    with Index.open(path) as index:
        (known,) = index.origins_of([docid_of(index, "d")])
        assert known
    told = encoder.origins("the cat sat on the mat", sorted(known))
    assert known == {origin.term: origin.span for origin in told}
