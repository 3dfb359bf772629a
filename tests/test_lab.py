"""The laboratory's page (lsr/LAB.md) tells the truth."""

import re
from pathlib import Path

import pytest

import lsr

PAGE = (Path(lsr.__file__).parent / "LAB.md").read_text(encoding="utf-8")


BLOCKS = [
    pytest.param(code, marks=pytest.mark.slow if "mteb" in code else ())
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
]


@pytest.mark.parametrize("code", BLOCKS)
def test_the_python_of_the_page_runs(code: str, tmp_path, monkeypatch, request) -> None:
    monkeypatch.chdir(tmp_path)
    if "mteb" in code:
        pytest.importorskip("mteb")
    if "load_dataset(" in code:
        monkeypatch.setenv("LSR_DATA", str(request.getfixturevalue("shared_data")))
    exec(compile(code, "LAB.md", "exec"), {"__name__": "lab"})


def test_every_verb_of_the_page_is_a_verb() -> None:
    from lsr.__main__ import VERBS

    used = set(re.findall(r"(?:^|`)(?:\$ )?lsr (\w+)", PAGE, re.MULTILINE))
    assert used
    assert used <= set(VERBS)
