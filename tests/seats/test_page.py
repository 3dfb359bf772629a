"""The examples of index/seats/README.md run as they stand there, with any index."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "index" / "seats" / "README.md").read_text()
SECTIONS = re.findall(
    r"^\*\*(\w+)\*\* \((\S+) ([0-9.]+[0-9]).*?^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE
)


def test_there_is_an_example_for_every_seat() -> None:
    assert [name for name, *_ in SECTIONS] == [
        "LangChain",
        "LlamaIndex",
        "Haystack",
        "PyTerrier",
        "MCP",
    ]


@pytest.mark.parametrize(("name", "package", "tested", "code"), SECTIONS, ids=lambda one: one[:12])
def test_it_runs_with_the_version_that_it_names(
    name: str, package: str, tested: str, code: str, pets: Path, tmp_path: Path
) -> None:
    """Asked of pets for csv files, it prints no hit but a table of PyTerrier's; for cats, hits."""
    try:
        found = version(package)
    except PackageNotFoundError:
        pytest.skip("make test-seats")
    assert found == tested
    (tmp_path / "docs.index").symlink_to(pets)
    code = code.replace("read a csv file with a header", "cats").replace("read a csv file", "cats")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    if name == "PyTerrier":
        assert lines[0].split() == ["name", "recip_rank"]
    else:
        assert {line.split()[1] for line in lines} <= {"a", "b", "c"}
        assert len(lines) >= 2
