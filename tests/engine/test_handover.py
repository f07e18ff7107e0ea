"""Tasks that wait at a full worker go to one with room (rule T3): the leader's side, and the fold's."""

from __future__ import annotations

from odradek_engine.handover import AFTER_MS, Handover
from odradek_engine.sessions import Room
from odradek_schemas import commands, partition_of, tasks

from .harness import Partition, act


def waiting(count: int) -> Partition:
    """A partition with so many activities whose tasks are out."""
    p = Partition(partition_of(b"w", 4), partitions=4)
    p.lead()
    p.alive()
    p.start()
    asked: list[commands.Command] = [act(n + 1) for n in range(count)]
    p.advance(*asked)
    return p


def room(*workers: tuple[int, set[int]]) -> dict[str, Room]:
    return {"orders": [(free, frozenset(held)) for free, held in workers]}


def test_t3_a_waiting_task_goes_where_there_is_room_and_is_claimed_there() -> None:
    """Breaks when it goes back to its own partition, or may run beside the copy that is still out."""
    p = waiting(1)
    row = p.open_activity()
    others = {0, 1, 2, 3} - {row.task_partition}
    handover = Handover(p.state)
    assert list(handover.take(p.now + AFTER_MS - 1, room((5, others)))) == []
    (record,) = handover.take(p.now + AFTER_MS + 1, room((5, others), (9, {row.task_partition})))
    p.append(record)
    assert p.open_activity().task_partition == record.partition
    assert record.partition in others
    first, second = p.made(tasks.ActivityTask)
    assert (first.claim, second.claim, second.attempt) == (False, True, first.attempt)
    assert p.effects[-1][1] == record.partition
    assert p.append(record).effects == [], "repeated, it changes nothing"
    p.finish()


def test_t3_no_more_is_moved_than_there_is_room_for() -> None:
    """Breaks when a full queue makes records for nothing."""
    p = waiting(8)
    handover = Handover(p.state)
    later = p.now + AFTER_MS + 1
    assert list(handover.take(later, {})) == []
    assert list(handover.take(later, room((0, {0, 1, 2, 3})))) == []
    assert list(handover.take(later, {"another queue": [(9, frozenset({0}))]})) == []
    assert list(handover.take(later, room((9, {0, 1, 2, 3})))) == [], "their own worker has room: they are on their way"
    assert len(list(handover.take(later, room((3, {0}), (1, {1}))))) == 4


def test_t3_a_task_that_is_moved_in_vain_waits_twice_as_long_each_time() -> None:
    """Breaks when tasks circulate between workers that say they have room and begin nothing."""
    p = waiting(1)
    handover = Handover(p.state)
    moves = 0
    for _ in range(600):
        p.wait(100)
        for record in handover.take(p.now, room((9, {0, 1}), (9, {2, 3}))):
            moves += 1
            p.append(record)
    assert moves == 6, "after 0.5, 1, 2, 4, 8, 16 s: a minute has no room for the next"


def test_a_partition_that_there_is_not_is_not_used() -> None:
    """Breaks when a wrong number makes an effect that can never be delivered."""
    p = waiting(1)
    (record,) = Handover(p.state).take(p.now + AFTER_MS + 1, room((1, {77})))
    p.append(record)
    assert 0 <= p.open_activity().task_partition < 4
