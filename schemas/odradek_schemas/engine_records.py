"""What the engine appends to `events`: of its own to the partition that it leads, and from one partition to another."""

from __future__ import annotations

from .common import Caller, Failure, Payload, Position, Record


class LeaderElected(Record, frozen=True):
    """A processor takes the partition; the offset of this record is its epoch. `version`: of the fold.

    `partitions`: how many partitions the namespace has; the first one in the log holds (rule N1).
    `clock_ms`: the leader's clock; record timestamps far above it wait for a newer one (rule C1).
    `closed_retention_ms`: how long closed runs are kept in the store.
    """

    member: str
    nonce: str
    clock_ms: int
    version: int = 1
    partitions: int = 0
    closed_retention_ms: int = 30 * 24 * 3600 * 1000


class Mark(Record, frozen=True):
    """All effects up to (offset, index) for one output partition have left."""

    topic: str
    partition: int
    offset: int
    index: int


class ClockRead(Record, frozen=True):
    """The leader's clock, written when records wait for it (rule C1)."""

    clock_ms: int
    epoch: int


class EffectsEmitted(Record, frozen=True):
    """Effects that left, per output partition: marks only grow, and need no epoch (rule E5)."""

    marks: list[Mark] = []


class EffectFailed(Record, frozen=True):
    """The effect at (offset, index) can never be delivered (rule E6)."""

    topic: str
    partition: int
    offset: int
    index: int
    reason: str
    epoch: int


class TimerFired(Record, frozen=True):
    workflow_id: str
    run_id: str
    seq: int
    epoch: int


class ActivityTimedOut(Record, frozen=True):
    workflow_id: str
    run_id: str
    seq: int
    scheduled_by: str
    attempt: int
    timeout_type: str
    epoch: int
    heartbeat_details: list[Payload] = []


class ActivityRetryDue(Record, frozen=True):
    """The backoff before attempt `attempt` is over."""

    workflow_id: str
    run_id: str
    seq: int
    scheduled_by: str
    attempt: int
    epoch: int


class WorkflowTaskDue(Record, frozen=True):
    """The start delay, or the backoff after failed workflow task `attempt`, is over."""

    workflow_id: str
    run_id: str
    base: str
    attempt: int
    epoch: int


class WorkflowTimedOut(Record, frozen=True):
    """timeout_type: execution, run."""

    workflow_id: str
    run_id: str
    timeout_type: str
    epoch: int


class ResetContinued(Record, frozen=True):
    """The next part of a reset that is too large for one step; the first one comes with the request. `turn` counts."""

    workflow_id: str
    run_id: str
    turn: int
    epoch: int


class TaskReissued(Record, frozen=True):
    """A task that is out unanswered for too long is emitted again (rule T3).

    `seq` 0: the workflow task on `base`; else the activity's attempt. (offset, index) say which emission.
    `partition`: of its queue, where an activity's task goes now; -1: where the fold would put it.
    """

    workflow_id: str
    run_id: str
    offset: int
    index: int
    epoch: int
    base: str = ""
    seq: int = 0
    attempt: int = 0
    partition: int = -1


class HeldDetails(Record, frozen=True):
    """The last heartbeat details of one activity of a lost worker."""

    workflow_id: str
    run_id: str
    seq: int
    details: list[Payload] = []


class WorkerLost(Record, frozen=True):
    session: str
    epoch: int
    heartbeat_details: list[HeldDetails] = []


class ForwardedRecord(Record, frozen=True):
    """A record that another partition sends here, in its own encoding. It is never forwarded again (rule N1)."""

    position: Position
    value: bytes
    key: bytes = b""


class ChildStarted(Record, frozen=True):
    """From a child's partition to its parent's, as the next three: the child of the parent's command `seq` runs."""

    workflow_id: str
    run_id: str
    seq: int
    child_run_id: str


class ChildStartFailed(Record, frozen=True):
    """cause: already_started, reuse_rejected, invalid. `child_run_id`: the run in the way, if one is."""

    workflow_id: str
    run_id: str
    seq: int
    cause: str
    message: str = ""
    child_run_id: str = ""


class ChildClosed(Record, frozen=True):
    """The last run of a child has closed. status: completed, failed, cancelled, terminated, timed_out.

    `close_signal`: what the parent's open run is told so; with `child_workflow_id`, which is empty without.
    """

    workflow_id: str
    run_id: str
    seq: int
    child_run_id: str
    status: str
    result: Payload | None = None
    failure: Failure | None = None
    close_signal: str = ""
    child_workflow_id: str = ""


class ReportChild(Record, frozen=True):
    """To the partition of a child: say again how it stands. A reset may have undone that it was heard before.

    `child_run_id`: its first run, if it is known to have begun.
    """

    workflow_id: str
    child_of: Caller
    child_run_id: str = ""


class ExternalAnswered(Record, frozen=True):
    """What came of a workflow's message to another one. outcome: ok, not_found, closed, invalid."""

    workflow_id: str
    run_id: str
    seq: int
    outcome: str
    message: str = ""
