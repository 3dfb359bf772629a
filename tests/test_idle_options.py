"""What is typed has an effect, or is refused: nobody tunes an option that does nothing."""

from pathlib import Path

import pytest

from lsr.__main__ import run
from lsr.errors import UsageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    path.write_text('{"_id": "a", "text": "cats"}\n{"_id": "b", "text": "dogs"}\n')
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate d --index i --k1 9", "--index i has an encoder of its own; leave --k1 out"),
        ("evaluate d --index i --encoder bm25", "of its own; leave --encoder out"),
        ("evaluate d --index i --encoder e --precision bfloat16", "leave --precision out"),
        ("evaluate d --from-run r --encoder e", "--from-run r is searched already; leave --encod"),
        ("evaluate d --systems s --encoder bm25", "names its encoders itself; leave --encoder"),
        ("evaluate d --per-query", "--per-query adds to what --json prints; give both"),
        ("onnx e o --int8 --fp16", "--int8 and --fp16 are two sizes of one graph"),
        ("reproduce mini --check", "and has no published figures; leave --check out"),
        ("reproduce mini --on scifact", "leave --on out"),
        ("index CORPUS i --encoder bm25 --precision bfloat16", "leave --precision out"),
        ("index CORPUS i --order none --order-seconds 3", "leave --order-seconds out"),
        ("index CORPUS i --order-seconds nan", "wanted a number of seconds from 0"),
        ("index CORPUS i --k1 1e308", "BM25 wants k1 from 0 to 500"),
        ("encode CORPUS o --split train", "--queries is for those of a split; leave --split out"),
        ("encode CORPUS o --encoder bm25 --precision bfloat16", "leave --precision out"),
        ("rerank CORPUS --on d --with oracle:0.2 --noise 0.3", "leave --noise out"),
        ("rerank CORPUS --on d --with oracle:0.2 --max-length 33", "leave --max-length out"),
        ("rerank CORPUS --on d --with oracle:0.2 --repeats 3", "for --study; leave --repeats out"),
        ("doctor i --quick", "--quick is for --data; leave --quick out"),
        ("doctor --data d --queries q", "without queries or samples; leave --queries out"),
        ("doctor --data d --seed 3", "leave --seed out"),
        ("tasks list --data FOLDER --state nosuch", "'nosuch' is not one of 'receiving'"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    arguments: str,
    message: str,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"CORPUS": str(corpus), "FOLDER": str(corpus.parent)}
    words = [places.get(word, word) for word in arguments.split()]
    assert run(words) == UsageError.exit_code
    assert message in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
