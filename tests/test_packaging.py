"""What a wheel holds and how it behaves beside hostile neighbours."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_wheel_holds_four_packages_one_extension_and_no_sources_of_it(tmp_path: Path) -> None:
    """Builds the real wheel without isolation, then runs `lsr info` from it beside an index.py."""
    pytest.importorskip("scikit_build_core")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        + ["-C", f"build-dir={tmp_path / 'build'}", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if "." not in name} == {"lsr", "index", "service", "training"}
    assert len([name for name in names if name.endswith(".so")]) == 1
    assert "index/_core.pyi" in names
    assert "lsr/shipped_data/python-docs/queries.jsonl" in names
    assert "lsr/shipped_data/published.toml" in names
    assert "lsr/shipped_data/lsr-mini/joined.json" in names
    assert any(
        name.endswith("lsr-mini/learned/document_0_OnnxTransformer/model.onnx") for name in names
    )
    for left_out in ("results", "screenshots"):
        assert not [name for name in names if name.startswith(f"lsr/shipped_data/{left_out}")]
    assert "service/page/index.html" in names
    assert "lsr/commands/sweep_page.html" in names
    assert any(name.startswith("training/recipes/") for name in names)
    assert not [name for name in names if name.endswith((".hpp", ".cpp"))]
    assert not [name for name in names if name.startswith("tests")]

    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for name in ("index.py", "service.py"):
        (hostile / name).write_text("raise SystemExit('the neighbour was imported')")
    code = "from lsr.__main__ import main; sys.argv = ['lsr', 'info']; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}"],
        cwd=hostile,
        capture_output=True,
        text=True,
    )
    assert "neighbour" not in done.stderr + done.stdout
    assert done.returncode == 0, done.stderr


def test_help_answers_before_anything_heavy_is_imported() -> None:
    """`lsr --help` must stay under 0.3 s, so it may not import numpy, torch or the index."""
    code = (
        "import sys\nfrom lsr.__main__ import main\nsys.argv = ['lsr', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'scipy', 'numba', 'torch', 'fastapi', 'index', 'apsw'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "evaluate" in done.stdout
