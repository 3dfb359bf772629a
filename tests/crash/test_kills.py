"""kill -9 at any operation on a file: nothing acknowledged is lost, nothing is there by half."""

import pytest

from crash.killing import kill_everywhere
from crash.workloads import WORKLOADS


def test_no_kill_breaks_a_promise() -> None:
    """A sample of the operations, and one chain of kills that is followed to its end."""
    tally = kill_everywhere("maintenance", 2, points=6, chains=1)
    assert tally.kept, tally.bad
    assert tally.n_states >= 6


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
