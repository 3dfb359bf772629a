"""One stage of training on `transformers.Trainer`: its loop, checkpoints, precision and devices.

Added here: batches in the planned order, loss parts in the log, penalties from the global step,
safetensors checkpoints of modules with tied weights, a progress line, a time limit.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging as transformers_logging

from lsr.errors import MissingExtra, RecipeError

from .adapted_weights import load_weights, save_weights
from .callbacks import Deadline, OnSave, Report
from .gather import is_first, total
from .run_record import RunRecord
from .sharding import WithinBounds, collect, in_precision, on_cpus, share_out, to_share_out
from .shards import INDEX, read_into, write_learned
from .stage_settings import Penalties, StageSettings, training_arguments

_WEIGHTS = "model.safetensors"

Aside = Callable[[int], dict[str, Any]]
"""From a global step to numbers and words that its line of the log should hold, too."""


def run_stage(
    objective: nn.Module,
    batches: Dataset[dict[str, Tensor]],
    settings: StageSettings,
    folder: Path,
    *,
    deadline: float | None = None,
    record: RunRecord | None = None,
    asides: Sequence[Aside] = (),
    callbacks: Sequence[TrainerCallback] = (),
    tensorboard: Path | None = None,
    quiet: bool = False,
) -> bool:
    """Train `objective` in place; True once every step is done, False if the deadline came first.

    Continues from the newest checkpoint in `folder`. From a full one it does so exactly: the same
    weights as without the interruption. From one of weights alone the optimiser starts anew, and
    its rate climbs back to the schedule over `run.rewarm_steps`. `deadline` is a time of
    `time.monotonic`; the state is saved when it passes. `record` keeps the books. With a folder
    `tensorboard` the log also goes there, as TensorBoard reads it.
    """
    arguments = training_arguments(settings, folder)
    shared_out = settings.run.fsdp or bool(settings.run.deepspeed)
    checkpoint = _last_checkpoint(folder)
    exact = checkpoint is None or not (checkpoint / INDEX).is_file()
    extra = [*callbacks]
    if tensorboard is not None and is_first():
        extra.append(_to_tensorboard(tensorboard, checkpoint))
    try:
        trainer = StageTrainer(
            model=to_share_out(objective) if shared_out else objective,
            objective=objective,
            args=arguments,
            train_dataset=batches,
            data_collator=_only_item,
            penalties=settings.penalties,
            rates=settings.rates,
            rewarm_steps=0 if exact else settings.run.rewarm_steps,
            asides=asides,
            callbacks=[
                *extra,
                *([WithinBounds()] if shared_out else []),
                Report(settings.name, settings.steps, folder / "log.jsonl", quiet=quiet),
                Deadline(deadline),
                OnSave(None if record is None else record.save),
            ],
        )
    except (RuntimeError, ImportError, ValueError) as error:
        if not settings.run.report_to:
            raise
        wanted = ", ".join(settings.run.report_to)
        raise RecipeError(
            f"run.report_to = {wanted}: transformers cannot report there ({error}); install the "
            "tracker's package or leave it out."
        ) from error
    for unwanted in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(unwanted)
    if checkpoint is not None and record is not None:
        record.resumed(exact=exact)
    with _quiet():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    collect(trainer.model, objective)
    if record is not None:
        record.has_read(settings.name, trainer.state.num_input_tokens_seen)
    return trainer.state.global_step >= settings.steps


def _to_tensorboard(folder: Path, checkpoint: Path | None) -> TensorBoardCallback:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("run.tensorboard", extra="train", package="tensorboard") from None
    # Steps after the checkpoint are taken again; without the purge they would be drawn twice.
    purge = None if checkpoint is None else int(checkpoint.name.rpartition("-")[2]) + 1
    writer = SummaryWriter(str(folder), purge_step=purge)
    return TensorBoardCallback(writer)  # type: ignore[no-untyped-call]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own remarks off the terminal; errors still raise."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the trainer writes its state after everything else."""
    whole = [
        (int(state.parent.name.rpartition("-")[2]), state.parent)
        for state in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{TRAINER_STATE_NAME}")
        if _is_json(state)
    ]
    return max(whole)[1] if whole else None


def _is_json(path: Path) -> bool:
    try:
        orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return False
    return True


class StageTrainer(Trainer):
    """A `Trainer` whose model returns a loss and named parts, and whose items are whole batches."""

    def __init__(
        self,
        *,
        objective: nn.Module,
        penalties: Penalties | None = None,
        rates: Mapping[str, float] | None = None,
        rewarm_steps: int = 0,
        asides: Sequence[Aside] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._objective = objective
        self._asides = asides
        self._penalties = penalties
        self._rates = rates or {}
        self._rewarm_steps = rewarm_steps
        self._sums: dict[str, float] = defaultdict(float)
        self._n_sums = 0

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Run the objective; remember its parts for the log, and how many tokens it has read.

        The state counts them, which is in every checkpoint: steps that are taken again count once.
        """
        masks = [mask for name, mask in inputs.items() if name.endswith("_mask")]
        read = sum(int((mask != 0).sum()) for mask in masks)
        self.state.num_input_tokens_seen += total(read)
        extra = self._penalties(self.state.global_step) if self._penalties else {}
        with in_precision(self.args):
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
            collect(self.model, self._objective)
            for aside in self._asides:
                logs |= aside(self.state.global_step)
            self._sums.clear()
            self._n_sums = 0
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """That of transformers, with a group for each parameter that has a rate of its own."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        learner = self.model if model is None else model
        assert learner is not None
        named = dict(learner.named_parameters())
        for name, rate in self._rates.items():
            parameter = named.get(name)
            if parameter is None or not parameter.requires_grad:
                continue
            for group in optimizer.param_groups:
                group["params"] = [p for p in group["params"] if p is not parameter]
            rated = {"lr": rate * self.args.learning_rate, "weight_decay": 0.0}
            optimizer.add_param_group({"params": [parameter], **rated})
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of the stage; after a resume from weights, its rest behind a short ramp."""
        schedule = super().create_scheduler(num_training_steps, optimizer)
        if self._rewarm_steps and isinstance(schedule, LambdaLR):
            done, ramp = self.state.global_step, self._rewarm_steps
            shape: Callable[[int], float] = schedule.lr_lambdas[0]
            schedule = self.lr_scheduler = LambdaLR(
                schedule.optimizer,
                lambda step: shape(step) * min(1.0, (step - done + 1) / ramp),
            )
            # It counts the steps of the stage, as the plain one does, which goes on from a full
            # checkpoint of it.
            schedule.last_epoch = done
            for group, base, at in zip(
                schedule.optimizer.param_groups,
                schedule.base_lrs,
                schedule.lr_lambdas,
                strict=True,
            ):
                group["lr"] = base * at(done)
            schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]
        return schedule

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        return SequentialSampler(train_dataset or self.train_dataset)  # type: ignore[arg-type]

    def create_accelerator_and_postprocess(self) -> None:
        """As transformers does it; with FSDP on CPUs, too."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            on_cpus(self.accelerator.state, self.args)
            self.is_fsdp_enabled = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write what was learned, in one file or in float16 shards; one process does it."""
        collect(self.model, self._objective)
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        if self.args.save_only_model:
            write_learned(self._objective, folder)
        else:
            save_weights(self._objective, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        if (folder / INDEX).is_file():
            read_into(self._objective, folder)
        else:
            load_weights(self._objective, folder / _WEIGHTS)
        if self.model is not self._objective:
            assert isinstance(self.model, nn.Module)
            share_out(self._objective, self.model)


def _only_item(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    (batch,) = items
    return batch
