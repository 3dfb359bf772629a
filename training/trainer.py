"""One stage of training on `transformers.Trainer`: its loop, checkpoints, precision and devices.

Added here: batches in the planned order, loss parts in the log, penalties from the global step,
safetensors checkpoints of modules with tied weights, a progress line, a time limit.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler, SequentialSampler
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging

from lsr.errors import RecipeError
from lsr.progress import Bar, bar

from .sections import RunSettings

_WEIGHTS = "model.safetensors"

Penalties = Callable[[int], dict[str, float]]
"""From a global step to keyword arguments of the objective."""


@dataclass(frozen=True, slots=True)
class StageSettings:
    """What the loop needs to know of a stage."""

    name: str
    steps: int
    learning_rate: float
    warmup_steps: int
    run: RunSettings
    accumulate: int = 1
    weight_decay: float = 0.01
    clip: float = 1.0
    penalties: Penalties | None = None


def run_stage(
    objective: nn.Module,
    batches: Dataset[dict[str, Tensor]],
    settings: StageSettings,
    folder: Path,
    *,
    deadline: float | None = None,
    on_checkpoint: Callable[[], object] | None = None,
    quiet: bool = False,
) -> bool:
    """Train `objective` in place; True once every step is done, False if the deadline came first.

    Continues from the newest checkpoint in `folder`, exactly: the same weights as without the
    interruption. `deadline` is a time of `time.monotonic`; the state is saved when it passes.
    `on_checkpoint` is called after each.
    """
    try:
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=settings.steps,
            per_device_train_batch_size=1,  # one item is one whole batch
            gradient_accumulation_steps=settings.accumulate,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=settings.warmup_steps,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.clip,
            seed=settings.run.seed,
            bf16=settings.run.bf16,
            use_cpu=not torch.accelerator.is_available(),
            logging_strategy="steps",
            logging_steps=settings.run.log_every,
            save_strategy="steps",
            save_steps=settings.run.checkpoint_every,
            save_total_limit=settings.run.keep_checkpoints,
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
            dataloader_num_workers=2 if torch.cuda.is_available() else 0,
            disable_tqdm=True,
            report_to="none",
        )
    except ValueError as error:
        raise RecipeError(f"transformers.Trainer refuses these [run] settings: {error}") from error
    trainer = StageTrainer(
        model=objective,
        args=arguments,
        train_dataset=batches,
        data_collator=_only_item,
        penalties=settings.penalties,
        callbacks=[
            _Report(settings, folder / "log.jsonl", quiet=quiet),
            _Deadline(deadline),
            _OnCheckpoint(on_checkpoint),
        ],
    )
    for unwanted in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(unwanted)
    checkpoint = _last_checkpoint(folder)
    with _quiet():
        trainer.train(resume_from_checkpoint=checkpoint)
    return trainer.state.global_step >= settings.steps


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own remarks off the terminal; errors still raise."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def _last_checkpoint(folder: Path) -> str | None:
    if not folder.is_dir():
        return None
    found: str | None = get_last_checkpoint(str(folder))  # type: ignore[no-untyped-call]
    return found


class StageTrainer(Trainer):
    """A `Trainer` whose model returns a loss and named parts, and whose items are whole batches."""

    def __init__(self, *, penalties: Penalties | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._penalties = penalties
        self._sums: dict[str, float] = defaultdict(float)
        self._n_sums = 0

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Run the objective; remember its parts for the log."""
        extra = self._penalties(self.state.global_step) if self._penalties else {}
        parts: dict[str, Tensor] = model(**inputs, **extra)
        for name, value in parts.items():
            self._sums[name] += value.detach().float().item()
        self._n_sums += 1
        return (parts["loss"], parts) if return_outputs else parts["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each part since the last log."""
        if self._n_sums:
            means = {name: total / self._n_sums for name, total in self._sums.items()}
            logs = {**logs, **means}
            self._sums.clear()
            self._n_sums = 0
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        return SequentialSampler(train_dataset or self.train_dataset)  # type: ignore[arg-type]

    def _save(
        self, output_dir: str | None = None, state_dict: Mapping[str, Any] | None = None
    ) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        # save_model keeps one copy of tied weights and never writes a pickle.
        model = self.accelerator.unwrap_model(self.model)
        safetensors.torch.save_model(model, str(folder / _WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        weights = str(Path(resume_from_checkpoint) / _WEIGHTS)
        safetensors.torch.load_model(self.model if model is None else model, weights)  # type: ignore[arg-type]


class _Report(TrainerCallback):
    """A progress bar on standard error and a line of JSON per log in `log.jsonl`."""

    def __init__(self, settings: StageSettings, file: Path, *, quiet: bool) -> None:
        self._settings = settings
        self._file = file
        self._bar: Bar[None] | None = None
        self._quiet = quiet

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        left = self._settings.steps - state.global_step  # so that the rate is that of this call
        self._bar = bar(total=left, unit="steps", desc=self._settings.name, quiet=self._quiet)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero or "loss" not in (kwargs.get("logs") or {}):
            return
        logs = {k: v for k, v in kwargs["logs"].items() if k != "epoch"}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as out:
            out.write(orjson.dumps({"step": state.global_step, **logs}) + b"\n")
        if not self._quiet:
            tqdm.write(
                f"{self._settings.name:<11} step {state.global_step}: {summary(logs)}", sys.stderr
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class _Deadline(TrainerCallback):
    """Save and stop after the step during which the deadline passes."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            control.should_save = True
            control.should_training_stop = True


class _OnCheckpoint(TrainerCallback):
    """Tell whoever keeps the books that a checkpoint is on disk."""

    def __init__(self, call: Callable[[], object] | None) -> None:
        self._call = call

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._call is not None:
            self._call()


def summary(logs: Mapping[str, float]) -> str:
    """The loss parts of one log entry in a few words."""
    names = ("loss", "rank_loss", "penalty", "ranked_first", "named_right")
    counts = ("document_terms", "query_terms")
    words = [f"{name.replace('_', ' ')} {logs[name]:.3f}" for name in names if name in logs]
    words += [f"{name.replace('_', ' ')} {logs[name]:.0f}" for name in counts if name in logs]
    return ", ".join(words)


def _only_item(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    (batch,) = items
    return batch
