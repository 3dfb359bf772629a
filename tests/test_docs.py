"""The documents tell the truth: their Python runs, their commands and files exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_in_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both blocks in order, as one program in an empty folder."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    assert "SparseRetriever" in code
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert "nDCG@10" in capsys.readouterr().out


def test_every_verb_in_the_readme_is_a_verb() -> None:
    from lsr.__main__ import VERBS

    used = set(re.findall(r"^(?:\$ )?lsr (\w+)", README, re.MULTILINE))
    assert used
    assert used <= set(VERBS)


PAGES = [
    path.relative_to(ROOT)
    for path in sorted(ROOT.rglob("*.md"))
    # What tools leave behind (.venv, .pytest_cache, build) is not ours.
    if not any(p.startswith(".") or p == "build" for p in path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / page.parent / target).exists(), f"{page} links to {target}"
