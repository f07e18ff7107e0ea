"""Partitions that are far behind the log: processes of their own fold them up to its end, before the engine goes on
with them as with any other.

One thread of the engine folds all that it has, some thousands of records a second. Who takes over what another engine
led, and has no state of it, would be as long about it as the log is, and what it leads already would wait in between.
So such partitions are closed again, folded on as many cores as there are, and opened anew.

This only makes it quicker, and decides nothing: whatever is out of the ordinary (another record than the one that the
state ends with, records that are gone, a newer fold version, a full disk, a process that ends) is left as it is, and
the folding thread meets it again and does what is to be done.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple, Self

from odradek_log import Consumer, Log, Record, TopicPartition
from odradek_schemas import Topics

from .early_reads import EarlyRead
from .feeding import PATIENCE_S, FoldingProcess, cores
from .folding import Folded, Task, Terms
from .settings import Settings
from .store_memory import LEAST_STORE_MEMORY
from .stores import Opened, Stores
from .whole_partitions import read_with

logger = logging.getLogger(__name__)

RECORDS_A_PROCESS = 10_000
"""For fewer records a process is not worth its start, which takes as long as folding two thousand, on a busy machine
four."""
MOST_PROCESSES = 4
"""Unless the settings say otherwise: each takes up to 100 MB, and a container's memory need not go with its cores."""
SHARE = 10
"""A partition with less than this part of what counts as far behind is not."""
POLL_S = 0.2
"""Who waits for the log sees so often whether it is to stop."""


class Job(NamedTuple):
    """A partition whose state, in `folder`, ends before `position`, with a record of this `checksum`; to be folded up
    to `end`. `rebuilds`: as of Opened."""

    partition: int
    folder: Path
    position: int
    checksum: int
    end: int
    rebuilds: int


def is_last_of(job: Job, record: Record) -> bool:
    """Whether this is the record that the state of a job ends with (L3)."""
    return record.offset == job.position - 1 and zlib.crc32(record.value) == job.checksum


def _processes(given: int | None) -> int:
    """At most so many; with one core, they would only be a detour."""
    if given is not None:
        return given
    return min(cores(), MOST_PROCESSES) if cores() > 1 else 0


