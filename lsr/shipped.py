"""Where the files this project ships (folder `data/`) lie: in the checkout, or inside the wheel."""

from pathlib import Path

ENCODERS = ("lsr-mini",)
"""Names that stand for the folder of a shipped encoder, wherever an encoder is asked for."""
_CHECKOUT = Path(__file__).resolve().parent.parent / "data"
_WHEEL = Path(__file__).resolve().parent / "shipped_data"


def shipped(name: str) -> Path:
    """Path of a shipped file or folder, e.g. `shipped("python-docs")`."""
    root = _WHEEL if _WHEEL.is_dir() else _CHECKOUT
    path = root / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing from this installation; reinstall lsr-search")
    return path


def encoder_place(named: str | Path) -> Path:
    """The folder of a shipped encoder, unless a folder of its name lies here; else as named."""
    path = Path(named)
    return shipped(str(named)) if str(named) in ENCODERS and not path.is_dir() else path
