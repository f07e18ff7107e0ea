"""The checkpoints of a namespace as states: read back and looked at, made without an engine, trimmed behind."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .checkpoints import Checkpoint, CheckpointError, CheckpointStore
from .fold import VERSION, State
from .store import EngineStorage, RocksStorage, StoreError

logger = logging.getLogger(__name__)


class Restored(NamedTuple):
    """`folder`: with the state of a checkpoint; None: there was none that would do. `refused`: what is wrong with newer
    ones, and what to do."""

    folder: Path | None
    refused: tuple[str, ...] = ()


class CheckpointedStates:
    """What `store` has of a namespace. `open_storage` opens a copy of a state; `knows`: the newest fold version that
    is known here."""

    def __init__(
        self,
        store: CheckpointStore,
        namespace: str,
        open_storage: Callable[[Path], EngineStorage] = RocksStorage,
        knows: int = VERSION,
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._open_storage = open_storage
        self._knows = knows
        self._damaged: set[int] = set()
        """Partitions some of whose files are not what they were: the next checkpoint stores all of its files anew,
        which mends older ones that share them."""

    def save(self, folder: Path, partition: int, position: int, version: int) -> Checkpoint:
        """Store the copy of a state in `folder`. Raises CheckpointError."""
        afresh = partition in self._damaged
        saved = self._store.save(folder, self._namespace, partition, position, version, afresh)
        self._damaged.discard(partition)
        return saved

    def prune(self, partition: int, keep: int) -> int:
        """Remove all but the newest `keep` of a partition; return how many are left. Raises CheckpointError."""
        return self._store.prune(self._namespace, partition, keep)

    def restore(self, partition: int, least: int, end: int, scratch: Path) -> Restored:
        """The newest checkpoint at a position from `least` to `end`, in a folder of `scratch`.

        One that is damaged, or by a newer version of the fold, is left out, with a log line, and the one before it
        taken. Raises CheckpointError if the store does not answer.
        """
        refused: list[str] = []
        for entry in self._store.entries(self._namespace, partition):
            if not least <= entry.position <= end:
                continue
            folder = scratch / f"{partition}.restored"
            shutil.rmtree(folder, ignore_errors=True)
            try:
                checkpoint = self._store.read(entry)
                self.check(checkpoint, folder)
            except CheckpointError as error:
                logger.error("ALARM: %s; an older one is looked for", error)
                self._damaged.add(partition)
                refused.append(str(error))
                continue
            logger.info("partition %d begins from the checkpoint at %d", partition, checkpoint.position)
            return Restored(folder, tuple(refused))
        return Restored(None, tuple(refused))

    def trimmable(self, partition: int) -> Checkpoint:
        """The oldest checkpoint of a partition that there is, read back and found good: the log may be trimmed up to
        there, so that any of the newer ones will do when it is needed. Raises CheckpointError if there is none."""
        problems = []
        for entry in reversed(self._store.entries(self._namespace, partition)):
            with tempfile.TemporaryDirectory(prefix="odradek-checkpoint-") as scratch:
                try:
                    checkpoint = self._store.read(entry)
                    self.check(checkpoint, Path(scratch) / "state")
                except CheckpointError as error:
                    self._damaged.add(partition)
                    problems.append(str(error))
                else:
                    return checkpoint
        found = f"of those there are, none is good ({'; '.join(problems)})" if problems else "there is none"
        raise CheckpointError(
            f"partition {partition} of namespace {self._namespace!r} has no checkpoint at {self._store.address} that "
            f"the log could be trimmed behind: {found}. Make one: odradek checkpoint create"
        )

    def check(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Put a checkpoint into a new folder, and see that it is the state that it says. Raises CheckpointError if
        not."""
        if checkpoint.version > self._knows:
            raise CheckpointError(
                f"{checkpoint} is of fold version {checkpoint.version}, this code knows up to {self._knows}: upgrade"
            )
        self._store.fetch(checkpoint, folder)
        try:
            storage = self._open_storage(folder)
        except StoreError as error:
            raise CheckpointError(f"{checkpoint} holds no state: {error}") from error
        try:
            found = State(storage, checkpoint.partition).partition.position
            for _ in storage.scan(b"", b"\xff"):
                pass  # each block is held against its checksum: it may have been damaged when it was copied
        except StoreError as error:
            raise CheckpointError(f"{checkpoint} is damaged: {error}") from error
        finally:
            storage.close()
        if found != checkpoint.position:
            raise CheckpointError(f"{checkpoint} holds a state at {found}: it is damaged")

    def create(
        self, partition: int, first: int, end: int, fold_up_to: Callable[[State, int], None]
    ) -> Checkpoint | None:
        """Make a checkpoint up to `end` without an engine: the newest one, and what came then, folded by `fold_up_to`.

        `first`: the first offset that the log still has. None if nothing came since the newest one, and that is good.
        Raises CheckpointError, StoreError, and what `fold_up_to` does.
        """
        if not end or self._has_good(partition, end):
            return None
        with tempfile.TemporaryDirectory(prefix="odradek-checkpoint-") as name:
            scratch = Path(name)
            storage = RocksStorage(self.restore(partition, max(first, 1), end, scratch).folder or scratch / "state")
            try:
                state = State(storage, partition)
                fold_up_to(state, end)
                position, version = state.partition.position, state.partition.version
                if position < end and self._has_good(partition, position):
                    return None  # nothing came but the end of somebody's transaction
                storage.checkpoint(scratch / "copy")
            finally:
                storage.close()
            return self.save(scratch / "copy", partition, position, version)

    def _has_good(self, partition: int, position: int) -> bool:
        """Whether the newest checkpoint of a partition is at `position`, and is what it was."""
        for entry in self._store.entries(self._namespace, partition)[:1]:
            with tempfile.TemporaryDirectory(prefix="odradek-checkpoint-") as scratch:
                try:
                    if entry.position == position:
                        self.check(self._store.read(entry), Path(scratch) / "state")
                        return True
                except CheckpointError as error:
                    logger.error("ALARM: %s; another one is made", error)
                    self._damaged.add(partition)
        return False
