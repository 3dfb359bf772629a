"""FSDP and DeepSpeed's ZeRO over two processes (gloo): the encoder that data parallelism trains."""

import importlib.util
import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("peft")

from safetensors.numpy import load_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.distributed.fsdp import FSDPModule  # noqa: E402
from torch.distributed.tensor import DTensor  # noqa: E402
from transformers import TrainingArguments  # noqa: E402

from lsr.encoders import load_encoder  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from lsr.errors import MissingExtra, RecipeError  # noqa: E402
from training import load_recipe, sharding, train, trainer  # noqa: E402
from training.data import load_pairs  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import RunSettings, Scratch  # noqa: E402
from training.stage_settings import StageSettings  # noqa: E402

INSTALL = "pip install 'lsr-search[deepspeed]'"
STEPS, RATE = 4, 1e-4
COMMON: dict[str, Any] = {
    "model.max_length": 32,
    "model.dropout": 0.0,
    "model.scratch.vocabulary": 400,
    "stage.ranking.steps": STEPS,
    "stage.ranking.batch": 7,  # parts of three and four
    "stage.ranking.max_length": 32,
    "stage.ranking.learning_rate": RATE,
    "run.log_every": 1,  # looks at the vectors each time
    "run.watch_pairs": 4,
}
RECIPES: dict[str, dict[str, Any]] = {
    # Three stages, GradCache, two losses, every penalty, both controllers, early stopping.
    "siamese": COMMON
    | {
        "model.kind": "siamese",
        "stage.mlm.steps": 3,
        "stage.mlm.batch": 8,
        "stage.mlm.max_length": 32,
        "stage.calibrate.active_terms": 60,
        "stage.ranking.micro_batch": 2,
        "stage.ranking.sampled_terms": 0,
        "stage.ranking.losses": {"info_nce": 1.0, "pairwise": 0.1},
        "stage.ranking.sparsity.penalty": "df-flops",
        "stage.ranking.sparsity.queries": 0.1,
        "stage.ranking.sparsity.anti_zero": 0.1,
        "stage.ranking.sparsity.ramp": 2,
        "stage.ranking.controller.documents": 40,
        "stage.ranking.controller.queries": 20,
        "develop.held_out": 0.2,
        "develop.every": 2,
    },
    # A decoder's adapters and a table that learns at a rate of its own, in bfloat16.
    "adapters": COMMON
    | {
        "model.decoder.attention": "causal",
        "model.lora.rank": 2,
        "model.lora.dropout": 0.0,
        "model.query_table": "learned",
        "stage.mlm": None,
        "stage.ranking.table_rate": 10.0,
        "stage.ranking.table_frozen_steps": 0,
        "run.bf16": True,
    },
    # Steps so large that many weights of the table come to 0, some more than once.
    "table": COMMON
    | {
        "model.query_table": "learned",
        "stage.mlm": None,
        "stage.ranking.table_rate": 30_000.0,
        "stage.ranking.table_frozen_steps": 0,
    },
}
# What is stopped after each step and resumed, to be compared with itself uninterrupted.
SHORT = COMMON | {"model.kind": "siamese", "stage.mlm": None, "stage.ranking.steps": 2}


def changes_of(kind: str, folder: Path) -> dict[str, Any]:
    """The keys of [run] that share parameters out, or none."""
    if kind == "copies":
        return {}
    if kind == "fsdp":
        return {"run.fsdp": True}
    file = folder / f"{kind}.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": int(kind[-1])}}))
    return {"run.deepspeed": str(file)}


