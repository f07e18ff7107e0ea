"""The partitions that an engine is given are opened side by side, and nobody waits for that but themselves."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from odradek_engine import CheckpointSettings, Engine, StoreError
from odradek_engine.namespace import ensure_topics
from odradek_engine.opening import OPENED_AT_ONCE
from odradek_engine.store import EngineStorage, RocksStorage
from odradek_log.embedded import EmbeddedLog
from odradek_schemas import Topics, encode, partition_of, records

PARTITIONS = 4
PATIENCE_S = 60.0


def engine_of(
    log: EmbeddedLog, folder: Path, open_storage: Callable[[Path], EngineStorage], checkpoints: bool = False,
    standbys: int = 0,
) -> Engine:
    kept = CheckpointSettings(str(folder / "kept")) if checkpoints else None
    return Engine(
        log=log, namespace="test", data_dir=folder / "state", partitions=PARTITIONS, open_storage=open_storage,
        checkpoints=kept, standbys=standbys,
    )  # fmt: skip


def until(reached: Callable[[], bool], *engines: Engine) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < give_up, "the engines do not get there"
        for engine in engines:
            engine.step(0.01)
            if engine._standbys:
                engine.follow_step(0.0)
                engine.read_step(0.0)


class Held:
    """Opens stores; those of `partitions` are not there before `go`, except the first `free` times."""

    def __init__(self, *partitions: int, free: int = 0) -> None:
        self._held = {str(partition) for partition in partitions}
        self._free = free
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, folder: Path) -> EngineStorage:
        if folder.name in self._held:
            self._free -= 1
        if folder.name in self._held and self._free < 0:
            self.begun.release()
            assert self.go.wait(PATIENCE_S)
        return RocksStorage(folder)


def start(log: EmbeddedLog, partition: int, nth: int = 0) -> None:
    """Start the `nth` workflow that belongs into a partition."""
    names = [f"w{number}" for number in range(100) if partition_of(f"w{number}".encode(), PARTITIONS) == partition]
    record = records.StartWorkflow(workflow_id=names[nth], workflow_type="Order", task_queue="orders")
    producer = log.producer()
    producer.send(Topics("test").events, partition, b"", encode(record))
    assert producer.flush(PATIENCE_S) == 0
    producer.close()


def test_partitions_are_opened_side_by_side_and_without_the_lock(tmp_path: Path) -> None:
    """Breaks when checkpoints are fetched one after another, or whoever asks the engine something waits for them."""
    assert OPENED_AT_ONCE >= PARTITIONS
    together = threading.Barrier(PARTITIONS)
    asked: list[list[int]] = []

    def open_storage(folder: Path) -> EngineStorage:
        if together.wait(PATIENCE_S) == 0:  # all are being opened now
            other = threading.Thread(target=lambda: asked.append(engine.leading))
            other.start()
            other.join(PATIENCE_S)
        return RocksStorage(folder)

    log = EmbeddedLog(tmp_path / "log", fsync=False)
    engine = engine_of(log, tmp_path, open_storage)
    engine.connect()
    until(lambda: engine.leading == list(range(PARTITIONS)), engine)
    assert asked == [[]], "nobody waits for the lock meanwhile"
    engine.hand_over()
    engine.stop()
    log.close()


def test_one_that_cannot_be_opened_is_told_and_the_others_are_closed(tmp_path: Path) -> None:
    """Breaks when a thread's error is lost, and the partition has no leader for ever; or others stay locked."""

    def open_storage(folder: Path) -> EngineStorage:
        if folder.name == "2":
            raise StoreError("this one is damaged")
        return RocksStorage(folder)

    log = EmbeddedLog(tmp_path / "log", fsync=False)
    engine = engine_of(log, tmp_path, open_storage)
    engine.start()
    assert isinstance(engine.wait_failed(PATIENCE_S), StoreError)
    engine.stop()
    for partition in ("0", "1", "3"):
        RocksStorage(tmp_path / "state" / "test" / partition).close()
    log.close()


@pytest.mark.parametrize("checkpoints", [False, True])
def test_the_others_are_folded_while_one_is_opened(tmp_path: Path, checkpoints: bool) -> None:
    """Breaks when partitions stand still for as long as the states of others are on their way, or the log is slow to
    say where others end."""
    log = EmbeddedLog(tmp_path / "log", fsync=False)
    opening = Held(2)
    engine = engine_of(log, tmp_path, opening, checkpoints)
    engine.connect()
    until(lambda: engine.leading == [0, 1, 3], engine)
    start(log, 0)
    until(lambda: engine._processors[0].state.partition.open_workflows == 1, engine)
    assert engine.leading == [0, 1, 3]
    assert opening.begun.acquire(timeout=PATIENCE_S)
    opening.go.set()
    until(lambda: engine.leading == list(range(PARTITIONS)), engine)
    engine.hand_over()
    engine.stop()
    log.close()


