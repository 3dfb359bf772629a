"""The program that runs a plan under the layer: NAME SEED ROOT MARKS [FAULT]."""

import sys
from pathlib import Path

from .faults import FAULTS
from .workloads import plan, run


def main() -> None:
    """Plant the fault if one is named, then run the plan."""
    name, seed, root, marks, *fault = sys.argv[1:]
    if fault and fault[0]:
        FAULTS[fault[0]]()
    run(Path(root), plan(name, int(seed)), Path(marks))


if __name__ == "__main__":
    main()
