"""Where and with what a measurement ran."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def machine() -> dict[str, Any]:
    """Processor, memory, load, versions and commit."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "commit": commit or "unknown",
    }


def heading(where: dict[str, Any]) -> str:
    """The first lines of every report."""
    ram = f"{where['ram_bytes'] / 2**30:.0f} GiB"
    return (
        f"machine    {where['cpu']}, {where['cores']} cores, {ram}, {where['system']}\n"
        f"software   commit {where['commit']}, Python {where['python']}, numpy {where['numpy']}\n"
        f"load       {where['load']:.1f} jobs running when this began"
    )
