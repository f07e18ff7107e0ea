"""What the engine hands to workers, and what it publishes: tasks, the history stream, dead letters."""

from __future__ import annotations

from .common import Payload, Position, Record, Request


class PendingUpdate(Record, frozen=True):
    """An update that no worker has looked at. It came at `time_ms`, after event `after_event_id`."""

    seq: int
    update_id: str
    update: str
    after_event_id: int
    time_ms: int
    input: list[Payload] = []
    headers: dict[str, Payload] = {}


class WorkflowTask(Record, frozen=True):
    """There are events up to `last_event_id`: advance the workflow and answer on `base`.

    `events`: the events after `consumed_through`, each a `HistoryEvent` in single-object encoding;
    not `complete`: they were too large, fetch them. A worker without the workflow in its cache fetches
    the history, unless `consumed_through` is 0. `updates` are in the order in which they came; where there are more
    than fit, `last_event_id` is the event after which the next one came.
    """

    position: Position
    workflow_id: str
    run_id: str
    workflow_type: str
    base: str
    consumed_through: int
    last_event_id: int
    events: list[bytes] = []
    complete: bool = True
    attempt: int = 1
    history_size: int = 0
    updates: list[PendingUpdate] = []


class QueryTask(Record, frozen=True):
    """Answer a query from the state at `base`, to the asking client. Not part of any chain."""

    workflow_id: str
    run_id: str
    workflow_type: str
    base: str
    offset: int
    query: str
    request: Request
    input: list[Payload] = []
    headers: dict[str, Payload] = {}


class ActivityTask(Record, frozen=True):
    """Run one attempt of an activity. Its identity is (run_id, scheduled_by, seq) (rule W5).

    `claim`: it must not begin before the engine has answered a claim, so that the fold knows whether it began.
    `first_identity_run_id`: the run that scheduled it, where a reset has carried it into this one; the idempotency key
    is made of that, so that services that know the key do nothing twice.
    """

    position: Position
    workflow_id: str
    run_id: str
    workflow_type: str
    scheduled_by: str
    seq: int
    attempt: int
    activity_type: str
    task_queue: str
    scheduled_ms: int
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    start_to_close_timeout_ms: int = 0
    schedule_to_close_timeout_ms: int = 0
    heartbeat_timeout_ms: int = 0
    heartbeat_details: list[Payload] = []
    delivery: str = "at_least_once"
    claim: bool = False
    first_identity_run_id: str = ""


class VoidEffect(Record, frozen=True):
    """Stands in a chain for an effect that could not be delivered (rule E6). Receivers pass over it."""

    position: Position


class HistoryBatch(Record, frozen=True):
    """New events of one run, for the `history` topic: each a `HistoryEvent` in single-object encoding."""

    position: Position
    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    events: list[bytes] = []


class DeadLetter(Record, frozen=True):
    """A record that could not be understood, or a message that nobody will read, and why."""

    position: Position
    reason: str
    topic: str
    partition: int
    offset: int
    key: bytes = b""
    value: bytes = b""
