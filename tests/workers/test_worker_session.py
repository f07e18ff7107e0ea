"""Worker sessions (rules T5, T6)."""

from __future__ import annotations

from odradek._worker.session import HEARTBEAT_PARTS
from odradek_log.protocol import LogUnavailableError
from odradek_schemas.ephemeral import WorkerHeartbeat
from odradek_schemas.records import WorkerAlive, WorkerStopped

from .worker_fakes import PARTITIONS, RecordingProducer, session_of


def test_t5_a_session_is_announced_once_per_partition() -> None:
    producer = RecordingProducer()
    session = session_of(producer)
    assert [session.announce(p) for p in (2, 2, 0, 2)] == ["s1"] * 4
    assert [(s.topic, s.partition) for s in producer.sent] == [
        ("odradek.default.events", 2), ("odradek.default.events", 0)
    ]
    assert producer.sent[0].record == WorkerAlive(session="s1", identity="me", client_id="c1", reply_partition=3)


def test_t5_a_session_whose_announcement_the_log_did_not_take_is_announced_again() -> None:
    """Breaks when it counts as announced: the partition answers no claim of a session that it does not know, ever."""
    producer = RecordingProducer()
    session = session_of(producer)
    session.announce(2)
    producer.sent[0].give_up(LogUnavailableError("the disk is full"))
    session.announce(2)
    producer.sent[1].deliver(7)
    session.announce(2)
    assert [(s.partition, s.record.session) for s in producer.sent] == [(2, "s1"), (2, "s1")]
    session.ended("s1")
    producer.sent[1].give_up(LogUnavailableError("late"))
    session.announce(2)
    session.announce(2)
    assert [s.record.session for s in producer.sent if isinstance(s.record, WorkerAlive)] == ["s1", "s1", "s2"]


def test_t6_a_worker_whose_session_ended_begins_a_new_one_and_announces_it() -> None:
    producer = RecordingProducer()
    session = session_of(producer)
    session.announce(2)
    assert session.ended("s1")
    assert session.announce(2) == "s2"
    assert [s.record.session for s in producer.of(WorkerAlive)] == ["s1", "s2"]


def test_t6_the_end_of_a_former_session_is_old_news() -> None:
    producer = RecordingProducer()
    session = session_of(producer)
    assert session.ended("s1")
    assert not session.ended("s1"), "every partition's leader says so; one new session is enough"
    assert session.id == "s2"


def test_t6_heartbeats_go_to_every_partition_and_name_the_current_session() -> None:
    producer = RecordingProducer()
    session = session_of(producer, lost_after=6.0, workflow_queues=["q"], activity_queues=["q"])
    assert session.heartbeat_interval == 1.5
    session.heartbeat()
    assert [(s.topic, s.partition) for s in producer.sent] == [
        ("odradek.default.ephemeral", p) for p in range(PARTITIONS)
    ]
    assert producer.sent[0].record == WorkerHeartbeat(
        session="s1", workflow_queues=["q"], activity_queues=["q"], client_id="c1", lost_after_ms=6000
    )
    session.ended("s1")
    assert {s.record.session for s in producer.of(WorkerHeartbeat)[PARTITIONS:]} == {"s2"}


def test_t6_all_partitions_hear_at_first_and_then_each_once_in_an_interval_few_at_a_time() -> None:
    """Breaks when a step of a workflow waits behind a heartbeat for each partition, or a leader hears too seldom."""
    producer = RecordingProducer()
    session = session_of(producer)
    session.heartbeat_in_turn()
    assert [s.partition for s in producer.sent] == list(range(PARTITIONS))
    for _ in range(2):
        producer.sent.clear()
        at_once = []
        for _ in range(HEARTBEAT_PARTS):
            before = len(producer.sent)
            session.heartbeat_in_turn()
            at_once.append(len(producer.sent) - before)
        assert sorted(s.partition for s in producer.sent) == list(range(PARTITIONS))
        assert max(at_once) <= -(-PARTITIONS // HEARTBEAT_PARTS)


def test_heartbeats_that_the_log_does_not_take_do_not_pile_up() -> None:
    """Breaks when a worker that cannot reach the log fills its memory with them, until nothing else finds room."""
    producer = RecordingProducer()
    session = session_of(producer)
    for _ in range(100):
        session.heartbeat()
    assert len(producer.sent) == 5 * PARTITIONS
    for one in producer.sent[:PARTITIONS]:
        one.deliver(1)
    session.heartbeat()
    session.heartbeat()
    assert len(producer.sent) == 6 * PARTITIONS


def test_a_stopped_session_says_so_where_it_was_announced_and_that_it_leaves_everywhere() -> None:
    producer = RecordingProducer()
    session = session_of(producer)
    session.announce(3)
    session.announce(1)
    session.stop()
    session.stop()
    assert [(s.partition, s.record) for s in producer.of(WorkerStopped)] == [
        (1, WorkerStopped(session="s1")), (3, WorkerStopped(session="s1"))
    ]
    session.heartbeat()
    assert [(s.partition, s.record) for s in producer.of(WorkerHeartbeat)] == [
        (p, WorkerHeartbeat(session="s1", client_id="c1", leaving=True)) for p in range(PARTITIONS)
    ]
    assert not session.ended("s1"), "a stopped worker does not come back"
