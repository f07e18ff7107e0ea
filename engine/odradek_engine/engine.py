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

from odradek_log import Committed, Consumer, Log, LogError, Producer, TopicPartition, TopicSpec, open_log
from odradek_schemas import Topics, encode

from .checkpointing import Checkpointing, CheckpointSettings
from .clock import Clock, Randomness, SystemClock, SystemRandomness
from .fold import State, UnsupportedVersionError
from .members import Members
from .processor import Counters, Outlook, Processor, Settings, StaleStateError
from .store import EngineStorage, RocksStorage, StoreError

logger = logging.getLogger(__name__)

DEFAULT_PARTITIONS = 16
HOUR_MS = 3_600_000
TASK_RETENTION_MS = 7 * 24 * HOUR_MS
PERSIST_EVERY_S = 30.0
BULK_LINGER_MS = 20.0
READ_BACK_RECORDS = 1_000
"""How many of the last reads a new leader looks at; older ones were asked again, or nobody waits."""


def topic_specs(topics: Topics, partitions: int) -> list[TopicSpec]:
    """The topics of a namespace, but for those of task queues."""
    return [
        TopicSpec(topics.events, partitions),
        TopicSpec(topics.history, partitions),
        TopicSpec(topics.dead_letters, partitions),
        TopicSpec(topics.ephemeral, partitions, HOUR_MS, durable=False),
        TopicSpec(topics.replies, partitions, HOUR_MS, durable=False),
    ]


def ensure_topics(log: Log, topics: Topics, partitions: int = DEFAULT_PARTITIONS) -> int:
    """Make what is missing of a namespace's topics; return how many partitions it has."""
    found = log.partitions(topics.events)
    log.create_topics(topic_specs(topics, found or partitions))
    return found or log.partitions(topics.events) or partitions  # a broker may not know yet of one that was just made


