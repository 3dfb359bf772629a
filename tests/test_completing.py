"""What a shell offers after <TAB>."""

import pytest
from click.shell_completion import ShellComplete

from lsr.__main__ import VERBS, cli


def offered(*arguments: str, incomplete: str = "") -> list[tuple[str, str]]:
    complete = ShellComplete(cli, {}, "lsr", "_LSR_COMPLETE")
    return [(one.type, one.value) for one in complete.get_completions(list(arguments), incomplete)]


def test_verbs_are_offered_by_their_beginning() -> None:
    assert offered(incomplete="sea") == [("plain", "search")]
    assert {name for _, name in offered()} == set(VERBS)


@pytest.mark.parametrize(
    "words", [["index"], ["evaluate"], ["evaluate", "scifact"], ["rerank", "r.trec", "--on"]]
)
def test_collections_are_offered_by_name_and_files(words: list[str]) -> None:
    found = offered(*words, incomplete="python-d")
    assert found == [("plain", "python-docs"), ("file", "python-d")]


@pytest.mark.parametrize(
    "words", [["index", "--encoder"], ["evaluate", "--encoder"], ["rebuild", "--encoder"], ["onnx"]]
)
def test_encoders_are_offered_by_name_and_folders(words: list[str]) -> None:
    assert offered(*words, incomplete="lsr") == [("plain", "lsr-mini"), ("dir", "lsr")]


def test_recipes_are_offered_by_name_and_files() -> None:
    assert offered("train", incomplete="prosp") == [("plain", "prosper"), ("file", "prosp")]


@pytest.mark.parametrize("verb", ["search", "serve", "info", "doctor"])
def test_indexes_are_folders(verb: str) -> None:
    assert offered(verb, incomplete="my") in ([("dir", "my")], [("file", "my")])
