"""The model card: licences, marks, results, how it was made; and publishing it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import huggingface_hub  # noqa: E402

from lsr.__main__ import VERBS  # noqa: E402
from lsr.commands.push import push  # noqa: E402
from lsr.contamination import contamination  # noqa: E402
from lsr.encoders import load_encoder  # noqa: E402
from lsr.encoders.hub import published_files  # noqa: E402
from lsr.errors import EncoderError  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.card import attach_results, read_record  # noqa: E402
from training.curve import draw, read_log  # noqa: E402
from training.provenance import (  # noqa: E402
    commit,
    earlier,
    heritage,
    heritage_of,
    in_beir,
    restricts,
    stated_licence,
)

TINY = {
    "stage.mlm.steps": 3,
    "stage.ranking.steps": 4,
    "run.log_every": 1,
    "run.checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder called scifact whose README states a licence, with train and test splits."""
    folder = tmp_path_factory.mktemp("data") / "scifact"
    (folder / "qrels").mkdir(parents=True)
    (folder / "README.md").write_text("# scifact\n\nClaims. Licence: CC BY-NC 2.0. More.\n")
    animals = ["bee", "owl", "cat", "dog", "ant", "fox", "hen", "cow"]
    with (folder / "corpus.jsonl").open("w") as out:
        for animal in animals:
            out.write(json.dumps({"_id": animal, "text": f"the {animal} eats and sleeps"}) + "\n")
    with (folder / "queries.jsonl").open("w") as out:
        for animal in animals:
            out.write(json.dumps({"_id": animal, "text": f"what does the {animal} eat"}) + "\n")
    rows = ["query-id\tcorpus-id\tscore"]
    for split, chosen in (("train", animals[:6]), ("test", animals[6:])):
        lines = [f"{animal}\t{animal}\t1" for animal in chosen]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(rows + lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def encoder(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the collection, its weights chosen on the test split."""
    settings = {
        "data.train": ["smoke.jsonl", str(collection)],
        "data.licences": {"smoke.jsonl": "CC0 1.0"},
        "model.seen": ["msmarco", "our own mail"],
        "develop.dataset": str(collection),
        "develop.split": "test",
        "develop.every": 2,
    }
    output = tmp_path_factory.mktemp("card") / "encoder"
    return train(load_recipe("smoke", TINY | settings), output, progress=False).output


def words(folder: Path) -> str:
    return " ".join((folder / "README.md").read_text().split())


def test_the_record_holds_what_made_the_encoder(encoder: Path) -> None:
    record = read_record(encoder)
    assert record is not None
    assert list(record["stages"]) == ["mlm", "silence", "calibrate", "ranking"]
    assert record["versions"]["torch"] == torch.__version__
    assert record["processes"] == 1
    assert [(s["name"], s["licence"], s["beir"]) for s in record["data"]] == [
        ("smoke.jsonl", "CC0 1.0", False),
        ("scifact", "CC BY-NC 2.0", True),
    ]
    develop = record["development"]
    assert develop["is_test"]
    assert (develop["n_queries"], develop["n_documents"]) == (2, 8)
    assert develop["best_step"] in (2, 4)
    assert str(encoder.parent) not in json.dumps(record)


def test_an_encoder_that_learns_on_tells_what_its_start_had_seen(
    encoder: Path, tmp_path: Path
) -> None:
    on = {"model.backbone": str(encoder), "model.new_head": False, "data.train": ["smoke.jsonl"]}
    settings = TINY | on | {"model.scratch": None, "stage.mlm.steps": 1}
    output = train(load_recipe("smoke", settings), tmp_path / "on", progress=False).output
    record = read_record(output)
    before = record["backbone"]["training"]
    assert [one["name"] for one in before["data"]] == ["smoke.jsonl", "scifact"]
    assert before["recipe"]["model"]["seen"] == ["msmarco", "our own mail"]
    found = contamination([output], dataset="scifact", split="train", fingerprint="0")
    assert any("trained on scifact" in str(seen) for seen in found)
    text = words(output)
    assert "| scifact † | train | random weights | CC BY-NC 2.0 |" in text
    assert "**Not for commercial use** by the terms of: data scifact." in text
    assert "msmarco †, our own mail" in text
    card = huggingface_hub.ModelCard((output / "README.md").read_text())
    assert card.data.datasets == ["smoke.jsonl", "scifact"]
    assert card.data.license == "other"


def test_a_start_without_a_record_tells_what_its_readme_states(tmp_path: Path) -> None:
    assert heritage_of(tmp_path) is None
    (tmp_path / "README.md").write_text(
        "---\nlicense: cc-by-nc-4.0\nbase_model: naver/splade-v3\ndatasets: [scifact]\n---\n"
    )
    told = heritage_of(tmp_path)
    assert told is not None
    assert told["recipe"]["model"]["seen"] == ["scifact"]
    assert told["backbone"]["licence"] == "cc-by-nc-4.0"
    assert [run["backbone"]["name"] for run in earlier({"backbone": {"training": told}})] == [
        *(tmp_path.name, "naver/splade-v3")
    ]


def test_a_mean_that_learns_on_and_is_averaged_again_names_each_run_once() -> None:
    def run(name: str, **more: object) -> dict[str, Any]:
        start = {"name": "start", "licence": "mit"}
        data = [{"name": name, "split": "train", "fingerprint": "0", "n_queries": 3}]
        return {"recipe": {"name": name}, "backbone": start, "data": data, **more}

    mean = run("a", averaged={"others": [run("b")]})
    for name in ("c", "d", "e"):
        learned_on = run(name)
        learned_on["backbone"]["training"] = heritage(mean)
        others = mean["averaged"]["others"]
        mean = mean | {"averaged": {"others": [*others, learned_on]}}
    told = heritage(mean)
    names = [one["data"][0]["name"] for one in (told, *earlier(told))]
    assert sorted(names) == ["a", "b", "c", "d", "e"]
    assert "n_queries" not in str(told)


def test_a_record_that_was_edited_by_hand_ends_no_training() -> None:
    """It is read when everything else is done."""
    told = heritage({"recipe": None, "backbone": "x", "data": ["y"], "averaged": {"others": [1]}})
    assert told["data"] == []
    assert earlier(told) == []


def test_the_readme_marks_benchmarks_licences_and_a_test_split_used(encoder: Path) -> None:
    text = words(encoder)
    assert "| scifact † | train | 6 | 6 |" in text
    assert "| smoke.jsonl | train |" in text
    assert "msmarco †, our own mail" in text
    assert "in-domain, not zero-shot" in text
    assert "**Not for commercial use** by the terms of: data scifact." in text
    assert "backbone random weights: none needed: random weights" in text
    assert "results on scifact (test) are no test results" in text
    assert "0 exact, 0 from weights alone" in text


def test_the_hub_understands_the_front_matter(encoder: Path) -> None:
    """Read by the hub's own client, not by us."""
    card = huggingface_hub.ModelCard((encoder / "README.md").read_text())
    assert card.data.library_name == "sentence-transformers"
    assert {"sparse", "sparse-encoder"} <= set(card.data.tags)
    assert card.data.datasets == ["smoke.jsonl", "scifact"]
    assert card.data.license == "other"


def test_the_loss_curve_is_drawn_and_shown(encoder: Path) -> None:
    pytest.importorskip("matplotlib")
    assert (encoder / "loss-curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "terms a document" in (encoder / "loss-curve.svg").read_text()
    assert "(loss-curve.png)" in (encoder / "README.md").read_text()


def test_of_a_step_taken_twice_the_later_line_counts(tmp_path: Path) -> None:
    """After a resume the log repeats itself; the curve must not go back in time."""
    log = tmp_path / "log.jsonl"
    lines = [(1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5), (3, 3.5)]
    log.write_text("".join(json.dumps({"step": s, "loss": v}) + "\n" for s, v in lines))
    assert [(line["step"], line["loss"]) for line in read_log(log)] == [(1, 5), (2, 4.5), (3, 3.5)]
    # Torn by a full disk, and gone on with: a finished run could not be saved any more.
    with log.open("ab") as out:
        out.write(b'{"step": 4, "lo' + b'{"step": 5, "loss": 3}\n{"step": 6, "loss": 2}\n')
    assert [line["step"] for line in read_log(log)] == [1, 2, 3, 6]
    assert draw(tmp_path, {"ranking": []}) == []


RESULT: dict[str, Any] = {
    "dataset": "scifact",
    "split": "test",
    "dataset_fingerprint": "0123456789abcdef",
    "n_queries": 300,
    "measures": {"nDCG@10": 0.61237},
    "command": "lsr evaluate scifact --encoder runs/e",
    "version": "0.1.0",
}


@pytest.fixture
def copy(encoder: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    result = CliRunner().invoke(push, [str(encoder), "--to-folder", str(target)])
    assert result.exit_code == 0, result.output
    return target


def test_results_are_attached_once_and_marked_where_they_were_trained_on(copy: Path) -> None:
    assert "No evaluation is attached" in words(copy)
    attach_results(copy, [RESULT])
    attach_results(copy, [RESULT | {"measures": {"nDCG@10": 0.7}}, RESULT | {"dataset": "other"}])
    text = words(copy)
    assert "| scifact ‡ | test | 300 | 0.7000 | `lsr evaluate scifact --encoder runs/e` |" in text
    assert "| other | test | 300 | 0.6124 |" in text
    assert "0.6124 | `lsr evaluate scifact --encoder runs/e` |" in text
    assert text.count("scifact ‡") == 1
    with pytest.raises(EncoderError, match="has no dataset_fingerprint"):
        attach_results(copy, [{k: v for k, v in RESULT.items() if k != "dataset_fingerprint"}])


def test_results_on_relatives_of_what_was_seen_are_marked_with_the_reason(copy: Path) -> None:
    """Only equal names were: nfcorpus beside nfcorpus-stopped and MS MARCO's dev set went without,
    and what `lsr evaluate` had found was dropped."""
    record = json.loads((copy / "lsr.json").read_text())
    record["training"]["data"][1]["name"] = "nfcorpus-stopped"
    record["training"]["recipe"]["model"]["seen"] = ["MS MARCO passages (unlabelled)"]
    (copy / "lsr.json").write_text(json.dumps(record))
    told = {"contamination": ["its teacher was trained on it (arXiv 0000.00000)"]}
    attach_results(
        copy,
        [RESULT | {"dataset": name} for name in ("nfcorpus", "msmarco-dev", "cranfield")]
        + [RESULT | {"dataset": "medline"} | told],
    )
    text = words(copy)
    assert "| nfcorpus ‡ |" in text
    assert (
        "- nfcorpus test: trained on nfcorpus-stopped, its train split (its training record)"
        in text
    )
    assert "| msmarco-dev ‡ |" in text
    assert "was trained on MS MARCO passages (unlabelled) (its training record)" in text
    assert "| cranfield | test |" in text
    assert "| medline ‡ |" in text
    assert "- medline test: its teacher was trained on it (arXiv 0000.00000)" in text
    assert "MS MARCO passages (unlabelled) †" in text
    (kept,) = (r for r in json.loads((copy / "lsr.json").read_text())["results"] if len(r) > 6)
    assert kept["contamination"] == told["contamination"]


def test_a_copy_holds_what_is_published_and_loads(encoder: Path, copy: Path) -> None:
    files = {path.relative_to(copy).as_posix() for path in published_files(copy)}
    assert {"README.md", "lsr.json", "modules.json"} <= files
    texts = ["what does the owl eat"]
    first, second = load_encoder(encoder), load_encoder(copy)
    assert (first.encode_documents(texts) != second.encode_documents(texts)).nnz == 0
    assert first.space == second.space


def test_push_hands_the_checked_folder_to_the_hub(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is replaced at its class; what it would be sent is looked at."""
    calls: list[tuple[str, Any]] = []

    class Api:
        def create_repo(self, name: str, **settings: Any) -> None:
            calls.append((name, settings))

        def upload_folder(self, **settings: Any) -> SimpleNamespace:
            folder = Path(settings["folder_path"])
            calls.append(("README", (folder / "README.md").read_text()))
            calls.append(("upload", settings))
            return SimpleNamespace(commit_url="https://hub/owner/mini/commit/1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    (encoder / "secret.pkl").write_bytes(b"code")
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    arguments = [str(encoder), "owner/mini", "--private"]
    result = CliRunner().invoke(push, [*arguments, "--evaluation", str(tmp_path / "result.json")])
    (encoder / "secret.pkl").unlink()
    assert result.exit_code == 0, result.output
    assert "https://hub/owner/mini/commit/1" in result.output
    assert calls[0] == ("owner/mini", {"private": True, "exist_ok": True, "repo_type": "model"})
    assert "0.6124" in calls[1][1]
    assert calls[2][1]["repo_id"] == "owner/mini"
    assert "*.pkl" not in calls[2][1]["allow_patterns"]
    # The folder itself is left as it was.
    assert "0.6124" not in words(encoder)


@pytest.mark.parametrize("refusal", [OSError, "httpx.ConnectError"])
def test_a_hub_that_refuses_is_told_in_one_line(
    encoder: Path, monkeypatch: pytest.MonkeyPatch, refusal: type[Exception] | str
) -> None:
    """Without a network the client of today raises what is no OSError."""
    if isinstance(refusal, str):
        refusal = pytest.importorskip("httpx").ConnectError
    raised = refusal

    class Api:
        def create_repo(self, name: str, **settings: Any) -> None:
            raise raised("401 you are nobody\nlong story")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    result = CliRunner().invoke(push, [str(encoder), "owner/mini"])
    assert isinstance(result.exception, EncoderError)
    assert "401 you are nobody. Check the network, the name and your login" in str(result.exception)


@pytest.mark.parametrize("arguments", [[], ["name"], ["owner/name", "--to-folder", "x"]])
def test_a_target_must_be_one(encoder: Path, arguments: list[str]) -> None:
    assert CliRunner().invoke(push, [str(encoder), *arguments]).exit_code != 0


def test_an_encoder_loads_by_hub_name_and_revision_from_the_cache_alone(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache as the hub's client lays it out; there is no network in tests."""
    commit_hash = "a" * 40
    repository = tmp_path / "hub" / "models--owner--mini"
    (repository / "snapshots").mkdir(parents=True)
    copy.rename(repository / "snapshots" / commit_hash)
    for ref in ("main", "v1"):
        file = repository / "refs" / ref
        file.parent.mkdir(exist_ok=True)
        file.write_text(commit_hash)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("owner/mini", "owner/mini@v1", f"owner/mini@{commit_hash}"):
        assert load_encoder(name).encode_documents(["the owl"]).nnz > 0
    with pytest.raises(EncoderError, match="the hub gave no encoder"):
        load_encoder("owner/mini@v2")


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\ntags: [x]\nlicense: apache-2.0\n---\n# A", "apache-2.0"),
        (
            "# A\n\nA set. Source: there. Licence: CC BY 4.0 since 2016. And on.",
            "CC BY 4.0 since 2016",
        ),
        ("# A\n\nData licence CC BY-SA 3.0 (redistributable).\n", "CC BY-SA 3.0 (redistributable)"),
        ("# A\n\nNo explicit licence; de-facto free.", None),
        ("# A\n\nThe licence of each page is its own.", None),
    ],
)
def test_a_readme_is_quoted_only_where_it_states_a_licence(
    text: str, licence: str | None, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(text)
    assert stated_licence(tmp_path / "README.md") == licence


def test_no_readme_states_nothing(tmp_path: Path) -> None:
    assert stated_licence(tmp_path / "README.md") is None


@pytest.mark.parametrize("words", ["CC BY-NC 2.0", "non-commercial research only", "academic use"])
def test_restrictions_are_seen_in_the_words(words: str) -> None:
    assert restricts(words)
    assert not restricts("CC BY 4.0, Princeton")


def test_members_of_beir_are_known_by_name() -> None:
    for name in ("scifact", "nq", "beir/fiqa", "irds:beir/nfcorpus/train", "nfcorpus-stopped"):
        assert in_beir(name), name
    for name in ("boolq", "unique", "quoral", "medquad"):
        assert not in_beir(name), name


def test_the_commit_is_that_of_the_code_or_none(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("")
    assert commit(tmp_path / "module.py") is None


def test_push_is_a_verb() -> None:
    assert "push" in VERBS
