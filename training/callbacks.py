"""What happens beside the steps of a stage: progress, the log, the deadline."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lsr.progress import Bar, bar

from .gather import anyone


class Report(TrainerCallback):
    """A progress bar on standard error and a line of JSON per log in `log.jsonl`."""

    def __init__(self, stage: str, steps: int, file: Path, *, quiet: bool) -> None:
        self._stage, self._steps = stage, steps
        self._file = file
        self._bar: Bar[None] | None = None
        self._quiet = quiet

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the bar."""
        if not state.is_world_process_zero:
            return
        left = self._steps - state.global_step  # so that the rate is that of this call
        self._bar = bar(total=left, unit="steps", desc=self._stage, quiet=self._quiet)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the line and show it in words."""
        if not state.is_world_process_zero or "loss" not in (kwargs.get("logs") or {}):
            return
        logs = {k: v for k, v in kwargs["logs"].items() if k != "epoch"}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as out:
            out.write(orjson.dumps({"step": state.global_step, **logs}) + b"\n")
        if not self._quiet:
            tqdm.write(f"{self._stage:<11} step {state.global_step}: {summary(logs)}", sys.stderr)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


class Deadline(TrainerCallback):
    """Save and stop after the step during which the deadline passes."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the clock."""
        if self._deadline is None:
            return
        if anyone(time.monotonic() >= self._deadline):  # they would wait for each other for ever
            control.should_save = True
            control.should_training_stop = True


class OnSave(TrainerCallback):
    """Tell whoever keeps the books that a checkpoint is on disk."""

    def __init__(self, call: Callable[[], object] | None) -> None:
        self._call = call

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Call."""
        if self._call is not None:
            self._call()


def summary(logs: Mapping[str, Any]) -> str:
    """The loss parts of one log entry in a few words, and what a look at the vectors gave."""
    names = ("loss", "rank_loss", "penalty", "ranked_first", "named_right", "develop")
    counts = ("document_terms", "query_terms", "dead_terms")
    words = [f"{name.replace('_', ' ')} {logs[name]:.3f}" for name in names if name in logs]
    words += [f"{name.replace('_', ' ')} {logs[name]:.0f}" for name in counts if name in logs]
    words += [f"in most: {logs['top_terms']}"] if logs.get("top_terms") else []
    return ", ".join(words)
