"""`--ray` of the verbs that read a corpus: what is sent to the tasks, and with which resources."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import DatasetError, UsageError
from ._encoders import EncoderChoice

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..encoders import SparseEncoder
    from ..types import Document

R = TypeVar("R")


@dataclass(frozen=True)
class RayTasks:
    """Whether Ray does the work, and what each of its tasks needs."""

    wanted: bool
    cpus: int
    gpus: float


def ray_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command --ray and the resources of a task; it receives them as `tasks`."""

    @click.option(
        "--ray",
        is_flag=True,
        help="Let a Ray cluster do it: that at RAY_ADDRESS, or one started on this machine.",
    )
    @click.option(
        "--task-cpus",
        type=click.IntRange(min=1),
        metavar="N",
        help="With --ray: cores of each task. Default: 1",
    )
    @click.option(
        "--task-gpus",
        type=click.FloatRange(min=0),
        metavar="N",
        help="With --ray: GPUs of each task, also parts of one. Default: 0",
    )
    @functools.wraps(function)
    def wrapper(*, ray: bool, task_cpus: int | None, task_gpus: float | None, **others: Any) -> R:
        if not ray and (task_cpus is not None or task_gpus is not None):
            raise UsageError("--task-cpus and --task-gpus are for tasks of Ray: give --ray as well")
        return function(tasks=RayTasks(ray, task_cpus or 1, task_gpus or 0.0), **others)

    return wrapper


def corpus_for_tasks(
    corpus: str, source: "Dataset", kinds: Mapping[str, str] = MappingProxyType({})
) -> "Callable[[], Iterator[Document]]":
    """Streams the corpus on any machine that has it at the same place, cells by their `kinds`."""
    given = Path(corpus).expanduser()
    place = str(given.resolve()) if given.exists() else corpus  # tasks run in another directory
    return functools.partial(_documents, place, source.fingerprint, dict(kinds))


def encoder_for_tasks(
    choice: EncoderChoice, encoder: "SparseEncoder"
) -> "Callable[[], SparseEncoder]":
    """Makes the encoder on any machine: from its folder, or the BM25 that was fitted here."""
    if choice.is_bm25:
        return functools.partial(_given, encoder)
    folder = Path(choice.encoder)
    return replace(
        choice, encoder=str(folder.resolve()) if folder.is_dir() else choice.encoder
    ).load_folder


def _documents(corpus: str, fingerprint: str, kinds: Mapping[str, str]) -> "Iterator[Document]":
    from ..datasets import load_dataset, typed_documents

    source = load_dataset(corpus)
    if source.fingerprint != fingerprint:
        raise DatasetError(
            f"{corpus}: fingerprint {source.fingerprint} on this machine, wanted {fingerprint} as "
            "where the command was given; every machine needs the same files"
        )
    return typed_documents(source, kinds)()


def _given(encoder: "SparseEncoder") -> "SparseEncoder":
    return encoder
