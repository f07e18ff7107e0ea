"""Folding partitions of `events` from the log into folders again, on as many processor cores as there are.

A core folds some thousands of records a second, and partitions have nothing to do with each other. So what is long is
given to processes of its own. They get the records from the process that begins them, which alone reads the log: a log
in a folder can be read by one process only.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from odradek_log import Log, TopicPartition
from odradek_schemas import Topics

from .fold import State, events, fold
from .store import RocksStorage, StoreError
from .store_memory import DEFAULT_STORE_MEMORY, LEAST_STORE_MEMORY, StoreMemory
from .unwritten import Unwritten
from .whole_partitions import read_partition

FLUSH_ROWS = 20_000
FLUSH_BYTES = 32 * 1024 * 1024
"""The state is written each so many changed rows, or bytes of the records and effects that changed them."""
REPORT_EVERY = 100
"""So many records are folded between two reports of progress."""
RECORDS_A_PROCESS = 20_000
"""For fewer records a process is not worth its start, which takes as long as folding some thousands."""
_BATCH = 500
_PATIENCE_SECONDS = 5.0


class Folded(NamedTuple):
    """How many records were folded, and how many events of workflows' histories that gave."""

    records: int = 0
    events: int = 0


OnProgress = Callable[[Folded], None]
"""Called now and then with what was folded since the last call."""


class Task(NamedTuple):
    """A partition to be folded up to below the offset `end`, from where the state in `folder` stands."""

    partition: int
    folder: Path
    end: int


Begin = Callable[[Task], None]
"""Puts into the folder of a task what is gone on from; the folder may stay empty."""


class Refolded(NamedTuple):
    """What folding a partition gave: `records` of the log, with `events` of workflows' histories, and the `rows` that
    its state has now. `begun_at`: the offset that the state had before."""

    partition: int
    records: int
    events: int
    rows: int
    begun_at: int


class Folding:
    """Folds the records of one partition, and writes the state to its storage now and then."""

    def __init__(self, state: State, topics: Topics) -> None:
        self._state = state
        self._topics = topics
        self._unwritten = Unwritten(state, FLUSH_ROWS, FLUSH_BYTES)
        self._records = self._events = 0
        self._reported = Folded()

    @property
    def made(self) -> Folded:
        """What was folded so far."""
        return Folded(self._records, self._events)

    def add(self, offset: int, timestamp_ms: int, key: bytes, value: bytes) -> None:
        """Fold the next record."""
        folded = fold(self._state, self._topics, offset, timestamp_ms, key, value)
        self._records += 1
        for event in folded.events:
            if type(event) is events.Appended:
                self._events += 1
        self._unwritten.add(value, folded.effects)
        if self._unwritten.enough:
            self.flush()

    def flush(self) -> None:
        """Write the state to its storage."""
        self._unwritten.write()

    def news(self) -> Folded:
        """What was folded since the last call."""
        records, number_of_events = self.made
        before, self._reported = self._reported, self.made
        return Folded(records - before.records, number_of_events - before.events)


def fold_into(
    state: State, log: Log, topics: Topics, partition: int, end: int, on_progress: OnProgress | None = None
) -> Folded:
    """Fold the records of a partition, from the state's position up to below `end`; write the state to its storage.

    Raises StoreError where the log begins behind the state, LogError as the log does.
    """
    folding = Folding(state, topics)
    for count, record in enumerate(_records(log, topics, partition, state.partition.position, end), 1):
        folding.add(record.offset, record.timestamp_ms, record.key, record.value)
        if on_progress is not None and count % REPORT_EVERY == 0:
            on_progress(folding.news())
    folding.flush()
    if on_progress is not None:
        on_progress(folding.news())
    return folding.made


def _records(log: Log, topics: Topics, partition: int, position: int, end: int) -> Iterator[Any]:
    here = TopicPartition(topics.events, partition)
    first, last = log.offsets(here)
    if first > position:
        raise StoreError(
            f"{here.topic} partition {partition} begins at offset {first}: records before it are gone, so its state "
            f"cannot be folded from offset {position} on. Give the checkpoints that the log was trimmed behind"
        )
    return read_partition(log, here, position, min(end, last))  # not all offsets are records: see Processor


