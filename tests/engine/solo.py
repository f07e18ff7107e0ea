"""One processor without a log around it: every append waits until the test delivers, refuses or drops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from odradek_engine.fold import MemoryStorage, State
from odradek_engine.processor import Processor
from odradek_engine.settings import Settings
from odradek_log import LogError, LogUnavailableError, OnDelivery, Record, TopicPartition
from odradek_schemas import decode, encode, ephemeral, records
from odradek_schemas.common import Record as AnyRecord
from odradek_schemas.ephemeral import EngineAlive

from .harness import T0, TOPICS

R = TypeVar("R", bound=AnyRecord)


class ManualClock:
    """A clock that the test sets; `seconds` since the beginning."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return T0 + round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


class CountingRandomness:
    """Tokens that count; the delay before standing again is `delay`, or the longest possible."""

    def __init__(self) -> None:
        self.delay: float | None = None
        self._tokens = 0

    def token(self) -> str:
        self._tokens += 1
        return f"t{self._tokens}"

    def uniform(self, low: float, high: float) -> float:
        return high if self.delay is None else self.delay


@dataclass
class Send:
    topic: str
    partition: int
    value: bytes
    on_delivery: OnDelivery | None

    @property
    def body(self) -> Any:
        return decode(self.value)

    def refuse(self, error: LogError | None = None) -> None:
        if self.on_delivery is not None:
            self.on_delivery(-1, error or LogUnavailableError("no answer"))


class HeldProducer:
    """What was sent and not yet delivered, in order."""

    def __init__(self) -> None:
        self.held: list[Send] = []

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        self.held.append(Send(topic, partition, value, on_delivery))

    def flush(self, timeout: float) -> int:
        return len(self.held)

    def close(self) -> None:
        self.held.clear()


class Solo:
    """A processor of partition 0, its log of events, and what it sends."""

    def __init__(self, member: str = "me", **settings: Any) -> None:
        self.clock = ManualClock()
        self.randomness = CountingRandomness()
        self.producer = HeldProducer()
        self.events: list[Record] = []
        self.out: list[tuple[str, int, Any]] = []
        self.ends: list[Callable[[int | None], None]] = []
        self.prepared: list[str] = []
        self.mute = False  # the log takes nothing in `ephemeral`
        self.topic_error: LogError | None = None  # what making a topic of tasks comes to
        self.state = State(MemoryStorage(), 0)
        self.settings = Settings(**settings)
        self.processor = self.make(member, self.state)

    def make(self, member: str, state: State) -> Processor:
        return Processor(
            partition=0,
            partitions=1,
            topics=TOPICS,
            member=member,
            state=state,
            producer=self.producer,
            bulk_producer=self.producer,
            clock=self.clock,
            randomness=self.randomness,
            settings=self.settings,
            prepare=self._prepare,
            find_end=self._find_end,
        )

    def _prepare(self, topic: str) -> None:
        self.prepared.append(topic)
        if self.topic_error is not None and "tasks" in topic:
            raise self.topic_error

    def _find_end(self, _: TopicPartition, found: Callable[[int | None], None]) -> None:
        self.ends.append(found)

    # ------------------------------------------------------------ the log

    def put(self, record: AnyRecord | bytes, at_ms: int | None = None) -> None:
        """Somebody appends to `events`."""
        value = record if isinstance(record, bytes) else encode(record)
        stamp = self.clock.now_ms() if at_ms is None else at_ms
        self.events.append(Record(TOPICS.events, 0, len(self.events), stamp, b"", value))

    def take(self, kind: type[R]) -> list[Send]:
        """Take what is held of one kind out of the producer."""
        taken = [s for s in self.producer.held if isinstance(s.body, kind)]
        self.producer.held = [s for s in self.producer.held if s not in taken]
        return taken

    def deliver(self) -> None:
        """Everything that is held lands, and is acknowledged."""
        held, self.producer.held = self.producer.held, []
        for send in held:
            self.land(send)

    def land(self, send: Send) -> None:
        if send.topic == TOPICS.events and send.partition == 0:
            self.put(send.value)
        else:
            self.out.append((send.topic, send.partition, send.body))
        if send.on_delivery is not None:
            send.on_delivery(len(self.events) - 1, None)

    # ------------------------------------------------------------ the processor

    def fold(self) -> None:
        """Fold what the log holds, then tick."""
        while self.state.partition.position < len(self.events):
            self.processor.handle(self.events[self.state.partition.position])
        self.processor.tick()

    def settle(self) -> None:
        """Deliver and fold until nothing is held."""
        self.fold()
        while self.producer.held:
            self.deliver()
            self.fold()

    def pass_time(self, seconds: float) -> None:
        """The processor hears what it says to itself, unless `mute`."""
        self.clock.seconds += seconds
        self.processor.tick()
        if not self.mute:
            self.echo()

    def echo(self) -> None:
        """What it says to itself comes back."""
        for said in self.take(EngineAlive):
            self.processor.handle_ephemeral(said.value)
            if said.on_delivery is not None:
                said.on_delivery(0, None)

    def lead(self) -> None:
        """Gain the partition, and win the election."""
        self.processor.gain()
        self.settle()
        assert self.leading

    @property
    def leading(self) -> bool:
        return self.processor.leadership.leading

    def elections(self) -> list[records.LeaderElected]:
        found = [decode(r.value) for r in self.events]
        return [r for r in found if isinstance(r, records.LeaderElected)]

    def outputs(self, part: str) -> list[Any]:
        """What landed in the topics whose names have `part` in them."""
        return [body for topic, _, body in self.out if part in topic]


START = records.StartWorkflow(workflow_id="w", workflow_type="Order", task_queue="orders")


def elected(member: str, nonce: str = "n", version: int = 1) -> records.LeaderElected:
    return records.LeaderElected(member=member, nonce=nonce, clock_ms=T0, version=version, partitions=1)


def advance(solo: Solo, *asked: object) -> None:
    """Start "w" if it is not there, and let its code ask for something, on the present base."""
    if not solo.state.get(b"ww\0"):
        solo.put(START)
        solo.settle()
    run = solo.state.get(b"ww\0")
    solo.put(
        records.WorkflowTaskCompleted(
            workflow_id="w",
            run_id=run.run_id,
            id=f"c{len(solo.events)}",
            base=run.base,
            consumed_through=run.last_event_id,
            session="W1",
            commands=list(asked),  # type: ignore[arg-type]  # commands, all of them
        )
    )
    solo.settle()


def alive(solo: Solo, session: str = "W1") -> None:
    solo.put(records.WorkerAlive(session=session, client_id=session, reply_partition=0))
    solo.settle()


def beat(solo: Solo, session: str = "W1") -> None:
    solo.processor.handle_ephemeral(encode(ephemeral.WorkerHeartbeat(session=session, lost_after_ms=3000)))
