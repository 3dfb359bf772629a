"""Parameters, gradients and optimiser states shared out over processes: FSDP, and DeepSpeed's ZeRO.

What learns is a copy of the objective, which accelerate takes apart. The objective itself stays
whole, in the host memory of every process, and `collect` brings it up to date wherever something
wants to see it: a checkpoint, a look at the vectors, the next stage. So everything else of a run
knows nothing of shards.
"""

import copy
import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import orjson
import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import (  # type: ignore[import-untyped]
    DistributedType,
    FullyShardedDataParallelPlugin,
)
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from lsr.errors import MissingExtra, RecipeError

from .gather import n_processes
from .queries import TableQueries
from .sections import RunSettings

_ONLY = {
    "version": 2,
    "state_dict_type": "FULL_STATE_DICT",
    # By size, a tied head could fall to another group than its embeddings.
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "cpu_ram_efficient_loading": False,
}
_RECIPES = {
    "train_batch_size": "stage.ranking.batch",
    "train_micro_batch_size_per_gpu": "a share of stage.ranking.batch",
    "gradient_accumulation_steps": "stage.ranking.accumulate",
    "gradient_clipping": "stage.ranking.clip",
    "optimizer": "AdamW, with the keys of [stage.ranking],",
    "scheduler": "the schedule of [stage.ranking]",
    # It would round buffers as well, and with them the state of the controller.
    "bf16": "run.bf16",
    "fp16": "run.bf16",
    "torch_autocast": "run.bf16",
}
"""What the recipe says, and not a file beside it."""


def check(run: RunSettings) -> None:
    """Raise `RecipeError` for settings of [run] that cannot share out parameters.

    `MissingExtra` where they could, but DeepSpeed is not installed.
    """
    for key, wanted, variable in (
        ("fsdp", run.fsdp, "ACCELERATE_USE_FSDP"),
        ("deepspeed", run.deepspeed, "ACCELERATE_USE_DEEPSPEED"),
    ):
        if not wanted and os.environ.get(variable, "false").lower() in ("1", "true"):
            raise RecipeError(
                f"{variable} is set, by `accelerate launch` or by an earlier run of this process, "
                f"and run.{key} is not: set the key, or start with torchrun."
            )
    key = "fsdp" if run.fsdp else "deepspeed" if run.deepspeed else ""
    if not key:
        return
    if run.fsdp and run.deepspeed:
        raise RecipeError("run.fsdp and run.deepspeed both share parameters out; choose one.")
    if n_processes() == 1:
        raise RecipeError(
            f"run.{key} shares parameters out over processes, and this is the only one; start "
            "several (torchrun --nproc-per-node 2 -m lsr train ...), or leave the key out."
        )
    if run.fsdp and run.fsdp_config:
        config = _settings(run.fsdp_config, "run.fsdp_config")
        for name, only in _ONLY.items():
            given = config.get(name, config.get(f"fsdp_{name}", only))
            _check_value(f"run.fsdp_config: {run.fsdp_config} has {name}", given, only)
    if run.fsdp:
        for name, only in _ONLY.items():
            variable = f"FSDP_{name.upper()}"
            _check_value(f"the environment has {variable}", os.environ.get(variable, only), only)
    if run.deepspeed:
        _check_deepspeed(run)


def _check_value(where: str, given: object, only: object) -> None:
    if str(given).lower() != str(only).lower():
        raise RecipeError(
            f"{where} = {given}, which does not work here; leave it out, it is {only} then."
        )


def _check_deepspeed(run: RunSettings) -> None:
    config, where = _settings(run.deepspeed, "run.deepspeed"), f"run.deepspeed: {run.deepspeed}"
    section = config.get("zero_optimization")
    stage = section.get("stage") if isinstance(section, dict) else None
    if type(stage) is not int or stage not in (1, 2, 3):
        raise RecipeError(
            f'{where} has zero_optimization = {section!r}; wanted {{"stage": 1}} or {{"stage": 2}}.'
        )
    if stage == 3:
        raise RecipeError(
            f"{where} asks for stage 3, which takes apart the head that is read in pieces here; "
            "use stage 2, or run.fsdp."
        )
    for name, instead in _RECIPES.items():
        if config.get(name, "auto") != "auto":
            raise RecipeError(f"{where} has {name}, which is {instead} here; leave it out.")
    if run.checkpoint == "weights":
        raise RecipeError(
            'run.checkpoint = "weights" with run.deepspeed, which resumes from its own full '
            'checkpoints alone; use "full", or run.fsdp.'
        )
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingExtra("run.deepspeed", extra="deepspeed", package="deepspeed")