def refold(
    log: Log,
    topics: Topics,
    tasks: Sequence[Task],
    begin: Begin,
    on_progress: OnProgress | None = None,
    processes: int = 0,
) -> Iterator[Refolded]:
    """Fold partitions, each into its folder; give them in the order of `tasks`, each when it is done.

    `begin` is called for each, from any thread, right before its turn comes. `processes`: how many at a time; 1 is this
    one, 0 stands for one for each core, as far as there is work for them. Raises StoreError where a folder cannot be
    written or the log begins behind it, LogError as the log does, UnsupportedVersionError where newer code must go on.
    """
    if not tasks:
        return
    ends = [log.offsets(TopicPartition(topics.events, task.partition)) for task in tasks]
    there = sum(end - first for first, end in ends)
    number = processes or max(1, min(_cores(), there // RECORDS_A_PROCESS))
    if number > 1:
        yield from _in_processes(log, topics, tasks, begin, on_progress, min(number, len(tasks)))
        return
    memory = StoreMemory()
    for task in tasks:
        begin(task)
        with _opened(task, memory) as storage:
            state = State(storage, task.partition)
            begun_at = state.partition.position
            made = fold_into(state, log, topics, task.partition, task.end, on_progress)
            rows = storage.count()
        yield Refolded(task.partition, *made, rows, begun_at)


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _opened(task: Task, memory: StoreMemory) -> Iterator[RocksStorage]:
    storage = RocksStorage(task.folder, memory=memory)
    try:
        yield storage
    finally:
        storage.close()


# ---------------------------------------------------------------- in processes

_Told = SimpleQueue[Folded | Refolded | Exception]


def _in_processes(
    log: Log, topics: Topics, tasks: Sequence[Task], begin: Begin, on_progress: OnProgress | None, number: int
) -> Iterator[Refolded]:
    """`number` processes; a thread of this one feeds each, and tells what comes of it."""
    left: SimpleQueue[Task] = SimpleQueue()
    for task in tasks:
        left.put(task)
    told: _Told = SimpleQueue()
    feeders = [_Feeder(log, topics, begin, left, told, DEFAULT_STORE_MEMORY // number) for _ in range(number)]
    done: dict[int, Refolded] = {}
    try:
        for task in tasks:
            while task.partition not in done:
                news = told.get()
                if isinstance(news, Exception):
                    raise news
                if isinstance(news, Refolded):
                    done[news.partition] = news
                elif on_progress is not None:
                    on_progress(news)
            yield done[task.partition]
    finally:
        for feeder in feeders:
            feeder.end()


class _Feeder:
    """A process that folds, and the thread that reads the log for it."""

    def __init__(
        self, log: Log, topics: Topics, begin: Begin, left: SimpleQueue[Task], told: _Told, memory: int
    ) -> None:
        self._log = log
        self._topics = topics
        self._begin = begin
        self._left = left
        self._told = told
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, topics.namespace, max(memory, LEAST_STORE_MEMORY))
        self._process: SpawnProcess = context.Process(target=_fold_what_comes, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._thread = threading.Thread(target=self._feed, name="odradek-refolding", daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        try:
            while True:
                self._fold(self._left.get_nowait())
        except Empty:
            return
        except Exception as error:  # the one who waits for the results raises it
            self._told.put(error)

    def _fold(self, task: Task) -> None:
        self._begin(task)
        try:
            self._connection.send(task)
            begun_at = self._answer()
            records = _records(self._log, self._topics, task.partition, begun_at, task.end)
            rest = ((r.offset, r.timestamp_ms, r.key, r.value) for r in records)
            while batch := list(islice(rest, _BATCH)):
                self._connection.send(batch)
                while self._connection.poll():
                    self._told.put(self._answer())
            self._connection.send([])
            while not isinstance(answer := self._answer(), Refolded):
                self._told.put(answer)
            self._told.put(answer)
        except (EOFError, OSError) as error:
            self._process.join(_PATIENCE_SECONDS)
            raise StoreError(
                f"the process that folded partition {task.partition} has ended (exit code {self._process.exitcode}); "
                "was there too little memory? Try again with one process"
            ) from error

    def _answer(self) -> Any:
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """Stop, in the middle of something if need be."""
        self._process.terminate()
        self._process.join()
        self._thread.join(_PATIENCE_SECONDS)  # it may wait for the log, which is of no use any more
        self._connection.close()


def _fold_what_comes(connection: Connection, namespace: str, memory_bytes: int) -> None:
    """The process: for each task, says where the state stands, folds batches of records up to an empty one, says what
    that gave. An error ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who began it ends it
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)  # hardly anything here is in cycles
    topics, memory = Topics(namespace), StoreMemory(memory_bytes)
    try:
        while True:
            task: Task = connection.recv()
            with _opened(task, memory) as storage:
                state = State(storage, task.partition)
                begun_at = state.partition.position
                connection.send(begun_at)
                folding = _fold_batches(state, topics, iter(connection.recv, []), connection)
                rows = storage.count()
            connection.send(Refolded(task.partition, *folding.made, rows, begun_at))
    except EOFError:
        return
    except Exception as error:
        connection.send(error)


def _fold_batches(
    state: State, topics: Topics, batches: Iterable[list[tuple[int, int, bytes, bytes]]], connection: Connection
) -> Folding:
    folding = Folding(state, topics)
    for batch in batches:
        for record in batch:
            folding.add(*record)
        connection.send(folding.news())
    folding.flush()
    return folding
