"""Offsets that are no records, in between and at the end: a stranger leaves them who appends within transactions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from odradek_engine import CheckpointStore, Engine, Settings, maintenance
from odradek_engine.engine import ensure_topics
from odradek_engine.fold import State, keys
from odradek_engine.restoring import CheckpointedStates
from odradek_engine.store import RocksStorage
from odradek_log import TopicPartition
from odradek_log.simulated import SimulatedLog
from odradek_schemas import Topics, decode, encode, records, replies
from odradek_schemas.common import Request
from odradek_schemas.ephemeral import DescribeWorkflow

from .solo import ManualClock

TOPICS = Topics("test")
EVENTS = TopicPartition(TOPICS.events, 0)


class Solitary:
    """One engine on a simulated log of one partition."""

    def __init__(self, folder: Path, log: SimulatedLog, name: str, settings: Settings | None = None) -> None:
        self.clock = ManualClock()
        self.log = log
        self.engine = Engine(
            log=log.process(name), namespace="test", data_dir=folder / name, clock=self.clock, partitions=1,
            settings=settings,
        )  # fmt: skip
        self.engine.connect()

    def until(self, reached: Callable[[], bool]) -> None:
        for _ in range(400):
            if reached():
                return
            self.clock.seconds += 0.1
            self.engine._assignment.opening.wait()  # in threads of their own, which know nothing of this clock
            self.engine.step(0.0)
            self.engine.read_step(0.0)
        pytest.fail("not reached")

    def stop(self) -> None:
        self.engine.hand_over()
        self.engine.stop()

    @property
    def leads(self) -> bool:
        return self.engine.leading == [0]

    @property
    def workflows(self) -> int:
        return self.engine._processors[0].state.partition.open_workflows


def start(log: SimulatedLog, workflow_id: str) -> None:
    log.append(EVENTS, b"", encode(records.StartWorkflow(workflow_id=workflow_id, workflow_type="T", task_queue="q")))


@pytest.fixture
def log() -> SimulatedLog:
    log = SimulatedLog(auto=True)
    ensure_topics(log, TOPICS, 1)
    return log


def test_an_engine_goes_on_behind_the_end_of_a_transaction(tmp_path: Path, log: SimulatedLog) -> None:
    """Breaks when it takes the gap for lost records: it would rebuild its state for ever, and lead no more."""
    one = Solitary(tmp_path, log, "one")
    one.until(lambda: one.leads)
    log.mark(EVENTS)
    start(log, "a")
    log.mark(EVENTS)
    start(log, "b")
    one.until(lambda: one.workflows == 2)
    assert one.engine.counters()[0].rebuilds == 0
    one.stop()


def test_processes_that_catch_up_go_on_behind_the_end_of_a_transaction(
    tmp_path: Path, log: SimulatedLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks when they stop there, and the engine folds by itself what is behind it; or wait for the last offset."""
    for number in range(40):
        start(log, f"w{number}")
        if number % 13 == 0:
            log.mark(EVENTS)
    log.mark(EVENTS)
    with caplog.at_level(logging.INFO):
        one = Solitary(tmp_path, log, "one", Settings(far_behind=20, folding_processes=1))
        one.until(lambda: 0 in one.engine._assignment.catching_up)
        for thread in one.engine._assignment.catching_up._threads:
            thread.join()
        one.until(lambda: one.leads)
    assert "a process folded 40 records" in caplog.text
    assert one.workflows == 40
    one.stop()


def test_records_that_are_gone_are_no_gap(tmp_path: Path, log: SimulatedLog) -> None:
    """Breaks when a log whose beginning was deleted is folded from its middle."""
    one = Solitary(tmp_path, log, "one")
    one.until(lambda: one.leads)
    processor = one.engine._processors[0]
    log.expire(EVENTS, processor.state.partition.position + 5)
    log.first[EVENTS] = processor.state.partition.position + 1
    position = processor.state.partition.position
    assert not one.engine._access.is_gap(0, position, position + 5)
    one.stop()


def lose(log: SimulatedLog, count: int) -> None:
    """The log loses its last records, which it had acknowledged: as by an unclean election."""
    del log.records[EVENTS][-count:]


