"""What the worker's cores are tested with: a log that records, deliveries by hand, and workflows that are scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from odradek import DataConverter
from odradek._worker.cache import BoundedCache
from odradek._worker.cached_run import CachedRun
from odradek._worker.offsets import Ticket
from odradek._worker.queries import Queries
from odradek._worker.session import WorkerSession
from odradek._worker.steps import Steps
from odradek._worker.workflow_tasks import WorkflowTasks
from odradek_log.protocol import LogError, OnDelivery
from odradek_schemas import Failure, Payload, Position, Request, Topics, decode, encode
from odradek_schemas.commands import Command, CompleteWorkflow, ScheduleActivity
from odradek_schemas.history import ActivityCompleted, HistoryEvent, SignalReceived, WorkflowStarted
from odradek_schemas.history import WorkflowTaskCompleted as TaskCompletedEvent
from odradek_schemas.records import AcceptedUpdate, RejectedUpdate
from odradek_schemas.replies import HistoryPage
from odradek_schemas.tasks import PendingUpdate, QueryTask, WorkflowTask

PARTITIONS = 4


@dataclass
class Sent:
    topic: str
    partition: int
    key: bytes
    record: Any
    size: int
    on_delivery: OnDelivery | None

    def deliver(self, offset: int) -> None:
        assert self.on_delivery is not None
        self.on_delivery(offset, None)

    def give_up(self, error: LogError) -> None:
        assert self.on_delivery is not None
        self.on_delivery(-1, error)


class RecordingProducer:
    """Keeps what is sent; a test delivers it."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def send(
        self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None
    ) -> None:
        self.sent.append(Sent(topic, partition, key, decode(value), len(value), on_delivery))

    def flush(self, timeout: float) -> int:
        return 0

    def close(self) -> None:
        pass

    def of(self, kind: type[Any]) -> list[Sent]:
        return [s for s in self.sent if type(s.record) is kind]


class Scripted:
    """A workflow whose code is `script`: what it asks for at each event, by event ID. An exception is raised."""

    def __init__(self, script: dict[int, Any], log: list[str]) -> None:
        self.script = script
        self.log = log
        self.ended = False
        self.fed_through = 0
        self.size = 100
        self.closed = False
        self.fed: list[int] = []
        self._commands: list[Command] = []
        self.locals: dict[int, Any] = {}
        self.time_ms = 0
        self.task_timeout = None
        self.history_size = 0
        self.accepted: list[AcceptedUpdate] = []
        self.rejected: list[RejectedUpdate] = []

    def feed(self, event: HistoryEvent) -> None:
        assert not self.closed, "fed after close"
        assert not self.ended, "fed after its end"
        self.fed.append(event.event_id)
        self.fed_through = event.event_id
        step = self.script.get(event.event_id, ())
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            step = step()
        for command in step or ():
            self._commands.append(command)
            self.ended = self.ended or isinstance(command, CompleteWorkflow)

    def offer(self, update: PendingUpdate) -> None:
        assert not self.closed, "offered after close"
        assert not self.ended, "offered after its end"
        if update.update == "refused":
            failure = Failure(message="no")
            self.rejected.append(RejectedUpdate(seq=update.seq, update_id=update.update_id, failure=failure))
        else:
            self.accepted.append(
                AcceptedUpdate(
                    seq=update.seq, update_id=update.update_id, fed_after=self.fed_through, fed_ms=update.time_ms
                )
            )

    def take_updates(self) -> tuple[list[AcceptedUpdate], list[RejectedUpdate]]:
        taken = self.accepted, self.rejected
        self.accepted, self.rejected = [], []
        return taken

    def take_commands(self) -> list[Command]:
        taken, self._commands = self._commands, []
        return taken

    def query(self, name: str, input: Sequence[Payload], headers: Mapping[str, Payload]) -> Payload:
        if name == "fails":
            raise ValueError("no answer")
        if name == "large":
            return Payload(data=b"x" * 10_000)
        return Payload(data=f"{name} at {self.fed_through}".encode())

    def close(self) -> None:
        self.closed = True


class ScriptedWorkflows:
    def __init__(self, script: dict[int, Any]) -> None:
        self.names = ["Order"]
        self.script = script
        self.created: list[Scripted] = []
        self.begins_with: dict[int, Any] = {}
        self.replay_error: BaseException | None = None

    def create(self, workflow_type: str, workflow_id: str, run_id: str) -> Scripted:
        self.created.append(Scripted(self.script, []))
        self.created[-1].locals = dict(self.begins_with)
        return self.created[-1]

    def replay(self, running: Any, events: Sequence[HistoryEvent]) -> None:
        if self.replay_error is not None:
            raise self.replay_error
        through = max(
            (e.attributes.consumed_through for e in events if isinstance(e.attributes, TaskCompletedEvent)), default=0
        )
        for event in events:
            if event.event_id <= through and not isinstance(event.attributes, TaskCompletedEvent):
                running.feed(event)
        running.take_commands()


@dataclass
class Fetch:
    workflow_id: str
    run_id: str
    barrier: int
    from_event_id: int
    answer: Callable[[HistoryPage | Exception], None]


