"""Deciding on the engine's own records: leadership, marks, timers, sessions, messages between partitions.

Those that a leader derived from the state carry its epoch, and mean nothing under another (rule L2).
"""

from __future__ import annotations

import msgspec
from odradek_schemas import decode, encode, history, tasks
from odradek_schemas.common import Failure, Payload
from odradek_schemas.records import (
    ClockRead,
    EffectFailed,
    EffectsEmitted,
    ForwardedRecord,
    LeaderElected,
    TaskReissued,
    TimerFired,
    WorkerAlive,
    WorkerLost,
    WorkerStopped,
    WorkflowTimedOut,
)
from odradek_schemas.replies import SessionEnded

from . import activities, callers, children, continuing, events, keys
from . import tasks as workflow_tasks
from .limits import check_id
from .rows import ActivityRow, SessionRow
from .step import Step
from .tasks import EARLY_MS, fail_task, wake

VERSION = 1
"""The newest fold version that this code knows. A change of behaviour raises it (rules V1, V2)."""


class UnsupportedVersionError(Exception):
    """The log was switched to a fold version that this code does not know: stop here (rule V1)."""

    def __init__(self, version: int, known: int) -> None:
        super().__init__(version, known)
        self.version = version
        self.known = known

    def __str__(self) -> str:
        return f"the log needs fold version {self.version}, this code knows up to {self.known}: upgrade this engine"


def decide_leader(step: Step, record: LeaderElected) -> None:
    """A new epoch; not for a second copy of the last one (L1), nor for an older fold version than the log's (V1)."""
    known = step.state.knows or VERSION
    if record.version > known:
        raise UnsupportedVersionError(record.version, known)
    now = step.partition
    if record.version < now.version or (record.member, record.nonce) == (now.member, now.nonce):
        return
    step.apply(
        events.LeaderChanged(
            epoch=step.offset,
            version=record.version,
            member=record.member,
            nonce=record.nonce,
            partitions=now.partitions or max(0, record.partitions),
            clock_ms=record.clock_ms,
            closed_retention_ms=max(0, record.closed_retention_ms),
        )
    )


def decide_clock(step: Step, record: ClockRead) -> None:
    step.apply(events.ClockAdvanced(record.clock_ms))


def decide_emitted(step: Step, record: EffectsEmitted) -> None:
    """Marks only grow, so an old one deletes nothing; whoever wrote it, it is true (rule E5)."""
    step.apply(events.EffectsLeft([mark for mark in record.marks if mark.offset >= 0 and mark.index >= 0]))


def decide_effect_failed(step: Step, record: EffectFailed) -> None:
    """An effect can never be delivered: its link in the chain stays, its task fails, people are told (rule E6)."""
    possible = record.offset >= 0 and record.index >= 0
    row = step.state.effect(keys.outbox(record.offset, record.index)) if possible else None
    if row is None or (row.topic, row.partition) != (record.topic, record.partition):
        return
    body = decode(row.value)
    position = getattr(body, "position", None)
    if isinstance(body, tasks.VoidEffect) or position is None:
        return
    void = encode(tasks.VoidEffect(position=position))
    step.apply(events.EffectReplaced(row.topic, row.partition, row.offset, row.index, void))
    failure = Failure(
        message=f"{record.topic} does not take the task: {record.reason}", type="Undeliverable", kind="server"
    )
    if isinstance(body, tasks.WorkflowTask):
        run = step.open_run(body.workflow_id, body.run_id)
        if run is not None and (run.task_offset, run.task_index) == (record.offset, record.index):
            fail_task(step, run, failure, "undeliverable")
    elif isinstance(body, tasks.ActivityTask):
        run = step.open_run(body.workflow_id, body.run_id)
        open_row = step.activity(run, body.seq, body.scheduled_by) if run is not None else None
        if open_row is not None and (open_row.task_offset, open_row.task_index) == (record.offset, record.index):
            activities.fail_attempt(step, open_row, msgspec.structs.replace(failure, non_retryable=True))
            wake(step, body.workflow_id)
    elif isinstance(body, ForwardedRecord):
        children.undeliverable(step, body, record.reason)
        callers.undeliverable(step, body, record.reason)
    if row.topic != step.topics.dead_letters:
        step.dead_letter(f"{row.topic} refused this effect: {record.reason}", row.value, row.key)


# ---------------------------------------------------------------- time


def decide_fired(step: Step, record: TimerFired) -> None:
    """The timer's event never shows a time below its due time; one that comes early is dropped (rule C1)."""
    run = step.open_run(record.workflow_id, record.run_id)
    row = step.timer(run, record.seq) if run is not None else None
    if run is None or row is None or step.now < row.due_ms - EARLY_MS:
        return
    fired = history.TimerFired(seq=row.seq, started_event_id=row.started_event_id)
    step.append(run.workflow_id, run.run_id, fired, max(step.now, row.due_ms))
    wake(step, run.workflow_id)


def decide_workflow_timed_out(step: Step, record: WorkflowTimedOut) -> None:
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None:
        return
    deadline = run.execution_deadline_ms if record.timeout_type == "execution" else run.run_deadline_ms
    if deadline and step.now >= deadline - EARLY_MS:
        continuing.time_out(step, run, record.timeout_type)


def decide_reissued(step: Step, record: TaskReissued) -> None:
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None:
        return
    if record.seq:
        activities.decide_reissued(step, record, run)
    else:
        workflow_tasks.decide_reissued(step, record, run)


# ---------------------------------------------------------------- worker sessions (rules T5, T6)


def decide_alive(step: Step, record: WorkerAlive) -> None:
    """A session begins once; a late copy of this record does not bring back one that is over (rule T6)."""
    try:
        check_id("session", record.session)
    except ValueError as error:
        step.dead_letter(f"WorkerAlive: {error}")
        return
    if step.state.get(keys.session(record.session)) is None:
        step.apply(events.SessionBegan(record, step.now))


def decide_lost(step: Step, record: WorkerLost) -> None:
    """A session ends for good; what it ran is delivered again at once."""
    session = step.session(record.session)
    if session is None:
        return
    details = {(h.workflow_id, h.run_id, h.seq): h.details for h in record.heartbeat_details}
    _end_session(step, session, details, lost=True)
    step.tell(
        session,
        lambda position, ended: SessionEnded(
            position=position,
            client_id=ended.client_id,
            session=ended.session,
            partition=step.partition.partition,
        ),
    )


def decide_stopped(step: Step, record: WorkerStopped) -> None:
    """The worker says itself that it is going."""
    session = step.session(record.session)
    if session is not None:
        _end_session(step, session, {}, lost=False)


def _end_session(
    step: Step, session: SessionRow, details: dict[tuple[str, str, int], list[Payload]], lost: bool
) -> None:
    prefix = keys.held(session.session, b"")
    held = [entry[len(prefix) :] for entry, _ in step.state.scan(prefix)]
    step.apply(events.SessionOver(session.session, step.now))
    for key in held:
        row = step.state.row(key, ActivityRow)
        if row is None:
            raise AssertionError("the index of what a session holds follows from the rows")
        last = details.get((row.workflow_id, row.run_id, row.seq), [])
        if lost:
            activities.lose(step, row, last)
        else:
            activities.give_back(step, row, last)
