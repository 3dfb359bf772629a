"""What commands write over, and what is kept when a signal ends them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from index import Index
from lsr.__main__ import run
from lsr.commands.search import conditions
from lsr.errors import QueryError
from lsr.files import atomic_write

RUN = "q1 Q0 a 1 2.0 t\nq1 Q0 b 2 1.0 t\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSR_DATA", raising=False)
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.trec").write_text(RUN)
    (tmp_path / "b.trec").write_text(RUN)
    (tmp_path / "c.tsv").write_text("a\tred bees\nb\tbees\n")
    (tmp_path / "q.tsv").write_text("q1\tbees\n")


def lsr(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lsr", *words]
    return subprocess.run(command, text=True, check=False, **options)  # type: ignore[call-overload]


class TestStandardOutput:
    def test_is_written_to_where_it_stands(self, tmp_path: Path) -> None:
        """`>> log` lost the log: the file behind it was replaced."""
        log = tmp_path / "log.txt"
        log.write_text("keep\n")
        with log.open("a") as file:
            done = lsr(
                *("fuse", "a.trec", "b.trec", "--output", "/dev/stdout"),
                stdout=file,
                stderr=subprocess.PIPE,
            )
        assert done.returncode == 0, done.stderr
        first, *rows = log.read_text().splitlines()
        assert first == "keep"
        assert [row.split()[:4:2] for row in rows] == [["q1", "a"], ["q1", "b"]]
        assert "wrote" in done.stderr

    def test_takes_a_run_through_a_pipe(self, tmp_path: Path) -> None:
        done = lsr(*("fuse", "a.trec", "b.trec", "--output", "/dev/stdout"), stdout=subprocess.PIPE)
        again = lsr(
            *("fuse", "a.trec", "/dev/stdin", "--output", "c.trec"),
            input=done.stdout,
            capture_output=True,
        )
        assert again.returncode == 0, again.stderr
        assert len((tmp_path / "c.trec").read_text().splitlines()) == 2

    def test_any_open_descriptor_is_one(self, tmp_path: Path) -> None:
        with (tmp_path / "out").open("w+b") as file:
            for place in (f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
                with atomic_write(Path(place)) as out:
                    out.write(b"x")
            file.seek(0)
            assert file.read() == b"xx"

    def test_is_free_for_the_next_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        run(["fuse", "a.trec", "b.trec", "--output", "/dev/stderr"])
        assert "wrote" in capsys.readouterr().out
        run(["index", "c.tsv", "c.index", "--encoder", "bm25"])
        assert "wrote" in capsys.readouterr().out


class TestOtherFiles:
    @pytest.mark.parametrize(
        "words",
        [
            ("fuse", "a.trec", "b.trec", "--output", "a.trec"),
            ("fuse", "a.trec", "b.trec", "--output", "./b.trec"),
            ("fuse", "a.trec", "b.trec", "--output", "q.tsv"),
            ("search", "c.index", "--queries", "q.tsv", "--output", "q.tsv"),
            ("search", "c.index", "bees", "--output", "c.tsv"),
            ("encode", "c.jsonl", "c.jsonl", "--encoder", "bm25", "--overwrite"),
            ("evaluate", "d", "--encoder", "bm25", "--run", "d/queries.tsv"),
        ],
    )
    def test_are_not_written_over(
        self, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": "bees"}\n')
        (tmp_path / "d" / "qrels").mkdir(parents=True)
        (tmp_path / "d" / "corpus.tsv").write_text("a\tbees\n")
        (tmp_path / "d" / "queries.tsv").write_text("q1\tbees\n")
        (tmp_path / "d" / "qrels" / "test.tsv").write_text("q1\ta\t1\n")
        assert run(["index", "c.tsv", "c.index", "--encoder", "bm25"]) == 0
        files = {path: path.read_bytes() for path in tmp_path.glob("*.*") if path.is_file()}
        files[tmp_path / "d" / "queries.tsv"] = b"q1\tbees\n"
        capsys.readouterr()
        assert run(list(words)) == 2
        told = capsys.readouterr().err
        assert "name another" in told
        assert {path: path.read_bytes() for path in files} == files

    def test_an_earlier_run_is_replaced(self, tmp_path: Path) -> None:
        for _ in range(2):
            assert run(["fuse", "a.trec", "b.trec", "--output", "new.trec"]) == 0
        (tmp_path / "empty.trec").write_text("")
        assert run(["fuse", "a.trec", "b.trec", "--output", "empty.trec"]) == 0


class TestFilters:
    def test_the_first_sign_is_the_comparison(self) -> None:
        fields = {"url": "keyword", "year": "int"}
        assert conditions(("url=http://h/?a>=1",), fields) == {"url": {"eq": "http://h/?a>=1"}}
        assert conditions(("year>=1990", "year<2000"), fields) == {
            "year": {"gte": 1990, "lt": 2000}
        }

    @pytest.mark.parametrize("text", ["lang==en", "year=>1990", "=en", "lang!=en", "lang"])
    def test_what_is_no_comparison_is_refused(self, text: str) -> None:
        with pytest.raises(QueryError, match="wanted FIELD=VALUE"):
            conditions((text,), {"lang": "keyword", "year": "int"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_build_as_ctrl_c_does(number: signal.Signals, tmp_path: Path) -> None:
    """Batch systems and containers end a command by SIGTERM: two minutes of encoding were lost."""
    code = (
        "import sys, time\n"
        "from lsr.encoders.bm25 import BM25Encoder\n"
        "encode, calls = BM25Encoder.encode_documents, []\n"
        "def slowly(self, texts, **more):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3:\n"
        "        print('there', flush=True)\n"
        "        time.sleep(60)\n"
        "    return encode(self, texts, **more)\n"
        "BM25Encoder.encode_documents = slowly\n"
        "sys.argv = ['lsr', 'index', 'many.tsv', 'many.index', '--encoder', 'bm25']\n"
        "from lsr.__main__ import main\n"
        "main()\n"
    )
    rng = np.random.default_rng(0)
    lines = [f"{i}\t{' '.join(map(str, rng.integers(0, 99, 9)))}\n" for i in range(20_000)]
    (tmp_path / "many.tsv").write_text("".join(lines))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests in the background of a shell, or under nohup, ignore it, and so would their child.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number, told
    assert "the same command goes on" in told
    assert f"stopped    by {'the keyboard' if number == signal.SIGINT else number.name}" in told
    done = lsr("index", "many.tsv", "many.index", "--encoder", "bm25", capture_output=True)
    assert "resumed" in done.stdout, done.stderr
    with Index.open(tmp_path / "many.index", read_only=True) as index:
        assert index.n_docs == 20_000
