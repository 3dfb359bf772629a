"""Systems as values: what a TOML file may say, and what is said of a wrong one."""

from pathlib import Path

import pytest

from lsr.errors import RecipeError, UsageError
from lsr.systems import System, read_systems


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_systems_are_read_in_order_and_folders_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS", "/m")
    file = written(
        tmp_path / "s.toml",
        """
        [[system]]
        name = "BM25"
        retrievers = ["bm25"]

        [[system]]
        name = "hybrid"
        retrievers = ["bm25", "dense:$MODELS/gte"]
        fuse = "zscore"
        weights = [1, 0.5]
        rerank = "cross-encoder:${MODELS}/ce"
        """,
    )
    assert read_systems(file) == [
        System("BM25", ("bm25",)),
        System(
            "hybrid",
            ("bm25", "dense:/m/gte"),
            fuse="zscore",
            weights=(1.0, 0.5),
            rerank="cross-encoder:/m/ce",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "system is missing"),
        ("system = []", "at least one"),
        ("[[system]]\nname = 'a'\nretrievers = ['bm25']\nfusion = 'rrf'", "did you mean 'fuse'"),
        ("[[system]]\nname = 'a'\nretrievers = ['bm25']\n" * 2, "each name once"),
        ("[[system", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as raised:
        read_systems(written(tmp_path / "s.toml", text))
    assert "s.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"retrievers": ()}, "at least one retriever"),
        ({"retrievers": ("bm25", "bm25")}, "twice"),
        ({"weights": (1.0, 1.0)}, "2 weights for 1"),
        ({"weights": (0.0,)}, "above 0"),
        ({"rerank": "ce"}, "cross-encoder:FOLDER"),
    ],
)
def test_a_system_that_cannot_be_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        System(**{"name": "a", "retrievers": ("bm25",), **settings})  # type: ignore[arg-type]
