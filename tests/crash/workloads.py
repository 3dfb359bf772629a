"""Every workload by name: its plan, who acts it out, who looks at the remains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from . import plans
from .layer import append_mark
from .model import Model
from .verdict import Verdict

if TYPE_CHECKING:
    from .homes import HomeModel

INDEX_WORKLOADS: dict[str, Callable[[int], list[plans.Step]]] = {
    "writes": plans.writes,
    "checkpoints": plans.checkpoints,
    "maintenance": plans.maintenance,
    "shrinking": plans.shrinking,
    "bulk": plans.bulk,
    "build": plans.build,
}
SERVICE = "service"
WORKLOADS = (*INDEX_WORKLOADS, SERVICE)


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` and the model before the first and after each: one more than steps."""

    name: str
    steps: tuple[Any, ...]
    models: tuple[Any, ...]


class World(Protocol):
    """Acts out the steps of one workload."""

    def act(self, step: Any) -> None:
        """Do one step; when this returns, it was acknowledged."""

    def close(self) -> None:
        """End in good order."""


def plan(name: str, seed: int) -> Plan:
    """The steps of a workload and the models they lead to."""
    if name == SERVICE:
        from .homes import HomeModel, service

        home = [HomeModel()]
        steps = service(seed)
        for step in steps:
            home.append(home[-1].after(step))
        return Plan(name, tuple(steps), tuple(home))
    models: list[Model | None] = [None]
    chosen = INDEX_WORKLOADS[name](seed)
    for one in chosen:
        models.append(plans.after(models[-1], one))
    return Plan(name, tuple(chosen), tuple(models))


def world_of(root: Path, of_plan: Plan) -> World:
    """Whoever acts out a plan below `root`."""
    if of_plan.name == SERVICE:
        from .homes import HomeWorld

        return HomeWorld(root)
    from . import acting

    acting.reorder_small_segments()
    if of_plan.name == "shrinking":
        acting.give_back_few_pages()
    return acting.World(root, checkpoints=of_plan.name == "checkpoints")


def run(root: Path, of_plan: Plan, marks: Path, *, first: int = 0) -> None:
    """The plan from step `first` to its end, saying what was begun and what was acknowledged."""
    world = world_of(root, of_plan)
    for number, step in enumerate(of_plan.steps[first:], first):
        append_mark(marks, f"begin {number}")
        world.act(step)
        append_mark(marks, f"ack {number}")
    world.close()
    append_mark(marks, "end")


def look(
    root: Path, of_plan: Plan, *, acked: int, begun: int, seed: int, go_on: bool = True
) -> Verdict:
    """Whether what is below `root` is as after `acked` steps of the plan, or after `begun`."""
    if of_plan.name == SERVICE:
        from .homes import verified_home

        home = cast("Sequence[HomeModel]", of_plan.models)
        return verified_home(root, home, acked=acked, begun=begun, seed=seed, go_on=go_on)
    from . import acting, verify

    models = cast("Sequence[Model | None]", of_plan.models)
    return verify.verified(
        root / acting.FOLDER, models, acked=acked, begun=begun, seed=seed, go_on=go_on
    )


def progress(marks: Sequence[str]) -> tuple[int, int]:
    """(steps acknowledged, steps begun), counted from the plan's first."""
    acked = max((int(m.split()[1]) + 1 for m in marks if m.startswith("ack ")), default=0)
    begun = max((int(m.split()[1]) + 1 for m in marks if m.startswith("begin ")), default=0)
    return acked, max(acked, begun)
