"""The engine on the embedded log: restarts, lost and foreign state, many workflows, broken disks."""

from __future__ import annotations

import gc
import logging
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import psutil  # type: ignore[import-untyped]
import pytest
from odradek_engine import Engine
from odradek_engine.engine import ensure_topics
from odradek_engine.fold import MemoryStorage, State, fold, keys
from odradek_engine.fold import state as state_module
from odradek_engine.fold.invariants import problems
from odradek_engine.store import ROOM_BYTES, RocksStorage, StoreError, check_room
from odradek_log import Record, TopicPartition
from odradek_log.embedded import EmbeddedLog
from odradek_schemas import Topics, decode, encode, partition_of, records
from odradek_schemas.common import Record as AnyRecord
from odradek_schemas.tasks import DeadLetter

TOPICS = Topics("test")
PATIENCE_S = 60.0


class Place:
    """A log in a folder, an engine's data directory, and engines that are driven turn by turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "state"
        self.log = EmbeddedLog(folder / "log", fsync=False)
        ensure_topics(self.log, TOPICS, 2)
        self.engine: Engine | None = None

    def new_log(self, name: str) -> None:
        """Another log takes the place of the first."""
        self.log.close()
        self.log = EmbeddedLog(self.folder / name, fsync=False)
        ensure_topics(self.log, TOPICS, 2)

    def append(self, *appended: AnyRecord | bytes, partition: int = 0) -> None:
        producer = self.log.producer()
        for record in appended:
            value = record if isinstance(record, bytes) else encode(record)
            producer.send(TOPICS.events, partition, b"", value)
        assert producer.flush(10) == 0
        producer.close()

    def start(self, count: int, first: int = 0) -> None:
        """Start so many workflows, in whatever partition."""
        for i in range(first, first + count):
            self.append(
                records.StartWorkflow(workflow_id=f"w{i}", workflow_type="Order", task_queue="orders"),
                partition=i % 2,
            )

    def boot(self, **settings: Any) -> Engine:
        self.engine = Engine(log=self.log, namespace="test", data_dir=self.data, partitions=2, **settings)
        self.engine.connect()
        return self.engine

    def until(self, reached: Callable[[], bool]) -> None:
        assert self.engine is not None
        give_up = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < give_up, "the engine does not get there"
            self.engine.step(0.05)

    def settle(self) -> Engine:
        """Drive the engine until it leads both partitions, has folded everything, and all effects have left."""
        assert self.engine is not None
        engine = self.engine
        self.until(lambda: engine.leading == [0, 1] and all(map(self._quiet, (0, 1))))
        return engine

    def _quiet(self, partition: int) -> bool:
        state = self.state(partition)
        _, end = self.log.offsets(TopicPartition(TOPICS.events, partition))
        return state.partition.position == end and next(state.scan(keys.OUTBOX), None) is None

    def state(self, partition: int) -> State:
        assert self.engine is not None
        return self.engine._processors[partition].state

    def stop(self) -> None:
        if self.engine is not None:
            self.engine.hand_over()
            self.engine.stop()
            self.engine = None

    def read(self, topic: str, partition: int) -> list[Record]:
        """All records of a partition."""
        where = TopicPartition(topic, partition)
        _, end = self.log.offsets(where)
        consumer = self.log.consumer()
        consumer.assign({where: 0})
        found: list[Record] = []
        while len(found) < end:
            found += consumer.poll(5.0)
        consumer.close()
        return found

    def golden(self, partition: int, end: int) -> dict[bytes, bytes]:
        """What the log's first `end` records fold to."""
        state = State(MemoryStorage(), partition)
        for record in self.read(TOPICS.events, partition)[:end]:
            fold(state, TOPICS, record.offset, record.timestamp_ms, record.key, record.value)
        return state.dump()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.stop()
    place.log.close()


def stored(place: Place, partition: int) -> dict[bytes, bytes]:
    """What lies on the disk of an engine that has stopped."""
    storage = RocksStorage(place.data / "test" / str(partition), read_only=True)
    return State(storage, partition).dump()


# ---------------------------------------------------------------- restarts


def test_a_restart_folds_only_the_tail(place: Place) -> None:
    """Breaks when the stored position is not used, or something behind it is folded twice or not at all."""
    place.start(60)
    place.boot()
    place.settle()
    place.stop()
    positions = {p: place.log.offsets(TopicPartition(TOPICS.events, p))[1] for p in (0, 1)}
    before = {p: State(RocksStorage(place.data / "test" / str(p), read_only=True), p).partition for p in (0, 1)}
    gc.collect()
    place.start(7, first=60)
    engine = place.boot()
    place.settle()
    for partition, counters in engine.counters().items():
        end = place.state(partition).partition.position
        assert engine._processors[partition].comparison.check_at == -1, "it was compared"
        assert counters.folded == end - before[partition].position
        assert counters.folded < 20 < before[partition].position <= positions[partition]
        assert place.state(partition).dump() == place.golden(partition, end)


