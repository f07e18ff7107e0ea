"""What an engine does with checkpoints: it makes them as it goes, and begins from the newest good one.

The folding thread only makes the copy on its own disk, which takes milliseconds; a thread stores it elsewhere, one at a
time.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from odradek_log import LogError

from .checkpoints import Checkpoint, CheckpointError, CheckpointStore
from .clock import Clock
from .fold import VERSION, State
from .store import EngineStorage, RocksStorage, StoreError

logger = logging.getLogger(__name__)

BEHIND = 10_000
"""A stored state that is so many records behind a checkpoint is replaced by it."""


@dataclass(frozen=True)
class CheckpointSettings:
    """`every` seconds each partition that an engine leads is copied to `address` (see CheckpointStore), if it moved
    on; the newest `keep` are kept. `trim`: records of the log behind the oldest of these are deleted, for good."""

    address: str
    every: float = 600.0
    keep: int = 3
    trim: bool = False


class Checkpointing:
    """One engine's checkpoints of a namespace. `scratch`: a folder on the disk of the state; `trim(partition, offset)`:
    deletes what the log has of a partition below an offset; `open_storage` opens a copy of a state; `knows`: the newest
    fold version that this engine folds by."""

    def __init__(
        self,
        settings: CheckpointSettings,
        namespace: str,
        scratch: Path,
        clock: Clock,
        trim: Callable[[int, int], None] = lambda partition, offset: None,
        open_storage: Callable[[Path], EngineStorage] = RocksStorage,
        knows: int = VERSION,
    ) -> None:
        self._knows = knows
        self._trim = trim
        self._open_storage = open_storage
        self._settings = settings
        self._namespace = namespace
        self._scratch = scratch
        self._clock = clock
        self._store = CheckpointStore(settings.address)
        self._next_at: dict[int, float] = {}
        self._saved: dict[int, int] = {}
        self._thread: threading.Thread | None = None
        shutil.rmtree(scratch, ignore_errors=True)

    def make(self, led: Iterable[tuple[int, State, EngineStorage]]) -> None:
        """Begin a checkpoint of one of the partitions that are led, if one is due and none is being stored."""
        if self._thread is not None and self._thread.is_alive():
            return
        now = self._clock.monotonic()
        for partition, state, storage in led:
            position = state.partition.position
            due = self._next_at.setdefault(partition, now + self._settings.every)
            if now < due or self._saved.get(partition) == position:
                continue
            self._next_at[partition] = now + self._settings.every
            folder = self._scratch / str(partition)
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            state.flush()
            storage.checkpoint(folder)
            arguments = (folder, partition, position, state.partition.version)
            self._thread = threading.Thread(target=self._keep, args=arguments, name="odradek-checkpoint", daemon=True)
            self._thread.start()
            return

    def _keep(self, folder: Path, partition: int, position: int, version: int) -> None:
        try:
            checkpoint = self._store.save(folder, self._namespace, partition, position, version)
            self._saved[partition] = position
            logger.info("checkpoint of partition %d at %d: %d bytes", partition, position, checkpoint.size)
            self._store.prune(self._namespace, partition, self._settings.keep)
            if self._settings.trim:
                oldest = trimmable(self._store, self._namespace, partition, self._open_storage, self._knows)
                self._trim(partition, oldest.position)
        except (CheckpointError, OSError) as error:
            logger.error("no checkpoint of partition %d: %s", partition, error)
        except LogError as error:
            logger.error("the log of partition %d was not trimmed: %s", partition, error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def stop(self) -> None:
        """Wait for the checkpoint that is being stored."""
        if self._thread is not None:
            self._thread.join()

    def newer(self, partition: int, position: int, first: int, end: int) -> Path | None:
        """A folder with the state of the newest good checkpoint, if it is worth to begin from it rather than at
        `position`. The log has the records from offset `first` up to below `end`: a state that ends at `first` has
        nothing to be held against (L3)."""
        least = max(first, 1 if position <= first else position + BEHIND)
        try:
            return restore(
                self._store, self._namespace, partition, least, end, self._scratch, self._open_storage, self._knows
            )
        except (CheckpointError, OSError) as error:
            logger.error("checkpoints of partition %d cannot be used: %s", partition, error)
            return None


def restore(
    store: CheckpointStore,
    namespace: str,
    partition: int,
    least: int,
    end: int,
    scratch: Path,
    open_storage: Callable[[Path], EngineStorage] = RocksStorage,
    knows: int = VERSION,
) -> Path | None:
    """A folder with the newest checkpoint at a position from `least` to `end`; None if there is none.

    One that is damaged, or by a newer version of the fold, is left out, with a log line, and the one before it taken.
    Raises CheckpointError if the store does not answer.
    """
    for entry in store.entries(namespace, partition):
        if not least <= entry.position <= end:
            continue
        folder = scratch / f"{partition}.restored"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            checkpoint = store.read(entry)
            check(store, checkpoint, folder, open_storage, knows)
        except CheckpointError as error:
            logger.error("ALARM: %s; an older one is looked for", error)
            continue
        logger.info("partition %d begins from the checkpoint at %d", partition, checkpoint.position)
        return folder
    return None


def trimmable(
    store: CheckpointStore,
    namespace: str,
    partition: int,
    open_storage: Callable[[Path], EngineStorage] = RocksStorage,
    knows: int = VERSION,
) -> Checkpoint:
    """The oldest checkpoint of a partition that there is, read back and found good: the log may be trimmed up to there,
    so that any of the newer ones will do when it is needed. Raises CheckpointError if there is none."""
    problems = []
    for entry in reversed(store.entries(namespace, partition)):
        with tempfile.TemporaryDirectory(prefix="odradek-checkpoint-") as scratch:
            try:
                checkpoint = store.read(entry)
                check(store, checkpoint, Path(scratch) / "state", open_storage, knows)
            except CheckpointError as error:
                problems.append(str(error))
            else:
                return checkpoint
    found = f"of those there are, none is good ({'; '.join(problems)})" if problems else "there is none"
    raise CheckpointError(
        f"partition {partition} of namespace {namespace!r} has no checkpoint at {store.address} that the log could be "
        f"trimmed behind: {found}. Make one: odradek checkpoint create"
    )


def check(
    store: CheckpointStore,
    checkpoint: Checkpoint,
    folder: Path,
    open_storage: Callable[[Path], EngineStorage] = RocksStorage,
    knows: int = VERSION,
) -> None:
    """Put a checkpoint into a new folder, and see that it is the state that it says. Raises CheckpointError if not."""
    if checkpoint.version > knows:
        raise CheckpointError(
            f"{checkpoint} is of fold version {checkpoint.version}, this code knows up to {knows}: upgrade"
        )
    store.fetch(checkpoint, folder)
    try:
        storage = open_storage(folder)
    except StoreError as error:
        raise CheckpointError(f"{checkpoint} holds no state: {error}") from error
    try:
        found = State(storage, checkpoint.partition).partition.position
    finally:
        storage.close()
    if found != checkpoint.position:
        raise CheckpointError(f"{checkpoint} holds a state at {found}: it is damaged")


def create(
    store: CheckpointStore,
    namespace: str,
    partition: int,
    first: int,
    end: int,
    fold_up_to: Callable[[State, int], None],
) -> Checkpoint | None:
    """Make a checkpoint up to `end` without an engine: the newest one, and what came then, folded by `fold_up_to`.

    `first`: the first offset that the log still has. None if nothing came since the newest one. Raises CheckpointError,
    StoreError, and what `fold_up_to` does.
    """
    entries = store.entries(namespace, partition)
    if not end or (entries and entries[0].position == end):
        return None
    with tempfile.TemporaryDirectory(prefix="odradek-checkpoint-") as name:
        scratch = Path(name)
        folder = restore(store, namespace, partition, max(first, 1), end, scratch) or scratch / "state"
        storage = RocksStorage(folder)
        try:
            state = State(storage, partition)
            fold_up_to(state, end)
            position, version = state.partition.position, state.partition.version
            if entries and entries[0].position == position:  # nothing came but the end of somebody's transaction
                return None
            storage.checkpoint(scratch / "copy")
        finally:
            storage.close()
        return store.save(scratch / "copy", namespace, partition, position, version)
