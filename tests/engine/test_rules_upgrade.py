"""Old and new engines on one namespace (rules V1, V2). What is newer folds as version 1 does, but calls itself 2."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from odradek_engine import Engine
from odradek_engine.engine import ensure_topics
from odradek_engine.fold import UnsupportedVersionError
from odradek_engine.members import MISSED, Members
from odradek_engine.settings import Settings
from odradek_log import TopicPartition
from odradek_log.embedded import EmbeddedLog
from odradek_schemas import Topics, decode, encode, records
from odradek_schemas.ephemeral import EngineAlive

from .solo import ManualClock

TOPICS = Topics("test")
PARTITIONS = (0, 1)
OLD, NEW = 1, 2
PATIENCE = 500


class Clock(ManualClock):
    """Waiting is by hand; the wall clock is that of the log."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Fleet:
    """Engines on one log, each with a data directory of its own, that take turns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.log = EmbeddedLog(folder / "log", fsync=False)
        self.engines: dict[str, Engine] = {}
        self.started = 0
        ensure_topics(self.log, TOPICS, len(PARTITIONS))

    def add(self, name: str, version: int) -> Engine:
        engine = Engine(
            log=self.log, namespace="test", data_dir=self.folder / name, clock=self.clock,
            settings=Settings(fold_version=version),
        )  # fmt: skip
        engine.connect()
        self.engines[name] = engine
        return engine

    def remove(self, name: str) -> None:
        engine = self.engines.pop(name)
        engine._following.consumer.close()
        engine.hand_over()
        engine.stop()

    def until(self, reached: Callable[[], bool]) -> None:
        for _ in range(PATIENCE):
            if reached():
                return
            self.turn()
        pytest.fail(f"not reached; versions {[self.versions(p) for p in PARTITIONS]}")

    def turn(self) -> None:
        """Everybody does what there is to do, and hears what was said."""
        for engine in self.engines.values():
            engine._assignment.opening.wait()
            engine.step(0.01)
            engine.follow_step(0.0)
            assert engine._producer.flush(60.0) == 0
        for engine in self.engines.values():
            engine.read_step(0.0)
            while not all(self.end(*tp) == at for tp, at in engine._hearing.positions.items()):
                engine.read_step(0.01)

    def led(self) -> bool:
        """Whether each partition has a leader."""
        return sorted(p for engine in self.engines.values() for p in engine.leading) == list(PARTITIONS)

    def pass_time(self, seconds: int) -> None:
        """Everybody has the time to announce itself."""
        for _ in range(seconds):
            self.clock.seconds += 1
            self.turn()

    def end(self, topic: str, partition: int) -> int:
        return self.log.offsets(TopicPartition(topic, partition))[1]

    def append(self, topic: str, partition: int, value: bytes) -> None:
        producer = self.log.producer()
        producer.send(topic, partition, b"", value)
        assert producer.flush(60.0) == 0
        producer.close()

    def versions(self, partition: int) -> list[int]:
        """The fold versions of all elections, in order."""
        return [elected.version for elected in self.elections(partition)]

    def elections(self, partition: int) -> list[records.LeaderElected]:
        consumer = self.log.consumer()
        consumer.assign({TopicPartition(TOPICS.events, partition): 0})
        found: list[records.LeaderElected] = []
        seen = 0
        while seen < self.end(TOPICS.events, partition):
            for record in consumer.poll(1.0):
                seen += 1
                elected = decode(record.value)
                found += [elected] if isinstance(elected, records.LeaderElected) else []
        consumer.close()
        return found

    def works(self, partition: int) -> bool:
        """A workflow starts in that partition."""
        self.started += 1
        start = records.StartWorkflow(workflow_id=f"w{self.started}", workflow_type="T", task_queue="q")
        before = self.folded(partition)
        self.append(TOPICS.events, partition, encode(start))
        self.until(lambda: self.folded(partition) > before)
        return True

    def folded(self, partition: int) -> int:
        """How far whoever leads a partition has folded."""
        leaders = [engine for engine in self.engines.values() if partition in engine.leading]
        return max((engine._processors[partition].state.partition.position for engine in leaders), default=-1)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    for name in list(fleet.engines):
        fleet.remove(name)
    fleet.log.close()


WAIT = round(MISSED * 10) + 2


def test_v2_old_and_new_engines_run_side_by_side_and_the_new_ones_may_be_taken_back(fleet: Fleet) -> None:
    """Breaks when a new engine switches the log while an old one is there: then nobody could go back."""
    fleet.add("old", OLD)
    fleet.until(fleet.led)
    fleet.add("new", NEW)
    fleet.until(lambda: fleet.led() and all(engine.leading for engine in fleet.engines.values()))
    fleet.pass_time(2 * WAIT)
    assert all(fleet.works(partition) for partition in PARTITIONS)
    assert {version for partition in PARTITIONS for version in fleet.versions(partition)} == {OLD}
    fleet.remove("new")
    fleet.until(fleet.led)
    assert all(fleet.works(partition) for partition in PARTITIONS), "rolled back"


def test_v2_the_log_is_switched_once_every_engine_knows_the_new_version(fleet: Fleet) -> None:
    """Breaks when it never is, or when an old engine can come back then (V1)."""
    fleet.add("old", OLD)
    fleet.add("new", NEW)
    fleet.until(fleet.led)
    fleet.pass_time(WAIT)
    fleet.remove("old")
    fleet.until(fleet.led)
    assert {*fleet.versions(0), *fleet.versions(1)} == {OLD}
    fleet.pass_time(WAIT)
    fleet.until(lambda: fleet.led() and {fleet.versions(0)[-1], fleet.versions(1)[-1]} == {NEW})
    assert all(fleet.works(partition) for partition in PARTITIONS)

    old = fleet.add("old", OLD)
    with pytest.raises(UnsupportedVersionError, match="upgrade this engine"):
        fleet.until(lambda: any(processor.declined for processor in old._processors.values()))
        fleet.pass_time(WAIT)
    fleet.remove("old")
    fleet.until(fleet.led)
    assert all(fleet.works(partition) for partition in PARTITIONS), "the new one has them all again"


def test_v1_one_partition_that_needs_newer_code_stands_still_and_the_others_go_on(fleet: Fleet) -> None:
    """Breaks when one record ends the whole engine, or older code folds on behind it."""
    old = fleet.add("old", OLD)
    fleet.until(fleet.led)
    at = fleet.end(TOPICS.events, 0)
    elected = records.LeaderElected(member="newer", nonce="n", clock_ms=0, version=NEW, partitions=2)
    fleet.append(TOPICS.events, 0, encode(elected))
    fleet.until(lambda: old.leading == [1])
    assert fleet.works(1)
    fleet.append(TOPICS.events, 0, encode(records.StartWorkflow(workflow_id="x", workflow_type="T", task_queue="q")))
    fleet.pass_time(WAIT)
    stopped = old._processors[0].state.partition
    assert (stopped.position, stopped.open_workflows) == (at, 0)
    assert old.leading == [1]
    fleet.append(TOPICS.ephemeral, 1, encode(EngineAlive(member="newer", version=NEW)))
    with pytest.raises(UnsupportedVersionError):
        fleet.until(lambda: False)


def test_v1_a_state_of_newer_code_is_not_gone_on_with(fleet: Fleet) -> None:
    """Breaks when an older program is started on the data directory of a newer one, and leads, or folds what is left of
    the log as it does itself, for the newer one to find when it comes back."""
    fleet.add("one", NEW)
    fleet.until(fleet.led)
    fleet.pass_time(WAIT)
    fleet.until(lambda: fleet.led() and {fleet.versions(0)[-1], fleet.versions(1)[-1]} == {NEW})
    fleet.remove("one")
    folded = [fleet.end(TOPICS.events, partition) for partition in PARTITIONS]
    for partition in PARTITIONS:
        late = records.StartWorkflow(workflow_id="late", workflow_type="T", task_queue="q")
        fleet.append(TOPICS.events, partition, encode(late))
    ends = [fleet.end(TOPICS.events, partition) for partition in PARTITIONS]
    back = fleet.add("one", OLD)
    fleet.until(lambda: len(back._processors) == 2)
    assert back.leading == []
    fleet.pass_time(5)
    assert [back._processors[partition].state.partition.position for partition in PARTITIONS] == folded
    assert [fleet.end(TOPICS.events, partition) for partition in PARTITIONS] == ends, "it says nothing"


def listen(members: Members, clock: ManualClock, until: int) -> None:
    """Time passes, and an engine hears itself now and then."""
    while clock.seconds < until:
        clock.seconds = min(clock.seconds + 10, until)
        members.heard(EngineAlive(member="me", version=NEW))


def test_an_engine_is_gone_when_it_was_not_heard_for_a_while() -> None:
    """Breaks when an engine that died holds the switch back for ever, or one that is late does not."""
    clock = ManualClock()
    members = Members("me", NEW, clock, 10.0)
    assert not members.all_know(OLD), "nobody has had the time to speak"
    listen(members, clock, 36)
    assert members.all_know(NEW)
    assert not members.all_know(NEW + 1)
    members.heard(EngineAlive(member="old", version=OLD))
    assert not members.all_know(NEW)
    assert not members.another_knows(NEW)
    listen(members, clock, 70)
    assert not members.all_know(NEW)
    listen(members, clock, 72)
    assert members.all_know(NEW)
    members.heard(EngineAlive(member="newer", version=NEW + 1))
    assert members.another_knows(NEW + 1)


def test_v2_an_engine_that_stood_still_does_not_know_who_is_there() -> None:
    """Breaks when one that was suspended switches the log at once, for it has heard nobody for long."""
    clock = ManualClock()
    members = Members("me", NEW, clock, 10.0)
    listen(members, clock, 60)
    assert members.all_know(NEW)
    clock.seconds = 120
    assert not members.all_know(NEW), "it may be a zombie"
    members.heard(EngineAlive(member="me", version=NEW))
    assert not members.all_know(NEW), "the others have not had the time to speak"
    members.heard(EngineAlive(member="old", version=OLD))
    listen(members, clock, 150)
    assert not members.all_know(NEW)
    listen(members, clock, 160)
    assert members.all_know(NEW)


def test_v2_an_engine_without_a_partition_hears_who_is_there(fleet: Fleet) -> None:
    """Breaks when it switches the log as soon as it gets a partition: it has heard of no older engine so far."""
    fleet.add("one", OLD)
    fleet.add("two", OLD)
    fleet.until(lambda: fleet.led() and all(engine.leading for engine in fleet.engines.values()))
    new = fleet.add("new", NEW)
    fleet.pass_time(2 * WAIT)
    assert not new.leading
    fleet.remove("one")
    fleet.until(lambda: fleet.led() and bool(new.leading))
    fleet.pass_time(2)
    assert {*fleet.versions(0), *fleet.versions(1)} == {OLD}
