"""Checkpoints of weights alone: small files, a resume that re-warms, a card that says so."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from safetensors.numpy import load_file  # noqa: E402

from lsr.commands._durations import Duration  # noqa: E402
from lsr.commands.adapt import adapt as adapt_command  # noqa: E402
from lsr.commands.score import score as score_command  # noqa: E402
from lsr.commands.train import train as train_command  # noqa: E402
from lsr.errors import EncoderError  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.card import read_record  # noqa: E402
from training.sections import RunSettings  # noqa: E402
from training.shards import learned, read_into, read_shards, write_learned, write_shards  # noqa: E402
from training.stage_settings import StageSettings  # noqa: E402
from training.trainer import StageTrainer, run_stage  # noqa: E402

QUICK = {
    "stage.mlm.steps": 4,
    "stage.ranking.steps": 6,
    "stage.ranking.sparsity.ramp": 3,
    "run.log_every": 1,
    "run.checkpoint_every": 2,
}


@pytest.mark.parametrize("limit", [4_000, 15_000, 10_000_000])
def test_no_file_is_larger_than_the_limit_and_every_tensor_comes_back(
    limit: int, tmp_path: Path
) -> None:
    """The matrix has 20 kB in float16: over several files, or beside the others in one."""
    torch.manual_seed(0)
    tensors = {
        "embeddings": torch.randn(200, 50),
        "bias": torch.randn(7),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "steps": torch.tensor([5, 6, 2**40]),
    }
    tensors["decoder"] = tensors["embeddings"]
    write_shards(tensors, tmp_path, limit=limit)
    files = list(tmp_path.glob("*.safetensors"))
    assert max(file.stat().st_size for file in files) <= limit
    assert (len(files) > 1) == (limit < 20_000)
    # Tied weights are stored once.
    assert sum(file.stat().st_size for file in files) < 24_000 + 1_500 * len(files)
    back = read_shards(tmp_path)
    assert back.keys() == tensors.keys()
    for name, value in tensors.items():
        expected = value.half() if value.is_floating_point() else value
        assert torch.equal(back[name], expected), name


def test_values_beyond_float16_are_clipped_and_exact_ones_keep_their_bits(tmp_path: Path) -> None:
    """A controller's lambda of 1e-9 would be 0 in float16, a bias of -1e6 minus infinity."""
    write_shards(
        {"bias": torch.tensor([-1e6, 1.0]), "lambda": torch.tensor(1e-9)},
        tmp_path,
        exact=frozenset({"lambda"}),
    )
    back = read_shards(tmp_path)
    assert back["bias"].tolist() == [-65504.0, 1.0]
    assert back["lambda"].item() == torch.tensor(1e-9).item()


def test_a_row_larger_than_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="one row of wide"):
        write_shards({"wide": torch.zeros(2, 10_000)}, tmp_path, limit=4_000)


def test_frozen_parameters_are_not_written_and_others_must_be_there(tmp_path: Path) -> None:
    """An adapter of a large network makes small checkpoints; a stranger's is refused."""
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    module[0].requires_grad_(False)
    assert sorted(learned(module)) == ["1.bias", "1.weight"]
    write_learned(module, tmp_path)
    other = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    with pytest.raises(EncoderError, match=r"missing 0\.bias"):
        read_into(other, tmp_path)
    other[0].requires_grad_(False)
    read_into(other, tmp_path)
    assert torch.equal(other[1].weight, module[1].weight.half().float())
    with pytest.raises(EncoderError, match=r"unknown 1\.bias"):
        read_into(torch.nn.Sequential(other[0]), tmp_path)


def test_what_a_frozen_parameter_keeps_beside_itself_is_not_written(tmp_path: Path) -> None:
    """In 4 bits it has its scales in the state, which nothing reads back: no run was resumed."""

    class Quantised(torch.nn.Linear):
        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[f"{prefix}weight.absmax"] = torch.ones(3)

    module = torch.nn.Sequential(Quantised(4, 4), torch.nn.Linear(4, 2))
    module[0].requires_grad_(False)
    assert sorted(learned(module)) == ["1.bias", "1.weight"]
    write_learned(module, tmp_path)
    read_into(module, tmp_path)


class Parabola(torch.nn.Module):
    """Pulls one number to its target, far away: the learning rate is what moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.x = torch.nn.Parameter(torch.zeros(()))

    def forward(self, target: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.x - target).square().sum()}


def rates(folder: Path) -> list[float]:
    lines = (folder / "log.jsonl").read_bytes().splitlines()
    return [json.loads(line)["learning_rate"] for line in lines]


def run_parabola(folder: Path, steps: int, *, checkpoint: str, deadline: float | None = None):
    settings = StageSettings(
        "ranking",
        steps=20,
        learning_rate=1.0,
        warmup_steps=0,
        run=RunSettings(checkpoint=checkpoint, rewarm_steps=4, log_every=1, checkpoint_every=steps),
    )
    items = [{"target": torch.tensor(1e3)}] * 20
    return run_stage(Parabola(), items, settings, folder, deadline=deadline, quiet=True)


def test_after_a_resume_from_weights_the_rate_climbs_back_to_its_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step 10 of 20: a linear schedule from there, times 1/4, 2/4, 3/4 and then 1."""
    compute_loss = StageTrainer.compute_loss

    def dying(self, *args, **kwargs):
        if self.state.global_step == 10:
            raise KeyboardInterrupt
        return compute_loss(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "compute_loss", dying)
        with pytest.raises(KeyboardInterrupt):
            run_parabola(tmp_path, 10, checkpoint="weights")
    checkpoint = tmp_path / "checkpoint-10"
    assert {file.suffix for file in checkpoint.iterdir()} <= {".safetensors", ".json", ".bin"}
    assert not (checkpoint / "optimizer.pt").exists()
    assert run_parabola(tmp_path, 10, checkpoint="weights")
    whole = 1.0 - np.arange(20) / 20
    ramp = np.concatenate([np.ones(10), [0.25, 0.5, 0.75], np.ones(7)])
    assert np.allclose(rates(tmp_path), whole * ramp)


