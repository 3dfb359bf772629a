"""What is seen while a network learns: the log, TensorBoard, trackers, and collapse by name."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import transformers  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from lsr.errors import EncoderError, RecipeError  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.callbacks import summary  # noqa: E402
from training.sections import RunSettings  # noqa: E402
from training.stage_settings import StageSettings  # noqa: E402
from training.trainer import run_stage  # noqa: E402
from training.watch import Sample, TrainingCollapsed, Watch  # noqa: E402

QUICK = {
    "stage.mlm.steps": 2,
    "stage.ranking.steps": 8,
    "run.log_every": 2,
    "run.checkpoint_every": 50,
}


def words(terms: Sequence[int]) -> list[str]:
    return [f"w{term}" for term in terms]


def rows(values: Any) -> sparse.csr_array:
    return sparse.csr_array(np.asarray(values, np.float32))


def watch(looks: list[Any], *, quiet: bool = True, **run: Any) -> Watch:
    """A watch that sees these documents, look by look."""
    recipe = load_recipe("smoke", {f"run.{key}": value for key, value in run.items()})

    def sample(step: int) -> Sample:
        return Sample(rows(looks[step]), rows(looks[step]))

    return Watch(recipe, sample, words, quiet=quiet, main=True)


def test_a_term_is_dead_when_no_look_of_the_window_saw_it() -> None:
    """Six terms; looks see {0, 1}, then {2}: three are dead. Ten looks later 0 and 1 are, too."""
    first, second = [[1, 2, 0, 0, 0, 0]], [[0, 0, 3, 0, 0, 0]]
    seen = watch([first, *[second] * 12])
    dead = [seen.look(step)["dead_terms"] for step in range(12)]
    assert dead == [4, *[3] * 9, 5, 5]


def test_the_log_names_the_terms_that_most_documents_have() -> None:
    notes = watch([[[1, 0, 2], [3, 0, 0], [1, 0, 0], [0, 5, 0]]]).look(0)
    assert notes["top_terms"] == "w0 0.75 w1 0.25 w2 0.25"
    assert notes["frequent_terms"] == 1
    assert summary({"loss": 1.0, **notes}) == (
        "loss 1.000, dead terms 0, in most: w0 0.75 w1 0.25 w2 0.25"
    )


def test_an_illness_is_told_once_when_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    """One bad look may be a dense start; the second in a row is told, later ones are not."""
    well = np.eye(4, 9)
    empty = np.zeros((4, 9))
    seen = watch([empty, well, empty, empty, empty, well, empty], quiet=False)
    told = []
    for step in range(7):
        seen.look(step)
        told.append("all-zero" in capsys.readouterr().err)
    assert told == [False, False, False, True, False, False, False]


def test_queries_that_a_network_leaves_empty_stop_the_run_with_advice_on_their_keys() -> None:
    """Documents may be well while queries, which have a penalty of their own, are pruned away."""
    recipe = load_recipe("splade-mini", {"run.on_collapse": "stop"})
    sample = Sample(rows(np.zeros((4, 9))), rows(np.eye(4, 9)))
    seen = Watch(recipe, lambda _: sample, words, quiet=True, main=True)
    for step in range(3):
        assert seen.look(step)["health"] == "all-zero queries"
    with pytest.raises(TrainingCollapsed, match=r"set stage\.ranking\.sparsity\.queries = 0\.001"):
        seen.on_log(*[SimpleNamespace(global_step=3)] * 3)


def collapse(**settings: Any):
    """Each drives the smoke recipe into one illness, in a few steps."""
    return load_recipe("smoke", QUICK | {"run.on_collapse": "stop"} | settings)


def logged(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "ranking" / "log.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def test_a_huge_penalty_empties_the_vectors_and_the_run_stops_with_advice(tmp_path: Path) -> None:
    recipe = collapse(
        **{
            "stage.ranking.sparsity.documents": 1e6,
            "stage.ranking.sparsity.ramp": 0,
            "stage.ranking.learning_rate": 0.1,
            "stage.ranking.steps": 40,
        }
    )
    with pytest.raises(TrainingCollapsed, match="all-zero") as error:
        train(recipe, tmp_path / "e", progress=False)
    assert "set stage.ranking.sparsity.documents = 100000" in str(error.value)
    assert "start over (--fresh)" in str(error.value)
    assert isinstance(error.value, EncoderError)
    # Three looks in a row, two steps apart: long before the last of 40.
    steps = [line["step"] for line in logged(tmp_path / "e.training")]
    assert steps[-1] < 40
    assert not (tmp_path / "e").exists()


def test_without_calibration_and_penalty_everything_stays_on(tmp_path: Path) -> None:
    recipe = collapse(
        **{
            "stage.calibrate.active_terms": 100_000,
            "stage.ranking.sparsity.documents": 0.0,
            "stage.ranking.learning_rate": 1e-6,
        }
    )
    with pytest.raises(TrainingCollapsed, match="all-on"):
        train(recipe, tmp_path / "e", progress=False)


def test_a_learning_rate_beyond_reason_is_named_by_its_nans(tmp_path: Path) -> None:
    """The loss is not hidden behind a mean of earlier ones; the run stops at the first look."""
    recipe = collapse(**{"stage.ranking.learning_rate": 1e30, "stage.ranking.clip": 1e30})
    with pytest.raises(TrainingCollapsed, match="not-finite: the network gave weights"):
        train(recipe, tmp_path / "e", progress=False)


def test_by_default_collapse_is_only_said_in_the_log(tmp_path: Path) -> None:
    recipe = load_recipe("smoke", QUICK | {"stage.calibrate.active_terms": 100_000})
    report = train(recipe, tmp_path / "e", progress=False)
    assert report.finished


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """Same weights with and without; only so may it be on by default."""
    name = Path("document_0_Transformer") / "model.safetensors"
    weights = []
    for n_pairs in (0, 16):
        recipe = load_recipe("smoke", QUICK | {"run.watch_pairs": n_pairs})
        report = train(recipe, tmp_path / str(n_pairs), progress=False)
        assert ("dead_terms" in report.last_log) == (n_pairs > 0)
        weights.append(load_file(report.output / name))
    assert all(np.array_equal(weights[0][key], weights[1][key]) for key in weights[0])


class Slope(torch.nn.Module):
    """A loss that falls with its one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.x = torch.nn.Parameter(torch.zeros(()))

    def forward(self, one: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": -self.x * one, "penalty": one * 7}


def slide(folder: Path, tensorboard: Path | None, **run: Any) -> bool:
    settings = StageSettings(
        "ranking",
        steps=6,
        learning_rate=0.1,
        warmup_steps=0,
        run=RunSettings(log_every=2, checkpoint_every=2, **run),
    )
    return run_stage(
        Slope(),
        [{"one": torch.tensor(1.0)}] * 6,
        settings,
        folder,
        asides=[lambda step: {"dead_terms": 10 * step, "top_terms": "the 0.9"}],
        tensorboard=tensorboard,
        quiet=True,
    )


def test_tensorboard_gets_what_the_log_has_and_no_step_twice(tmp_path: Path) -> None:
    """Read back by TensorBoard itself; the second call finds the stage done."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):
        assert slide(tmp_path / "run", tmp_path / "logs")
    read = events.EventAccumulator(str(tmp_path / "logs"))
    read.Reload()
    assert {"train/loss", "train/penalty", "train/learning_rate"} <= set(read.Tags()["scalars"])
    dead = [(event.step, event.value) for event in read.Scalars("train/dead_terms")]
    assert dead == [(2, 20.0), (4, 40.0), (6, 60.0)]
    assert {event.value for event in read.Scalars("train/penalty")} == {7.0}


def test_other_trackers_are_handed_to_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    class Tracker(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append(dict(kwargs["logs"]))

    from transformers.integrations import integration_utils

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Tracker)
    assert slide(tmp_path, None, report_to=("wandb",))
    assert [logs["dead_terms"] for logs in seen if "dead_terms" in logs] == [20, 40, 60]


def test_a_tracker_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"run\.report_to = no-such-tracker"):
        slide(tmp_path, None, report_to=("no-such-tracker",))
