"""`lsr info`: what an index, an encoder, a score cache or this installation is."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..errors import MissingExtra, UsageError
from ..shipped import encoder_place
from . import _printing as out

EXAMPLES = """\b
Examples:
  lsr info
  lsr info scifact.index
  lsr info runs/encoder --json
  lsr info lsr-mini
"""

EXTRAS = {
    "train": ("torch", "transformers", "accelerate", "peft"),
    "dense": ("faiss",),
    "lucene": ("pyserini",),
    "ray": ("ray",),
    "datasets": ("ir_datasets",),
}
"""extra -> the modules that tell whether it is installed."""


@click.command(epilog=EXAMPLES)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def info(*, path: Path | None, json: bool) -> None:
    """Describe the index, encoder or score cache at PATH; without PATH, this installation."""
    if path is None:
        facts = _installation()
    elif any((path / name).is_file() for name in ("catalog.sqlite", "shards.json")):
        facts = _index(path)
    elif (encoder_place(path) / "modules.json").is_file():
        facts = _encoder(encoder_place(path))
    elif path.suffix == ".arrow":
        facts = _scores(path)
    else:
        raise UsageError(
            f"{path}: neither an index (a directory with catalog.sqlite) nor an encoder (a "
            "directory with modules.json) nor a score cache (a file .arrow)"
        )
    if json:
        out.as_json(facts)
        return
    _print(facts)
    if path is None:
        out.next_step("lsr", "demo")
    elif path.suffix == ".arrow":
        out.next_step("lsr", "train", "RECIPE", "OUTPUT", "--set", f"distillation.cache={path}")
    elif "generation" in facts:
        out.next_step("lsr", "search", str(path), "your question")
    else:
        out.next_step("lsr", "index", "CORPUS", "NEW.index", "--encoder", str(path))


def _installation() -> dict[str, Any]:
    try:
        cpu = importlib.import_module("index._core").cpu()
    except (ImportError, AttributeError) as error:
        cpu = f"the compiled core does not load: {error}"
    return {
        "lsr-search": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "core": cpu,
        "packages": {
            name: importlib.metadata.version(name)
            for name in ("numpy", "scipy", "numba", "apsw", "tokenizers", "fastapi")
        },
        "extras": {
            extra: "installed"
            if all(importlib.util.find_spec(module) for module in modules)
            else f"pip install 'lsr-search[{extra}]'"
            for extra, modules in EXTRAS.items()
        },
        "datasets": os.environ.get("LSR_DATA", "LSR_DATA is not set"),
        "cache": str(_cache_folder()),
    }


def _cache_folder() -> Path:
    from ..datasets.names import cache_folder

    return cache_folder()


def _index(path: Path) -> dict[str, Any]:
    from index import Index

    with Index.open(path, read_only=True) as index:
        return index.info() | {"top10_overlap_with_float": index.float_overlap()}


def _scores(path: Path) -> dict[str, Any]:
    try:
        from training.scores import ScoreCache
    except ImportError as missing:
        package = (missing.name or "pyarrow").partition(".")[0]
        raise MissingExtra("a score cache", extra="train", package=package) from None
    return ScoreCache.open(path).facts()


def _encoder(path: Path) -> dict[str, Any]:
    from ..encoders import is_binary, load_encoder

    encoder = load_encoder(path, queries_only=True)
    return {
        "path": str(path),
        "name": encoder.name,
        "kind": type(encoder).__name__,
        "query_strategy": encoder.query_strategy,
        "n_terms": encoder.n_terms,
        "max_weight": encoder.max_weight,
        "binary": is_binary(encoder),
        "text_fields": list(encoder.text_fields),
        "space": encoder.space,
        "build": encoder.build,
    }


def _print(facts: dict[str, Any], indent: str = "") -> None:
    width = max(len(name) for name in facts) + 2
    for name, value in facts.items():
        label = f"{indent}{name:<{width}}"
        if isinstance(value, dict) and value:
            click.echo(label.rstrip())
            _print(value, indent + "  ")
        else:
            click.echo(f"{label}{_shown(name, value)}")


def _shown(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return out.size(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "-")
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