def test_a_deleted_state_is_rebuilt_byte_for_byte(place: Place) -> None:
    """Breaks when the state holds anything that is not in the log."""
    place.start(40)
    place.append(b"nonsense")
    place.boot()
    place.settle()
    place.stop()
    kept = {p: stored(place, p) for p in (0, 1)}
    ends = {p: decode_position(kept[p]) for p in (0, 1)}
    assert all(kept[p] == place.golden(p, ends[p]) for p in (0, 1))
    shutil.rmtree(place.data)
    engine = place.boot()
    place.settle()
    for partition, counters in engine.counters().items():
        end = place.state(partition).partition.position
        assert counters.folded == end > ends[partition]
        assert place.state(partition).dump() == place.golden(partition, end)


def decode_position(dump: dict[bytes, bytes]) -> int:
    storage = MemoryStorage()
    storage.entries = dump
    return State(storage).partition.position


def test_a_crash_loses_nothing_that_the_log_has(place: Place) -> None:
    """Breaks when a state that was not persisted, or only in part, is not completed from the log."""
    place.start(30)
    place.boot()
    place.settle()
    place.stop()
    shutil.copytree(place.data, place.folder / "older")
    place.start(30, first=30)
    place.boot()
    place.settle()
    place.stop()
    shutil.rmtree(place.data)
    shutil.move(place.folder / "older", place.data)
    place.boot()
    place.settle()
    for partition in (0, 1):
        state = place.state(partition)
        assert state.dump() == place.golden(partition, state.partition.position)
        assert problems(state) == []


# ---------------------------------------------------------------- L3: a state of another log


def test_l3_a_state_above_the_log_s_end_is_discarded(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when an engine leads with a state that its log has never seen: no alarm, wrong workflows."""
    place.start(40)
    place.boot()
    place.settle()
    place.stop()
    place.new_log("restored from a backup")
    place.start(4, first=100)
    with caplog.at_level(logging.ERROR):
        engine = place.boot()
        place.settle()
    assert "ALARM" in caplog.text
    assert sum(c.rebuilds for c in engine.counters().values()) == 2
    for partition in (0, 1):
        state = place.state(partition)
        assert state.dump() == place.golden(partition, state.partition.position)
        assert state.partition.open_workflows == 2


def test_l3_a_last_record_with_another_hash_discards_the_state(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when only positions are compared: the log of another cluster, just as long, would be believed."""
    place.start(4)
    place.boot()
    place.settle()
    place.stop()
    place.new_log("another cluster")
    place.start(60, first=100)
    with caplog.at_level(logging.ERROR):
        engine = place.boot()
        place.settle()
    assert "ALARM" in caplog.text
    assert sum(c.rebuilds for c in engine.counters().values()) == 2
    for partition in (0, 1):
        state = place.state(partition)
        assert state.dump() == place.golden(partition, state.partition.position)


def test_l3_a_sound_state_raises_no_alarm(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when a restart takes its own log for a foreign one."""
    place.boot()
    place.settle()
    for workflow_id in ("w1", "w2", "w3", "w4"):
        place.append(records.SignalWorkflow(workflow_id=workflow_id, signal="poke"), partition=0)
        place.append(records.SignalWorkflow(workflow_id=workflow_id, signal="poke"), partition=1)
    place.settle()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            place.stop()
            place.boot()
            place.settle()
    assert "ALARM" not in caplog.text


# ---------------------------------------------------------------- poison, broken disks


def test_a_poison_record_becomes_a_dead_letter_and_the_partition_goes_on(place: Place) -> None:
    """Breaks when bytes that are no record stop an engine, now or at its next start."""
    place.boot()
    place.settle()
    place.append(b"\xc3\x01poison")
    place.start(2)
    place.settle()
    [letter] = [decode(r.value) for r in place.read(TOPICS.dead_letters, 0)]
    assert isinstance(letter, DeadLetter)
    assert letter.value == b"\xc3\x01poison"
    assert place.state(0).partition.open_workflows + place.state(1).partition.open_workflows == 2
    place.stop()
    place.boot()
    place.settle()


def test_a_state_folder_that_cannot_be_made_is_a_clear_error(place: Place) -> None:
    """Breaks when the engine dies of a bare OSError, or goes on without a place for its state."""
    place.data.write_text("in the way")
    with pytest.raises(StoreError, match="state"):
        place.boot()
    place.engine = None  # it has not begun


def test_an_engine_without_room_for_a_state_joins_nothing(tmp_path: Path) -> None:
    """Breaks when an engine whose disk is full takes partitions from others and drops them, whenever it is started."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES - 1, before[1]))
    try:
        with pytest.raises(StoreError, match="disk full"):
            check_room(tmp_path / "state")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "state").iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"File exists\. Check the path, its owner and its permissions"):
        check_room(tmp_path / "file")


