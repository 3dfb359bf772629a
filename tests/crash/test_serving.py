"""A server that is killed under its clients' hands keeps every promise that it made them."""

import pytest

from crash.serving import kill_server


@pytest.mark.slow
def test_no_kill_of_a_server_breaks_a_promise() -> None:
    loop = kill_server(10, 3)
    assert sum(loop.kinds.values()) == 10
    assert loop.acknowledged > 50
    assert not loop.bad, loop.bad
