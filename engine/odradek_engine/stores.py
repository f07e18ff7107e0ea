"""The stored states of an engine's partitions: opened, held against the log, replaced by a checkpoint or discarded."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from odradek_log import FolderLock, TopicPartition

from .checkpointing import Checkpointing
from .early_reads import EarlyRead
from .fold import State
from .store import (
    EngineStorage,
    RocksStorage,
    StoreDamagedError,
    StoreError,
    StoreHeldError,
    check_room,
    lock_folder,
)
from .store_memory import StoreMemory

logger = logging.getLogger(__name__)

HELD_S = 5.0
"""How long a store is waited for that another process has open."""


class Opened(NamedTuple):
    """`end`: of the partition in the log. `rebuilds`: how many states were discarded on the way (L3). `folded`: how
    many records, since it was asked for; `asked`: by the last ones of them, as of `folding.Refolded`."""

    state: State
    end: int
    rebuilds: int
    folded: int = 0
    asked: Sequence[EarlyRead] = ()


class Stores:
    """Safe from any thread, except that one partition is opened by one at a time. `open_storage`: in place of RocksDB,
    which may use `store_memory` bytes for all partitions together. `offsets` asks the log for the first
    offset of a partition of `topic`, and its end."""

    def __init__(
        self,
        folder: Path,
        topic: str,
        open_storage: Callable[[Path], EngineStorage] | None,
        store_memory: int,
        checkpointing: Checkpointing | None,
        offsets: Callable[[TopicPartition], tuple[int, int]],
    ) -> None:
        self._folder = folder
        self._topic = topic
        self.on_disk = open_storage is None
        """Whether states are folders, which another process could open."""
        self._open_storage = open_storage or partial(RocksStorage, memory=StoreMemory(store_memory))
        self._checkpointing = checkpointing
        self._offsets = offsets
        self._storages: dict[int, EngineStorage] = {}
        self._folder_lock: FolderLock | None = None
        self._lock = threading.RLock()  # a storage is not closed while it is put on disk

    def check_room(self) -> None:
        """Raise StoreError if no state could be kept here."""
        if self.on_disk:
            check_room(self._folder)

    def take_folder(self) -> None:
        """Until `close_all`, no other engine keeps its state here. Raises StoreError if one does."""
        if self.on_disk:
            self._folder_lock = lock_folder(self._folder)

    def folder(self, partition: int) -> Path:
        """Where the state of a partition is kept."""
        return self._folder / str(partition)

    def __getitem__(self, partition: int) -> EngineStorage:
        return self._storages[partition]

    def open(self, partition: int) -> Opened:
        """The stored state; an empty one, or a checkpoint's, where the stored state cannot be of this log (L3), or
        cannot be read."""
        where = TopicPartition(self._topic, partition)
        try:
            state = self._stored_state(partition)
        except StoreDamagedError as error:
            logger.error("ALARM: %s. The state of partition %d is discarded and rebuilt", error, partition)
            first, end = self._offsets(where)
            return Opened(self._brought_up(partition, None, first, end, "is damaged"), end, rebuilds=1)
        first, end = self._offsets(where)
        position = state.partition.position
        if position <= end:
            return Opened(self._brought_up(partition, state, first, end), end, rebuilds=0)
        logger.error(
            "ALARM: the state of partition %d is at offset %d, the log ends at %d: it is discarded and rebuilt",
            partition,
            position,
            end,
        )
        return Opened(self._brought_up(partition, None, first, end), end, rebuilds=1)

    def rebuild(self, partition: int) -> Opened:
        """The stored state, which is open, is discarded: begin from nothing, or a checkpoint where the log was trimmed.
        Raises StoreError where there is neither, and keeps the state for people to look at."""
        first, end = self._offsets(TopicPartition(self._topic, partition))
        state = self._brought_up(partition, None, first, end) if first > 0 else self._emptied(partition)
        return Opened(state, end, rebuilds=1)

    def _brought_up(
        self, partition: int, state: State | None, first: int, end: int, problem: str = "is not of this log"
    ) -> State:
        """The state, or that of a checkpoint which is so much newer, or without which the log cannot be folded. None:
        the stored one is of no use, for a `problem`, and goes as soon as it is known what to begin from."""
        position = 0 if state is None else state.partition.position
        refused: tuple[str, ...] = ()
        if self._checkpointing is not None:
            folder, refused = self._checkpointing.newer(partition, position, first, end)
            if folder is not None:
                with self._lock:
                    self._discard(partition)
                    folder.rename(self.folder(partition))
                return self._stored_state(partition)
        if first > position:
            found = problem if state is None else f"ends at {position}"
            raise StoreError(
                f"partition {partition} of {self._topic} begins at offset {first}, the state in "
                f"{self.folder(partition)} {found}: records in between are gone, "
                + self._without_checkpoint(refused)
            )
        return state or self._emptied(partition)

    def _without_checkpoint(self, refused: tuple[str, ...]) -> str:
        if refused:
            return f"and no checkpoint can be begun from: {'; '.join(refused)}"
        return (
            "and no checkpoint has what they led to. Start the engine with the --checkpoints that the log was trimmed "
            "behind, or put back a newer copy of the state"
        )

    def _emptied(self, partition: int) -> State:
        """A state of nothing, in place of the stored one."""
        self._discard(partition)
        return self._stored_state(partition)

    def _discard(self, partition: int) -> None:
        with self._lock:
            storage = self._storages.pop(partition, None)
            if storage is not None:
                storage.destroy()
            else:  # it could not be opened
                shutil.rmtree(self.folder(partition), ignore_errors=True)

    def _stored_state(self, partition: int) -> State:
        storage = self._storages[partition] = self._open_when_free(self.folder(partition))
        return State(storage, partition)

    def _open_when_free(self, folder: Path) -> EngineStorage:
        """A process that folded for an engine that was killed (`catching_up.py`) ends right after it."""
        patience = monotonic() + HELD_S
        while True:
            try:
                return self._open_storage(folder)
            except StoreHeldError:
                if monotonic() >= patience:
                    raise
            sleep(0.05)

    def persist(self) -> None:
        """Make what was written survive a crash."""
        for partition in list(self._storages):
            with self._lock:
                storage = self._storages.get(partition)
                if storage is not None:
                    storage.persist()

    def close(self, partition: int) -> None:
        with self._lock:
            self._storages.pop(partition).close()

    def close_all(self) -> None:
        """Also those of partitions that could not be opened. Raises the last one's StoreError."""
        failed: StoreError | None = None
        for partition in list(self._storages):
            try:
                self.close(partition)
            except StoreError as error:
                failed = error
        if self._folder_lock is not None:
            self._folder_lock.release()
            self._folder_lock = None
        if failed is not None:
            raise failed
