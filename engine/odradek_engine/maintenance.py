"""Looking after a log and the state folded from it, offline: read a topic, verify the state, rebuild it.

Verification reads the stored state as it is on disk, at the position that it has, folds the log from zero up to there,
and compares byte for byte. It also checks what holds in every state (`fold/invariants.py`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from odradek_log import Log, LogError, LogUnavailableError, Record, TopicPartition
from odradek_schemas import Topics

from . import checkpointing
from .checkpoints import Checkpoint, CheckpointError, CheckpointStore
from .fold import State, events, fold, keys
from .fold.invariants import problems
from .fold.rows import TABLES
from .store import RocksStorage, StoreError
from .store_memory import StoreMemory

FLUSH_ROWS = 20_000
FLUSH_BYTES = 32 * 1024 * 1024
"""The state is written each so many changed rows, or bytes of the records and effects that changed them. Most effects
are marked as gone before that, and never made."""
REPORT_EVERY = 100
"""So many records are folded between two reports of progress."""
EXAMPLES = 10
"""So many differences of a partition are kept to be shown; all are counted."""
_POLL_SECONDS = 1.0
_SILENT_POLLS = 30
_FIRST_KEY, _LAST_KEY = b"\x01", b"\xff"

class Folded(NamedTuple):
    """How many records were folded, and how many events of workflows' histories that gave."""

    records: int = 0
    events: int = 0


OnProgress = Callable[[Folded], None]
"""Called now and then with what was folded since the last call."""

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


@dataclass(frozen=True)
class Rebuilt:
    """What rebuilding one partition gave: `records` of the log, with `events` of workflows' histories."""

    partition: int
    records: int
    events: int
    rows: int
    begun_at: int = 0
    """As of `Verified`."""


# ---------------------------------------------------------------- reading


def read_partition(log: Log, partition: TopicPartition, start: int, end: int) -> Iterator[Record]:
    """The records from offset `start` up to below `end`; the last offsets may hold none, but the end of a transaction.

    Raises LogUnavailableError if the log falls silent before that, LogError where records are gone.
    """
    if start >= end:
        return
    consumer = log.consumer()
    try:
        consumer.assign({partition: start})
        following, silent = start, 0
        while following < end:
            for record in consumer.poll(_POLL_SECONDS, 2_000):
                if record.offset >= end:
                    return
                yield record
            passed = consumer.position(partition)
            silent = 0 if passed > following else silent + 1
            following = max(following, passed)
            if silent >= _SILENT_POLLS:
                raise LogUnavailableError(
                    f"{partition.topic} partition {partition.partition}: no record from offset {following} on for "
                    f"{_SILENT_POLLS * _POLL_SECONDS:g} s, {end - following} are missing. Is the broker there, and no "
                    "transaction left open?"
                )
    finally:
        consumer.close()


def partitions_of(log: Log, topic: str) -> int:
    """How many partitions a topic has. Raises LogError if there is no such topic."""
    count = log.partitions(topic)
    if not count:
        known = log.topics(topic.rpartition(".")[0] + ".") or log.topics("odradek.")
        there = f"there are {', '.join(known)}" if known else "the log holds no topics of Odradek yet"
        raise LogError(f"there is no topic {topic} in this log: {there}")
    return count


# ---------------------------------------------------------------- folding


def _fold_into(
    state: State, log: Log, topics: Topics, partition: int, end: int, on_progress: OnProgress | None
) -> Folded:
    """Fold the records of a partition, from the state's position up to below `end`; write the state to its storage."""
    here = TopicPartition(topics.events, partition)
    first, last = log.offsets(here)
    position = state.partition.position
    if first > position:
        raise StoreError(
            f"{here.topic} partition {partition} begins at offset {first}: records before it are gone, so its state "
            f"cannot be folded from offset {position} on. Give the checkpoints that the log was trimmed behind"
        )
    count = unflushed = 0
    reported, number_of_events = Folded(), 0
    for record in read_partition(log, here, position, min(end, last)):  # not all offsets are records: see Processor
        folded = fold(state, topics, record.offset, record.timestamp_ms, record.key, record.value)
        count += 1
        unflushed += len(record.value)
        for effect in folded.effects:
            unflushed += effect.size
        for event in folded.events:
            if type(event) is events.Appended:
                number_of_events += 1
        if state.unflushed >= FLUSH_ROWS or unflushed >= FLUSH_BYTES:
            state.flush()
            unflushed = 0
        if on_progress is not None and count % REPORT_EVERY == 0:
            on_progress(Folded(count - reported.records, number_of_events - reported.events))
            reported = Folded(count, number_of_events)
    state.flush()
    if on_progress is not None:
        on_progress(Folded(count - reported.records, number_of_events - reported.events))
    return Folded(count, number_of_events)


def stored_partitions(namespace: str, data_dir: Path) -> list[int]:
    """The partitions that have a state in `data_dir`."""
    folder = data_dir / namespace
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


def count_records(log: Log, namespace: str, partitions: list[int] | None = None) -> int:
    """How many records of `events` there are to fold."""
    topic = Topics(namespace).events
    numbers = range(partitions_of(log, topic)) if partitions is None else partitions
    spans = (log.offsets(TopicPartition(topic, number)) for number in numbers)
    return sum(end - first for first, end in spans)


