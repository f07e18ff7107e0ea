"""The core of activities by itself, with everything around it recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odradek._worker.activities import Activities
from odradek._worker.attempts import Attempt
from odradek._worker.offsets import Ticket
from odradek._worker.rates import ActivityRates
from odradek_log.protocol import OnDelivery
from odradek_schemas import Position, decode
from odradek_schemas.ephemeral import ActivityHeartbeat
from odradek_schemas.records import (
    ActivityStarted,
)
from odradek_schemas.replies import ActivityCancelRequest, ActivityClaimed
from odradek_schemas.tasks import ActivityTask

from .worker_fakes import RecordingProducer, Sent, session_of


class ActivityBench:
    """The activity core with everything around it recorded."""

    def __init__(self, limit: int = 100, start_after: float = 0.0, per_second: float | None = None) -> None:
        self.producer = RecordingProducer()
        self.session = session_of(self.producer)
        self.launched: list[Attempt] = []
        self.cancelled: list[Attempt] = []
        self.beats: list[ActivityHeartbeat] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.now = 50.0
        self.claims = 0
        self.max_record_bytes = 100_000
        self.core = Activities(
            reports=self, launcher=self, later=self.later, clock=lambda: self.now, limit=limit,
            start_after=start_after, rates=ActivityRates(per_second, None, lambda: self.now),
        )

    # ports

    def launch(self, attempt: Attempt) -> None:
        self.launched.append(attempt)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, action))

    def cancel(self, attempt: Attempt) -> None:
        self.cancelled.append(attempt)

    def announce(self, workflow_id: str, again: bool = False) -> str:
        return self.session.announce(0, again)

    def append(self, workflow_id: str, value: bytes, on_delivery: OnDelivery) -> None:
        self.producer.send("odradek.default.events", 0, workflow_id.encode(), value, on_delivery)

    def heartbeat(self, workflow_id: str, value: bytes) -> None:
        record = decode(value)
        assert isinstance(record, ActivityHeartbeat)
        self.beats.append(record)

    def fits(self, workflow_id: str, value: bytes) -> bool:
        return len(value) <= self.max_record_bytes

    # doing

    def task(self, fresh: bool = True, **fields: Any) -> Ticket:
        ticket = Ticket(0)
        self.core.on_task(activity_task(**fields), ticket, fresh)
        return ticket

    def claimed(self, accepted: bool, session: str = "s1", offset: int = 40) -> None:
        """Claims that are out are at that offset, and so is their answer."""
        for sent in self.producer.of(ActivityStarted)[self.claims :]:
            sent.deliver(offset)
            self.claims += 1
        self.answer(accepted, session, offset)

    def answer(self, accepted: bool, session: str = "s1", offset: int = 40, attempt: int = 1) -> None:
        self.core.on_claimed(ActivityClaimed(
            position=Position(partition=0, offset=offset, index=0), client_id="c1", session=session, workflow_id="w",
            run_id="run", scheduled_by="s9-1", seq=1, attempt=attempt, accepted=accepted,
        ))

    def end(self, outcome: Any, index: int = -1) -> None:
        self.core.on_ended(self.launched[index], outcome)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, action in due:
            action()

    def of(self, kind: type[Any]) -> list[Any]:
        return [s.record for s in self.producer.of(kind)]

    def sent(self, kind: type[Any]) -> Sent:
        return self.producer.of(kind)[-1]


def activity_task(**fields: Any) -> ActivityTask:
    values: dict[str, Any] = {
        "position": Position(partition=0, offset=10, index=0), "workflow_id": "w", "run_id": "run",
        "workflow_type": "Order", "scheduled_by": "s9-1", "seq": 1, "attempt": 1, "activity_type": "charge",
        "task_queue": "q", "scheduled_ms": 1,
    }
    return ActivityTask(**(values | fields))


def cancel_request(reason: str = "cancelled", seq: int = 1, offset: int = 12) -> ActivityCancelRequest:
    return ActivityCancelRequest(
        position=Position(partition=0, offset=offset, index=0), client_id="c1", session="s1", workflow_id="w",
        run_id="run", scheduled_by="s9-1", seq=seq, reason=reason,
    )


IDENTITY: dict[str, Any] = {
    "workflow_id": "w", "run_id": "run", "seq": 1, "scheduled_by": "s9-1", "attempt": 1, "session": "s1",
}
