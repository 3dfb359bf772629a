"""Where the files this project ships (folder `data/`) lie: in the checkout, or inside the wheel."""

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent / "data"
_WHEEL = Path(__file__).resolve().parent / "shipped_data"


def shipped(name: str) -> Path:
    """Path of a shipped file or folder, e.g. `shipped("python-docs")`."""
    root = _WHEEL if _WHEEL.is_dir() else _CHECKOUT
    path = root / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing from this installation; reinstall lsr-search")
    return path
