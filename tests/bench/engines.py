"""The table of engines, and what to know about them before they run."""

import os
from importlib.metadata import PackageNotFoundError, version

from ours import Lsr, LsrIndex
from peers import Bm25s, Bmp, Scipy, ScipyProduct, Seismic, SpladeIndex
from protocol import Engine

ENGINES: dict[str, type[Engine]] = {
    "lsr": Lsr,
    "lsr-index": LsrIndex,
    "scipy": Scipy,
    "scipy-product": ScipyProduct,
    "splade-index": SpladeIndex,
    "bmp": Bmp,
    "seismic": Seismic,
    "bm25s": Bm25s,
}


def installed(name: str) -> str | None:
    """Version of the engine's package, None where it is not installed."""
    try:
        return version(ENGINES[name].package)
    except PackageNotFoundError:
        return None


def one_thread() -> dict[str, str]:
    """Environment that keeps every library's pool at one thread while searching."""
    pools = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")
    return os.environ | {f"{pool}_NUM_THREADS": "1" for pool in pools}
