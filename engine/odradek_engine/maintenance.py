"""Looking after a log and the state folded from it, offline: verify the state, rebuild it, checkpoint it, trim the log.

Verification reads the stored state as it is on disk, at the position that it has, folds the log from zero up to there,
and compares byte for byte. It also checks what holds in every state (`fold/invariants.py`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from odradek_log import Log, TopicPartition
from odradek_schemas import Topics

from .checkpoints import Checkpoint, CheckpointError, CheckpointStore
from .fold import State, keys
from .fold.invariants import problems
from .fold.tables import TABLES
from .folding import OnProgress, Refolded, Task
from .refolding import fold_into, refold
from .restoring import CheckpointedStates
from .store import RocksStorage, StoreDamagedError, StoreError
from .store_memory import StoreMemory
from .whole_partitions import partitions_of

EXAMPLES = 10
"""So many differences of a partition are kept to be shown; all are counted."""
_FIRST_KEY, _LAST_KEY = b"\x01", b"\xff"

_TABLE_NAMES = {
    keys.PARTITION: "partition",
    keys.SESSION: "session",
    keys.HELD: "held by session",
    keys.CURRENT: "workflow",
    keys.EARLIER: "earlier run",
    keys.ACTIVITY: "activity",
    keys.TIMER: "timer",
    keys.EVENT: "event",
    keys.REQUEST: "request",
    keys.EXPIRY: "expiry index",
    keys.DUE: "due index",
    keys.OUT: "index of tasks that are out",
    keys.OUTBOX: "outbox",
    keys.TAIL: "tail of a chain",
    keys.SOURCE: "source position",
    keys.WAITING: "waiting record",
    keys.RESET: "reset",
    keys.BEHIND: "record behind a reset",
}


@dataclass(frozen=True)
class Difference:
    """A row that is not the same in the stored state and in the one folded from the log. None: it is not there."""

    key: bytes
    stored: bytes | None
    folded: bytes | None

    @property
    def table(self) -> str:
        return _TABLE_NAMES.get(self.key[:1], f"unknown table {self.key[:1]!r}")

    @property
    def name(self) -> str:
        """The rest of the key; texts as they are, numbers in hexadecimal."""
        parts = self.key[1:].split(b"\0") if self.key[1:2] != b"\0" else [self.key[1:]]
        return " ".join(p.decode() if p.isascii() and p.decode().isprintable() else p.hex() for p in parts if p)

    def row(self, value: bytes | None) -> Any:
        """A row as plain values; what cannot be read as one, in hexadecimal."""
        kind = TABLES.get(self.key[:1])
        if value is None:
            return None
        if kind is None:
            return value.hex()
        try:
            row = msgspec.msgpack.decode(value, type=kind)
        except msgspec.DecodeError:
            return value.hex()
        return {name: getattr(row, name) for name in row.__struct_fields__}


@dataclass
class Verified:
    """What verifying one partition found. `problems`: what is wrong besides rows that differ, such as broken
    invariants of the stored state."""

    partition: int
    records: int = 0
    rows: int = 0
    begun_at: int = 0
    """The offset of the checkpoint that the log was folded from, where it was trimmed; 0: from the beginning."""
    differing: int = 0
    examples: list[Difference] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.differing and not self.problems


# ---------------------------------------------------------------- verifying


def stored_partitions(namespace: str, data_dir: Path) -> list[int]:
    """The partitions that have a state in `data_dir`."""
    folder = data_dir / namespace
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


def open_stores(namespace: str, data_dir: Path) -> dict[int, RocksStorage]:
    """The stored state of each partition as it is on disk now, also while an engine goes on with it."""
    folder = data_dir / namespace
    found = stored_partitions(namespace, data_dir)
    memory = StoreMemory()
    return {number: RocksStorage(folder / str(number), read_only=True, memory=memory) for number in found}


def verify(
    log: Log,
    namespace: str,
    data_dir: Path,
    on_progress: OnProgress | None = None,
    stores: Mapping[int, RocksStorage] | None = None,
    checkpoints: CheckpointStore | None = None,
    processes: int = 0,
) -> Iterator[Verified]:
    """Compare the stored state of each partition in `data_dir` with one folded from zero up to the same position.

    `checkpoints`: to begin from where the log was trimmed. `stores`: from `open_stores`, where `log` is a later copy
    of one that is in use. `processes`: as of `refold`. Changes nothing. Raises StoreError
    if there is no state or it cannot be read, LogError as the log does.
    """
    topics = Topics(namespace)
    partitions_of(log, topics.events)
    stores = open_stores(namespace, data_dir) if stores is None else stores
    if not stores:
        raise StoreError(
            f"there is no state of namespace {namespace!r} in {data_dir}: give the folder that the engine was started "
            "with, and the namespace"
        )
    with tempfile.TemporaryDirectory(prefix="odradek-verify-") as scratch:
        tasks, foreign = [], {}
        for partition, stored in stores.items():
            position = State(stored, partition).partition.position
            end = log.offsets(TopicPartition(topics.events, partition))[1]
            if position > end:
                foreign[partition] = (
                    f"the stored state is at offset {position}, the log ends at {end}: it is the state of another log. "
                    "The engine discards it when it starts"
                )
                continue
            tasks.append(Task(partition, Path(scratch) / str(partition), position))
        yield from (Verified(partition, problems=[problem]) for partition, problem in foreign.items())
        begin = partial(_begin, log, topics, checkpoints)
        for made in refold(log, topics, tasks, begin, on_progress, processes):
            yield _compared(stores[made.partition], Path(scratch) / str(made.partition), made)


def _compared(stored: RocksStorage, folder: Path, made: Refolded) -> Verified:
    """The stored state beside the one that was folded into a folder, which goes."""
    result = Verified(made.partition, made.records, begun_at=made.begun_at)
    folded = RocksStorage(folder)
    try:
        for difference in _compare(stored, folded, result):
            result.differing += 1
            if len(result.examples) < EXAMPLES:
                result.examples.append(difference)
    finally:
        folded.destroy()
    try:
        result.problems += problems(State(stored, made.partition))
    except msgspec.DecodeError as error:
        result.problems.append(f"a row of the stored state cannot be read: {error}")
    return result


def _begin(log: Log, topics: Topics, checkpoints: CheckpointStore | None, task: Task) -> None:
    """Where the log has lost its beginning: put the state of the newest good checkpoint into the task's folder."""
    first, _ = log.offsets(TopicPartition(topics.events, task.partition))
    if first == 0 or checkpoints is None:
        return
    with tempfile.TemporaryDirectory(prefix="begin-", dir=task.folder.parent) as scratch:
        states = CheckpointedStates(checkpoints, topics.namespace)
        found = states.restore(task.partition, first, task.end, Path(scratch))
        if found.folder is not None:
            found.folder.rename(task.folder)
        elif found.refused:
            raise StoreError(
                f"{topics.events} partition {task.partition} begins at offset {first}, and none of its checkpoints can "
                f"be begun from: {'; '.join(found.refused)}"
            )


