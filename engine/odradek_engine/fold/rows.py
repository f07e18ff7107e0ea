"""The rows of a partition's state, and the index entries that follow from them.

Rows are immutable; a change is a new row. Indexes are pure functions of rows, so that no caller has to
keep them in step.
"""

from __future__ import annotations

import msgspec
from odradek_schemas import encode
from odradek_schemas.common import Caller, Failure, Payload, Record, RetryPolicy

from . import keys


class Row(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Base of all rows; written as arrays, so a new field goes last and needs a default."""

    def indexes(self, key: bytes) -> tuple[bytes, ...]:
        """Keys of the index entries that stand for this row."""
        return ()


class PartitionRow(Row, frozen=True):
    """What the fold knows of the partition as a whole. `position`: the next offset to fold; `resets`: unfinished."""

    partition: int
    position: int = 0
    time_ms: int = 0
    checksum: int = 0
    version: int = 1
    epoch: int = -1
    member: str = ""
    nonce: str = ""
    partitions: int = 0
    clock_ms: int = 0
    closed_retention_ms: int = 0
    waiting: int = 0
    open_workflows: int = 0
    resets: int = 0


REMEMBER_SESSION_MS = 24 * 3600 * 1000
"""How long a worker session that is over is remembered, so that it stays over (rule T6)."""


class SessionRow(Row, frozen=True):
    """A worker session. `ended_ms` 0: it lives."""

    session: str
    identity: str = ""
    client_id: str = ""
    reply_partition: int = -1
    build_id: str = ""
    since_ms: int = 0
    ended_ms: int = 0

    def indexes(self, key: bytes) -> tuple[bytes, ...]:
        return (keys.expiry(self.ended_ms + REMEMBER_SESSION_MS, key),) if self.ended_ms else ()


class LocalStep(Row, frozen=True):
    """A local activity that a worker is still at: it has outlasted a workflow task."""

    seq: int
    activity_type: str
    since_ms: int


class RunRow(Row, frozen=True):
    """One run. `task_offset` -1: no workflow task is out. Times of 0: none.

    `open_updates` counts those without an answer, `pending_updates` those of them that no worker has looked at.
    `seed`: the run that a chain of resets began with; empty: this one.
    `build_id`: of the code that advanced it last; `task_build_id`: that the task that is out went to.
    `seen_through`: no input up to here is unread; local results are seen before they have an ID, so that
    `consumed_through` may stay far behind. `last_task_event_id`: the last WorkflowTaskCompleted.
    `reset_request_id`: of the request that reset the workflow last, this run or one that it follows.
    `consumed_size`: the history's size at the last WorkflowTaskCompleted. `pieces`: how many are kept of completions
    that are not there as a whole.
    """

    workflow_id: str
    run_id: str
    first_run_id: str
    workflow_type: str
    task_queue: str
    base: str
    status: str = "running"
    start_ms: int = 0
    close_ms: int = 0
    expire_ms: int = 0
    last_event_id: int = 0
    last_input_id: int = 0
    consumed_through: int = 0
    history_size: int = 0
    task_offset: int = -1
    task_index: int = 0
    task_since_ms: int = 0
    task_attempt: int = 1
    task_retry_ms: int = 0
    task_failure: Failure | None = None
    task_failure_cause: str = ""
    cancel_requested: bool = False
    open_activities: int = 0
    open_timers: int = 0
    execution_deadline_ms: int = 0
    run_deadline_ms: int = 0
    search_attributes: dict[str, Payload] = {}
    memo: dict[str, Payload] = {}
    next_run_id: str = ""
    last_event_ms: int = 0
    task_timeout_ms: int = 0
    paused: bool = False
    pause_reason: str = ""
    seed: str = ""
    open_children: int = 0
    open_externals: int = 0
    parent: Caller | None = None
    build_id: str = ""
    versioning: str = ""
    task_build_id: str = ""
    last_update_seq: int = 0
    pending_updates: int = 0
    open_updates: int = 0
    seen_through: int = 0
    wants_task: bool = False
    paused_by: str = ""
    paused_ms: int = 0
    last_task_event_id: int = 0
    reset_request_id: str = ""
    local_steps: list[LocalStep] = []
    consumed_size: int = 0
    pieces: int = 0

    @property
    def is_open(self) -> bool:
        return self.status == "running"

    @property
    def has_unread(self) -> bool:
        """Whether there is input that the code has not seen."""
        return self.last_input_id > self.consumed_through

    @property
    def needs_worker(self) -> bool:
        """Whether a worker must look at something (unread input, an update), or is at work on a local activity."""
        return self.has_unread or self.pending_updates > 0 or self.wants_task

    def indexes(self, key: bytes) -> tuple[bytes, ...]:
        if not self.is_open:
            return (keys.expiry(self.expire_ms, key),)
        found = []
        if self.execution_deadline_ms:
            found.append(keys.due(self.execution_deadline_ms, b"E", key))
        if self.run_deadline_ms:
            found.append(keys.due(self.run_deadline_ms, b"R", key))
        if self.task_retry_ms:
            found.append(keys.due(self.task_retry_ms, b"W", key))
        if self.task_offset >= 0:
            found.append(keys.out(self.task_since_ms, key))
            if self.task_timeout_ms:
                found.append(keys.due(self.task_since_ms + self.task_timeout_ms, b"K", key))
        if self.versioning or self.task_build_id:
            found.extend(keys.needed(self.task_queue, build, key) for build in sorted(self._needed_builds()))
        return tuple(found)

    def _needed_builds(self) -> set[str]:
        """Builds without whose workers the run may not go on."""
        pinned = self.build_id if self.versioning == "pinned" else ""
        out = self.task_build_id if self.task_offset >= 0 else ""
        return {build for build in (pinned, out) if build}


class ActivityRow(Row, frozen=True):
    """An open activity. state: scheduled (its task is out), started, backing_off, paused.

    `paused` and started: the attempt may end, no other follows. `first_run_id`: the run that scheduled it, if a reset
    carried it into this one.

    `attempt` counts deliveries; `uncounted` of them were lost with their workers and do not count toward
    the retry policy; `losses` of them in a row (rule T7). `queued_ms`: since when the attempt waits for a worker.
    `session` empty while started: it waits for whoever has its task token. `cancel_requested`: the code waits for the
    end of an activity that it has cancelled. `task_build_id`: where its last task went.
    """

    workflow_id: str
    run_id: str
    seq: int
    scheduled_by: str
    scheduled_event_id: int
    scheduled_ms: int
    activity_type: str
    task_queue: str
    state: str = "scheduled"
    attempt: int = 1
    uncounted: int = 0
    losses: int = 0
    session: str = ""
    started_ms: int = 0
    next_retry_ms: int = 0
    task_offset: int = -1
    task_index: int = 0
    task_since_ms: int = 0
    start_to_close_timeout_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    schedule_to_close_timeout_ms: int = 0
    heartbeat_timeout_ms: int = 0
    retry_policy: RetryPolicy = RetryPolicy()
    delivery: str = "at_least_once"
    last_failure: Failure | None = None
    heartbeat_details: list[Payload] = []
    queued_ms: int = 0
    cancellation_type: str = "try"
    cancel_requested: bool = False
    on_exhausted: str = "fail"
    paused: bool = False
    first_run_id: str = ""
    task_partition: int = -1
    pause_reason: str = ""
    paused_by: str = ""
    paused_ms: int = 0
    task_build_id: str = ""

    @property
    def counted_attempts(self) -> int:
        return self.attempt - self.uncounted

    def indexes(self, key: bytes) -> tuple[bytes, ...]:
        found: list[bytes] = []
        if self.state == "paused":
            return ()
        if self.schedule_to_close_timeout_ms:
            found.append(keys.due(self.scheduled_ms + self.schedule_to_close_timeout_ms, b"C", key))
        if self.state == "scheduled":
            if self.schedule_to_start_timeout_ms:
                found.append(keys.due(self.queued_ms + self.schedule_to_start_timeout_ms, b"S", key))
            found.append(keys.out(self.task_since_ms, key))
        elif self.state == "started":
            if self.start_to_close_timeout_ms:
                found.append(keys.due(self.started_ms + self.start_to_close_timeout_ms, b"T", key))
            if self.heartbeat_timeout_ms:
                found.append(keys.due(self.started_ms + self.heartbeat_timeout_ms, b"H", key))
            if self.session:
                found.append(keys.held(self.session, key))
        else:
            found.append(keys.due(self.next_retry_ms, b"B", key))
        return tuple(found)


class TimerRow(Row, frozen=True):
    """A timer of workflow code that has not fired."""

    workflow_id: str
    run_id: str
    seq: int
    due_ms: int
    started_event_id: int
    summary: str = ""

    def indexes(self, key: bytes) -> tuple[bytes, ...]:
        return (keys.due(self.due_ms, b"F", key),)


class ChildRow(Row, frozen=True):
    """A child that has not ended, as its parent knows it. `child_run_id` empty: it is still being started.

    `first_run_id`: the run that started it, if a reset carried it into this one.
    """

    workflow_id: str
    run_id: str
    seq: int
    initiated_event_id: int
    initiated_ms: int
    child_workflow_id: str
    workflow_type: str
    parent_close_policy: str
    child_run_id: str = ""
    cancel_requested: bool = False
    first_run_id: str = ""

    @property
    def begun_by(self) -> str:
        """The run that started it."""
        return self.first_run_id or self.run_id

    @property
    def link(self) -> Caller:
        """Whose child it says that it is."""
        return Caller(workflow_id=self.workflow_id, run_id=self.begun_by, seq=self.seq)


class ExternalRow(Row, frozen=True):
    """A message to another workflow that is unanswered. `is_signal`: else it asks for cancellation.

    `first_run_id` as of a child.
    """

    workflow_id: str
    run_id: str
    seq: int
    requested_event_id: int
    is_signal: bool
    first_run_id: str = ""

    @property
    def begun_by(self) -> str:
        """The run that sent it."""
        return self.first_run_id or self.run_id


class ResetRow(Row, frozen=True):
    """A reset that is not finished: the new run is there, and is being filled.

    phase: copy (the events up to `kept`), rest (what of the source's later events is given again), open (what is open
    is told so), release (what came meanwhile is folded). `next`: where the phase goes on. `was_open`: the source, until
    the reset. `carried_updates`: the numbers of undecided updates, first and last. `unbegun`: at-most-once activities
    that no worker had begun. `last_input_id`, of the events so far, with what it was before the activities' results
    that the last ones are: those may turn out to be local ones.
    """

    workflow_id: str
    run_id: str
    source_run_id: str
    kept: int
    last: int
    event_id: int
    reapply: str
    phase: str = "copy"
    next: int = 1
    turn: int = 1
    seed: str = ""
    was_open: bool = False
    reason: str = ""
    identity: str = ""
    request_id: str = ""
    unbegun: list[int] = []
    carried_updates: tuple[int, int] = (0, 0)
    last_input_id: int = 0
    results_from: int = 0
    input_before_results: int = 0
    build_id: str = ""

    def indexes(self, key: bytes) -> tuple[bytes, ...]:
        return (keys.due(self.turn, b"X", key),)


class BehindRow(Row, frozen=True):
    """A record about a workflow that is being reset; `hops` as of the step that kept it."""

    timestamp_ms: int
    hops: int
    key: bytes
    value: bytes


class UpdateRow(Row, frozen=True):
    """An update without an answer: pending, or accepted and in the code's hands. Who waits for it may change."""

    workflow_id: str
    run_id: str
    seq: int
    update_id: str
    update: str
    after_event_id: int
    time_ms: int
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    accepted: bool = False
    client_id: str = ""
    reply_partition: int = -1
    wait_for: str = "completed"
    identity: str = ""


class PieceRow(Row, frozen=True):
    """A piece of the completion `id`, which has `count` of them. `offset`: where it came."""

    id: str
    count: int
    piece: bytes
    offset: int


class RequestRow(Row, frozen=True):
    """A request's stored answer, until `expire_ms` (rule Q1). Outcome "pending": of the open update `update_seq`."""

    outcome: str
    run_id: str
    message: str
    expire_ms: int
    update_seq: int = 0
    result: Payload | None = None
    failure: Failure | None = None

    def indexes(self, key: bytes) -> tuple[bytes, ...]:
        return (keys.expiry(self.expire_ms, key),)


class CurrentBuildRow(Row, frozen=True):
    """Where runs of a task queue go that are not pinned."""

    task_queue: str
    build_id: str
    since_ms: int


class NeededRow(Row, frozen=True):
    """How many open runs need a build: entries of the index `NEEDED`."""

    build_id: str
    count: int


class Effect(msgspec.Struct, eq=False, gc=False):
    """What the engine does to the world: a record in a topic, made by the fold at (offset, index).

    Its bytes are made when somebody wants them: who only folds, to rebuild or to catch up, finds most of them marked as
    gone before the state is written. `size`: about how many these are, before they are made.
    """

    topic: str
    partition: int
    offset: int
    index: int
    key: bytes
    content: Record | bytes
    size: int

    @property
    def value(self) -> bytes:
        """The record's bytes."""
        content = self.content
        if not isinstance(content, bytes):
            content = self.content = encode(content)
            self.size = len(content)
        return content

    def __repr__(self) -> str:
        place = f"{self.topic!r}, {self.partition}, {self.offset}, {self.index}"
        return f"Effect({place}, {self.key!r}, {self.value!r})"


class OutboxRow(Row, frozen=True):
    """An effect that may not have left yet; until the state is written, the `Effect` itself stands in its place."""

    topic: str
    partition: int
    offset: int
    index: int
    key: bytes
    value: bytes


def outbox_row(effect: Effect | OutboxRow) -> OutboxRow:
    """An effect as it is stored."""
    if isinstance(effect, OutboxRow):
        return effect
    return OutboxRow(
        topic=effect.topic,
        partition=effect.partition,
        offset=effect.offset,
        index=effect.index,
        key=effect.key,
        value=effect.value,
    )


class LinkRow(Row, frozen=True):
    """A position in a chain of effects: the last one sent to an output, or taken from a source."""

    offset: int
    index: int


class WaitingRow(Row, frozen=True):
    """A record that cannot be folded yet (rules C1, N1)."""

    timestamp_ms: int
    key: bytes
    value: bytes
