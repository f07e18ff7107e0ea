"""The events that change state. `evolve` applies them; nothing else changes a row.

Numbered events are part of a run's history (`Appended`); the others are internal: an attempt's failure,
a mark, a session. History does not show them.
"""

from __future__ import annotations

import msgspec
from odradek_schemas.common import Failure, Payload, RetryPolicy
from odradek_schemas.history import Attributes
from odradek_schemas.records import Mark, WorkerAlive

from .rows import Effect, PieceRow, ResetRow, UpdateRow


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of all state changes."""


# ---------------------------------------------------------------- the partition


class RecordFolded(Event, frozen=True):
    """The record before `position` is folded; `time_ms` is fold time now, `checksum` the record's."""

    position: int
    time_ms: int
    checksum: int


class LeaderChanged(Event, frozen=True):
    epoch: int
    version: int
    member: str
    nonce: str
    partitions: int
    clock_ms: int
    closed_retention_ms: int


class ClockAdvanced(Event, frozen=True):
    clock_ms: int


class RecordHeld(Event, frozen=True):
    """A record waits: for the partition count, or for a clock that believes its timestamp."""

    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


class RecordReleased(Event, frozen=True):
    offset: int


class EffectStaged(Event, frozen=True):
    effect: Effect


class EffectsLeft(Event, frozen=True):
    """Of each marked output, all effects up to the mark have left."""

    marks: list[Mark]


class EffectReplaced(Event, frozen=True):
    """An effect that cannot be delivered gives its place in the chain to another."""

    topic: str
    partition: int
    offset: int
    index: int
    value: bytes


class MessageTaken(Event, frozen=True):
    """The next link of the chain from another partition."""

    source: int
    offset: int
    index: int


class RowExpired(Event, frozen=True):
    """A remembered request, or a part of a closed run, is past its time."""

    key: bytes


class SessionBegan(Event, frozen=True):
    alive: WorkerAlive
    time_ms: int


class SessionOver(Event, frozen=True):
    session: str
    time_ms: int


class RequestAnswered(Event, frozen=True):
    workflow_id: str
    request_id: str
    outcome: str
    run_id: str
    message: str
    expire_ms: int
    update_seq: int = 0
    result: Payload | None = None
    failure: Failure | None = None


class CurrentBuildSet(Event, frozen=True):
    """Runs of a task queue that are not pinned go to workers of this build."""

    task_queue: str
    build_id: str
    time_ms: int


# ---------------------------------------------------------------- a run


class Appended(Event, frozen=True):
    """A history event of a run, `encoded` as it is stored and sent."""

    workflow_id: str
    run_id: str
    event_id: int
    time_ms: int
    attributes: Attributes
    encoded: bytes
    local: bool = False


class TaskOut(Event, frozen=True):
    """A workflow task was emitted at (offset, index)."""

    workflow_id: str
    run_id: str
    offset: int
    index: int
    time_ms: int
    build_id: str = ""


class TaskWithdrawn(Event, frozen=True):
    """The workflow task that was out is so no longer; another will be."""

    workflow_id: str
    run_id: str


class TaskAttemptFailed(Event, frozen=True):
    """The code could not advance; try again at `retry_ms` (0: at once)."""

    workflow_id: str
    run_id: str
    failure: Failure
    cause: str
    retry_ms: int


class TaskDelayed(Event, frozen=True):
    """No workflow task before `until_ms` (a start delay); 0: the delay is over."""

    workflow_id: str
    run_id: str
    until_ms: int


class RunForked(Event, frozen=True):
    """A reset has given the run the history of another; it begins now, its base is its own, and its code goes on on
    this build, pinned to it, or on the current one."""

    workflow_id: str
    run_id: str
    time_ms: int
    build_id: str = ""
    last_input_id: int = 0


class ResetBegan(Event, frozen=True):
    """A reset has begun the new run; updates of it are numbered above `update_seq`."""

    reset: ResetRow
    update_seq: int


class ResetAdvanced(Event, frozen=True):
    reset: ResetRow


class ResetEnded(Event, frozen=True):
    workflow_id: str


class RecordKeptBehind(Event, frozen=True):
    """A record waits for the end of its workflow's reset."""

    workflow_id: str
    offset: int
    timestamp_ms: int
    hops: int
    key: bytes
    value: bytes


class RecordLetGo(Event, frozen=True):
    workflow_id: str
    offset: int


# ---------------------------------------------------------------- an update, outside of history


class UpdateAsked(Event, frozen=True):
    """An update waits for a worker; or who waits for its answer has changed."""

    update: UpdateRow


class UpdateRejected(Event, frozen=True):
    """The worker has refused a pending update, or the run hands it on: it is none of this run's any more."""

    workflow_id: str
    run_id: str
    seq: int


class PieceKept(Event, frozen=True):
    """A piece of a completion waits for the others."""

    workflow_id: str
    run_id: str
    index: int
    row: PieceRow


class PiecesDropped(Event, frozen=True):
    """The pieces that were kept of a completion are needed no more."""

    workflow_id: str
    run_id: str
    id: str


# ---------------------------------------------------------------- an activity


class ActivityDispatched(Event, frozen=True):
    """The task of attempt `attempt` was emitted at (offset, index)."""

    workflow_id: str
    run_id: str
    seq: int
    attempt: int
    offset: int
    index: int
    time_ms: int
    partition: int = -1
    build_id: str = ""


class ActivityTaken(Event, frozen=True):
    """A live session runs the attempt."""

    workflow_id: str
    run_id: str
    seq: int
    session: str
    time_ms: int


class ActivityRenewed(Event, frozen=True):
    """The delivery is lost with its worker, or handed back; the next attempt does not count."""

    workflow_id: str
    run_id: str
    seq: int
    lost: bool
    heartbeat_details: list[Payload]


class ActivityAttemptFailed(Event, frozen=True):
    """The attempt failed; the next one comes at `retry_ms`; -1: when a person says so."""

    workflow_id: str
    run_id: str
    seq: int
    failure: Failure
    retry_ms: int
    heartbeat_details: list[Payload]
    time_ms: int
    pause_reason: str = ""


class ActivityPaused(Event, frozen=True):
    """No further attempt until it is unpaused. `at_once`: there is no attempt under way either."""

    workflow_id: str
    run_id: str
    seq: int
    at_once: bool
    reason: str
    by: str
    time_ms: int


class ActivityUnpaused(Event, frozen=True):
    workflow_id: str
    run_id: str
    seq: int
    time_ms: int


class ActivityChanged(Event, frozen=True):
    """Other options; `timeouts_ms` by field name."""

    workflow_id: str
    run_id: str
    seq: int
    task_queue: str
    retry_policy: RetryPolicy
    timeouts_ms: dict[str, int]


class ActivityCarried(Event, frozen=True):
    """A reset opens an activity again under a new run, as scheduled now."""

    workflow_id: str
    run_id: str
    seq: int
    time_ms: int
