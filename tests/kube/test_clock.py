"""How long to wait after failures."""

import pytest

from nodewall.kube.clock import backoff

DELAYS = [
    # failures, chance, wish, seconds
    (1, 0.0, None, 0.5),
    (1, 1.0, None, 0.25),
    (2, 0.0, None, 1.0),
    (6, 0.0, None, 16.0),
    (7, 0.0, None, 30.0),
    (100_000, 0.0, None, 30.0),
    (100_000, 1.0, None, 15.0),
    (1, 0.0, 20.0, 20.0),
    (7, 0.0, 2.0, 30.0),  # a wish never shortens
    (1, 0.0, 86400.0, 60.0),  # nor may it blind us for a day
]


def test_a_shorter_longest_delay() -> None:
    assert [backoff(failures, 0.0, most=10.0) for failures in (1, 5, 6, 100_000)] == [0.5, 8.0, 10.0, 10.0]
    assert backoff(9, 0.0, 20.0, most=10.0) == 20.0


@pytest.mark.parametrize(("failures", "chance", "wish", "seconds"), DELAYS)
def test_backoff(failures: int, chance: float, wish: float | None, seconds: float) -> None:
    assert backoff(failures, chance, wish) == seconds