def test_two_engines_do_not_share_a_folder(place: Place) -> None:
    """Breaks when a second engine begins: each would find partitions open that the other has given up just now."""
    place.boot()
    place.settle()
    second = Engine(log=place.log, namespace="test", data_dir=place.data, partitions=2)
    with pytest.raises(StoreError, match=rf"process {os.getpid()} keeps its state in .*: give this one another"):
        second.connect()
    elsewhere = Engine(log=place.log, namespace="other", data_dir=place.data, partitions=2)
    elsewhere.connect()
    elsewhere.hand_over()
    place.stop()
    place.boot()


def test_a_full_disk_is_a_clear_error(place: Place) -> None:
    """Breaks when a write that failed is passed over: the state would have a hole."""

    class Full:
        def __init__(self, database: Any) -> None:
            self._database = database

        def write(self, *_: object) -> NoReturn:
            raise Exception("IO error: No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._database, name)

    place.boot()
    place.settle()
    for partition in (0, 1):
        storage: Any = place.state(partition).storage
        storage._db = Full(storage._db)
    place.start(2)
    with pytest.raises(StoreError, match="disk full"):
        place.until(lambda: False)
    for partition in (0, 1):
        storage = place.state(partition).storage
        storage._db = storage._db._database
    place.stop()
    place.boot()
    place.settle()
    for partition in (0, 1):
        state = place.state(partition)
        assert state.dump() == place.golden(partition, state.partition.position)


# ---------------------------------------------------------------- many open workflows

MANY = 100_000


def multiply(state: State, count: int) -> None:
    """Copies of the workflow "w0", under other IDs, with all their rows."""
    run = state.get(keys.current("w0"))
    events = list(state.scan(keys.of_run(keys.EVENT, "w0", run.run_id)))
    timers = list(state.scan(keys.of_run(keys.TIMER, "w0", run.run_id)))
    replace = msgspec.structs.replace
    for i in range(1, count):
        name = f"w{i}"
        state.put(keys.current(name), replace(run, workflow_id=name))
        for number, (_, encoded) in enumerate(events, 1):
            state.put(keys.event(name, run.run_id, number), encoded)
        for _, timer in timers:
            state.put(keys.timer(name, run.run_id, timer.seq), replace(timer, workflow_id=name))
        if i % 1000 == 0:
            state.commit()
            state.flush()
    state.put_partition(replace(state.partition, open_workflows=count))
    state.commit()
    state.flush()


def test_a_restart_does_not_load_100_000_open_workflows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when starting, or anything done at each turn, goes through all workflows, or keeps them in memory."""
    home = partition_of(b"w0", 2)
    first = records.StartWorkflow(
        workflow_id="w0", workflow_type="Order", task_queue="orders", execution_timeout_ms=10**9, start_delay_ms=10**9
    )
    place.append(first, partition=home)
    place.boot()
    place.settle()
    multiply(place.state(home), MANY)
    place.stop()
    gc.collect()

    decoded = 0
    original = state_module._from_bytes

    def counted(key: bytes, value: bytes) -> Any:
        nonlocal decoded
        decoded += 1
        return original(key, value)

    monkeypatch.setattr(state_module, "_from_bytes", counted)
    before = psutil.Process().memory_info().rss
    place.boot()
    place.settle()
    one = next(f"w{i}" for i in range(MANY - 1, 0, -1) if partition_of(f"w{i}".encode(), 2) == home)
    place.append(records.SignalWorkflow(workflow_id=one, signal="poke"), partition=home)
    place.settle()
    grown = psutil.Process().memory_info().rss - before
    assert place.state(home).partition.open_workflows == MANY
    assert place.state(home).get(keys.current(one)).last_event_id > 1
    assert decoded < 500
    assert grown < 100 * 1024 * 1024


def test_the_rows_in_memory_are_bounded(place: Place) -> None:
    """Breaks when every row that was ever read stays decoded."""
    state = State(MemoryStorage(), 0, cache_rows=100)
    elected = records.LeaderElected(member="m", nonce="n", clock_ms=0, partitions=1)
    fold(state, TOPICS, 0, 0, b"", encode(elected))
    for i in range(1, 1500):
        start = records.StartWorkflow(workflow_id=f"w{i}", workflow_type="Order", task_queue="orders")
        fold(state, TOPICS, i, 0, b"", encode(start))
        if i % 10 == 0:
            state.flush()
        assert len(state._clean) <= 100
    assert state.partition.open_workflows == 1499