@pytest.mark.parametrize("more", [0, 1])
def test_l3_a_log_that_loses_its_end_while_it_is_led_is_folded_anew(
    tmp_path: Path, log: SimulatedLog, more: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks when an engine goes on with what its log has lost, and passes over what comes in its place: that is as
    good as lost, too."""
    one = Solitary(tmp_path, log, "one")
    one.until(lambda: one.leads)
    for name in "abc":
        start(log, name)
    one.until(lambda: one.workflows == 3)
    one.until(lambda: next(one.engine._processors[0].state.scan(keys.OUTBOX), None) is None)
    lose(log, 3)
    kept = sum(isinstance(decode(record.value), records.StartWorkflow) for record in log.records[EVENTS])
    for number in range(more):
        start(log, f"new{number}")
    with caplog.at_level(logging.ERROR):
        one.until(lambda: one.engine.counters()[0].rebuilds == 1 and one.leads and one.workflows == kept + more)
    assert "ALARM" in caplog.text
    one.stop()
    assert [verified.ok for verified in maintenance.verify(log, "test", tmp_path / "one")] == [True]


def test_a_log_that_ends_with_the_end_of_a_transaction_is_led_and_read(tmp_path: Path, log: SimulatedLog) -> None:
    """Breaks when somebody waits until the last offset was folded, which nobody ever is given."""
    one = Solitary(tmp_path, log, "one")
    one.until(lambda: one.leads)
    start(log, "a")
    one.until(lambda: one.workflows == 1)
    one.stop()
    log.mark(EVENTS)
    two = Solitary(tmp_path, log, "two")
    two.until(lambda: two.leads)
    log.mark(EVENTS)
    asked = DescribeWorkflow(workflow_id="a", request=Request("r", "c", 0, 0))
    log.append(TopicPartition(TOPICS.ephemeral, 0), b"", encode(asked))
    where = TopicPartition(TOPICS.replies, 0)
    two.until(lambda: any(isinstance(decode(r.value), replies.WorkflowDescription) for r in log.records[where]))
    two.stop()


def test_a_log_that_ends_with_the_end_of_a_transaction_is_rebuilt_verified_and_checkpointed(
    tmp_path: Path, log: SimulatedLog
) -> None:
    """Breaks when maintenance waits for the last offset, and then takes the log for silent."""
    one = Solitary(tmp_path, log, "one")
    one.until(lambda: one.leads)
    start(log, "a")
    one.until(lambda: one.workflows == 1)
    one.stop()
    log.mark(EVENTS)
    log.mark(EVENTS)
    (verified,) = maintenance.verify(log, "test", tmp_path / "one")
    assert verified.ok
    (rebuilt,) = maintenance.rebuild(log, "test", tmp_path / "one")
    assert rebuilt.records >= verified.records > 1
    assert [one.ok for one in maintenance.verify(log, "test", tmp_path / "one")] == [True]
    store = CheckpointStore(str(tmp_path / "kept"))
    ((_, checkpoint),) = maintenance.make_checkpoints(log, "test", store)
    assert checkpoint is not None
    CheckpointedStates(store, "test").check(checkpoint, tmp_path / "restored")
    log.mark(EVENTS)
    assert list(maintenance.make_checkpoints(log, "test", store)) == [(0, None)], "there is nothing new"


def test_l3_the_state_of_another_log_is_known_where_this_one_has_no_record_to_compare(
    tmp_path: Path, log: SimulatedLog
) -> None:
    """Breaks when nothing to compare counts as the same: the workflow of the other log would be open in this one."""
    other = SimulatedLog(auto=True)
    ensure_topics(other, TOPICS, 1)
    one = Solitary(tmp_path, other, "one")
    one.until(lambda: one.leads)
    start(other, "of the other log")
    one.until(lambda: one.workflows == 1)
    one.stop()
    last = State(RocksStorage(tmp_path / "one" / "test" / "0"), 0).partition.position - 1
    while len(log.records[EVENTS]) < last:
        start(log, "")
    log.mark(EVENTS)
    start(log, "of this log")
    two = Solitary(tmp_path, log, "one")
    two.until(lambda: two.leads)
    assert two.engine.counters()[0].rebuilds == 1
    two.stop()
