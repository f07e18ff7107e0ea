"""What a worker takes of a task topic, and which offsets it commits (rules E1, T1, T2, T3, T4)."""

from __future__ import annotations

import pytest
from odradek._worker.chain import Chain, Verdict, load_chain
from odradek._worker.intake import GAP_SECONDS, LATE_MS, Taken, TaskIntake
from odradek_log.protocol import Committed, Record, TopicPartition
from odradek_schemas import Position, encode
from odradek_schemas.tasks import VoidEffect

from .activity_bench import activity_task
from .worker_fakes import query_task, workflow_task

TOPIC = TopicPartition("odradek.default.workflow-tasks.q", 0)


def at(offset: int, index: int = 0, previous: tuple[int, int] = (-1, 0), source: int = 0) -> Position:
    return Position(
        partition=source, offset=offset, index=index, previous_offset=previous[0], previous_index=previous[1]
    )


def record(offset: int, value: bytes) -> Record:
    return Record(TOPIC.topic, TOPIC.partition, offset, 0, b"", value)


def task(offset: int, position: Position) -> Record:
    return record(offset, encode(workflow_task(position=position)))


class Reader:
    """An intake with one partition assigned."""

    def __init__(self, committed: Committed | None = None, end: int = 0) -> None:
        self.now = 0.0
        self.intake = TaskIntake(lambda partition: end, lambda: self.now)
        assert self.intake.assigned({TOPIC: committed}) == {}

    def read(self, *records: Record) -> list[Taken | None]:
        return [self.intake.receive(r) for r in records]

    def take(self, *records: Record) -> list[Taken]:
        """Read records that are all taken."""
        taken = [t for t in self.read(*records) if t is not None]
        assert len(taken) == len(records)
        return taken

    def commit(self) -> Committed | None:
        return self.intake.commits().get(TOPIC)


def test_e1_the_next_link_is_taken_and_a_repeated_one_dropped() -> None:
    reader = Reader()
    first, repeated, second = reader.read(
        task(0, at(5)), task(1, at(5)), task(2, at(5, 1, previous=(5, 0)))
    )
    assert first is not None
    assert repeated is None
    assert second is not None


def test_e1_what_would_leave_a_gap_is_neither_taken_nor_remembered() -> None:
    reader = Reader()
    gap, missing, again = reader.read(
        task(0, at(7, previous=(5, 0))), task(1, at(5)), task(2, at(7, previous=(5, 0)))
    )
    assert gap is None
    assert missing is not None, "the ignored effect must not make its predecessor look old"
    assert again is not None


def test_e1_chains_of_two_sources_do_not_touch_each_other() -> None:
    reader = Reader()
    first, other = task(0, at(50, source=1)), task(1, at(5, source=2))
    assert len(reader.take(first, other, task(2, at(51, previous=(50, 0), source=1)))) == 3


def test_e1_a_void_effect_is_a_link_that_asks_for_nothing() -> None:
    reader = Reader()
    void, after = reader.read(
        record(0, encode(VoidEffect(position=at(3)))), task(1, at(4, previous=(3, 0)))
    )
    assert void is None
    assert after is not None
    after.ticket.finish()
    committed = reader.commit()
    assert committed is not None
    assert committed.offset == 2


def test_t1_commits_are_the_low_water_mark_of_finished_tasks() -> None:
    reader = Reader()
    a, b, c = reader.take(task(0, at(1)), task(1, at(2, previous=(1, 0))), task(2, at(3, previous=(2, 0))))
    c.ticket.finish()
    assert reader.commit() is None
    a.ticket.finish()
    first = reader.commit()
    assert first is not None
    assert first.offset == 1
    b.ticket.finish()
    second = reader.commit()
    assert second is not None
    assert second.offset == 3
    assert reader.commit() is None, "nothing has moved since"


def test_t2_metadata_holds_the_chain_as_of_the_committed_offset_not_the_reading() -> None:
    reader = Reader()
    a, _ = reader.take(task(0, at(1)), task(1, at(2, previous=(1, 0))))
    a.ticket.finish()
    committed = reader.commit()
    again = Reader(committed)
    assert again.read(task(1, at(2, previous=(1, 0))))[0] is not None, "the unfinished task is the next link again"


def test_t2_also_in_the_middle_of_a_topic() -> None:
    reader = Reader(Committed(7, Chain({0: (0, 0)}).dump()))
    a, _ = reader.take(task(7, at(1, previous=(0, 0))), task(8, at(2, previous=(1, 0))))
    a.ticket.finish()
    again = Reader(reader.commit())
    assert again.read(task(8, at(2, previous=(1, 0))))[0] is not None
    assert reader.read(task(9, at(2, previous=(1, 0)))) == [None], "a commit does not move the reading back"