def test_a_full_checkpoint_behind_one_of_weights_goes_on_at_its_own_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its schedule had counted from the resume on, so the rate jumped back up at the next one."""
    compute_loss = StageTrainer.compute_loss
    ends = [8, 14]

    def dying(self, *args, **kwargs):
        if ends and self.state.global_step == ends[0]:
            ends.pop(0)
            raise KeyboardInterrupt
        return compute_loss(self, *args, **kwargs)

    monkeypatch.setattr(StageTrainer, "compute_loss", dying)
    for checkpoint in ("weights", "full"):
        with pytest.raises(KeyboardInterrupt):
            run_parabola(tmp_path, 2, checkpoint=checkpoint)
    assert run_parabola(tmp_path, 2, checkpoint="full")
    whole = 1.0 - np.arange(20) / 20
    ramp = np.concatenate([np.ones(8), [0.25, 0.5, 0.75], np.ones(9)])
    assert np.allclose(rates(tmp_path), whole * ramp)


def test_a_checkpoint_cut_short_is_passed_over(tmp_path: Path) -> None:
    """Killed while writing: the folder is there, its state is not, or is half a file."""
    run_parabola(tmp_path, 10, checkpoint="full", deadline=0.0)
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-7" / "trainer_state.json").write_text('{"global_step": 7')
    run_parabola(tmp_path, 10, checkpoint="full", deadline=0.0)
    lines = (tmp_path / "log.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


@pytest.mark.slow
def test_a_run_stopped_at_every_step_finishes_from_weights_and_the_card_says_so(
    tmp_path: Path,
) -> None:
    """Never a file above the limit on the way; 4 + 6 steps make 9 calls, 8 of them resumes."""
    output, report, largest = tmp_path / "encoder", None, 0
    recipe = load_recipe("smoke", QUICK | {"run.checkpoint": "weights"})
    while report is None or not report.finished:
        report = train(recipe, output, progress=False, stop_after=0.0)
        folder = tmp_path / "encoder.training"
        if not report.finished:
            assert not list(folder.rglob("optimizer.pt"))
        largest = max([largest, *(f.stat().st_size for f in folder.rglob("*") if f.is_file())])
    assert 0 < largest <= 15_000_000
    record = read_record(output)
    assert record is not None
    assert record["resumes"] == {"weights": 8, "exact": 0}
    words = " ".join((output / "README.md").read_text().split())
    assert (
        f"resumed from weights {record['resumes']['weights']} times, optimiser re-warmed" in words
    )


def test_a_resume_is_exact_when_a_step_has_several_batches(tmp_path: Path) -> None:
    """The batches of a step left unfinished are drawn again; those of a whole one are not."""
    recipe = load_recipe(
        "smoke",
        QUICK | {"stage.mlm.steps": 1, "stage.ranking.steps": 3, "stage.ranking.accumulate": 2},
    )
    whole = train(recipe, tmp_path / "whole", progress=False)
    report = None
    while report is None or not report.finished:
        report = train(recipe, tmp_path / "parts", progress=False, stop_after=0.0)
    name = Path("document_0_Transformer") / "model.safetensors"
    one, other = load_file(whole.output / name), load_file(report.output / name)
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_an_uninterrupted_run_says_nothing_of_resumes(tmp_path: Path) -> None:
    report = train(load_recipe("smoke", QUICK), tmp_path / "encoder", progress=False)
    record = read_record(report.output)
    assert record is not None
    assert record["resumes"] == {"exact": 0, "weights": 0}
    assert "re-warmed" not in (report.output / "README.md").read_text()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("8m", 480), ("2h", 7200), ("1.5 H", 5400)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["0", "-5", "8 days", "m", ""])
@pytest.mark.parametrize("verb", [train_command, adapt_command, score_command])
def test_what_is_no_duration_is_refused_with_the_forms(
    text: str, verb: click.Command, tmp_path: Path
) -> None:
    """By every verb that has the option: `lsr score` knew no units."""
    result = CliRunner().invoke(verb, ["smoke", str(tmp_path / "e"), f"--stop-after={text}"])
    assert result.exit_code == 2
    assert "wanted 90s, 8m, 2h or seconds" in result.output


def test_keep_weights_on_the_command_line_and_in_the_next_step(tmp_path: Path) -> None:
    arguments = ["smoke", str(tmp_path / "e"), "--stop-after", "0.001s", "--keep", "weights"]
    result = CliRunner().invoke(train_command, [*arguments, "--set", "stage.mlm.steps=2"])
    assert result.exit_code == 0, result.output
    assert "--set stage.mlm.steps=2 --keep weights" in result.output
    folder = tmp_path / "e.training"
    assert list(folder.glob("mlm/checkpoint-*/weights.json"))
    assert not list(folder.rglob("optimizer.pt"))
