"""A log that is trimmed while processes fold what is far behind: what they have not read is gone, and a checkpoint has
what it led to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest
from odradek_engine import CheckpointSettings, CheckpointStore, Engine, StoreError, catching_up, feeding
from odradek_engine.feeding import FoldingProcess
from odradek_engine.fold import MemoryStorage, State, fold
from odradek_engine.folding import Folded, Refolded, Task
from odradek_engine.maintenance import make_checkpoints, trim, verify
from odradek_engine.store import RocksStorage
from odradek_engine.whole_partitions import read_partition
from odradek_log import Record, TopicPartition
from odradek_log.embedded import EmbeddedLog

from .test_catching_up import BOTH, PATIENCE_S, until
from .test_engine_embedded import TOPICS, Place, stored
from .test_refolding import folding_processes
from .test_trimming import NAMESPACE, PARTITIONS, firsts, place, store

__all__ = ["place", "store"]

MANY = 240
"""Workflows, half of them in each partition. The log has a file for every forty, which is what is read at once."""


def start(place: Place) -> list[list[Record]]:
    """All that is to be folded. The log is opened anew: it would have the last records in memory, too."""
    place.start(MANY)
    place.log.close()
    place.log = EmbeddedLog(place.folder / "log", fsync=False, segment_bytes=4_000)
    return [place.read(TOPICS.events, p) for p in PARTITIONS]


class Halted:
    """Processes are given so many records; they get the next one when the log was trimmed."""

    def __init__(self, patch: pytest.MonkeyPatch, given: int) -> None:
        self.reached = threading.Semaphore(0)
        self.go = threading.Event()
        halted = self

        class Waiting(FoldingProcess):
            def fold(
                self, task: Task, records: Callable[[int], Iterable[Record]], told: Callable[[Folded], None]
            ) -> Refolded:
                def some(begun_at: int) -> Iterator[Record]:
                    if not given:
                        halted.wait()
                    for number, record in enumerate(records(begun_at), 1):
                        yield record
                        if number == given:
                            halted.wait()

                return super().fold(task, some, told)

        patch.setattr(catching_up, "FoldingProcess", Waiting)
        patch.setattr(catching_up, "RECORDS_A_PROCESS", 1)  # each partition has one of its own
        patch.setattr(feeding, "BATCH_RECORDS", 1)  # so that the process has folded what it was given but the last two

    def wait(self) -> None:
        self.reached.release()
        assert self.go.wait(PATIENCE_S)

    def until_all_wait(self, engine: Engine) -> None:
        for _ in PARTITIONS:
            until(lambda: self.reached.acquire(blocking=False), engine)


def golden(place: Place, before: list[Record], partition: int, end: int | None = None) -> dict[bytes, bytes]:
    """What the whole log folds to, or all below `end`, with the records that it had `before`."""
    where = TopicPartition(TOPICS.events, partition)
    state = State(MemoryStorage(), partition)
    end = place.log.offsets(where)[1] if end is None else end
    for record in [*before[:end], *read_partition(place.log, where, len(before), end)]:
        fold(state, TOPICS, record.offset, record.timestamp_ms, record.key, record.value)
    return state.dump()


@pytest.mark.parametrize("given", [0, 7, 40])
def test_what_a_process_has_not_read_comes_from_a_checkpoint(
    place: Place, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: int
) -> None:
    """Breaks when a process folds on behind the gap, the engine ends, or takes its state for one of another log."""
    before = start(place)
    halted = Halted(monkeypatch, given)
    with caplog.at_level(logging.INFO):
        engine = place.boot(settings=BOTH, checkpoints=CheckpointSettings(store.address))
        halted.until_all_wait(engine)
        covered = {p: one.position for p, one in make_checkpoints(place.log, NAMESPACE, store) if one is not None}
        trim(place.log, NAMESPACE, store)
        assert all(given < first <= covered[p] for p, first in zip(PARTITIONS, firsts(place), strict=True))
        halted.go.set()
        until(lambda: engine.leading == [0, 1], engine)
    for p in PARTITIONS:
        assert f"partition {p}: a process folded" in caplog.text
        assert f"partition {p} begins from the checkpoint at {covered[p]}" in caplog.text
    assert "ALARM" not in caplog.text
    assert all(counters.rebuilds == 0 for counters in engine.counters().values())
    place.settle()
    place.stop()
    assert folding_processes() == []
    assert [stored(place, p) for p in PARTITIONS] == [golden(place, before[p], p) for p in PARTITIONS]
    assert all(v.ok for v in verify(place.log, NAMESPACE, place.data, checkpoints=store))


def test_what_a_process_has_read_may_go(
    place: Place, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks when a process gives up, though the log has all that it has not read."""
    before = start(place)
    halted = Halted(monkeypatch, given=50)
    with caplog.at_level(logging.INFO):
        engine = place.boot(settings=BOTH)
        halted.until_all_wait(engine)
        place.log.delete_before({TopicPartition(TOPICS.events, p): 50 for p in PARTITIONS})
        assert all(0 < first <= 50 for first in firsts(place))
        halted.go.set()
        until(lambda: engine.leading == [0, 1], engine)
    assert all(f"partition {p}: a process folded {MANY // 2} records" in caplog.text for p in PARTITIONS)
    assert "ALARM" not in caplog.text
    place.settle()
    place.stop()
    assert [stored(place, p) for p in PARTITIONS] == [golden(place, before[p], p) for p in PARTITIONS]