class CatchingUp:
    """By an engine of `settings`. `wanted(partition)`: whether it is to have a partition still; `done` is called when
    there is something to `take`; both from any thread. All else belongs to one thread."""

    def __init__(
        self,
        stores: Stores,
        topics: Topics,
        settings: Settings,
        offsets: Callable[[TopicPartition], tuple[int, int]],
        wanted: Callable[[int], bool],
        done: Callable[[], None],
    ) -> None:
        self._stores = stores
        self._topic = topics.events
        self._terms = Terms(
            topics.namespace, LEAST_STORE_MEMORY, settings.fold_version, settings.flush_rows, settings.flush_bytes,
            count_rows=False,
        )  # fmt: skip  # the least: what is led here has the rest
        self._processes = _processes(settings.folding_processes) if stores.on_disk else 0
        self._far = settings.far_behind
        self._offsets = offsets
        self._wanted = wanted
        self._told = done
        self._lock = threading.Lock()
        self._left: list[Job] = []
        self._begun: set[int] = set()
        self._done: dict[int, Opened] = {}
        self._failure: BaseException | None = None
        self._ending = threading.Event()
        self._working = 0
        self._feeders: set[_Feeder] = set()
        self._threads: list[threading.Thread] = []

    def connect(self, log: Log) -> None:
        self._log = log

    def __contains__(self, partition: int) -> bool:
        """Whether a partition is being folded, or was and is not taken yet."""
        return partition in self._begun

    def take_on(self, opened: Mapping[int, Opened]) -> dict[int, Opened]:
        """Begin with those of the partitions that are far behind; the others are given back."""
        behind = {
            partition: one.end - one.state.partition.position
            for partition, one in opened.items()
            if one.end - one.state.partition.position > self._far // SHARE and self._wanted(partition)
        }
        together = sum(behind.values())
        if not self._processes or together < self._far:
            return dict(opened)
        logger.info("partitions %s are %d records behind: processes fold them", sorted(behind), together)
        self._begun.update(behind)
        with self._lock:
            for partition in behind:
                one, row = opened[partition], opened[partition].state.partition
                folder = self._stores.folder(partition)
                self._left.append(Job(partition, folder, row.position, row.checksum, one.end, one.rebuilds))
            self._left.sort(key=lambda job: job.position - job.end)
            worth = max(1, min(len(behind), together // RECORDS_A_PROCESS))
            more = min(worth, self._processes - self._working)
            self._working += more
        threads = [threading.Thread(target=self._work, name="odradek-catch-up", daemon=True) for _ in range(more)]
        self._threads = [*(thread for thread in self._threads if thread.is_alive()), *threads]
        for thread in threads:
            thread.start()
        return {partition: one for partition, one in opened.items() if partition not in behind}

    def take(self) -> dict[int, Opened]:
        """Those that are at the log's end, or as far as their processes came, each once. Raises what the first one
        raised that could not be opened again."""
        if self._failure is not None:
            raise self._failure
        taken = {partition: self._done.pop(partition) for partition in list(self._done)}
        self._begun -= taken.keys()
        return taken

    def end(self) -> None:
        """Fold no more; what was folded is on disk then."""
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for feeder in list(self._feeders):
            feeder.kill()
        for thread in self._threads:
            thread.join()

    # ---------------------------------------------------------------- in threads, one for each process

    def _work(self) -> None:
        try:
            with _Feeder(self._log, self._terms, self._feeders) as feeder:
                while (job := self._next()) is not None:
                    self._stores.close(job.partition)
                    begun = monotonic()
                    records, asked = feeder.fold(job, partial(self._records, job))
                    if self._ending.is_set():
                        return
                    opened = self._stores.open(job.partition)
                    logger.info(
                        "partition %d: a process folded %d records in %.1f s", job.partition, records,
                        monotonic() - begun,
                    )  # fmt: skip  # before the engine goes on with it, and tells of that
                    self._done[job.partition] = opened._replace(
                        folded=records, rebuilds=job.rebuilds + opened.rebuilds, asked=asked
                    )
                    self._told()
        except BaseException as error:  # it is raised where this was asked for
            self._failure = error
            self._told()

    def _next(self) -> Job | None:
        with self._lock:
            if self._ending.is_set() or not self._left:
                self._working -= 1
                return None
            return self._left.pop(0)

    def _going(self, partition: int) -> bool:
        return not self._ending.is_set() and self._wanted(partition)

    def _records(self, job: Job, consumer: Consumer) -> Iterator[Record]:
        """What follows the state of a job, as far as nothing has to be looked at: the record that it ends with comes
        first (L3), and then each next one."""
        here = TopicPartition(self._topic, job.partition)
        first, _ = self._offsets(here)
        expected = job.position if job.position <= first else job.position - 1
        try:
            for record in read_with(consumer, here, expected, job.end, partial(self._going, job.partition), POLL_S):
                if expected < job.position:
                    if not is_last_of(job, record):
                        return
                elif record.offset < expected or (record.offset > expected and self._offsets(here)[0] > expected):
                    return
                else:
                    yield record
                expected = record.offset + 1
        finally:
            consumer.assign({})  # a fetch that is under way would hold up the next partition


class _Feeder:
    """A process and a consumer, of one thread, from when they are needed. It is one of `all` while it has them."""

    def __init__(self, log: Log, terms: Terms, all: set[_Feeder]) -> None:
        self._log = log
        self._terms = terms
        self._all = all
        self._process: FoldingProcess | None = None
        self._consumer: Consumer | None = None
        self._folded = 0

    def fold(
        self, job: Job, records: Callable[[Consumer], Iterator[Record]]
    ) -> tuple[int, Sequence[EarlyRead]]:
        """Fold a partition as far as this can be done, and say how many records that were, and what the last ones
        ask."""
        self._folded = 0
        asked: Sequence[EarlyRead] = ()
        try:
            if self._consumer is None:
                self._consumer = self._log.consumer()
            if self._process is None:
                self._process = FoldingProcess(self._terms)
            consumer = self._consumer
            task = Task(job.partition, job.folder, job.end)
            asked = self._process.fold(task, lambda _: records(consumer), self._count).asked
        except Exception as error:  # the folding thread meets it again
            logger.warning("partition %d is folded by the engine's own thread: %s", job.partition, error)
            self._end_process()
        return self._folded, asked

    def _count(self, news: Folded) -> None:
        self._folded += news.records

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def kill(self) -> None:
        """End the process, which does not end by itself. From any thread."""
        process = self._process
        if process is not None:
            process.kill()

    def __enter__(self) -> Self:
        self._all.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._all.discard(self)
        self._end_process()
        if self._consumer is not None:
            self._consumer.close()
