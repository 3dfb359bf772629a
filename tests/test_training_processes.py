"""`lsr train` under torchrun: two processes share every batch and write one encoder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from safetensors.numpy import load_file  # noqa: E402

from lsr.encoders import load_encoder  # noqa: E402
from training import load_recipe  # noqa: E402

ROOT = Path(__file__).parent.parent
RECIPE = """
name = "t"
[model]
kind = "siamese"
max_length = 32
dropout = 0.0
[model.scratch]
vocabulary = 400
[data]
train = [{pairs}]
[stage.ranking]
steps = 4
batch = 7
max_length = 32
learning_rate = 1e-4
[stage.ranking.sparsity]
documents = 0.1
queries = 0.1
[stage.ranking.controller]
documents = 40
[run]
log_every = 1
checkpoint_every = 2
"""


def train(recipe: Path, output: Path, *options: str, processes: int) -> dict:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "lsr", "train"]
    done = subprocess.run(
        [*command, str(recipe), str(output), "--json", *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "LSR_QUIET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict = json.loads(done.stdout)  # one object: one process speaks for all
    return report


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_two_processes_train_the_encoder_of_one_and_resume_it(tmp_path: Path) -> None:
    """Same parts in the log; weights apart by a hundredth of the way they went.

    AdamW divides by gradient size, so that sums in another order show where gradients are small.
    Stopped after each step and resumed, two processes end where they ended uninterrupted, bit for
    bit.
    """
    recipe = tmp_path / "recipe.toml"
    pairs = load_recipe("smoke").path.parent / "smoke.jsonl"
    recipe.write_text(RECIPE.format(pairs=json.dumps(str(pairs))))
    one = train(recipe, tmp_path / "one", processes=1)
    two = train(recipe, tmp_path / "two", processes=2)
    for part in ("rank_loss", "penalty", "document_terms", "query_terms", "documents_weight"):
        assert two["last_log"][part] == pytest.approx(one["last_log"][part], rel=1e-3), part
    records = [json.loads((tmp_path / name / "lsr.json").read_text()) for name in ("one", "two")]
    tokens = [record["training"]["tokens"] for record in records]
    assert tokens[0] == tokens[1] != {}
    whole, parted = weights(tmp_path / "one"), weights(tmp_path / "two")
    apart = np.sqrt(sum(np.square(whole[k] - parted[k]).sum() for k in whole))
    # Four steps of at most 1e-4 for each parameter.
    went = 4 * 1e-4 * np.sqrt(sum(value.size for value in whole.values()))
    assert apart < 0.01 * went
    assert load_encoder(tmp_path / "two").encode_queries(["how do bees find food"]).nnz > 0
    for _ in range(5):
        report = train(recipe, tmp_path / "again", "--stop-after", "0.001", processes=2)
        if report["finished"]:
            break
    assert report["finished"]
    again = weights(tmp_path / "again")
    assert all(np.array_equal(again[name], parted[name]) for name in parted)


@pytest.mark.slow
def test_two_processes_stop_early_together_and_one_keeps_the_books(tmp_path: Path) -> None:
    """Only the first looks and decides; the other must neither wait for ever nor write."""
    recipe = tmp_path / "recipe.toml"
    pairs = load_recipe("smoke").path.parent / "smoke.jsonl"
    develop = "[develop]\nheld_out = 0.2\nevery = 1\npatience = 2\n"
    text = RECIPE.format(pairs=json.dumps(str(pairs))) + "tensorboard = true\n" + develop
    # Nothing is learned at this rate, so no look is better than the first.
    recipe.write_text(text.replace("learning_rate = 1e-4", "learning_rate = 1e-12"))
    report = train(recipe, tmp_path / "encoder", processes=2)
    assert report["finished"]
    record = json.loads((tmp_path / "encoder" / "lsr.json").read_text())["training"]
    assert record["processes"] == 2
    assert record["development"]["best_step"] == 1
    assert record["development"]["stopped_at"] == 3
    assert report["last_log"]["dead_terms"] >= 0
    assert len(list((tmp_path / "encoder.tensorboard" / "ranking").iterdir())) == 1
