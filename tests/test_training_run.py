"""Whole runs on two-layer networks: learning, stopping, resuming, saving, refusing."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.numpy import load_file, save_file  # noqa: E402

from lsr.encoders import InferenceFreeEncoder, SeparateEncoder, load_encoder  # noqa: E402
from lsr.encoders.tokens import TextTokenizer  # noqa: E402
from lsr.errors import EncoderError, MissingHead, RecipeError  # noqa: E402
from training import load_recipe, train, training_run  # noqa: E402
from training.card import measure, read_record  # noqa: E402
from training.objectives import MaskedLanguageModel, Ranking  # noqa: E402
from training.run_record import RunRecord  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402
from training.trainer import StageTrainer  # noqa: E402

QUICK = {
    "stage.mlm.steps": 4,
    "stage.ranking.steps": 6,
    "stage.ranking.sparsity.ramp": 3,
    "run.log_every": 2,
    "run.checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory):
    """The shipped smoke recipe, run once."""
    output = tmp_path_factory.mktemp("smoke") / "encoder"
    return train(load_recipe("smoke"), output, progress=False)


def test_a_tiny_network_learns_its_pairs_by_heart(smoke) -> None:
    """48 pairs: by chance a positive comes first once in some thirty times."""
    assert smoke.finished
    assert (smoke.n_queries, smoke.n_documents) == (48, 48)
    assert smoke.last_log["ranked_first"] > 0.9
    assert smoke.last_log["rank_loss"] < 0.6
    assert smoke.measured is not None
    assert smoke.measured.empty_documents == 0
    # It began at 400 active terms: the penalty prunes.
    assert smoke.measured.document_terms < 200


def test_the_saved_folder_loads_and_finds_what_was_learned(smoke) -> None:
    """The trained network, its table and its card come back through the ordinary loader."""
    encoder = load_encoder(smoke.output)
    assert encoder.name == "smoke"
    assert encoder.query_strategy == "lookup"
    assert encoder.max_weight == smoke.measured.max_weight
    file = Path(load_recipe("smoke").path).parent / "smoke.jsonl"
    pairs = [json.loads(line) for line in file.read_text().splitlines()]
    queries = encoder.encode_queries([pair["query"] for pair in pairs])
    documents = encoder.encode_documents([pair["pos"] for pair in pairs])
    best = np.asarray((queries @ documents.T).todense()).argmax(axis=1)
    assert np.mean(best == np.arange(len(pairs))) > 0.8
    # The 99.99th percentile, rounded up: almost nothing saturates.
    assert np.mean(documents.data > encoder.max_weight) < 0.001


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_stock_sentence_transformers_reads_the_same_vectors(smoke) -> None:
    """Whoever trains here is not locked in."""
    stock = pytest.importorskip("sentence_transformers").SparseEncoder(
        str(smoke.output), device="cpu"
    )
    ours = load_encoder(smoke.output)
    texts = ["Yeast eats sugar in the dough.", "A hull pushes water aside."]
    documents = stock.encode_document(texts).to_dense().numpy()
    queries = stock.encode_query(texts).to_dense().numpy()
    # Batches of other shapes add up in another order.
    assert np.abs(ours.encode_documents(texts).toarray() - documents).max() < 1e-5
    assert np.abs(ours.encode_queries(texts).toarray() - queries).max() < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_in_bf16(tmp_path: Path) -> None:
    report = train(load_recipe("smoke", {"run.bf16": True}), tmp_path / "e", progress=False)
    assert report.last_log["ranked_first"] > 0.8


def test_the_card_says_what_it_was_trained_on(smoke) -> None:
    record = read_record(smoke.output)
    assert record is not None
    assert record["recipe"]["stage"]["ranking"]["steps"] == 120
    assert record["recipe_fingerprint"] == load_recipe("smoke").fingerprint()
    assert [source["name"] for source in record["data"]] == ["smoke.jsonl"]
    assert record["last_log"]["ranked_first"] > 0.9
    assert "smoke.jsonl" in (smoke.output / "README.md").read_text()
    assert str(Path.cwd()) not in json.dumps(record)
    assert not smoke.output.with_name("encoder.training").exists()


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "document_0_Transformer" / "model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "encoder"
    assert train(load_recipe("smoke", QUICK), output, progress=False).finished
    return output


def test_stopped_at_every_step_and_resumed_is_the_same_bit_for_bit(
    uninterrupted: Path, tmp_path: Path
) -> None:
    """Deadline 0 stops after each step, in both stages; dropout and draws must not notice."""
    output, calls = tmp_path / "encoder", 0
    report = None
    while report is None or not report.finished:
        report = train(load_recipe("smoke", QUICK), output, progress=False, stop_after=0.0)
        calls += 1
        assert calls <= 9
    # Four and six steps; the call that ends the first stage also takes a step of the second.
    assert calls == 9
    resumed, whole = weights(output), weights(uninterrupted)
    assert resumed.keys() == whole.keys()
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)
    one, other = read_record(output), read_record(uninterrupted)
    assert one is not None
    assert other is not None
    assert one["tokens"] == other["tokens"]
    assert one["tokens"].keys() == {"mlm", "ranking"}


def test_the_card_counts_the_tokens_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: what is no padding in the ids that the networks are given."""
    counted = {"mlm": 0, "ranking": 0}
    read_by, rank = MaskedLanguageModel.forward, Ranking.forward

    def given(ids: torch.Tensor, tokenizer: TextTokenizer) -> int:
        return int((ids != tokenizer.tokenizer.token_to_id("[PAD]")).sum())

    def masked(self: MaskedLanguageModel, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        counted["mlm"] += given(batch["input_ids"], self.model.tokenizer)
        return read_by(self, **batch)

    def ranked(self: Ranking, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        for name in ("document_ids", "query_ids"):
            counted["ranking"] += given(batch[name], self.documents.tokenizer)
        return rank(self, **batch)

    monkeypatch.setattr(MaskedLanguageModel, "forward", masked)
    monkeypatch.setattr(Ranking, "forward", ranked)
    recipe = load_recipe("smoke", QUICK | {"model.kind": "siamese"})
    output = train(recipe, tmp_path / "encoder", progress=False).output
    record = read_record(output)
    assert record is not None
    assert record["tokens"] == counted
    assert f"tokens read: mlm {counted['mlm']:,}, ranking" in (output / "README.md").read_text()


@pytest.mark.slow
def test_controller_and_document_frequencies_resume_bit_for_bit(tmp_path: Path) -> None:
    """Their state travels in the checkpoints: forgotten, the next weight would be another."""
    changes = QUICK | {
        "stage.ranking.sparsity.ramp": 1,
        "stage.ranking.sparsity.penalty": "df-flops",
        "stage.ranking.sparsity.df_refresh": 2,
        "stage.ranking.sparsity.documents": 10.0,
        "stage.ranking.controller.documents": 50,
        "stage.ranking.controller.rate": 0.5,
        "stage.ranking.controller.lookahead": 0,
    }
    recipe = load_recipe("smoke", changes)
    whole = train(recipe, tmp_path / "whole", progress=False)
    assert whole.last_log["documents_weight"] > 20
    report = train(recipe, tmp_path / "parts", progress=False, stop_after=0.0)
    while not report.finished:
        report = train(recipe, tmp_path / "parts", progress=False, stop_after=0.0)
    resumed, expected = weights(tmp_path / "parts"), weights(tmp_path / "whole")
    assert all(np.array_equal(resumed[name], expected[name]) for name in expected)
    assert report.last_log["documents_weight"] >= whole.last_log["documents_weight"]


@pytest.mark.slow
def test_a_run_ends_with_the_wanted_number_of_terms(tmp_path: Path) -> None:
    """From a weight far too small and from a tenfold one; within a fifth."""
    for start in (0.001, 0.01):
        changes = {
            "stage.ranking.steps": 240,
            "stage.ranking.sparsity.documents": start,
            "stage.ranking.sparsity.ramp": 40,
            "stage.ranking.controller.documents": 60,
            "stage.ranking.controller.rate": 0.05,
        }
        report = train(load_recipe("smoke", changes), tmp_path / str(start), progress=False)
        assert report.measured is not None
        assert report.measured.document_terms == pytest.approx(60, rel=0.2)
        assert report.last_log["ranked_first"] > 0.8


def test_dying_between_checkpoints_falls_back_to_the_last_one(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone during step 5 of 6, checkpoint at 4: the next call ends at the same weights."""
    output = tmp_path / "encoder"
    compute_loss = StageTrainer.compute_loss

    def dying(self, *args, **kwargs):
        if isinstance(self.model, Ranking) and self.state.global_step == 5:
            raise KeyboardInterrupt
        return compute_loss(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "compute_loss", dying)
        with pytest.raises(KeyboardInterrupt):
            train(load_recipe("smoke", QUICK), output, progress=False)
    assert not output.exists()
    spent = json.loads((tmp_path / "encoder.training" / "run.json").read_text())["seconds"]
    report = train(load_recipe("smoke", QUICK), output, progress=False)
    assert report.finished
    assert report.seconds > spent > 0
    resumed, whole = weights(output), weights(uninterrupted)
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)


def test_a_run_folder_of_another_recipe_is_not_resumed(tmp_path: Path) -> None:
    output = tmp_path / "encoder"
    train(load_recipe("smoke", QUICK), output, progress=False, stop_after=0.0)
    other = load_recipe("smoke", QUICK | {"run.seed": 8})
    with pytest.raises(RecipeError, match="unfinished run whose recipe is not that of"):
        train(other, output, progress=False)
    assert train(other, output, progress=False, resume=False).finished


def _pair_files(folder: Path, *, word: str) -> list[str]:
    """Two files of one name, the first of which says `word`."""
    for side, said in (("a", word), ("b", "left")):
        (folder / side).mkdir(exist_ok=True)
        lines = [{"query": f"{said} {i}", "pos": f"the text of {side} {i}"} for i in range(8)]
        file = folder / side / "pairs.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [str(folder / side / "pairs.jsonl") for side in "ab"]


def _judged(folder: Path, *, negative: str) -> list[str]:
    """A collection whose file of negatives names one document for every query."""
    (folder / "zoo" / "qrels").mkdir(parents=True, exist_ok=True)
    files = {
        "corpus.jsonl": [{"_id": f"d{i}", "text": f"animal number {i}"} for i in range(8)],
        "queries.jsonl": [{"_id": f"q{i}", "text": f"which is {i}"} for i in range(6)],
        "negatives.jsonl": [{"_id": f"q{i}", "neg": [negative]} for i in range(6)],
    }
    for name, lines in files.items():
        (folder / "zoo" / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    judgements = "".join(f"q{i}\td{i}\t1\n" for i in range(6))
    (folder / "zoo" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judgements)
    return [str(folder / "zoo")]


@pytest.mark.parametrize("kind", ["negatives", "names"])
def test_a_run_folder_of_other_data_is_not_resumed(kind: str, tmp_path: Path) -> None:
    """Replaced negatives, and the first of two files of one name, went unnoticed: half of a run
    learned from one state of the data and half from another."""

    def data(*, changed: bool) -> list[str]:
        if kind == "names":
            return _pair_files(tmp_path, word="other" if changed else "right")
        return _judged(tmp_path, negative="d7" if changed else "d6")

    settings = QUICK | {"data.negatives": 1, "stage.ranking.batch": 4}
    recipe = load_recipe("smoke", settings | {"data.train": data(changed=False)})
    output = tmp_path / "encoder"
    assert not train(recipe, output, progress=False, stop_after=0.0).finished
    data(changed=True)
    with pytest.raises(RecipeError, match="unfinished run whose data is not that of"):
        train(recipe, output, progress=False)
    data(changed=False)
    assert train(recipe, output, progress=False).finished
    record = read_record(output)
    assert record is not None
    assert [bool(source["negatives"]) for source in record["data"]] == (
        [True] if kind == "negatives" else [False, False]
    )


def test_an_output_that_is_something_else_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RecipeError, match="is not an encoder folder"):
        train(load_recipe("smoke", QUICK), tmp_path, progress=False)


def test_a_siamese_encoder_trains_and_loads(tmp_path: Path) -> None:
    recipe = load_recipe(
        "smoke", QUICK | {"model.kind": "siamese", "stage.ranking.sparsity.queries": 0.001}
    )
    report = train(recipe, tmp_path / "encoder", progress=False)
    encoder = load_encoder(report.output)
    assert encoder.query_strategy == "model"
    assert encoder.encode_queries(["how do bees find food"]).nnz > 0


def test_queries_may_have_a_network_of_their_own(tmp_path: Path) -> None:
    """It starts as the documents' network and ends as another one; both are in the folder."""
    changes = {"model.kind": "separate", "stage.ranking.sparsity.queries": 0.1}
    report = train(load_recipe("smoke", QUICK | changes), tmp_path / "two", progress=False)
    encoder = load_encoder(report.output)
    assert isinstance(encoder, SeparateEncoder)
    text = ["how do bees find food"]
    assert (encoder.encode_queries(text) != encoder.encode_documents(text)).nnz > 0
    again = QUICK | changes | {"model.query_backbone": str(report.output / "query_0_Transformer")}
    with pytest.raises(EncoderError, match="numbers other tokens"):
        train(
            load_recipe("smoke", again | {"model.scratch.vocabulary": 400}),
            tmp_path / "three",
            progress=False,
        )


def test_a_query_network_from_a_checkpoint_is_prepared_like_that_of_documents(
    tmp_path: Path,
) -> None:
    """Both learn masked-LM and are calibrated, stopped thrice, to the bits of a quiet run."""
    first = train(load_recipe("smoke", QUICK), tmp_path / "first", progress=False)
    network = str(first.output / "document_0_Transformer")
    changes = QUICK | {
        "model.kind": "separate",
        "model.scratch": None,
        "model.backbone": network,
        "model.query_backbone": network,
        "stage.ranking.learning_rate": 0.0,
        "stage.ranking.sparsity.queries": 0.1,
        "run.watch_pairs": 0,
    }
    recipe = load_recipe("smoke", changes)
    whole = train(recipe, tmp_path / "whole", progress=False)
    encoder = load_encoder(whole.output)
    assert isinstance(encoder, SeparateEncoder)
    # One start, one data, one seed: what prepares one prepares the other, and ranking moved none.
    text = ["how do bees find food"]
    assert (encoder.encode_queries(text) != encoder.encode_documents(text)).nnz == 0
    before = load_encoder(first.output).encode_documents(text)
    assert (encoder.encode_documents(text) != before).nnz > 0

    for _ in range(3):
        assert not train(recipe, tmp_path / "parts", progress=False, stop_after=0.0).finished
    report = train(recipe, tmp_path / "parts", progress=False)
    for side in ("query", "document"):
        file = f"{side}_0_Transformer/model.safetensors"
        one, other = load_file(whole.output / file), load_file(report.output / file)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_special_positions_are_pooled_unless_the_recipe_says_no(tmp_path: Path) -> None:
    """What was trained without them is encoded without them, and its expansions come from words."""
    recipe = load_recipe("smoke", QUICK | {"model.pool_special": False})
    encoder = load_encoder(train(recipe, tmp_path / "text", progress=False).output)
    assert isinstance(encoder, InferenceFreeEncoder)
    text = "how do bees find food"
    terms = encoder.encode_documents([text]).indices.tolist()
    assert terms
    assert all(origin.span is not None for origin in encoder.origins(text, terms))
    plain = load_encoder(
        train(load_recipe("smoke", QUICK), tmp_path / "all", progress=False).output
    )
    assert isinstance(plain, InferenceFreeEncoder)
    every = plain.encode_documents([text]).indices.tolist()
    assert any(origin.span is None for origin in plain.origins(text, every))


def test_adapters_of_a_query_network_are_merged_as_those_of_documents_are(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    changes = {
        "model.kind": "separate",
        "model.lora": {"rank": 2, "targets": ["query", "value"]},
        "stage.mlm": None,
        "stage.ranking.sparsity.queries": 0.1,
    }
    report = train(load_recipe("smoke", QUICK | changes), tmp_path / "lora", progress=False)
    encoder = load_encoder(report.output)
    text = ["how do bees find food"]
    assert encoder.encode_queries(text).nnz > 0
    assert (encoder.encode_queries(text) != encoder.encode_documents(text)).nnz > 0


def test_a_learned_table_moves_from_idf_and_a_binary_one_is_ones(tmp_path: Path) -> None:
    tables = {}
    for kind in ("idf", "binary", "learned"):
        recipe = load_recipe("smoke", QUICK | {"model.query_table": kind})
        report = train(recipe, tmp_path / kind, progress=False)
        encoder = load_encoder(report.output)
        assert isinstance(encoder, InferenceFreeEncoder)
        tables[kind] = encoder.queries.weights
    assert set(tables["binary"]) == {0.0, 1.0}
    assert ((tables["binary"] > 0) == (tables["idf"] > 0)).all()
    moved = tables["learned"] != tables["idf"]
    assert 0 < moved.sum() < len(moved)
    assert (tables["learned"] >= 0).all()


def test_a_run_that_ended_between_ranking_and_writing_keeps_the_query_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("smoke", QUICK | {"model.query_table": "learned"})
    whole = train(recipe, tmp_path / "whole", progress=False)

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr("training.run._save", fails)
        train(recipe, tmp_path / "broken", progress=False)
    mended = train(recipe, tmp_path / "broken", progress=False)
    one, other = (load_encoder(report.output).queries.weights for report in (whole, mended))
    assert np.array_equal(one, other)


def test_seconds_of_a_stage_outlive_the_call_that_was_killed(tmp_path: Path) -> None:
    """Those of the whole were put down with each checkpoint, those of the stage at its end."""
    path = tmp_path / "run.json"
    record = RunRecord(path, {"seconds": 0.0})
    with record.timing("ranking"):
        time.sleep(0.02)
        record.save()
        kept = RunRecord(path, json.loads(path.read_bytes()))  # what the next call finds
    assert kept.stage_seconds["ranking"] >= 0.02
    with kept.timing("ranking"):
        time.sleep(0.02)
    assert kept.stage_seconds["ranking"] >= 0.04


def test_the_card_names_what_queries_started_from(tmp_path: Path) -> None:
    """Its licence and what it had seen are the encoder's as well."""
    first = train(load_recipe("smoke", QUICK), tmp_path / "first", progress=False)
    network = tmp_path / "asking"
    shutil.copytree(first.output / "document_0_Transformer", network)
    (network / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# asking\n")
    start = str(first.output / "document_0_Transformer")
    changes = {
        "model.kind": "separate", "model.scratch": None, "model.backbone": start,
        "model.query_backbone": str(network), "stage.mlm": None,
    }  # fmt: skip
    made = train(load_recipe("smoke", QUICK | changes), tmp_path / "two", progress=False)
    record = json.loads((made.output / "lsr.json").read_text())["training"]
    assert record["query_backbone"]["name"] == "asking"
    page = (made.output / "README.md").read_text()
    assert "query backbone asking: cc-by-nc-4.0" in page
    assert "license: other" in page


def test_a_network_half_removed_is_not_taken_for_the_kept_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while the network of the stage before is removed; the new one lies whole beside it."""
    recipe = load_recipe("smoke", QUICK)
    removed = training_run.shutil.rmtree

    def killed(folder: Path, **how: bool) -> None:
        if Path(folder).name in ("network", "network.old") and Path(folder).is_dir():
            next(Path(folder).glob("*.json")).unlink()
            raise KeyboardInterrupt
        removed(folder, **how)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training_run.shutil, "rmtree", killed)
        train(recipe, tmp_path / "made", progress=False)
    assert train(recipe, tmp_path / "made", progress=False).finished


def test_every_penalty_and_judged_loss_trains(tmp_path: Path) -> None:
    """Each penalty through a whole run, with the losses that need no teacher; parts are logged."""
    for penalty in ("l1", "df-flops", "idf-flops"):
        changes = {
            "stage.ranking.sparsity.penalty": penalty,
            "stage.ranking.sparsity.l0_threshold": 5,
            "stage.ranking.sparsity.anti_zero": 0.1,
            "stage.ranking.losses": {"info_nce": 1, "pairwise": 1, "listwise": 1, "approx_ndcg": 1},
        }
        report = train(load_recipe("smoke", QUICK | changes), tmp_path / penalty, progress=False)
        parts = [report.last_log[n] for n in ("info_nce", "pairwise", "listwise", "approx_ndcg")]
        assert report.last_log["rank_loss"] == pytest.approx(sum(parts), rel=1e-5)
        assert report.last_log["penalty"] > 0


@pytest.mark.parametrize("loss", ["kl", "margin_mse"])
def test_a_loss_of_a_teacher_without_one_is_refused(loss: str) -> None:
    """By the recipe: it was found after the masked-LM stage."""
    with pytest.raises(RecipeError, match=rf"stage\.ranking\.losses\.{loss} needs a teacher"):
        load_recipe("smoke", {"stage.ranking.losses": {loss: 1.0}})


def test_sampled_terms_and_bf16_and_accumulation_run(tmp_path: Path) -> None:
    recipe = load_recipe(
        "smoke",
        QUICK
        | {
            "run.bf16": True,
            "stage.ranking.sampled_terms": 100,
            "stage.ranking.accumulate": 2,
            "stage.ranking.layers": 1,
        },
    )
    report = train(recipe, tmp_path / "encoder", progress=False)
    assert np.isfinite(report.last_log["loss"])


@pytest.fixture
def headless(tmp_path: Path) -> Path:
    """A checkpoint whose language-model head was not published, as is common."""
    folder = tmp_path / "checkpoint"
    texts = ["how do bees tell each other where food is"] * 3
    make_backbone(folder, Scratch(hidden=32, vocabulary=300), texts, max_length=32, seed=0)
    tensors = load_file(folder / "model.safetensors")
    body = {name: value for name, value in tensors.items() if not name.startswith("cls.")}
    save_file(body, folder / "model.safetensors", {"format": "pt"})
    return folder


def with_backbone(folder: Path, tmp_path: Path, **model: object):
    path = tmp_path / "recipe.toml"
    smoke = load_recipe("smoke").path
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in model.items())
    path.write_text(
        f'name = "t"\n[model]\nkind = "inference-free"\nbackbone = "{folder}"\n{lines}\n'
        f'[data]\ntrain = ["{smoke.parent / "smoke.jsonl"}"]\n'
        "[stage.mlm]\nsteps = 2\nmax_length = 32\n[stage.calibrate]\nactive_terms = 20\n"
        "[stage.ranking]\nsteps = 2\nmax_length = 32\n"
    )
    return load_recipe(path)


def test_a_checkpoint_without_head_is_refused_unless_a_new_one_is_asked_for(
    headless: Path, tmp_path: Path
) -> None:
    """A head made up in silence encodes noise (naver/splade issue 49)."""
    with pytest.raises(MissingHead):
        train(with_backbone(headless, tmp_path, max_length=32), tmp_path / "a", progress=False)
    recipe = with_backbone(headless, tmp_path, max_length=32, new_head=True)
    assert train(recipe, tmp_path / "b", progress=False).finished


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_refused_checkpoint_leaves_nothing_behind(
    headless: Path, tmp_path: Path, rounds: int
) -> None:
    """A run folder that was left behind refused the mended recipe as that of another run."""
    mined = f'[data]\nnegatives = 1\nmining = {{ miners = ["bm25"], rounds = {rounds} }}'
    for side in ("backbone", "query_backbone"):
        model = {"kind": "separate", side: headless, "max_length": 32}
        if side == "query_backbone":
            model |= {"backbone": headless, "new_head": True}
        lines = "\n".join(
            f"{key} = {json.dumps(value, default=str)}" for key, value in model.items()
        )
        path = tmp_path / f"{side}.toml"
        smoke = load_recipe("smoke").path
        path.write_text(
            f'name = "t"\n[model]\n{lines}\n{mined}\ntrain = ["{smoke.parent / "smoke.jsonl"}"]\n'
            "[stage.ranking]\nsteps = 2\nmax_length = 32\n"
        )
        before = sorted(tmp_path.iterdir())
        with pytest.raises(MissingHead):
            train(load_recipe(path), tmp_path / "a", progress=False)
        assert sorted(tmp_path.iterdir()) == before


def test_a_table_and_teachers_are_looked_for_before_anything_is_written(
    headless: Path, tmp_path: Path
) -> None:
    """They were missed after the masked-LM stage, which may take an hour."""
    recipe = with_backbone(headless, tmp_path, max_length=32, new_head=True, query_table="kept")
    with pytest.raises(RecipeError, match="is not the folder of an inference-free encoder"):
        train(recipe, tmp_path / "a", progress=False)
    teachers = [{"kind": "dense", "model": "no-such-folder"}]
    with pytest.raises(RecipeError, match=r"teachers\.model = 'no-such-folder' is no folder"):
        train(load_recipe("smoke", {"teachers": teachers}), tmp_path / "a", progress=False)
    hollow = tmp_path / "hollow"
    hollow.mkdir()
    (hollow / "config.json").write_text("{}")
    for kind in ("dense", "cross-encoder", "pairwise"):
        teachers = [{"kind": kind, "model": str(hollow)}]
        with pytest.raises(EncoderError, match=r"hollow has no config\.json or no safe"):
            train(load_recipe("smoke", {"teachers": teachers}), tmp_path / "a", progress=False)
    assert not list(tmp_path.glob("a*"))


def test_a_prompt_that_leaves_windows_no_room_is_refused_before_anything_is_written(
    headless: Path, tmp_path: Path
) -> None:
    prompt = "a long instruction before each document: "
    recipe = with_backbone(headless, tmp_path, max_length=32, new_head=True, document_prompt=prompt)
    ranking = replace(recipe.stage.ranking, max_length=32, windows=2, window_overlap=24)
    recipe = replace(recipe, stage=replace(recipe.stage, ranking=ranking))
    with pytest.raises(RecipeError, match=r"stage\.ranking: windows overlap by 24 tokens, but 32"):
        train(recipe, tmp_path / "a", progress=False)
    assert not list(tmp_path.glob("a*"))


def test_queries_of_a_network_are_cut_where_the_network_ends(tmp_path: Path) -> None:
    """`query_length` above the positions of a network ended the training at a long query."""
    settings = {
        "model.kind": "siamese",
        "model.max_length": 16,
        "model.query_length": 64,
        "stage.ranking.max_length": 16,
        "stage.ranking.steps": 2,
        "stage.mlm": None,
    }
    texts = tmp_path / "long.jsonl"
    texts.write_text(
        "".join(
            json.dumps({"query": f"{'long ' * 40}{n}", "pos": f"document {n}"}) + "\n"
            for n in range(16)
        )
    )
    recipe = load_recipe("smoke", settings | {"data.train": [str(texts)]})
    assert train(recipe, tmp_path / "a", progress=False).finished


def test_more_tokens_than_the_backbone_has_positions_are_refused(
    headless: Path, tmp_path: Path
) -> None:
    recipe = with_backbone(headless, tmp_path, max_length=64, new_head=True)
    with pytest.raises(RecipeError, match=r"model\.max_length = 64, but .* has 32 positions"):
        train(recipe, tmp_path / "a", progress=False)


def test_a_collapsed_run_is_an_error_and_not_an_encoder(tmp_path: Path) -> None:
    """All weights zero: nothing to index, and the message names the knobs."""
    collapse = {
        "stage.ranking.sparsity.documents": 1e6,
        "stage.ranking.learning_rate": 0.5,
    }
    recipe = load_recipe("smoke", QUICK | collapse)
    with pytest.raises(EncoderError, match="training collapsed"):
        train(recipe, tmp_path / "encoder", progress=False)
    assert not (tmp_path / "encoder").exists()


def test_queries_without_any_term_are_an_error_and_not_an_encoder(tmp_path: Path) -> None:
    """Documents that have terms were all that saving asked for."""
    collapse = {
        "model.kind": "separate",
        "stage.ranking.sparsity.documents": 0.0,
        "stage.ranking.sparsity.queries": 1e6,
        "stage.ranking.sparsity.ramp": 0,
        "stage.ranking.learning_rate": 0.1,
        "stage.ranking.losses": {"info_nce": 1e-6},
    }
    recipe = load_recipe("smoke", QUICK | collapse)
    with pytest.raises(EncoderError, match="none of the queries has any term left") as error:
        train(recipe, tmp_path / "encoder", progress=False)
    assert "set stage.ranking.sparsity.queries = 100000 and" in str(error.value)
    assert not (tmp_path / "encoder").exists()


def test_measuring_nothing_says_zero() -> None:
    from scipy import sparse

    assert measure(sparse.csr_array((3, 5), dtype=np.float32)).max_weight == 0.0


def test_without_torch_training_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from lsr.errors import MissingExtra\n"
        "from training import load_recipe, train\n"
        "try: train(load_recipe('smoke'), 'never')\n"
        "except MissingExtra as error: print(error)\n"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert "pip install 'lsr-search[train]'" in done.stdout
