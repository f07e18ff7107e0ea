"""What an engine does with checkpoints: it makes them as it goes, and begins from the newest good one.

The folding thread only makes the copy on its own disk, which takes milliseconds; a thread stores it elsewhere, one at a
time.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from odradek_log import LogError

from .checkpoints import CheckpointError
from .clock import Clock
from .fold import State
from .restoring import CheckpointedStates, Restored
from .store import EngineStorage

logger = logging.getLogger(__name__)

BEHIND = 10_000
"""A stored state that is so many records behind a checkpoint is replaced by it."""


@dataclass(frozen=True)
class CheckpointSettings:
    """`every` seconds each partition that an engine leads is copied to `address` (see CheckpointStore), if it moved
    on; the newest `keep` are kept. `trim`: records of the log behind the oldest of these are deleted, for good, once
    there are `keep` of them: while there are fewer, the log stands in for those that may turn out to be damaged."""

    address: str
    every: float = 600.0
    keep: int = 3
    trim: bool = False


class Checkpointing:
    """One engine's checkpoints of a namespace, which go to `states` and come from there. `scratch`: a folder on the
    disk of the state; `trim(partition, offset)`: deletes what the log has of a partition below an offset."""

    def __init__(
        self,
        settings: CheckpointSettings,
        states: CheckpointedStates,
        scratch: Path,
        clock: Clock,
        trim: Callable[[int, int], None] = lambda partition, offset: None,
    ) -> None:
        self._settings = settings
        self._states = states
        self._scratch = scratch
        self._clock = clock
        self._trim = trim
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
            checkpoint = self._states.save(folder, partition, position, version)
            self._saved[partition] = position
            logger.info("checkpoint of partition %d at %d: %d bytes", partition, position, checkpoint.size)
            kept = self._states.prune(partition, self._settings.keep)
            if self._settings.trim and kept >= self._settings.keep:
                self._trim(partition, self._states.trimmable(partition).position)
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

    def newer(self, partition: int, position: int, first: int, end: int) -> Restored:
        """The state of the newest good checkpoint, if it is worth to begin from it rather than at `position`. The log
        has the records from offset `first` up to below `end`: a state that ends at `first` has nothing to be held
        against (L3)."""
        least = max(first, 1 if position <= first else position + BEHIND)
        try:
            return self._states.restore(partition, least, end, self._scratch)
        except (CheckpointError, OSError) as error:
            logger.error("checkpoints of partition %d cannot be used: %s", partition, error)
            return Restored(None, (str(error),))