def _compare(stored: RocksStorage, folded: RocksStorage, result: Verified) -> Iterator[Difference]:
    """Both states side by side, in the order of their keys."""
    left, right = stored.scan(_FIRST_KEY, _LAST_KEY), folded.scan(_FIRST_KEY, _LAST_KEY)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield Difference(one[0], one[1], None)
            one = next(left, None)
        elif one is None or other[0] < one[0]:
            yield Difference(other[0], None, other[1])
            other = next(right, None)
        else:
            result.rows += 1
            if one[1] != other[1]:
                yield Difference(one[0], one[1], other[1])
            one, other = next(left, None), next(right, None)


# ---------------------------------------------------------------- rebuilding


def rebuild(
    log: Log,
    namespace: str,
    data_dir: Path,
    on_progress: OnProgress | None = None,
    checkpoints: CheckpointStore | None = None,
    processes: int = 0,
) -> Iterator[Refolded]:
    """Fold the log again, and put the result in the place of the stored state, partition by partition.

    `checkpoints`: to begin from where the log was trimmed. `processes`: as of `refold`. The old state of a partition
    stays until the new one is whole. Raises StoreError if an engine has the state open, LogError as the log does.
    """
    topics = Topics(namespace)
    home = data_dir / namespace
    memory = StoreMemory()
    old: dict[int, RocksStorage] = {}
    tasks = []
    try:
        for partition in range(partitions_of(log, topics.events)):
            with suppress(StoreDamagedError):
                old[partition] = RocksStorage(home / str(partition), memory=memory)  # so that no engine begins with it
            fresh = home / f"{partition}.rebuilding"
            shutil.rmtree(fresh, ignore_errors=True)  # of one that was killed
            tasks.append(Task(partition, fresh, log.offsets(TopicPartition(topics.events, partition))[1]))
        begin = partial(_begin, log, topics, checkpoints)
        for rebuilt in refold(log, topics, tasks, begin, on_progress, processes):
            partition = rebuilt.partition
            if partition in old:
                old.pop(partition).destroy()
            shutil.rmtree(home / str(partition), ignore_errors=True)
            tasks[partition].folder.rename(home / str(partition))
            yield rebuilt
    finally:
        for partition, storage in old.items():
            storage.close()
            shutil.rmtree(home / f"{partition}.rebuilding", ignore_errors=True)