# ---------------------------------------------------------------- verifying


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
) -> Iterator[Verified]:
    """Compare the stored state of each partition in `data_dir` with one folded from zero up to the same position.

    `checkpoints`: to begin from where the log was trimmed. `stores`: from `open_stores`, where `log` is a later copy
    of one that is in use. Changes nothing. Raises StoreError
    if there is no state or it cannot be read, LogError as the log does.
    """
    partitions_of(log, Topics(namespace).events)
    stores = open_stores(namespace, data_dir) if stores is None else stores
    if not stores:
        raise StoreError(
            f"there is no state of namespace {namespace!r} in {data_dir}: give the folder that the engine was started "
            "with, and the namespace"
        )
    for partition, stored in stores.items():
        yield _verify_partition(log, Topics(namespace), partition, stored, on_progress, checkpoints)


def _verify_partition(
    log: Log,
    topics: Topics,
    partition: int,
    stored: RocksStorage,
    on_progress: OnProgress | None,
    checkpoints: CheckpointStore | None,
) -> Verified:
    result = Verified(partition)
    position = State(stored, partition).partition.position
    end = log.offsets(TopicPartition(topics.events, partition))[1]
    if position > end:
        result.problems.append(
            f"the stored state is at offset {position}, the log ends at {end}: it is the state of another log. The "
            "engine discards it when it starts"
        )
        return result
    with tempfile.TemporaryDirectory(prefix="odradek-verify-") as scratch:
        folder = _begun(log, topics, partition, position, checkpoints, Path(scratch))
        folded = RocksStorage(folder or Path(scratch) / str(partition))
        try:
            result.begun_at = State(folded, partition).partition.position
            made = _fold_into(State(folded, partition), log, topics, partition, position, on_progress)
            result.records = made.records
            for difference in _compare(stored, folded, result):
                result.differing += 1
                if len(result.examples) < EXAMPLES:
                    result.examples.append(difference)
        finally:
            folded.destroy()
    result.problems += problems(State(stored, partition))
    return result


def _begun(
    log: Log, topics: Topics, partition: int, end: int, checkpoints: CheckpointStore | None, scratch: Path
) -> Path | None:
    """Where the log has lost its beginning: a folder with the state of the newest good checkpoint up to `end`."""
    first, _ = log.offsets(TopicPartition(topics.events, partition))
    if first == 0 or checkpoints is None:
        return None
    return checkpointing.restore(checkpoints, topics.namespace, partition, first, end, scratch)


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
) -> Iterator[Rebuilt]:
    """Fold the log again, partition by partition, and put the result in the place of the stored state.

    `checkpoints`: to begin from where the log was trimmed. The old state of a partition stays until the new one is
    whole. Raises StoreError if an engine has the state open,
    LogError as the log does.
    """
    topics = Topics(namespace)
    for partition in range(partitions_of(log, topics.events)):
        folder = data_dir / namespace / str(partition)
        old = RocksStorage(folder)  # held open meanwhile, so that no engine can begin with it
        fresh = folder.with_name(f"{partition}.rebuilding")
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            rebuilt = _rebuild_partition(log, topics, partition, fresh, on_progress, checkpoints)
        except BaseException:
            old.close()
            raise
        old.destroy()
        fresh.rename(folder)
        yield rebuilt


def _rebuild_partition(
    log: Log,
    topics: Topics,
    partition: int,
    folder: Path,
    on_progress: OnProgress | None,
    checkpoints: CheckpointStore | None,
) -> Rebuilt:
    end = log.offsets(TopicPartition(topics.events, partition))[1]
    with tempfile.TemporaryDirectory(prefix="rebuild-", dir=folder.parent) as scratch:
        begun = _begun(log, topics, partition, end, checkpoints, Path(scratch))
        if begun is not None:
            begun.rename(folder)
    storage = RocksStorage(folder)
    try:
        begun_at = State(storage, partition).partition.position
        made = _fold_into(State(storage, partition), log, topics, partition, end, on_progress)
        rows = storage.count()
    finally:
        storage.close()
    return Rebuilt(partition, made.records, made.events, rows, begun_at)


# ---------------------------------------------------------------- checkpoints


def make_checkpoints(
    log: Log, namespace: str, store: CheckpointStore, on_progress: OnProgress | None = None
) -> Iterator[tuple[int, Checkpoint | None]]:
    """Make a checkpoint of each partition, from the newest one and what the log has after it; needs no engine.

    Gives (partition, checkpoint), or None where nothing has come since the newest one. Raises CheckpointError,
    LogError, StoreError.
    """
    topics = Topics(namespace)
    for partition in range(partitions_of(log, topics.events)):

        def fold_up_to(state: State, end: int, partition: int = partition) -> None:
            _fold_into(state, log, topics, partition, end, on_progress)

        first, end = log.offsets(TopicPartition(topics.events, partition))
        yield partition, checkpointing.create(store, namespace, partition, first, end, fold_up_to)


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
    plan: dict[TopicPartition, tuple[int, int]] = {}
    for number in range(partitions_of(log, topics.events)):
        here = TopicPartition(topics.events, number)
        first, end = log.offsets(here)
        if end:
            covered = checkpointing.trimmable(store, namespace, number).position
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
