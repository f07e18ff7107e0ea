"""The engine: stream processors for the partitions that the group gives to this process.

One thread folds and emits; a second one takes in reads and heartbeats; they take turns by a lock.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from odradek_log import (
    Consumer,
    Log,
    LogError,
    Producer,
    TopicPartition,
    open_log,
)
from odradek_schemas import Topics

from .agenda import Agenda
from .announcing import Announcer
from .assignment import Assignment
from .checkpointing import Checkpointing, CheckpointSettings
from .checkpoints import CheckpointStore
from .clock import Clock, Randomness, SystemClock, SystemRandomness
from .fold import State, UnsupportedVersionError
from .hearing import Hearing
from .log_access import LogAccess
from .members import Members
from .namespace import DEFAULT_PARTITIONS, ensure_topics, topic_specs
from .processor import Processor, StaleStateError
from .restoring import CheckpointedStates
from .settings import Counters, Outlook, Settings
from .store import EngineStorage, RocksStorage, StoreDamagedError, StoreError
from .store_memory import DEFAULT_STORE_MEMORY
from .stores import Stores

logger = logging.getLogger(__name__)

PERSIST_EVERY_S = 30.0
BULK_LINGER_MS = 500.0
"""How long the public history waits to be sent together: nobody waits for it, and it is a quarter of all requests."""
FOLLOWED_AT_ONCE = 200
"""Fewer than a leader takes: it has its turn in between."""
FAREWELL_S = 1.0
LOOK_EVERY_S = 0.1
"""How often it is seen what concerns all partitions together."""


class Engine:
    """An engine process, or one inside a program.

    `target`: the log's address; or `log`: one that is open already (it stays open). `data_dir`: where the state is
    kept, for as long as it likes; deleted, it is rebuilt from the log. `partitions`: of a namespace that is new.
    `on_topic`: called, from a thread of the engine, with each topic that it sends to for the first time.
    `standbys`: how many other engines keep up with each partition, ready to lead it at once; those that are started
    with it share this. `checkpoints`: where copies of the state are kept, from which another machine begins.
    `store_memory`: bytes that RocksDB may use for the state of all its partitions together, half of them for what is
    not on disk yet; at least 32 MiB.

        async with Engine("kafka://localhost:9092", namespace="default", data_dir="./state"): ...

    Raises LogError if the log cannot be reached, StoreError if nothing can be written to `data_dir`, ValueError for
    options that make no sense.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        log: Log | None = None,
        namespace: str = "default",
        data_dir: str | Path = "./odradek-state",
        partitions: int = DEFAULT_PARTITIONS,
        settings: Settings | None = None,
        standbys: int = 0,
        checkpoints: CheckpointSettings | None = None,
        store_memory: int = DEFAULT_STORE_MEMORY,
        log_settings: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        open_storage: Callable[[Path], EngineStorage] | None = None,
        on_topic: Callable[[str], object] = lambda topic: None,
    ) -> None:
        if (target is None) == (log is None):
            raise ValueError("give the engine either the address of a log, or an open log")
        if standbys < 0:
            raise ValueError(f"standbys is a number of engines, not {standbys}")
        self.topics = Topics(namespace)
        self._target = target
        self._given_log = log
        self._log_settings = dict(log_settings or {})
        self._new_partitions = partitions
        self._settings = settings or Settings()
        self._clock = clock or SystemClock()
        self._randomness = randomness or SystemRandomness()
        self.member = self._randomness.token()
        version, interval = self._settings.fold_version, self._settings.announce_interval
        self._members = Members(self.member, version, self._clock, interval, standbys)
        self._standbys = standbys
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._agenda = Agenda()
        self._access = LogAccess(self.topics, self._stopping, on_topic, self._asked)
        self._look_at = 0.0
        self._producer_failed = False
        self._failure: BaseException | None = None
        self._failed = threading.Event()
        self._folder = folder = Path(data_dir) / namespace
        self._checkpointing = (
            Checkpointing(
                checkpoints,
                CheckpointedStates(
                    CheckpointStore(checkpoints.address), namespace, open_storage or RocksStorage,
                    self._settings.fold_version,
                ),
                folder / "checkpoints", self._clock, self._access.trim,
            )
            if checkpoints else None
        )  # fmt: skip
        self._stores = Stores(
            folder, self.topics.events, open_storage, store_memory, self._checkpointing, self._access.offsets
        )
        self._assignment = Assignment(
            lock=self._lock, topics=self.topics, settings=self._settings, stores=self._stores, members=self._members,
            agenda=self._agenda, offsets=self._access.offsets, make=self._processor, changed=self._have_changed,
            wake=self.wake,
        )  # fmt: skip
        self._processors = self._assignment.processors
        self._following = self._assignment.following
        self._hearing = Hearing(self._lock, self._processors, self._members, self._clock, self._access.offsets)

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to process. Returns at once; partitions come from the group a moment later."""
        self.connect()
        loops: list[tuple[str, Callable[[], None]]] = [
            ("odradek-fold", self._fold_forever), ("odradek-reads", self._read_forever),
            ("odradek-follow", self._follow_forever),
        ]  # fmt: skip
        for name, run in loops:
            thread = threading.Thread(target=self._guard, args=(run,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def connect(self) -> None:
        """What `start` does before its threads: look at the disk, reach the log, and join the group of engines.

        With a full disk it would take partitions from the others, and drop them, each time it is started.
        """
        self._stores.check_room()
        self._log = self._given_log or open_log(self._target or "", **self._log_settings)
        self._partitions = ensure_topics(self._log, self.topics, self._new_partitions)
        self._access.connect(self._log, self._partitions)
        self._stores.take_folder()
        self._producer = self._log.producer()
        self._bulk_producer = self._log.producer(linger_ms=BULK_LINGER_MS)
        self._announcer = Announcer(self.member, self.topics.ephemeral, self._producer)
        self._consumer = self._log.consumer()
        self._hearing.connect(self._log, self.topics.ephemeral)
        self._assignment.connect(self._log, self._partitions, self._consumer)
        self._persist_at = self._clock.monotonic() + PERSIST_EVERY_S
        self._have_changed()
        self._consumer.subscribe(
            f"{self.topics.prefix}engine", [self.topics.events], self._assignment.gained, self._assignment.lost
        )

    def stop(self) -> None:
        """Hand the partitions over, put the state on disk, and stop."""
        self._stopping.set()
        self._consumer.wake()
        self._hearing.consumer.wake()
        self._following.consumer.wake()
        for thread in self._threads:
            thread.join()
        if self._checkpointing is not None:
            self._checkpointing.stop()
        for producer in (self._producer, self._bulk_producer):
            producer.flush(5.0)
            producer.close()
        if self._given_log is None:
            self._log.close()
        self._failed.set()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def wait_failed(self, timeout: float | None = None) -> BaseException | None:
        """Wait until the engine cannot go on, and return why; None when `timeout` (s) is over first, or it has stopped
        as it was told."""
        self._failed.wait(timeout)
        return self._failure

    def counters(self) -> dict[int, Counters]:
        """What each processor has done, by partition."""
        with self._lock:
            return self._assignment.counters()

    @property
    def leading(self) -> list[int]:
        """The partitions that this engine leads now."""
        with self._lock:
            return sorted(p for p, processor in self._processors.items() if processor.leadership.leading)

    def outlook(self, now_ms: int, away: Collection[str] = ()) -> Outlook:
        """What is left to do at `now_ms`, and when there is something to do next: for clocks that are moved by hand.
        Nobody will take the tasks for the queues `away`."""
        with self._lock:
            of_each = [processor.outlook(now_ms, away) for processor in self._processors.values()]
        due = [one.next_due_ms for one in of_each if one.next_due_ms is not None]
        return Outlook(any(one.busy for one in of_each), min(due, default=None))

    @property
    def following(self) -> list[int]:
        """The partitions that this engine keeps up with while others lead them."""
        with self._lock:
            return sorted(p for p in self._following.partitions if not self._processors[p].leadership.leading)

    def wake(self) -> None:
        """Have the folding thread look at what there is to do. From any thread."""
        self._consumer.wake()

    def look_again(self) -> None:
        """Look at the clock now: it was moved."""
        for partition in list(self._processors):
            self._agenda.soon(partition)
        self._consumer.wake()

    def _guard(self, run: Any) -> None:
        try:
            run()
        except BaseException as error:  # the thread ends; whoever waits for the engine is told
            known = isinstance(error, (UnsupportedVersionError, LogError, StoreError))
            logger.critical("the engine cannot go on: %s", error, exc_info=not known)
            self._failure = error
            self._failed.set()
            self._stopping.set()

    # ------------------------------------------------------------ the folding thread

    def _fold_forever(self) -> None:
        try:
            while not self._stopping.is_set():
                now = self._clock.monotonic()
                self.step(max(0.0, self._agenda.next_at(now + 1.0) - now))
        finally:
            self.hand_over()

    def hand_over(self) -> None:
        """Stop leading, tell it to who stands by, leave the group, and put the state on disk: what the folding thread
        does at its end."""
        self._assignment.leaving = True
        with self._lock:
            for processor in self._processors.values():
                processor.release()
            self._announcer.send(self._members.farewell(), range(self._partitions))
        self._producer.flush(FAREWELL_S)
        try:
            self._consumer.close()
        finally:
            self._assignment.end()
            with self._lock:
                try:
                    self._assignment.release(list(self._processors))
                finally:
                    self._stores.close_all()

    def step(self, timeout: float) -> None:
        """One turn of the folding thread: fold what comes within `timeout` seconds, then do what time asks for."""
        self._fold_some(self._consumer, timeout)
        self._assignment.go_on_with_opened()
        if self._producer_failed or self._announcer.producer_failed:
            self._renew_producers()
        now = self._clock.monotonic()
        if now >= self._look_at or self._members.news:
            self._members.news = False
            self._look_at = now + LOOK_EVERY_S
            self._look_at_all(now)

    def _look_at_all(self, now: float) -> None:
        self._mind_others()
        if now >= self._persist_at:
            self._persist_at = now + PERSIST_EVERY_S
            self._stores.persist()
        if self._checkpointing is not None:
            with self._lock:
                self._checkpointing.make(
                    (partition, processor.state, self._stores[partition])
                    for partition, processor in self._processors.items()
                    if processor.leadership.leading
                )

    def _mind_others(self) -> None:
        """Tell the other engines that we live. Leave everything to them where one can go on and we cannot (V1).

        A group gives away no single partition, so only who leaves it declines one. Where nobody could take over, the
        partitions that we do understand go on here.
        """
        with self._lock:
            held = self._following.held
            led = [p for p, processor in self._processors.items() if processor.leadership.leading]
            announcement = self._members.announcement(held.union(led))
            if announcement is not None:
                self._announcer.send(announcement, range(self._partitions))
            beat = self._members.beat()
            if beat is not None:
                self._announcer.send(beat, led)
            self._following.choose(self._clock.monotonic())
            here = self._processors.keys() & held
            declined = max((self._processors[p].declined for p in here), default=0)
        if declined and self._members.another_knows(declined):
            raise UnsupportedVersionError(declined, self._settings.fold_version)

    def _fold_some(self, consumer: Consumer, timeout: float, at_most: int = 500) -> None:
        records = consumer.poll(timeout, at_most)
        with self._lock:
            touched: dict[int, None] = {}
            for record in records:
                processor = self._processors.get(record.partition)
                if processor is None or processor.declined:
                    continue
                if (record.partition in self._following.partitions) != (consumer is not self._consumer):
                    continue
                touched[record.partition] = None
                try:
                    if processor.comparison.doubts(record.offset):
                        where = TopicPartition(record.topic, record.partition)
                        processor.comparison.settle(*self._access.offsets(where))
                    position = processor.state.partition.position
                    processor.handle(record, gap=self._access.is_gap(record.partition, position, record.offset))
                except UnsupportedVersionError as error:
                    processor.decline(error)
                    self._look_at = 0.0
                except (StaleStateError, StoreDamagedError) as error:
                    self._assignment.rebuild(record.partition, error)
                else:
                    processor.maybe_flush()
            overloaded = self._tick(touched)
        if overloaded:
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        """Fold no further while too many effects are unacknowledged (rule E6)."""
        while any(p.overloaded for p in list(self._processors.values())) and not self._stopping.is_set():
            for producer in (self._producer, self._bulk_producer):
                producer.flush(0.05)
            with self._lock:
                self._tick(self._processors)

    def _tick(self, touched: Iterable[int]) -> bool:
        """Do what time asks for: of the partitions in which something was folded, and of those where something is due.
        Returns whether one of them must not fold on for now."""
        now = self._clock.monotonic()
        overloaded = False
        for partition in dict.fromkeys([*touched, *self._agenda.take(now)]):
            processor = self._processors.get(partition)
            if processor is None:
                continue
            try:
                processor.tick()
                self._agenda.put(partition, now + processor.wait_s())
            except StoreDamagedError as error:
                self._assignment.rebuild(partition, error)
                continue
            overloaded = overloaded or processor.overloaded
            self._producer_failed = self._producer_failed or processor.producer_failed
            if processor.leadership.leading != (partition in self._assignment.led):
                self._assignment.led ^= {partition}
                self._look_at = 0.0
        return overloaded

    def _renew_producers(self) -> None:
        """After an error that a producer does not recover from: go on with new ones, as if newly elected."""
        logger.warning("a producer failed for good; going on with new ones")
        old = (self._producer, self._bulk_producer)
        with self._lock:
            self._producer_failed = False
            self._producer = self._log.producer()
            self._bulk_producer = self._log.producer(linger_ms=BULK_LINGER_MS)
            for processor in self._processors.values():
                processor.use(self._producer, self._bulk_producer)
            self._announcer.use(self._producer)
            self.look_again()
        for producer in old:
            producer.close()

    def _processor(self, partition: int, state: State) -> Processor:
        return Processor(
            partition=partition,
            partitions=self._partitions,
            topics=self.topics,
            member=self.member,
            state=state,
            producer=self._producer,
            bulk_producer=self._bulk_producer,
            clock=self._clock,
            randomness=self._randomness,
            settings=self._settings,
            prepare=self._access.prepare,
            find_end=self._access.find_end,
            members=self._members,
        )

    def _asked(self, partition: int) -> None:
        """The log has answered a question about a partition."""
        self._agenda.soon(partition)
        self._consumer.wake()

    # ------------------------------------------------------------ standing by

    def _follow_forever(self) -> None:
        try:
            while not self._stopping.is_set():
                self.follow_step(1.0)
        finally:
            self._following.consumer.close()

    def follow_step(self, timeout: float) -> None:
        """One turn of the following thread: fold what others lead, as it comes within `timeout` seconds."""
        self._following.prepare()
        self._fold_some(self._following.consumer, timeout, FOLLOWED_AT_ONCE)

    # ------------------------------------------------------------ reads and heartbeats

    def _have_changed(self) -> None:
        """There are other processors than before."""
        nothing = [0] if self._standbys else []  # to hear of the other engines
        self._hearing.want(self._processors.keys() or nothing)
        self._look_at = 0.0
        for partition in self._processors:
            self._agenda.soon(partition)

    def _read_forever(self) -> None:
        try:
            while not self._stopping.is_set():
                self.read_step(1.0)
        finally:
            self._hearing.consumer.close()

    def read_step(self, timeout: float) -> None:
        """One turn of the reading thread: take in the reads and heartbeats that come within `timeout` seconds."""
        if self._hearing.step(timeout, self._following.partitions):
            self.look_again()


__all__ = ["Engine", "Producer", "ensure_topics", "topic_specs"]
