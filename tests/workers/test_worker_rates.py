"""Rate limits of activities, against a clock of the test's own."""

from __future__ import annotations

import pytest
from odradek._worker.rates import ActivityRates, RateLimit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def begun(limits: list[ActivityRates], clock: Clock, seconds: float, step: float = 0.01) -> int:
    """How many begin if all begin as many as they may, at each step."""
    count = 0
    for _ in range(round(seconds / step)):
        for limit in limits:
            while limit.available() != 0:
                limit.take()
                count += 1
        clock.now += step
    return count


@pytest.mark.parametrize("rate", [0.5, 3, 40, 1000])
def test_a_worker_begins_no_more_than_its_rate(rate: float) -> None:
    clock = Clock()
    limit = ActivityRates(rate, None, clock)
    assert rate * 20 - max(1, rate * 0.01) <= begun([limit], clock, 20) <= rate * 20 + max(1, rate * 0.1)


def test_idle_time_saves_up_no_more_than_a_burst() -> None:
    clock = Clock()
    limit = ActivityRates(50, None, clock)
    clock.now += 3600
    assert begun([limit], clock, 0.01) == 5


def test_the_workers_of_a_queue_keep_to_its_rate_together_while_partitions_move() -> None:
    clock = Clock()
    workers = [ActivityRates(None, 40, clock) for _ in range(3)]
    count = 0
    for held in [(16, 0, 0), (8, 8, 0), (6, 5, 5), (0, 8, 8)]:
        for worker, partitions in zip(workers, held, strict=True):
            worker.share(partitions, 16)
        count += begun(workers, clock, 5)
    assert 40 * 20 - 12 <= count <= 40 * 20 + 12


def test_without_partitions_nothing_begins_after_the_first() -> None:
    clock = Clock()
    limit = RateLimit(0.0, clock)
    limit.take()
    clock.now += 1000
    assert limit.available() == 0
    assert limit.wait() == float("inf")


def test_both_limits_hold() -> None:
    clock = Clock()
    limit = ActivityRates(100, 10, clock)
    limit.share(8, 16)
    assert 49 <= begun([limit], clock, 10) <= 51
    limit.share(16, 16)
    assert limit.wait() <= 0.1


def test_no_limit_is_no_limit() -> None:
    clock = Clock()
    limit = ActivityRates(None, None, clock)
    assert limit.available() is None
    assert limit.wait() == 0
