"""What every plot of this project shares: its look, and how it becomes a PNG and an SVG."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import MissingExtra

# Okabe and Ito's palette, told apart by all kinds of eyes.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 14,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "figure.dpi": 150,
    "svg.hashsalt": "lsr",
}


def require_matplotlib() -> None:
    """Raise `MissingExtra` with the install line where matplotlib is not installed."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("drawing", extra="plot", package="matplotlib") from None


def saved(
    path: Path,
    draw: Callable[..., None],
    *,
    width: float = 7.2,
    height: float = 4.2,
    n_panels: int = 1,
    columns: int | None = None,
) -> list[Path]:
    """Draw on `n_panels` axes and write `path`.png and .svg, each whole or not there.

    `columns` panels stand side by side, all of them by default; `width` and `height` are inches of
    the whole figure. Raises `MissingExtra`.
    """
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    files = []
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        across = columns or n_panels
        grid = figure.subplots(-(-n_panels // across), across, sharey=True, squeeze=False).ravel()
        for unused in grid[n_panels:]:
            unused.remove()
        draw(*grid[:n_panels])
        for suffix in (".png", ".svg"):
            whole = path.with_name(f"{path.name}{suffix}")
            fresh = whole.with_name(f".{whole.name}.{os.getpid()}")
            metadata = {"Date": None} if suffix == ".svg" else {}
            figure.savefig(fresh, format=suffix[1:], metadata=metadata)
            fresh.replace(whole)
            files.append(whole)
    return files
