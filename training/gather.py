"""One batch over several processes, with the gradient that one process would have computed.

Every process encodes its part of the batch, receives the others' vectors and computes the loss of
the whole batch from all of them. Its gradient reaches its own part only. Data-parallel training
averages gradients over processes, so the loss is weighted by their number:

    mean over r of W dL/dR_r dR_r/dtheta = sum over r of dL/dR_r dR_r/dtheta = dL/dtheta

This holds for any loss, also one that is no mean over queries, such as FLOPS.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from accelerate import PartialState  # type: ignore[import-untyped]
from torch import Tensor


def join() -> None:
    """Meet the other processes that `torchrun` or `accelerate launch` started, if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState(cpu=not torch.accelerator.is_available())


def n_processes() -> int:
    """How many processes share each batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files."""
    return n_processes() == 1 or dist.get_rank() == 0


def wait() -> None:
    """Go on when every process has come here."""
    if n_processes() > 1:
        dist.barrier()


def anyone(mine: bool) -> bool:
    """Whether any process says so: those that disagreed about stopping would wait for ever."""
    return bool(most(int(mine)))


def most(mine: int) -> int:
    """The largest of the processes' numbers."""
    return _of_all(mine, dist.ReduceOp.MAX)


def total(mine: int) -> int:
    """The sum of the processes' numbers."""
    return _of_all(mine, dist.ReduceOp.SUM)


def _of_all(mine: int, operation: dist.ReduceOp.RedOpType) -> int:
    if n_processes() == 1:
        return mine
    number = torch.tensor(mine, device=PartialState().device)
    dist.all_reduce(number, op=operation)
    return int(number)


@contextmanager
def in_turn() -> Iterator[None]:
    """The first process goes through the block before the others: it makes what they then find."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def gathered(rows: Tensor) -> Tensor:
    """(n_r, width) of process r to (sum of n_r, width), in the order of processes.

    The numbers of rows may differ. The gradient reaches this process's own rows alone.
    """
    if n_processes() == 1:
        return rows
    world, rank = n_processes(), dist.get_rank()
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world)]
    dist.all_gather(counts, count)
    longest = max(int(n) for n in counts)
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    parts = [part[: int(n)] for part, n in zip(parts, counts, strict=True)]
    parts[rank] = rows
    return torch.cat(parts)


def shared(loss: Tensor) -> Tensor:
    """The loss of the whole batch, its gradient as many fold as there are processes."""
    world = n_processes()
    return loss if world == 1 else loss.detach() + world * (loss - loss.detach())