def work(rank: int, kind: str, port: int, folder: str) -> None:
    """What each of two processes does: train every recipe; the first writes what was shared out."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "DS_ACCELERATOR": "cpu",
    }
    learners: list[nn.Module] = []
    share_out = sharding.to_share_out

    def seen(objective: nn.Module) -> nn.Module:
        learners.append(share_out(objective))
        return learners[-1]

    trainer.to_share_out = seen  # type: ignore[assignment]
    place = Path(folder)
    sharded = changes_of(kind, place)
    for name, changes in RECIPES.items():
        train(load_recipe("smoke", changes | sharded), place / f"{kind}-{name}", progress=False)
    facts: dict[str, Any] = {"shares": [share_of(learner) for learner in learners]}
    if kind != "copies":
        keeps = ["full", "weights"] if kind == "fsdp" else ["full"]
        for keep in keeps:
            recipe = load_recipe("smoke", SHORT | sharded | {"run.checkpoint": keep})
            train(recipe, place / f"{kind}-whole-{keep}", progress=False)
            stopped = place / f"{kind}-stopped-{keep}"
            assert not train(recipe, stopped, progress=False, stop_after=0.0).finished
            left = place / f"{stopped.name}.training"
            facts[keep] = sorted(p.name for p in left.glob("ranking/checkpoint-1/**/*.*"))
            assert train(recipe, stopped, progress=False).finished
    if rank == 0:
        (place / f"{kind}-facts.json").write_text(json.dumps(facts))
    torch.distributed.destroy_process_group()


def share_of(learner: nn.Module) -> dict[str, float]:
    """How much of the network this process held, and which of its modules were sharded."""
    parameters = list(learner.parameters())
    local = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in parameters)
    return {
        "part": local / sum(p.numel() for p in parameters),
        "modules": sum(isinstance(part, FSDPModule) for part in learner.modules()),
    }


def run_two(kind: str, folder: Path) -> dict[str, Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(work, (kind, port, str(folder)), nprocs=2)
    facts: dict[str, Any] = json.loads((folder / f"{kind}-facts.json").read_text())
    return facts


def weights(folder: Path) -> dict[str, np.ndarray]:
    files = sorted(folder.glob("**/*.safetensors"))
    assert files
    return {
        f"{file.relative_to(folder)} {name}": tensor
        for file in files
        for name, tensor in load_file(file).items()
    }


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what data parallelism trains."""
    folder = tmp_path_factory.mktemp("sharding")
    facts = run_two("copies", folder)
    assert facts["shares"] == []
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fsdp", "zero-1", "zero-2"])
def test_sharded_processes_train_the_encoder_of_copies_and_resume_it(
    kind: str, copies: Path
) -> None:
    """Weights apart by a hundredth of the way they went, sums being in another order.

    What is stopped and resumed from a full checkpoint ends as if it had not been, bit for bit.
    """
    if kind != "fsdp":
        pytest.importorskip("deepspeed", reason=INSTALL)
    facts = run_two(kind, copies)
    for name in RECIPES:
        expected, got = weights(copies / f"copies-{name}"), weights(copies / f"{kind}-{name}")
        assert set(got) == set(expected)
        away = np.sqrt(sum(np.square(got[key] - expected[key]).sum() for key in expected))
        size = sum(value.size for value in expected.values() if value.ndim > 1)
        assert away < 0.01 * STEPS * RATE * np.sqrt(size), name
        if name == "table":
            (table,) = (expected[key] for key in expected if key.startswith("query_0"))
            (other,) = (got[key] for key in got if key.startswith("query_0"))
            assert 12 < np.count_nonzero(table == 0) < len(table) // 2  # 5 are special
            np.testing.assert_allclose(other, table, atol=1e-3)
        encoder = load_encoder(copies / f"{kind}-{name}")
        assert encoder.encode_queries(["how do bees find food"]).nnz > 0
    whole, stopped = (weights(copies / f"{kind}-{run}-full") for run in ("whole", "stopped"))
    for key, value in whole.items():
        np.testing.assert_array_equal(stopped[key], value, err_msg=key)
    if kind == "fsdp":
        # Blocks and root: mlm and ranking of the first encoder, ranking of the two others.
        assert [share["modules"] for share in facts["shares"]] == [3, 3, 3, 3]
        assert all(0.45 < share["part"] < 0.55 for share in facts["shares"])
        assert "weights.json" in facts["weights"]
        assert load_encoder(copies / "fsdp-stopped-weights").encode_queries(["bees"]).nnz > 0
    else:
        states = [name for name in facts["full"] if name.endswith("optim_states.pt")]
        assert len(states) == 2, facts["full"]  # each process keeps its half