def deepspeed_settings(run: RunSettings) -> dict[str, Any] | None:
    """What transformers is given: the file, and what the recipe says; None without DeepSpeed."""
    if not run.deepspeed:
        return None
    config = _settings(run.deepspeed, "run.deepspeed")
    config |= dict.fromkeys(
        ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"),
        "auto",
    )
    if run.bf16:
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return config


def _settings(file: str, key: str) -> dict[str, Any]:
    try:
        content = orjson.loads(Path(file).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise RecipeError(f"{key} = {file!r} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{key}: {file} holds no JSON object, but {type(content).__name__}.")
    return content


def to_share_out(objective: nn.Module) -> nn.Module:
    """The copy of `objective` that accelerate may take apart, layer by layer of its networks."""
    learner = copy.deepcopy(objective)
    networks = [part for part in learner.modules() if isinstance(part, PreTrainedModel)]
    named = {name for network in networks for name in network._no_split_modules or ()}
    # Blocks alone: embeddings and head are often one tensor, and the head is read in pieces.
    stacks = [part for part in learner.modules() if isinstance(part, nn.ModuleList)]
    blocks = {type(block).__name__ for stack in stacks for block in stack}
    setattr(learner, "_no_split_modules", sorted(named & blocks))  # noqa: B010  # typed as a module
    return learner


def keep_precision(arguments: TrainingArguments) -> None:
    """Leave types to autocast, as on one device; else teachers' scores would become bfloat16."""
    if arguments.fsdp_plugin_args is not None:
        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
        arguments.fsdp_plugin_args["mixed_precision_policy"] = policy


def in_precision(arguments: TrainingArguments) -> AbstractContextManager[object]:
    """Where a batch goes through a network that FSDP shares out: accelerate does it elsewhere."""
    if not (arguments.fsdp and arguments.bf16):
        return nullcontext()
    return torch.autocast(arguments.device.type, torch.bfloat16)


def on_cpus(state: Any, arguments: TrainingArguments) -> None:
    """Have accelerate shard over CPUs, too, where by itself it only copies."""
    state.fsdp_plugin = FullyShardedDataParallelPlugin(**arguments.fsdp_plugin_args)
    state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP


@torch.no_grad()
def collect(learner: nn.Module | None, objective: nn.Module) -> None:
    """Bring `objective` up to date; every process must call it. Nothing where nothing is shared."""
    if learner is None or learner is objective:
        return
    whole = objective.state_dict()
    for name, value in learner.state_dict().items():
        if isinstance(value, DTensor):
            value = value.full_tensor()
        whole[name].copy_(value)


@torch.no_grad()
def share_out(objective: nn.Module, learner: nn.Module) -> None:
    """Give the sharded `learner` the weights of `objective`; every process must call it."""
    whole = objective.state_dict()
    for name, value in learner.state_dict().items():
        given = whole[name].to(value.device)
        if isinstance(value, DTensor):
            value.copy_(distribute_tensor(given, value.device_mesh, value.placements))
        else:
            value.copy_(given)


class WithinBounds(TrainerCallback):
    """Puts learned query tables back among those an encoder may have, after each step.

    On one device a table does so itself, before each use; what it changes there is a copy here,
    which FSDP throws away and which ZeRO overwrites from weights of its own.
    """

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Clip the tables of the learner; every process is here at once."""
        for part in kwargs["model"].modules():
            if isinstance(part, TableQueries) and part.learned:
                _clip(part)


@torch.no_grad()
def _clip(table: TableQueries) -> None:
    weight = table.weight
    if not isinstance(weight, DTensor):
        table.clip()
        if hasattr(weight, "_hp_mapping"):
            from deepspeed.utils import safe_set_full_fp32_param  # type: ignore[import-not-found]

            safe_set_full_fp32_param(weight, weight.detach().float())
        return
    whole = table.clipped(weight.full_tensor())
    weight.copy_(distribute_tensor(whole, weight.device_mesh, weight.placements))
