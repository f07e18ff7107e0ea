"""What a turn of the engine costs does not depend on how many partitions there are."""

from __future__ import annotations

from odradek_engine.agenda import Agenda
from odradek_engine.fold import keys
from odradek_engine.handover import AFTER_MS, Handover

from .solo import Solo
from .test_handover import room

LATE = 1e9


def test_only_what_is_due_is_taken_and_once() -> None:
    """Breaks when one partition that is due has all of them looked at, or one is forgotten."""
    agenda = Agenda()
    for partition in range(1_000):
        agenda.put(partition, 10.0 + partition)
    assert agenda.take(9.0) == []
    assert agenda.next_at(LATE) == 10.0
    assert agenda.take(11.0) == [0, 1]
    assert agenda.take(11.0) == []
    agenda.put(0, 11.5)
    assert agenda.next_at(LATE) == 11.5
    assert agenda.take(12.0) == [0, 2]


def test_a_time_may_be_put_off_and_brought_forward() -> None:
    """Breaks when a partition is looked at by what was known of it before, or its entries pile up."""
    agenda = Agenda()
    for at in (50.0, 20.0, 90.0, 30.0):
        agenda.put(1, at)
    assert agenda.take(25.0) == []
    assert agenda.next_at(LATE) == 30.0
    assert agenda.take(30.0) == [1]
    assert agenda.take(LATE) == []
    for turn in range(1_000):
        agenda.put(2, 100.0 + turn)
    assert len(agenda._heap) == 1


def test_what_happened_is_looked_at_now_and_what_is_gone_never() -> None:
    """Breaks when an answer of the log waits for the next second, or a partition that was given up is looked at."""
    agenda = Agenda()
    agenda.put(1, 50.0)
    agenda.put(2, 50.0)
    agenda.soon(1)
    assert agenda.next_at(LATE) == 0.0
    assert agenda.take(10.0) == [1]
    agenda.drop(2)
    assert agenda.take(60.0) == [1]


def test_tasks_are_not_looked_through_again_before_one_can_have_waited_for_long_enough() -> None:
    """Breaks when a leader reads the index of tasks five times a second although none of them is old."""
    solo = Solo()
    solo.lead()
    handover, scans = Handover(solo.state), []
    scan = solo.state.scan
    solo.state.scan = lambda prefix, *rest, **more: (  # type: ignore[method-assign]
        scans.append(prefix), scan(prefix, *rest, **more)
    )[1]
    for after in range(0, 3 * AFTER_MS, 100):
        assert list(handover.take(1_000_000 + after, room((1, {0})))) == []
    assert scans.count(keys.OUT) == 3