# --- settings ------------------------------------------------------------------------------------


class Reached(Exception):
    """The trainer would be made now."""


def arguments_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **run: object) -> Any:
    """The `TrainingArguments` that a recipe's [run] section leads to."""
    seen = []

    def stop(**settings: object) -> None:
        seen.append(settings["args"])
        raise Reached

    monkeypatch.setattr(sharding, "n_processes", lambda: 2)
    monkeypatch.setattr(trainer, "StageTrainer", stop)
    run_settings = RunSettings(**run)  # type: ignore[arg-type]
    settings = StageSettings("t", 1, 1e-3, 0, run_settings)
    with pytest.raises(Reached):
        trainer.run_stage(nn.Linear(1, 1), [], settings, tmp_path)  # type: ignore[arg-type]
    return seen[0]


def test_sharding_settings_reach_the_training_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By file or not at all; the environment of `accelerate launch` is transformers' business."""
    file = tmp_path / "fsdp.json"
    file.write_text('{"reshard_after_forward": false, "cpu_offload": true}')
    arguments = arguments_of(monkeypatch, tmp_path, fsdp=True, fsdp_config=str(file))
    assert arguments.fsdp_plugin_args["fsdp_version"] == 2
    assert arguments.fsdp_plugin_args["reshard_after_forward"] is False
    assert arguments.fsdp_plugin_args["cpu_offload"] is True
    assert not arguments.fsdp_plugin_args["mixed_precision_policy"].cast_forward_inputs
    plain = arguments_of(monkeypatch, tmp_path)
    assert not plain.fsdp
    assert plain.deepspeed is None


def test_a_process_that_sees_several_gpus_trains_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers gave it two batches an item, which the collator refused."""

    def see_two(arguments: TrainingArguments) -> object:
        arguments._n_gpu = 2
        return torch.device("cpu")

    monkeypatch.setattr(TrainingArguments, "_setup_devices", property(see_two))
    assert arguments_of(monkeypatch, tmp_path).train_batch_size == 1


def test_deepspeed_settings_reach_the_training_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is joined by what the recipe says; a missing package fails with the install line."""
    file = tmp_path / "deepspeed.json"
    file.write_text('{"zero_optimization": {"stage": 2}}')
    assert sharding.deepspeed_settings(RunSettings()) is None
    assert sharding.deepspeed_settings(RunSettings(deepspeed=str(file), bf16=True)) == {
        "zero_optimization": {"stage": 2},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "torch_autocast": {"enabled": True, "dtype": "bfloat16"},
    }
    if importlib.util.find_spec("deepspeed") is not None:
        arguments = arguments_of(monkeypatch, tmp_path, deepspeed=str(file))
        assert arguments.hf_deepspeed_config.is_zero2()
        return
    monkeypatch.setattr(sharding, "n_processes", lambda: 2)
    settings = StageSettings("t", 1, 1e-3, 0, RunSettings(deepspeed=str(file)))
    with pytest.raises(MissingExtra, match=r"run\.deepspeed .*lsr-search\[deepspeed\]"):
        trainer.run_stage(nn.Linear(1, 1), [], settings, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("fsdp_config", '{"version": 1}', "version = 1.* it is 2 then"),
        ("fsdp_config", '{"fsdp_state_dict_type": "SHARDED_STATE_DICT"}', "FULL_STATE_DICT then"),
        ("fsdp_config", '{"auto_wrap_policy": "SIZE_BASED_WRAP"}', "TRANSFORMER_BASED_WRAP then"),
        ("fsdp_config", "[1]", "no JSON object, but list"),
        ("deepspeed", "{", "cannot be read as JSON"),
        ("deepspeed", '{"zero_optimization": {"stage": 3}}', "use stage 2, or run.fsdp"),
        ("deepspeed", '{"zero_optimization": {"stage": "2"}}', 'wanted {"stage": 1} or'),
        ("deepspeed", '{"zero_optimization": true}', "zero_optimization = True"),
        ("deepspeed", "{}", "zero_optimization = None"),
        (
            "deepspeed",
            '{"zero_optimization": {"stage": 2}, "gradient_clipping": 5.0}',
            "stage.ranking.clip here; leave it out",
        ),
        (
            "deepspeed",
            '{"zero_optimization": {"stage": 1}, "bf16": {"enabled": true}}',
            "run.bf16 here; leave it out",
        ),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    key: str, content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "n_processes", lambda: 2)
    file = tmp_path / "settings.json"
    file.write_text(content)
    run: dict[str, Any] = {"fsdp": key == "fsdp_config", key: str(file)}
    with pytest.raises(RecipeError, match=message):
        sharding.check(RunSettings(**run))


