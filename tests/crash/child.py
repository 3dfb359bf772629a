"""The program that runs a plan, mostly under the layer: NAME SEED ROOT MARKS [FAULT [killed]]."""

import os
import signal
import sys
from pathlib import Path

from .faults import FAULTS
from .workloads import plan, run, world_of


def main() -> None:
    """Plant the fault if one is named, then run the plan."""
    name, seed, root, marks, *fault = sys.argv[1:]
    if fault[1:] == ["killed"]:  # right after the last step was acknowledged
        world = world_of(Path(root), plan(name, int(seed)))
        for step in plan(name, int(seed)).steps:
            world.act(step)
        os.kill(os.getpid(), signal.SIGKILL)
    if fault and fault[0]:
        FAULTS[fault[0]]()
    run(Path(root), plan(name, int(seed)), Path(marks))


if __name__ == "__main__":
    main()