# ---------------------------------------------------------------- checkpoints


def make_checkpoints(
    log: Log, namespace: str, store: CheckpointStore, on_progress: OnProgress | None = None
) -> Iterator[tuple[int, Checkpoint | None]]:
    """Make a checkpoint of each partition, from the newest one and what the log has after it; needs no engine.

    Gives (partition, checkpoint), or None where nothing has come since the newest one. Raises CheckpointError,
    LogError, StoreError.
    """
    topics = Topics(namespace)
    states = CheckpointedStates(store, namespace)
    for partition in range(partitions_of(log, topics.events)):

        def fold_up_to(state: State, end: int, partition: int = partition) -> None:
            fold_into(state, log, topics, partition, end, on_progress)

        first, end = log.offsets(TopicPartition(topics.events, partition))
        yield partition, states.create(partition, first, end, fold_up_to)


@dataclass(frozen=True)
class Trimmed:
    """A partition of `events`, which began at `before` and begins at `first` now; it could at `checkpoint`."""

    partition: int
    before: int
    first: int
    checkpoint: int


def trim(log: Log, namespace: str, store: CheckpointStore, with_history: bool = False) -> list[Trimmed]:
    """Delete the records of `events` behind the oldest checkpoint of each partition, for good.

    `with_history`: a log in a folder keeps what shares a file with what is kept; it may delete what is in `history` and
    `dead-letters`, too, where that is all that holds a file. All are read back first. Where one partition has none
    that is good, nothing is deleted. Raises CheckpointError,
    LogError.
    """
    topics = Topics(namespace)
    states = CheckpointedStates(store, namespace)
    plan: dict[TopicPartition, tuple[int, int]] = {}
    for number in range(partitions_of(log, topics.events)):
        here = TopicPartition(topics.events, number)
        first, end = log.offsets(here)
        if end:
            covered = states.trimmable(number).position
            if covered > end:
                raise CheckpointError(
                    f"the checkpoint of partition {number} is at {covered}, the log ends at {end}: it is of another log"
                )
            plan[here] = (first, covered)
    offsets = {here: covered for here, (_, covered) in plan.items()}
    if with_history:
        for topic in (topics.history, topics.dead_letters):
            beside = [TopicPartition(topic, number) for number in range(log.partitions(topic))]
            offsets.update({here: log.offsets(here)[1] for here in beside})
    left = log.delete_before(offsets)
    return [Trimmed(here.partition, first, left[here], covered) for here, (first, covered) in plan.items()]