def test_one_process_shares_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharding.check(RunSettings())
    with pytest.raises(RecipeError, match=r"start several \(torchrun"):
        sharding.check(RunSettings(fsdp=True))
    monkeypatch.setattr(sharding, "n_processes", lambda: 2)
    file = tmp_path / "settings.json"
    file.write_text('{"zero_optimization": {"stage": 1}}')
    with pytest.raises(RecipeError, match="own full checkpoints alone"):
        sharding.check(RunSettings(deepspeed=str(file), checkpoint="weights"))
    with pytest.raises(RecipeError, match="choose one"):
        sharding.check(RunSettings(deepspeed=str(file), fsdp=True))


@pytest.mark.parametrize(
    ("variable", "value", "fsdp", "message"),
    [
        ("ACCELERATE_USE_FSDP", "true", False, "and run.fsdp is not: set the key"),
        ("ACCELERATE_USE_DEEPSPEED", "true", False, "and run.deepspeed is not: set the key"),
        ("FSDP_VERSION", "1", True, "the environment has FSDP_VERSION = 1.* it is 2 then"),
    ],
)
def test_what_a_launcher_asks_for_beside_the_recipe_is_refused(
    variable: str, value: str, fsdp: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "n_processes", lambda: 2)
    monkeypatch.setenv(variable, value)
    with pytest.raises(RecipeError, match=message):
        sharding.check(RunSettings(fsdp=fsdp))


def test_a_launch_that_cannot_share_out_leaves_nothing_behind(tmp_path: Path) -> None:
    """Refused before texts are read: no folder of a run, which mining and teachers may fill."""
    with pytest.raises(RecipeError, match="start several"):
        train(load_recipe("smoke", {"run.fsdp": True}), tmp_path / "out", progress=False)
    assert not list(tmp_path.iterdir())


def test_blocks_are_shared_out_and_tied_weights_stay_together(tmp_path: Path) -> None:
    """What learns is a copy; collected, the objective holds what the copy has become."""
    documents = load_pairs(load_recipe("smoke")).documents
    make_backbone(tmp_path, Scratch(hidden=8, vocabulary=300), documents, max_length=32, seed=0)
    model = SpladeModel.from_checkpoint(tmp_path, max_length=32)
    learner = sharding.to_share_out(model)
    assert learner._no_split_modules == ["BertLayer"]
    head = "backbone.cls.predictions.decoder.weight"
    with torch.no_grad():
        learner.get_parameter(head).add_(1.0)
    assert not torch.equal(model.state_dict()[head], learner.state_dict()[head])
    sharding.collect(learner, model)
    assert torch.equal(model.state_dict()[head], learner.state_dict()[head])
    assert model.decoder.weight is model.backbone.get_input_embeddings().weight