@dataclass
class Bench:
    """The workflow cores with everything around them recorded."""

    script: dict[int, Any] = field(default_factory=dict)
    max_record_bytes: int = 1_000_000
    cache_bytes: int = 1_000_000
    max_history_bytes: int = 1_000_000
    converter: DataConverter = field(default_factory=DataConverter)

    def __post_init__(self) -> None:
        self.producer = RecordingProducer()
        self.fetches: list[Fetch] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.replies: list[tuple[int, str, Any]] = []
        self.workflows = ScriptedWorkflows(self.script)
        self.topics = Topics()
        self.now = 100.0
        self.now_ms = 1_000_000
        self.session = session_of(self.producer)
        self.steps = Steps(lambda: self.now)
        cache: BoundedCache[CachedRun] = BoundedCache(self.cache_bytes)
        shared: dict[str, Any] = {
            "workflows": self.workflows, "appender": self, "history": self, "cache": cache, "steps": self.steps,
            "failure_of": self.converter.to_failure,
        }
        self.tasks = WorkflowTasks(
            session=self.session, later=lambda s, a: self.timers.append((s, a)),
            max_history_bytes=self.max_history_bytes, **shared,
        )  # fmt: skip
        self.queries = Queries(now_ms=lambda: self.now_ms, **shared)

    # ports

    def append(
        self, workflow_id: str, value: bytes, on_delivery: OnDelivery | None = None, at_once: Any = None
    ) -> None:
        self.producer.send(self.topics.events, 0, workflow_id.encode(), value, on_delivery)

    def reply(self, partition: int, client_id: str, value: bytes) -> None:
        self.replies.append((partition, client_id, decode(value)))

    def fits(self, workflow_id: str, value: bytes) -> bool:
        return len(value) <= self.max_record_bytes

    def fetch(self, workflow_id: str, run_id: str, barrier: int, from_event_id: int, on_page: Any) -> None:
        self.fetches.append(Fetch(workflow_id, run_id, barrier, from_event_id, on_page))

    # doing

    def task(self, **fields: Any) -> Ticket:
        ticket = Ticket(0)
        self.tasks.on_task(workflow_task(**fields), ticket)
        return ticket

    def run_timers(self) -> None:
        timers, self.timers = self.timers, []
        for _, action in timers:
            action()

    @property
    def sent(self) -> list[Any]:
        return [s.record for s in self.producer.sent]


def session_of(producer: RecordingProducer, **options: Any) -> WorkerSession:
    names = iter(f"s{i}" for i in range(1, 1000))
    return WorkerSession(
        producer, Topics(), PARTITIONS, new_id=lambda: next(names), client_id="c1", reply_partition=3, identity="me",
        **options,
    )


STARTED = WorkflowStarted(workflow_type="Order", task_queue="q")


def event(event_id: int, attributes: Any = None) -> HistoryEvent:
    if attributes is None:
        attributes = STARTED if event_id == 1 else SignalReceived(signal=f"s{event_id}")
    return HistoryEvent(event_id=event_id, time_ms=event_id, attributes=attributes)


def completed_event(event_id: int, id: str, base: str, consumed_through: int, **fields: Any) -> HistoryEvent:
    return event(event_id, TaskCompletedEvent(id=id, base=base, consumed_through=consumed_through, **fields))


def result_event(event_id: int, seq: int = 1) -> HistoryEvent:
    return event(event_id, ActivityCompleted(seq=seq, scheduled_event_id=0))


def encoded(*events: HistoryEvent) -> list[bytes]:
    return [encode(e) for e in events]


def workflow_task(
    base: str = "run", events: Sequence[HistoryEvent] = (), consumed_through: int = 0, offset: int = 10, **fields: Any
) -> WorkflowTask:
    events = list(events) or [event(1)]
    values: dict[str, Any] = {
        "position": Position(partition=0, offset=offset, index=0), "workflow_id": "w", "run_id": "run",
        "workflow_type": "Order", "base": base, "consumed_through": consumed_through,
        "last_event_id": events[-1].event_id, "events": encoded(*events),
    }
    return WorkflowTask(**(values | fields))


def query_task(query: str = "status", base: str = "run", **fields: Any) -> QueryTask:
    values: dict[str, Any] = {
        "workflow_id": "w", "run_id": "run", "workflow_type": "Order", "base": base, "offset": 20, "query": query,
        "request": Request(request_id="r1", client_id="c9", reply_partition=2),
    }
    return QueryTask(**(values | fields))


def page(*events: HistoryEvent, base: str = "run", consumed_through: int = 0, **fields: Any) -> HistoryPage:
    values: dict[str, Any] = {
        "client_id": "c1", "request_id": "h", "found": True, "run_id": "run", "workflow_type": "Order",
        "status": "running", "base": base, "consumed_through": consumed_through,
        "last_event_id": events[-1].event_id if events else 0, "events": encoded(*events),
    }
    return HistoryPage(**(values | fields))


def activity(seq: int = 1) -> ScheduleActivity:
    return ScheduleActivity(seq=seq, activity_type="charge")


def payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())
