"""Runs `worker.py` phase by phase and keeps what it builds: sets, exact answers, indexes.

Below the folder of `--data`: `SET/` the vectors, `cache/SET/exact.N.K.npz` exact answers,
`cache/SET/order.npy` our document order, and `cache/SET/ENGINE-VERSION/CONFIG/` one built index
with its `build.json`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import ENGINES, installed, one_thread
from protocol import Config

HERE = Path(__file__).resolve().parent


def run_phase(task: dict[str, Any], env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run one task of `worker.py` in a new process and read its answer."""
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        argument = json.dumps(task | {"answer": str(answer)}, default=str)
        command = [sys.executable, str(HERE / "worker.py"), argument]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        if done.returncode:
            label = " ".join(str(task[key]) for key in ("phase", "name", "folder") if key in task)
            raise PhaseFailed(
                f"{label}: exit {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
            )
        found: dict[str, Any] = json.loads(answer.read_text())
    return found


class PhaseFailed(Exception):
    """A phase ended with an error; the text holds the end of its output."""


def label(config: Config) -> str:
    """The folder name of a build."""
    return ",".join(f"{key}={value}" for key, value in config.items()) or "default"


@dataclass(frozen=True)
class Bench:
    """One set of vectors and what is kept of it."""

    set_name: str
    folder: Path
    """The vectors."""
    cache: Path
    """What is derived from them."""
    n_queries: int
    about: dict[str, Any]

    @classmethod
    def of(cls, set_name: str, data: Path, n_queries: int, *, cache: Path | None = None) -> "Bench":
        """Make the set unless it is there; `cache` stands in for `cache/SET`."""
        about = run_phase({"phase": "make", "set_name": set_name, "data": data})
        derived = cache or data / "cache" / set_name
        n = min(n_queries, about["n_queries"])
        return cls(set_name, data / set_name, derived, n, about)

    @property
    def order(self) -> Path:
        """Our document order, once our engine was built."""
        return self.cache / "order.npy"

    def built(self, name: str, config: Config, *, reuse: bool) -> tuple[Path, dict[str, Any]]:
        """Folder and build figures of an engine's index, built now unless `reuse` finds it."""
        shared = self.cache / f"{name}-{installed(name)}"
        where = shared / label(config)
        if reuse and (where / "build.json").exists():
            return where, json.loads((where / "build.json").read_text())
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        task = {"name": name, "folder": self.folder, "order": self.order}
        converted = shared / "converted"
        if not converted.exists():
            run_phase(task | {"phase": "convert", "shared": shared})
            converted.touch()
        figures = run_phase(task | {"phase": "build", "where": where, "config": config})
        (where / "build.json").write_text(json.dumps(figures))
        return where, figures

    def truth(self, k: int) -> Path:
        """The file of exact answers, made unless it is there."""
        path = self.cache / f"exact.{self.n_queries}.{k}.npz"
        if not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            task = {"folder": self.folder, "truth": path, "n_queries": self.n_queries, "k": k}
            run_phase(task | {"phase": "exact"})
        return path

    def searched(
        self,
        name: str,
        where: Path,
        config: Config,
        plan: list[tuple[int, str]],
        *,
        passes: int = 3,
    ) -> dict[str, Any]:
        """Timings and overlaps of the (k, mode) of a plan on a built index, one thread."""
        deepest = max(1000, *(k for k, _ in plan))
        task = {"phase": "search", "name": name, "folder": self.folder, "where": where}
        task |= {"config": config, "plan": plan, "n_queries": self.n_queries, "passes": passes}
        return run_phase(task | {"truth": self.truth(deepest)}, one_thread())

    def modes(self, name: str, ks: list[int]) -> list[tuple[int, str]]:
        """Every (k, mode) of an engine."""
        return [(k, mode) for k in ks for mode in ENGINES[name]().modes(k)]


def default_data() -> Path:
    """Where sets and indexes are kept unless `--data` says otherwise."""
    return Path(os.environ.get("LSR_CACHE", Path.home() / ".cache" / "lsr")) / "bench"