def test_what_another_is_given_meanwhile_is_closed_again(tmp_path: Path) -> None:
    """Breaks when an engine goes on with a partition that was taken from it before it was open, or keeps its store."""
    log = EmbeddedLog(tmp_path / "log", fsync=False)
    opening = Held(2, 3)
    one = engine_of(log, tmp_path / "one", opening, checkpoints=True)
    one.connect()
    until(lambda: one.leading == [0, 1], one)
    assert opening.begun.acquire(timeout=PATIENCE_S)
    assert opening.begun.acquire(timeout=PATIENCE_S)
    other = engine_of(log, tmp_path / "other", RocksStorage)
    other.connect()
    until(lambda: other.leading == [2, 3], one, other)
    opening.go.set()
    one._assignment.opening.wait()
    one.step(0.0)
    assert one.leading == [0, 1]
    for partition in "23":
        RocksStorage(tmp_path / "one" / "state" / "test" / partition).close()
    other.hand_over()
    other.stop()
    until(lambda: one.leading == list(range(PARTITIONS)), one)
    one.hand_over()
    one.stop()
    log.close()


def foreign_state(folder: Path, partition: int) -> None:
    """Give the engine of a folder the state of another log, in one partition."""
    log = EmbeddedLog(folder / "foreign log", fsync=False)
    other = engine_of(log, folder / "foreign", RocksStorage)
    other.connect()
    start(log, partition)
    until(lambda: partition in other.leading, other)
    until(lambda: other._processors[partition].state.partition.open_workflows == 1, other)
    other.hand_over()
    other.stop()
    log.close()
    state = Path("state", "test", str(partition))
    (folder / state).parent.mkdir(parents=True)
    shutil.copytree(folder / "foreign" / state, folder / state)


def test_l3_a_state_is_rebuilt_beside_the_others(tmp_path: Path) -> None:
    """Breaks when all partitions of an engine wait for the checkpoint that one begins from, whose state was of no
    use."""
    foreign_state(tmp_path, 2)
    log = EmbeddedLog(tmp_path / "log", fsync=False)
    ensure_topics(log, Topics("test"), PARTITIONS)
    for nth in range(9):
        start(log, 2, nth)
    opening = Held(2, free=1)
    engine = engine_of(log, tmp_path, opening, checkpoints=True)
    engine.connect()
    until(lambda: engine.leading == [0, 1, 3] and opening.begun.acquire(blocking=False), engine)
    start(log, 0)
    until(lambda: engine._processors[0].state.partition.open_workflows == 1, engine)
    assert engine.leading == [0, 1, 3]
    opening.go.set()
    until(lambda: engine.leading == list(range(PARTITIONS)), engine)
    assert engine._processors[2].state.partition.open_workflows == 9
    assert [engine.counters()[partition].rebuilds for partition in range(PARTITIONS)] == [0, 0, 1, 0]
    engine.hand_over()
    engine.stop()
    log.close()


def test_l3_a_followed_state_is_rebuilt_beside_the_others(tmp_path: Path) -> None:
    """Breaks when a standby whose state was of no use stands by no more, or holds up what it leads."""
    log = EmbeddedLog(tmp_path / "log", fsync=False)
    one = engine_of(log, tmp_path / "one", RocksStorage, standbys=1)
    one.connect()
    until(lambda: one.leading == list(range(PARTITIONS)), one)
    for nth in range(9):
        start(log, 0, nth)
    foreign_state(tmp_path / "two", 0)
    opening = Held(0, free=1)
    two = engine_of(log, tmp_path / "two", opening, checkpoints=True, standbys=1)
    two.connect()
    until(lambda: two.leading == [2, 3] and opening.begun.acquire(blocking=False), one, two)
    start(log, 3)
    until(lambda: two._processors[3].state.partition.open_workflows == 1, one, two)
    assert 0 not in two._processors
    opening.go.set()
    until(lambda: 0 in two.following and two._processors[0].state.partition.open_workflows == 9, one, two)
    assert two.counters()[0].rebuilds == 1
    for engine in (two, one):
        engine.hand_over()
        engine._following.consumer.close()
        engine.stop()
    log.close()