class Engine:
    """An engine process, or one inside a program.

    `target`: the log's address; or `log`: one that is open already (it stays open). `data_dir`: where the state is
    kept, for as long as it likes; deleted, it is rebuilt from the log. `partitions`: of a namespace that is new.
    `on_topic`: called, from a thread of the engine, with each topic that it sends to for the first time.
    `checkpoints`: where copies of the state are kept, from which another machine begins.

        async with Engine("kafka://localhost:9092", namespace="default", data_dir="./state"): ...

    Raises LogError if the log cannot be reached.
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
        checkpoints: CheckpointSettings | None = None,
        log_settings: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        open_storage: Callable[[Path], EngineStorage] = RocksStorage,
        on_topic: Callable[[str], object] = lambda topic: None,
    ) -> None:
        if (target is None) == (log is None):
            raise ValueError("give the engine either the address of a log, or an open log")
        self.topics = Topics(namespace)
        self._target = target
        self._given_log = log
        self._log_settings = dict(log_settings or {})
        self._folder = Path(data_dir) / namespace
        self._open_storage = open_storage
        self._stored: dict[int, EngineStorage] = {}
        self._new_partitions = partitions
        self._settings = settings or Settings()
        self._clock = clock or SystemClock()
        self._randomness = randomness or SystemRandomness()
        self.member = self._randomness.token()
        version, interval = self._settings.fold_version, self._settings.announce_interval
        self._members = Members(self.member, version, self._clock, interval)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._processors: dict[int, Processor] = {}
        self._threads: list[threading.Thread] = []
        self._known_topics: set[str] = set()
        self._on_topic = on_topic
        self._tick_all_at = 0.0
        self._failure: BaseException | None = None
        self._reads_wanted: list[int] = []
        self._reads_changed = False
        self._failed = threading.Event()
        self._checkpointing = (
            Checkpointing(checkpoints, namespace, self._folder / "checkpoints", self._clock) if checkpoints else None
        )

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to process. Returns at once; partitions come from the group a moment later."""
        self.connect()
        for name, run in (("odradek-fold", self._fold_forever), ("odradek-reads", self._read_forever)):
            thread = threading.Thread(target=self._guard, args=(run,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def connect(self) -> None:
        """What `start` does before its threads: reach the log, and join the group of engines."""
        self._log = self._given_log or open_log(self._target or "", **self._log_settings)
        self._partitions = ensure_topics(self._log, self.topics, self._new_partitions)
        self._producer = self._log.producer()
        self._bulk_producer = self._log.producer(linger_ms=BULK_LINGER_MS)
        self._consumer = self._log.consumer()
        self._reader = self._log.consumer()
        self._read_positions: dict[TopicPartition, int] = {}
        self._reads_began: dict[TopicPartition, int] = {}
        self._persist_at = self._clock.monotonic() + PERSIST_EVERY_S
        self._consumer.subscribe(
            f"{self.topics.prefix}engine", [self.topics.events], self._on_assigned, self._on_revoked
        )

    def stop(self) -> None:
        """Hand the partitions over, put the state on disk, and stop."""
        self._stopping.set()
        self._consumer.wake()
        self._reader.wake()
        for thread in self._threads:
            thread.join()
        if self._checkpointing is not None:
            self._checkpointing.stop()
        for producer in (self._producer, self._bulk_producer):
            producer.flush(5.0)
            producer.close()
        if self._given_log is None:
            self._log.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def wait_failed(self, timeout: float | None = None) -> BaseException | None:
        """Wait until the engine cannot go on, and return why; None when `timeout` (s) is over first."""
        self._failed.wait(timeout)
        return self._failure

    def counters(self) -> dict[int, Counters]:
        """What each processor has done, by partition."""
        with self._lock:
            return {p: processor.counters for p, processor in self._processors.items()}

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

    def look_again(self) -> None:
        """Look at the clock now: it was moved."""
        self._tick_all_at = 0.0
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
                self.step(max(0.0, self._tick_all_at - self._clock.monotonic()))
        finally:
            self.hand_over()

    def hand_over(self) -> None:
        """Leave the group, and put the state on disk: what the folding thread does at its end."""
        self._consumer.close()
        with self._lock:
            self._release(list(self._processors))
            for partition in list(self._stored):
                self._stored.pop(partition).close()  # of one whose partition could not be opened

    def step(self, timeout: float) -> None:
        """One turn of the folding thread: fold what comes within `timeout` seconds, then do what time asks for."""
        self._fold_some(self._consumer, timeout)
        if any(p.producer_failed for p in self._processors.values()):
            self._renew_producers()
        self._mind_others()
        if self._clock.monotonic() >= self._persist_at:
            self._persist_at = self._clock.monotonic() + PERSIST_EVERY_S
            for storage in list(self._stored.values()):
                storage.persist()
        if self._checkpointing is not None:
            with self._lock:
                self._checkpointing.make(
                    (partition, processor.state, self._stored[partition])
                    for partition, processor in self._processors.items()
                    if processor.leadership.leading
                )

    def _mind_others(self) -> None:
        """Tell the other engines that we live. Leave everything to them where one can go on and we cannot (V1).

        A group gives away no single partition, so only who leaves it declines one. Where nobody could take over, the
        partitions that we do understand go on here.
        """
        announcement = self._members.announcement()
        if announcement is not None:
            key, value = self.member.encode(), encode(announcement)
            for partition in range(self._partitions):
                self._producer.send(self.topics.ephemeral, partition, key, value)
        declined = max((processor.declined for processor in self._processors.values()), default=0)
        if declined and self._members.another_knows(declined):
            raise UnsupportedVersionError(declined, self._settings.fold_version)

    def _fold_some(self, consumer: Consumer, timeout: float) -> None:
        records = consumer.poll(timeout)
        with self._lock:
            touched: dict[int, Processor] = {}
            rebuilding: set[int] = set()
            for record in records:
                processor = self._processors.get(record.partition)
                if processor is None or processor.declined or record.partition in rebuilding:
                    continue
                touched[record.partition] = processor
                try:
                    processor.handle(record)
                except UnsupportedVersionError as error:
                    processor.decline(error)
                except StaleStateError as error:
                    self._rebuild(consumer, record.partition, error)
                    touched.pop(record.partition)
                    rebuilding.add(record.partition)
                else:
                    processor.maybe_flush()
            self._tick(touched.values())
        while any(p.overloaded for p in list(self._processors.values())) and not self._stopping.is_set():
            for producer in (self._producer, self._bulk_producer):
                producer.flush(0.05)
            with self._lock:
                self._tick(self._processors.values())

    def _tick(self, touched: Iterable[Processor]) -> None:
        """Do what time asks for: of the processors that just folded, and, when something is due, of all."""
        now = self._clock.monotonic()
        if now >= self._tick_all_at:
            touched = self._processors.values()
            self._tick_all_at = now + 1.0
        for processor in touched:
            processor.tick()
            self._tick_all_at = min(self._tick_all_at, now + processor.wait_s())

    def _renew_producers(self) -> None:
        """After an error that a producer does not recover from: go on with new ones, as if newly elected."""
        logger.warning("a producer failed for good; going on with new ones")
        old = (self._producer, self._bulk_producer)
        with self._lock:
            self._producer = self._log.producer()
            self._bulk_producer = self._log.producer(linger_ms=BULK_LINGER_MS)
            for processor in self._processors.values():
                processor.use(self._producer, self._bulk_producer)
            self._tick_all_at = 0.0
        for producer in old:
            producer.close()

    # ------------------------------------------------------------ assignment

    def _on_assigned(self, gained: dict[TopicPartition, Committed | None]) -> dict[TopicPartition, int]:
        with self._lock:
            starts = {}
            for tp in gained:
                processor = self._open(tp.partition)
                self._processors[tp.partition] = processor
                starts[tp] = processor.start_offset
            self._assign_reads()
            for tp in gained:
                self._processors[tp.partition].gain()
            self._tick_all_at = 0.0
            logger.info("partitions gained: %s", sorted(tp.partition for tp in gained))
            return starts

    def _on_revoked(self, lost: list[TopicPartition]) -> None:
        with self._lock:
            self._release([tp.partition for tp in lost])
            self._assign_reads()
            logger.info("partitions handed over: %s", sorted(tp.partition for tp in lost))

    def _release(self, partitions: list[int]) -> None:
        for partition in partitions:
            processor = self._processors.pop(partition, None)
            if processor is not None:
                processor.release()
                processor.state.flush()
                self._stored.pop(partition).close()

    def _open(self, partition: int) -> Processor:
        """A processor on the stored state; on an empty one where the stored state cannot be of this log (L3)."""
        folder = self._folder / str(partition)
        rebuilds = 0
        state = self._stored_state(partition)
        first, end = self._offsets(TopicPartition(self.topics.events, partition))
        if state.partition.position > end:
            logger.error(
                "ALARM: the state of partition %d is at offset %d, the log ends at %d: it is discarded and rebuilt",
                partition,
                state.partition.position,
                end,
            )
            state = self._empty(partition)
            rebuilds = 1
        if self._checkpointing is not None:
            restored = self._checkpointing.newer(partition, state.partition.position, first, end)
            if restored is not None:
                self._stored.pop(partition).destroy()
                restored.rename(folder)
                state = self._stored_state(partition)
        if first > state.partition.position:
            raise StoreError(
                f"partition {partition} of {self.topics.events} begins at offset {first}, the state in {folder} "
                f"ends at {state.partition.position}: records in between are gone. Put back a newer copy of the state"
            )
        processor = self._processor(partition, state)
        processor.counters.rebuilds = rebuilds
        return processor

    def _offsets(self, tp: TopicPartition) -> tuple[int, int]:
        """The log's own offsets; where no broker answers, we wait for one."""
        while True:
            try:
                return self._log.offsets(tp)
            except LogError as error:
                if not error.retriable or self._stopping.is_set():
                    raise
                logger.warning("waiting for the log: %s", error)
                self._stopping.wait(1.0)

    def _stored_state(self, partition: int) -> State:
        storage = self._stored[partition] = self._open_storage(self._folder / str(partition))
        return State(storage, partition)

    def _empty(self, partition: int) -> State:
        """The stored state is discarded."""
        self._stored.pop(partition).destroy()
        return self._stored_state(partition)

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
            prepare=self._prepare,
            find_end=self._find_end,
            members=self._members,
        )

    def _rebuild(self, consumer: Consumer, partition: int, error: StaleStateError) -> None:
        """Discard a state that is not of this log, and fold from the beginning before leading (rule L3)."""
        logger.error("ALARM: %s. The state is discarded and rebuilt", error)
        old = self._processors[partition]
        old.release()
        processor = self._processor(partition, self._empty(partition))
        processor.counters = old.counters
        processor.counters.rebuilds += 1
        self._processors[partition] = processor
        consumer.seek(TopicPartition(self.topics.events, partition), 0)
        processor.gain()

    def _prepare(self, topic: str) -> None:
        """Make a topic on first use."""
        if topic not in self._known_topics:
            durable = topic in (self.topics.events, self.topics.history, self.topics.dead_letters)
            if not durable and not self._log.partitions(topic):
                self._log.create_topics([TopicSpec(topic, self._partitions, TASK_RETENTION_MS, durable=False)])
            self._known_topics.add(topic)
            self._on_topic(topic)

    def _find_end(self, tp: TopicPartition, found: Any) -> None:
        def answer(ends: dict[TopicPartition, int], error: LogError | None) -> None:
            found(None if error is not None else ends[tp])
            self._tick_all_at = 0.0
            self._consumer.wake()

        self._log.end_offsets([tp], answer)

    # ------------------------------------------------------------ reads and heartbeats

    def _assign_reads(self) -> None:
        """Read `ephemeral` of the partitions that we hold, from a little before its end."""
        self._reads_wanted = sorted(self._processors)
        self._reads_changed = True
        self._reader.wake()

    def _read_forever(self) -> None:
        try:
            while not self._stopping.is_set():
                self.read_step(1.0)
        finally:
            self._reader.close()

    def read_step(self, timeout: float) -> None:
        """One turn of the reading thread: take in the reads and heartbeats that come within `timeout` seconds."""
        if self._reads_changed:
            self._read_positions = self._reassign(self._read_positions)
        records = self._reader.poll(timeout)
        if not records:
            return
        with self._lock:
            for record in records:
                tp = TopicPartition(record.topic, record.partition)
                self._read_positions[tp] = record.offset + 1
                processor = self._processors.get(record.partition)
                if processor is not None:
                    processor.handle_ephemeral(record.value, past=record.offset < self._reads_began.get(tp, 0))

    def _reassign(self, positions: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        with self._lock:
            self._reads_changed = False
            wanted = [TopicPartition(self.topics.ephemeral, p) for p in self._reads_wanted]
        starts = {}
        for tp in wanted:
            if tp not in positions:
                first, end = self._offsets(tp)
                starts[tp] = max(first, end - READ_BACK_RECORDS)
                self._reads_began[tp] = end
            else:
                starts[tp] = positions[tp]
        self._reader.assign(starts)
        return starts


__all__ = ["Engine", "Producer", "ensure_topics", "topic_specs"]
