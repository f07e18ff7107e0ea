"""What a worker needs of the world around it. The cores know nothing else: no thread, clock or socket of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from odradek_log.protocol import Log, OnDelivery
from odradek_schemas import Payload, Topics
from odradek_schemas.commands import Command
from odradek_schemas.common import Record
from odradek_schemas.history import Attributes, HistoryEvent
from odradek_schemas.records import AcceptedUpdate, RejectedUpdate
from odradek_schemas.replies import HistoryPage
from odradek_schemas.tasks import PendingUpdate

from .._converter import DataConverter
from .._instance_locals import LocalCall
from .._types import Serving

OnPage: TypeAlias = Callable[[HistoryPage | Exception], None]
ReplyCallback: TypeAlias = Callable[[Record], None]


class WorkerConnection(Protocol):
    """What a worker uses of the client's connection. Everything may be called from any thread."""

    log: Log
    topics: Topics
    partitions: int
    client_id: str
    reply_partition: int
    converter: DataConverter
    namespace: str
    workers: set[Serving]
    """Those that run on it; they enter and leave by themselves."""

    def now_ms(self) -> int:
        """The clock of requests and their deadlines, in ms since the Unix epoch."""
        ...

    def fetch_history(
        self, workflow_id: str, run_id: str, barrier: int, from_event_id: int, on_page: OnPage
    ) -> None:
        """Ask for one page of a run's history, as of `barrier` or later; again until it is there.

        `on_page` runs once, from any thread, with the page or an error.
        """
        ...

    def on_reply(self, record_type: type[Record], callback: ReplyCallback) -> None:
        """Call `callback`, from any thread, with every reply of that type to this client that answers no request."""
        ...


class Appender(Protocol):
    """Appends of this worker; `on_delivery` runs in the thread of the core that asked."""

    def append(
        self,
        workflow_id: str,
        value: bytes,
        on_delivery: OnDelivery | None = None,
        at_once: Callable[[int], None] | None = None,
    ) -> None:
        """To `events`, to the workflow's partition. `at_once`: told the offset when it is durable, in any thread."""
        ...

    def reply(self, partition: int, client_id: str, value: bytes) -> None:
        """To a client's partition of `replies`."""
        ...

    def fits(self, workflow_id: str, value: bytes) -> bool:
        """Whether the log takes a record of this size."""
        ...


class HistorySource(Protocol):
    """Pages of history; `on_page` runs in the thread of the core that asked."""

    def fetch(self, workflow_id: str, run_id: str, barrier: int, from_event_id: int, on_page: OnPage) -> None: ...


class Later(Protocol):
    """Runs something in the core's thread after some seconds."""

    def __call__(self, seconds: float, action: Callable[[], None]) -> None: ...


class RunningWorkflow(Protocol):
    """A workflow instance, as far as the worker handles it. `history_size`: as the code is told; set before feeding."""

    history_size: int

    @property
    def ended(self) -> bool: ...

    @property
    def fed_through(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def time_ms(self) -> int:
        """The workflow's time: that of what was fed last."""
        ...

    def feed(self, event: HistoryEvent) -> None: ...

    def offer(self, update: PendingUpdate) -> None: ...

    def take_updates(self) -> tuple[list[AcceptedUpdate], list[RejectedUpdate]]: ...
    def feed_local(self, attributes: Attributes, time_ms: int) -> None:
        """Feed the result of what ran here, before it has an event ID (rule W10)."""
        ...

    @property
    def locals(self) -> Mapping[int, LocalCall]:
        """Local activities and side effects that wait for their result."""
        ...

    @property
    def task_timeout(self) -> float | None:
        """Seconds; None: there is none."""
        ...

    def to_payload(self, value: object) -> Payload: ...

    def awaits(self, seq: int) -> bool:
        """Whether the code waits for this activity."""
        ...

    def take_commands(self) -> list[Command]: ...

    def query(self, name: str, input: Sequence[Payload], headers: Mapping[str, Payload]) -> Payload: ...

    def close(self) -> None: ...


class Workflows(Protocol):
    """The registered workflow types, and how one of their runs comes to life."""

    @property
    def names(self) -> Sequence[str]: ...

    def create(self, workflow_type: str, workflow_id: str, run_id: str) -> RunningWorkflow:
        """A run before its first event. Raises KeyError for a type that is not registered."""
        ...

    def replay(self, running: RunningWorkflow, events: Sequence[HistoryEvent]) -> None:
        """Bring a new run to where its last completed task left it (rule W10). Raises NonDeterminismError."""
        ...