def test_t2_a_repeated_effect_is_dropped_also_after_the_partition_moved() -> None:
    reader = Reader()
    a, b = reader.take(task(0, at(1)), task(1, at(2, previous=(1, 0))))
    a.ticket.finish()
    b.ticket.finish()
    moved = Reader(reader.commit())
    assert moved.read(task(2, at(1)), task(3, at(2, previous=(1, 0)))) == [None, None]
    committed = moved.commit()
    assert committed is not None
    assert committed.offset == 4, "dropped records are finished"


def test_t2_a_source_first_seen_after_the_move_still_begins_at_its_start() -> None:
    reader = Reader()
    (a,) = reader.take(task(0, at(1, source=1)))
    a.ticket.finish()
    moved = Reader(reader.commit())
    gap, start = moved.read(task(1, at(9, previous=(4, 0), source=2)), task(2, at(4, source=2)))
    assert gap is None
    assert start is not None


@pytest.mark.parametrize("metadata", ["", "something else", "=1:x"])
def test_t2_without_metadata_the_first_effect_seen_of_a_source_starts_its_chain(metadata: str) -> None:
    reader = Reader(Committed(40, metadata))
    first, old, following = reader.read(
        task(40, at(9, previous=(8, 0))), task(41, at(8)), task(42, at(10, previous=(9, 0)))
    )
    assert first is not None
    assert old is None
    assert following is not None


def test_t2_an_unknown_start_stays_unknown_for_sources_not_seen_when_the_partition_moves() -> None:
    reader = Reader(Committed(40))
    (a,) = reader.take(task(40, at(9, previous=(8, 0), source=1)))
    a.ticket.finish()
    moved = Reader(reader.commit())
    assert moved.read(task(41, at(7, previous=(6, 0), source=2)))[0] is not None


def test_t3_skipped_records_start_the_chain_anew() -> None:
    reader = Reader(Committed(5, Chain({0: (3, 0)}).dump()))
    (after,) = reader.read(task(9, at(30, previous=(29, 0))))
    assert after is not None, "the predecessors are gone for good: waiting for them would be for ever"
    after.ticket.finish()
    committed = reader.commit()
    assert committed is not None
    chain = load_chain(committed.metadata)
    assert chain is not None
    assert chain.offer(at(31, previous=(30, 0))) is Verdict.TAKE
    assert chain.offer(at(8, previous=(7, 0), source=1)) is Verdict.TAKE, "its predecessor may be among the skipped"


def test_t4_what_lies_below_the_end_at_assignment_is_not_fresh() -> None:
    reader = Reader(end=1)
    old, new = reader.take(task(0, at(1)), task(1, at(2, previous=(1, 0))))
    assert (old.fresh, new.fresh) == (False, True)


def test_t4_an_activity_that_was_emitted_long_after_it_was_scheduled_is_not_fresh() -> None:
    """A new leader emits what the one before it may have emitted already: the activity may have ended since."""
    reader = Reader()

    def emitted(offset: int, delay_ms: int) -> Record:
        value = encode(activity_task(position=at(offset + 1, previous=(offset or -1, 0)), scheduled_ms=5_000))
        return Record(TOPIC.topic, TOPIC.partition, offset, 5_000 + delay_ms, b"", value)

    soon, late = reader.take(emitted(0, LATE_MS), emitted(1, LATE_MS + 1))
    assert (soon.fresh, late.fresh) == (True, False)


def test_metadata_of_64_sources_stays_under_4000_characters() -> None:
    chain = Chain(dict.fromkeys(range(64), (2**62, 2**31)))
    text = chain.dump()
    assert len(text) <= 4_000
    loaded = load_chain(text)
    assert loaded is not None
    assert loaded.dump() == text


def test_records_that_are_no_tasks_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader()
    assert reader.read(record(0, b"rubbish"), record(1, b"")) == [None, None]
    committed = reader.commit()
    assert committed is not None
    assert committed.offset == 2
    assert "skipped" in caplog.text


def test_queries_are_in_no_chain() -> None:
    reader = Reader()
    first, again = reader.read(record(0, encode(query_task())), record(1, encode(query_task())))
    assert first is not None
    assert again is not None


def test_records_and_tickets_of_a_revoked_partition_mean_nothing() -> None:
    reader = Reader()
    (a,) = reader.take(task(0, at(1)))
    reader.intake.revoked([TOPIC])
    a.ticket.finish()
    assert reader.intake.commits() == {}
    assert reader.read(task(1, at(2, previous=(1, 0)))) == [None]


def test_e1_a_gap_that_nobody_fills_is_for_ever_and_the_chain_goes_on_after_it() -> None:
    """A topic that was deleted and made again begins in the middle of every chain."""
    reader = Reader()
    assert reader.read(task(0, at(9, previous=(4, 0)))) == [None]
    reader.now += GAP_SECONDS / 2
    assert reader.read(task(1, at(10, previous=(9, 0)))) == [None], "its leader may still send what is missing"
    reader.now += GAP_SECONDS
    taken, old = reader.read(task(2, at(11, previous=(10, 0))), task(3, at(10, previous=(9, 0))))
    assert taken is not None
    assert old is None
