"""kill -9 at any operation on a file: nothing acknowledged is lost, nothing is there by half."""

from pathlib import Path

import pytest

from crash.killing import SLACK, Killer, kill_everywhere
from crash.layer import Control
from crash.verdict import Verdict
from crash.workloads import WORKLOADS, plan


def test_no_kill_breaks_a_promise() -> None:
    """A sample of the operations, and one chain of kills that is followed to its end."""
    tally = kill_everywhere("maintenance", 2, points=6, chains=1)
    assert tally.kept, tally.bad
    assert tally.n_states >= 6


def test_a_run_that_kills_do_not_reach_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that counts and does not kill must not look like promises that were kept."""
    (tmp_path / "disk").mkdir()
    Control(tmp_path / "control")
    killer = Killer(tmp_path, plan("maintenance", 2), None)
    monkeypatch.setattr(killer, "attempt", lambda arm: 0)  # ends by itself
    monkeypatch.setattr(killer, "look", lambda **_: Verdict("sound"))
    for n_ops in (10, 11, 10 - SLACK - 1):
        monkeypatch.setattr(killer.control, "get", lambda _, n=n_ops: n)
        with pytest.raises(RuntimeError, match="not killed at operation 10"):
            killer.at(10, torn=False)
    monkeypatch.setattr(killer.control, "get", lambda _: 9)
    killer.at(10, torn=False)
    assert not killer.tally.kept, "nothing was killed"


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_no_kill_anywhere_breaks_a_promise(name: str) -> None:
    tally = kill_everywhere(name, 0, chains=10)
    assert tally.n_states > 300
    assert tally.kept, tally.bad


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["commit_in_two_transactions", "drop_a_pending_row"])
def test_a_planted_fault_is_found(fault: str) -> None:
    """Kills find what is wrong with the order of steps; missing fsyncs are for power loss."""
    tally = kill_everywhere("writes", 0, points=40, fault=fault)
    assert tally.bad
