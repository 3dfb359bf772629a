"""The drawing of architecture.md section 2, enforced: who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "lsr": {"lsr"},
    "index": {"index", "lsr"},
    "training": {"training", "index", "lsr"},
    "service": {"service", "index", "lsr"},
}
ROOF = ROOT / "lsr" / "commands"
ONLY_IN = {
    "torch": ("lsr/encoders/", "training/"),
    "transformers": ("lsr/encoders/", "training/"),
    "fastapi": ("service/",),
    "sqlite3": (),
    "pickle": (),
}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(top-level package, whole statement) of every absolute import in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((name.name.split(".")[0], ast.unparse(node)) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0], ast.unparse(node)


def sources() -> list[Path]:
    return sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_drawing(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    package = relative.split("/")[0]
    allowed = set(ALLOWED) if ROOF in path.parents else ALLOWED[package]
    for name, statement in imports(path):
        if name in ALLOWED:
            assert name in allowed, f"{relative}: {statement}"
            assert not statement.startswith("import "), (
                f"{relative}: {statement} (say `from {name} import Name`)"
            )
            if ROOF not in path.parents:
                assert "lsr.commands" not in statement, f"{relative}: nothing imports the roof"
        if name == "ray":
            assert "ray_" in path.stem, f"{relative}: {statement} (ray is for modules named for it)"
        if name in ONLY_IN:
            assert relative.startswith(ONLY_IN[name] or ("nowhere",)), f"{relative}: {statement}"


def test_searching_and_serving_need_no_torch() -> None:
    """A fresh interpreter in which torch cannot be imported opens everything but training."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "import index, lsr.encoders, lsr.datasets, lsr.measures, service\n"
        "from lsr.encoders.bm25 import BM25Encoder\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
