"""Tasks that wait at a full worker go to one with room (rule T3): the leader's side, and the fold's."""

from __future__ import annotations

from odradek_engine.clock import SystemClock
from odradek_engine.handover import AFTER_MS, Handover
from odradek_engine.sessions import Room, Sessions
from odradek_schemas import commands, partition_of, records, tasks
from odradek_schemas.ephemeral import WorkerHeartbeat

from .harness import TOPICS, Partition, act


def waiting(count: int) -> Partition:
    """A partition with so many activities whose tasks are out."""
    p = Partition(partition_of(b"w", 4), partitions=4)
    p.lead()
    p.alive()
    p.start()
    asked: list[commands.Command] = [act(n + 1) for n in range(count)]
    p.advance(*asked)
    return p


def room(*workers: tuple[int, set[int]]) -> dict[tuple[str, str], Room]:
    return {("orders", ""): [(free, frozenset(held)) for free, held in workers]}


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
    assert list(handover.take(later, {("another queue", ""): [(9, frozenset({0}))]})) == []
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


def test_a_task_is_never_handed_to_a_worker_of_another_build() -> None:
    """Breaks when what a build's workers have room for is taken for room for the tasks of others."""
    p = Partition(partition_of(b"w", 4), partitions=4)
    p.lead()
    p.alive()
    p.append(records.SetCurrentBuild(task_queue="orders", build_id="v1"))
    p.start()
    p.advance(act(1), build_id="v1", versioning="pinned")
    p.append(records.SetCurrentBuild(task_queue="orders", build_id="v2"))
    sessions = Sessions(p.state, SystemClock(), 10.0)
    others = sorted({0, 1, 2, 3} - {p.open_activity().task_partition})

    def heard(session: str, build: str) -> None:
        sessions.heard(
            WorkerHeartbeat(
                session=session, activity_queues=["orders"], build_id=build, free_activities=5,
                activity_partitions=others,
            )
        )  # fmt: skip

    handover = Handover(p.state)
    heard("new", "v2")
    heard("none", "")
    assert list(handover.take(p.now + AFTER_MS + 1, sessions.room())) == []
    heard("old", "v1")
    (record,) = handover.take(p.now + AFTER_MS + 1, sessions.room())
    p.append(record)
    assert p.effects[-1][:2] == (TOPICS.activity_tasks("orders", "v1"), record.partition)
