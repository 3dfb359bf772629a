"""What a stage asks of the loop, and the `TrainingArguments` of transformers that say so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import TrainingArguments

from lsr.errors import MissingExtra, RecipeError

from .sections import RunSettings
from .sharding import check, deepspeed_settings, keep_precision

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
    rates: Mapping[str, float] = field(default_factory=dict)
    """Parameters, by name, that learn so many times as fast, without weight decay."""


def training_arguments(settings: StageSettings, folder: Path) -> TrainingArguments:
    """Everything transformers wants to know; checkpoints go to `folder`."""
    check(settings.run)
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
            # DeepSpeed would round parameters and buffers; see `deepspeed_settings`.
            bf16=settings.run.bf16 and not settings.run.deepspeed,
            use_cpu=not torch.accelerator.is_available(),
            logging_strategy="steps",
            logging_steps=settings.run.log_every,
            save_strategy="steps",
            save_steps=settings.run.checkpoint_every,
            save_total_limit=settings.run.keep_checkpoints,
            save_only_model=settings.run.checkpoint == "weights",
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
            dataloader_num_workers=2 if torch.cuda.is_available() else 0,
            disable_tqdm=True,
            logging_nan_inf_filter=False,  # a loss that is no number should be seen
            report_to=list(settings.run.report_to) or "none",
            fsdp=settings.run.fsdp or None,  # type: ignore[arg-type]  # wants a bool, says str
            fsdp_config=settings.run.fsdp_config or None,
            deepspeed=deepspeed_settings(settings.run),
        )
    except ImportError as error:
        raise MissingExtra("run.deepspeed", extra="deepspeed", package="deepspeed") from error
    except (ValueError, OSError) as error:
        raise RecipeError(f"transformers.Trainer refuses these [run] settings: {error}") from error
    keep_precision(arguments)
    if arguments.n_gpu > 1:
        # Without torchrun transformers would split each batch over all devices it sees
        # (DataParallel), and what belongs to the whole batch with it. One process has one device.
        arguments._n_gpu = 1
    return arguments
