"""The table of engines, and what to know about them before they run."""

import os
from importlib.metadata import PackageNotFoundError, version

from ours import Lsr, LsrIndex
from peers_approximate import Kannolo, Seismic, Sindi
from peers_lists import Bmp, ImpactIndex, Pisa, Qdrant
from peers_matrix import Bm25s, Scipy, ScipyProduct, SpladeIndex
from protocol import Engine

ENGINES: dict[str, type[Engine]] = {
    "lsr": Lsr,
    "lsr-index": LsrIndex,
    "seismic": Seismic,
    "kannolo": Kannolo,
    "sindi": Sindi,
    "bmp": Bmp,
    "pisa": Pisa,
    "impact-index": ImpactIndex,
    "qdrant-edge": Qdrant,
    "splade-index": SpladeIndex,
    "scipy": Scipy,
    "scipy-product": ScipyProduct,
    "bm25s": Bm25s,
}
OURS = ("lsr", "lsr-index")
TEXT_ONLY = ("bm25s",)


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
