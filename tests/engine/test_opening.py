"""The partitions that an engine is given are opened side by side, and nobody waits for that but themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from odradek_engine import Engine, StoreError
from odradek_engine.store import EngineStorage, RocksStorage
from odradek_engine.stores import OPENED_AT_ONCE
from odradek_log.embedded import EmbeddedLog

PARTITIONS = 4
PATIENCE_S = 30.0


def engine_of(log: EmbeddedLog, folder: Path, open_storage: Callable[[Path], EngineStorage]) -> Engine:
    return Engine(
        log=log, namespace="test", data_dir=folder / "state", partitions=PARTITIONS, open_storage=open_storage
    )


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
    for _ in range(1_000):
        engine.step(0.01)
        if engine.leading == list(range(PARTITIONS)):
            break
    assert engine.leading == list(range(PARTITIONS))
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
