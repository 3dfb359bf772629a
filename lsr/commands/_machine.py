"""What a measured rate depends on besides the program."""

import platform
from pathlib import Path


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    return model or platform.processor() or platform.machine()