def test_what_was_folded_is_kept_where_nothing_has_the_rest(
    place: Place, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when an engine without checkpoints folds on behind the gap, or does not say what is missing; or when its
    state goes, which is good as far as it goes."""
    before = start(place)
    halted = Halted(monkeypatch, given=7)
    engine = place.boot(settings=BOTH)
    halted.until_all_wait(engine)
    place.log.delete_before({TopicPartition(TOPICS.events, p): 50 for p in PARTITIONS})
    halted.go.set()
    with pytest.raises(StoreError, match=r"ends at \d+: records in between are gone.*Start the engine with"):
        until(lambda: engine.leading == [0, 1], engine)
    place.stop()
    assert folding_processes() == []
    for p in PARTITIONS:
        kept = State(RocksStorage(place.data / NAMESPACE / str(p), read_only=True), p)
        assert 7 <= kept.partition.position < 50
        assert kept.dump() == golden(place, before[p], p, kept.partition.position)


def test_a_standby_begins_from_a_checkpoint_then(
    place: Place, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks when only who is to lead a partition looks for what is gone, or what is led elsewhere is lost by it."""
    start(place)
    one = place.boot(standbys=1)
    until(lambda: one.leading == [0, 1], one)
    halted = Halted(monkeypatch, given=7)
    kept = CheckpointSettings(store.address)
    folder = place.folder / "other"
    other = Engine(log=place.log, namespace=NAMESPACE, data_dir=folder, settings=BOTH, standbys=1, checkpoints=kept)

    def turn_until(reached: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < give_up, "the engines do not get there"
            for engine in (one, other):
                engine.step(0.01)
                engine.read_step(0.0)
                engine.follow_step(0.0)

    other.connect()
    for _ in PARTITIONS:
        turn_until(lambda: halted.reached.acquire(blocking=False))
    covered = {p: one.position for p, one in make_checkpoints(place.log, NAMESPACE, store) if one is not None}
    before = [place.read(TOPICS.events, p) for p in PARTITIONS]
    trim(place.log, NAMESPACE, store, with_history=True)
    assert all(first > 50 for first in firsts(place))
    with caplog.at_level(logging.INFO):
        halted.go.set()
        turn_until(lambda: len(other.leading) == len(other.following) == 1)
    assert all(f"partition {p} begins from the checkpoint at {covered[p]}" in caplog.text for p in PARTITIONS)
    assert "ALARM" not in caplog.text
    other.hand_over()
    other.stop()
    place.stop()
    for p in PARTITIONS:
        state = State(RocksStorage(folder / NAMESPACE / str(p), read_only=True), p)
        assert state.partition.position >= covered[p]
        assert state.dump() == golden(place, before[p], p, state.partition.position)
