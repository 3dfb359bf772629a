import io
import sys

import pytest

from lsr.progress import Bar, bar


@pytest.fixture(autouse=True)
def _loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests run without bars; these look at them."""
    monkeypatch.delenv("LSR_QUIET", raising=False)


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_plain_line_with_share_rate_and_time_left(capsys: pytest.CaptureFixture[str]):
    clock = Clock()
    counted: Bar[int] = Bar(total=1000, unit="documents", desc="encoding", clock=clock)
    clock.now += 10
    counted.update(250)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "encoding   250 of 1,000 documents, 25 %, 25 a second, 00:30 left\n"


def test_a_log_gets_few_lines_however_often_the_count_moves(capsys: pytest.CaptureFixture[str]):
    """A thousand updates over a hundred seconds are ten tenths: ten lines, not a thousand."""
    clock = Clock()
    counted: Bar[int] = Bar(total=1000, unit="documents", clock=clock)
    for _ in range(1000):
        clock.now += 0.1
        counted.update()
    assert len(capsys.readouterr().err.splitlines()) == 10


def test_a_job_of_unknown_size_says_how_much_is_done(capsys: pytest.CaptureFixture[str]):
    clock = Clock()
    counted: Bar[int] = Bar(unit="rows", desc="reading", clock=clock)
    clock.now += 8
    counted.update(4)
    assert capsys.readouterr().err == "reading    4 rows, 0.5 a second\n"


def test_a_very_slow_job_is_heard_of_every_minute(capsys: pytest.CaptureFixture[str]):
    """Below a tenth of progress a log would otherwise stay silent for hours."""
    clock = Clock()
    counted: Bar[int] = Bar(total=1000, unit="steps", clock=clock)
    for _ in range(4):
        clock.now += 30
        counted.update()
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_short_job_leaves_no_line_in_a_log(capsys: pytest.CaptureFixture[str]):
    assert list(bar(range(5))) == [0, 1, 2, 3, 4]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_a_rate(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bar(total=3, unit="documents", desc="encoding") as counted:
        counted.update(3)
    assert "encoding" in terminal.getvalue()
    assert "documents/s" in terminal.getvalue()


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_quiet_is_silent_even_at_a_terminal(how: str, monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("LSR_QUIET", "1" if how == "variable" else "0")
    assert list(bar("ab", quiet=True if how == "argument" else None)) == ["a", "b"]
    assert terminal.getvalue() == ""


def test_iterating_takes_the_total_from_the_length():
    assert bar([1, 2, 3], quiet=True).total == 3


def test_the_count_is_right_when_the_consumer_stops_early():
    counted = bar([1, 2, 3], quiet=True)
    assert next(iter(counted)) == 1
    assert counted.n == 0
