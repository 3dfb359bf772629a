"""A flipped bit in any file is detected or without effect, never a wrong answer in silence."""

import pytest

from crash.flips import sweeps


def test_a_flipped_bit_is_seen_in_an_index_and_in_its_log() -> None:
    """A few of each kind of byte; logs are those that a kill left behind."""
    for what, flips in sweeps(12, 1, ("writes",)):
        assert not flips.bad, flips.bad
        assert flips.by_file["catalog.sqlite"]["detected"] > 5, what
    assert flips.by_file["catalog.sqlite-wal"]["detected"] > 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["writes", "build", "maintenance", "service"])
def test_a_flipped_bit_is_seen_in_every_file(name: str) -> None:
    for what, flips in sweeps(120, 0, (name,)):
        assert not flips.bad, (what, flips.bad)
