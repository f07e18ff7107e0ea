"""Folding partitions of `events` from the log into folders again, offline, on as many processor cores as there are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue

from odradek_log import Log, Record, TopicPartition
from odradek_schemas import Topics

from .feeding import PATIENCE_S, FoldingProcess, cores
from .fold import State
from .folding import Folded, Folding, OnProgress, Refolded, Task, Terms, opened
from .store import StoreError
from .store_memory import DEFAULT_STORE_MEMORY, LEAST_STORE_MEMORY, StoreMemory
from .whole_partitions import read_partition

REPORT_EVERY = 100
"""So many records are folded between two reports of progress."""
RECORDS_A_PROCESS = 20_000
"""For fewer records a process is not worth its start, which takes as long as folding some thousands."""

Begin = Callable[[Task], None]
"""Puts into the folder of a task what is gone on from; the folder may stay empty."""


def fold_into(
    state: State, log: Log, topics: Topics, partition: int, end: int, on_progress: OnProgress | None = None
) -> Folded:
    """Fold the records of a partition, from the state's position up to below `end`; write the state to its storage.

    Raises StoreError where the log begins behind the state, LogError as the log does.
    """
    folding = Folding(state, Terms(topics.namespace))
    for count, record in enumerate(_records(log, topics, partition, state.partition.position, end), 1):
        folding.add(record.offset, record.timestamp_ms, record.key, record.value)
        if on_progress is not None and count % REPORT_EVERY == 0:
            on_progress(folding.news())
    folding.flush()
    if on_progress is not None:
        on_progress(folding.news())
    return folding.made


def _records(log: Log, topics: Topics, partition: int, position: int, end: int) -> Iterator[Record]:
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
    number = processes or max(1, min(cores(), there // RECORDS_A_PROCESS))
    if number > 1:
        yield from _in_processes(log, topics, tasks, begin, on_progress, min(number, len(tasks)))
        return
    memory = StoreMemory()
    for task in tasks:
        begin(task)
        with opened(task, memory) as storage:
            state = State(storage, task.partition)
            begun_at = state.partition.position
            made = fold_into(state, log, topics, task.partition, task.end, on_progress)
            rows = storage.count()
        yield Refolded(task.partition, *made, rows, begun_at)


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
    memory = max(DEFAULT_STORE_MEMORY // number, LEAST_STORE_MEMORY)
    feeders: list[_Feeder] = []
    done: dict[int, Refolded] = {}
    try:
        for _ in range(number):
            process = FoldingProcess(Terms(topics.namespace, memory))
            feeders.append(_Feeder(log, topics, begin, left, told, process))
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
    """The thread that reads the log for a process."""

    def __init__(
        self, log: Log, topics: Topics, begin: Begin, left: SimpleQueue[Task], told: _Told, process: FoldingProcess
    ) -> None:
        self._log = log
        self._topics = topics
        self._begin = begin
        self._left = left
        self._told = told
        self._process = process
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

        def records(begun_at: int) -> Iterator[Record]:
            return _records(self._log, self._topics, task.partition, begun_at, task.end)

        self._told.put(self._process.fold(task, records, self._told.put))

    def end(self) -> None:
        """Stop, in the middle of something if need be."""
        self._process.kill()
        self._thread.join(PATIENCE_S)  # it may wait for the log, which is of no use any more
        self._process.close()
