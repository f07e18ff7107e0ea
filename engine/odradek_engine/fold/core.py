"""The fold: `state', effects = fold(state, record)`, for any bytes at all.

What a record means is decided in the modules beside this one; here is what holds for every record: time,
positions, what must wait, what is forwarded, what becomes a dead letter.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from odradek_schemas import DecodeError, Topics, decode, records
from odradek_schemas.common import Failure, Record
from odradek_schemas.ephemeral import AwaitResult
from odradek_schemas.records import ForwardedRecord
from odradek_schemas.tasks import VoidEffect

from . import (
    activities,
    callers,
    children,
    completions,
    deployments,
    engine_records,
    events,
    keys,
    pieces,
    requests,
    resetting,
)
from . import tasks as workflow_tasks
from .engine_records import UnsupportedVersionError
from .rows import Effect, LinkRow, RunRow
from .state import State
from .step import Source, Step
from .storage_error import StorageError

TRUST_MS = 60_000
"""Timestamps up to this much above the leader's last known clock are believed; others wait (rule C1)."""

MAX_RELEASED = 1_000
"""How many records that waited one reading of the clock lets go on, at most; the leader reads it again for the rest."""

MAX_EXPIRED_ROWS = 100
"""How many rows past their time one record removes, at most."""

_DECIDE: dict[type, Callable[[Step, Any], None]] = {
    records.StartWorkflow: requests.decide_request,
    records.SignalWorkflow: requests.decide_request,
    records.UpdateWorkflow: requests.decide_request,
    records.UpdatesRejected: completions.decide_updates_rejected,
    records.CancelWorkflow: requests.decide_request,
    records.TerminateWorkflow: requests.decide_request,
    records.ResetWorkflow: requests.decide_request,
    records.PauseWorkflow: requests.decide_request,
    records.UnpauseWorkflow: requests.decide_request,
    records.ChangeActivity: requests.decide_request,
    records.CompleteActivity: requests.decide_request,
    records.FailActivity: requests.decide_request,
    records.SetCurrentBuild: deployments.decide_set_current,
    records.WorkflowTaskCompleted: completions.decide_task_completed,
    records.CompletionPiece: pieces.decide_piece,
    records.WorkflowTaskFailed: workflow_tasks.decide_task_failed,
    records.WorkflowTaskDue: workflow_tasks.decide_task_due,
    records.ActivityStarted: activities.decide_started,
    records.ActivityCompleted: activities.decide_completed,
    records.ActivityFailed: activities.decide_failed,
    records.ActivityCancelled: activities.decide_cancelled,
    records.ActivityHandedBack: activities.decide_handed_back,
    records.ActivityTimedOut: activities.decide_timed_out,
    records.ActivityRetryDue: activities.decide_retry_due,
    records.TimerFired: engine_records.decide_fired,
    records.WorkflowTimedOut: engine_records.decide_workflow_timed_out,
    records.ResetContinued: resetting.decide_continued,
    records.TaskReissued: engine_records.decide_reissued,
    records.EffectFailed: engine_records.decide_effect_failed,
    records.WorkerAlive: engine_records.decide_alive,
    records.WorkerLost: engine_records.decide_lost,
    records.WorkerStopped: engine_records.decide_stopped,
    records.ChildStarted: children.decide_started,
    records.ChildStartFailed: children.decide_start_failed,
    records.ChildClosed: children.decide_closed,
    records.ReportChild: callers.decide_report,
    records.ExternalAnswered: children.decide_answered,
}
_AT_ONCE: dict[type, Callable[[Step, Any], None]] = {
    records.LeaderElected: engine_records.decide_leader,
    records.ClockRead: engine_records.decide_clock,
    records.EffectsEmitted: engine_records.decide_emitted,
}
"""Records that never wait: they are about the partition, not about a workflow."""


class Folded(NamedTuple):
    """What folding one record gave: the events that changed the state, and the effects. `awaited`: what
    starts ask for besides, the results of the runs that they began; the record may be another, if they had waited."""

    record: Record | None
    events: list[events.Event]
    effects: list[Effect]
    awaited: list[AwaitResult]


def fold(state: State, topics: Topics, offset: int, timestamp_ms: int, key: bytes, value: bytes) -> Folded:
    """Fold the record at `offset` into `state`, and commit the change.

    Raises UnsupportedVersionError where newer code must go on, and StorageError where the storage fails, with the
    state as it was. Nothing else is raised for any `value`; a defect of the fold itself makes the record a dead letter
    that says so.
    """
    source = Source(offset, key, value)
    defects: dict[int, str] = {}
    while True:
        try:
            return _fold(state, topics, source, timestamp_ms, defects)
        except (UnsupportedVersionError, StorageError):
            state.rollback()
            raise
        except _DefectError as defect:  # of a record that waited: again, without that one
            state.rollback()
            defects[defect.offset] = defect.reason
        except Exception as error:  # total: the partition goes on, and people are told
            state.rollback()
            step = Step(state, topics, source, state.partition.time_ms)
            _give_up(step, _reason(error))
            return _finish(step, source, None)


class _DefectError(Exception):
    """The fold failed on a record that had waited."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


def _reason(error: Exception) -> str:
    return f"defect of the engine, please report it: {type(error).__name__}: {error}"


def _give_up(step: Step, reason: str) -> None:
    """A defect of the fold: people are told, and a workflow whose completion it was goes on by another task (W7)."""
    step.dead_letter(reason)
    try:
        record: Record | None = decode(step.source.value)
    except DecodeError:
        record = None
    if isinstance(record, (records.WorkflowTaskCompleted, records.CompletionPiece)):
        run = step.open_run(record.workflow_id, record.run_id)
        if run is not None and run.base == record.base:
            workflow_tasks.fail_task(step, run, Failure(message=reason, type="EngineDefect", kind="server"), "defect")


def _fold(state: State, topics: Topics, source: Source, timestamp_ms: int, defects: Mapping[int, str]) -> Folded:
    try:
        record: Record | None = decode(source.value)
        reason = ""
    except DecodeError as error:
        record, reason = None, str(error)
    partition = state.partition
    believed = timestamp_ms <= partition.clock_ms + TRUST_MS
    now = max(partition.time_ms, timestamp_ms) if believed else partition.time_ms
    step = Step(state, topics, source, now)
    at_once = _AT_ONCE.get(type(record))
    if at_once is not None:
        _decide_at_once(step, record, at_once, defects)
    elif partition.waiting or not partition.partitions or not believed:
        step.apply(events.RecordHeld(source.offset, timestamp_ms, source.key, source.value))
    elif record is None:
        step.dead_letter(reason)
    else:
        _dispatch(step, record, defects)
    step.publish_history()
    state.settle()
    if state.earliest_expiry_ms < step.now:
        _remove_expired(step)
    return _finish(step, source, record)


def _finish(step: Step, source: Source, record: Record | None) -> Folded:
    step.apply(events.RecordFolded(source.offset + 1, step.now, zlib.crc32(source.value)))
    step.state.commit()
    if len(source.value) > keys.LARGE:
        keys.forget()
    return Folded(record, step.events, step.effects, step.awaited)


def _decide_at_once(
    step: Step, record: Record | None, decide: Callable[[Step, Any], None], defects: Mapping[int, str]
) -> None:
    """Fold a record of the partition itself, then what waited for it: for a leader's clock, or the partition count."""
    epoch = getattr(record, "epoch", step.partition.epoch)
    if epoch == step.partition.epoch:
        decide(step, record)
    partition = step.partition
    clock_read = any(isinstance(e, (events.LeaderChanged, events.ClockAdvanced)) for e in step.events)
    if not clock_read or not partition.waiting or not partition.partitions:
        return
    for key, row in list(islice(step.state.scan(keys.WAITING), MAX_RELEASED)):
        offset = keys.number_in(key)
        step.apply(events.RecordReleased(offset))
        if row.timestamp_ms <= partition.clock_ms + TRUST_MS:
            step.now = max(step.now, row.timestamp_ms)
        step.source = Source(offset, row.key, row.value)
        step.hops = 0
        _let_go(step, defects)


def _let_go(step: Step, defects: Mapping[int, str]) -> None:
    """Fold `step.source`, a record that waited. A defect is reported as its own, not as the present record's."""
    if step.source.offset in defects:
        _give_up(step, defects[step.source.offset])
        return
    try:
        _dispatch(step, decode(step.source.value), defects)
        step.state.settle()  # what its rows lead to is its own, too
    except DecodeError as error:
        step.dead_letter(str(error))
    except StorageError:
        raise
    except Exception as error:
        raise _DefectError(step.source.offset, _reason(error)) from error


class _Kind(NamedTuple):
    """What is known of a class of records, whatever is in them: whether they name a workflow, have a leader's epoch,
    and may be such as only engines send."""

    decide: Callable[[Step, Any], None]
    of_workflow: bool
    of_leader: bool
    from_engines: bool


@cache
def _kind_of(cls: type[Record]) -> _Kind | None:
    """None: it is no record of `events`, or one that is not about a workflow or a worker."""
    decide = _DECIDE.get(cls)
    if decide is None:
        return None
    fields = cls.__struct_fields__
    return _Kind(decide, "workflow_id" in fields, "epoch" in fields, callers.may_be_from_a_workflow(cls))


def _dispatch(step: Step, record: Record, defects: Mapping[int, str]) -> None:
    """Decide on a record about a workflow or a worker: here, or in the partition where it belongs."""
    kind = _kind_of(type(record))
    if kind is None:
        if isinstance(record, (ForwardedRecord, VoidEffect)):
            _take_message(step, record, defects)
        else:
            step.dead_letter(f"{type(record).__name__} is no record of the topic {step.topics.events}")
        return
    fields: Any = record
    if kind.from_engines and not step.hops and callers.is_from_a_workflow(record):
        step.dead_letter(f"{type(record).__name__} of another workflow: only engines send these, forwarded")
        return
    partition = step.state.partition
    if kind.of_leader and fields.epoch != partition.epoch:
        return
    if kind.of_workflow:
        workflow_id: str = fields.workflow_id
        if not step.hops:
            home = step.home(workflow_id)
            if home != partition.partition:
                _forward(step, home)
                return
        if partition.resets and resetting.keep_behind(step, record, workflow_id):
            return
    kind.decide(step, record)
    if isinstance(record, (records.ResetWorkflow, records.ResetContinued)):
        resetting.go_on(step, record.workflow_id, lambda step: _let_go(step, defects))


def _forward(step: Step, home: int) -> None:
    """Another partitioner put this record here; send it to where it belongs, once (rule N1)."""
    source = step.source
    sent = step.effect(
        step.topics.events,
        home,
        source.key,
        lambda position: ForwardedRecord(position=position, key=source.key, value=source.value),
    )
    if sent is None:
        step.dead_letter("the record is in the wrong partition, and too large to be forwarded")


def _take_message(step: Step, record: ForwardedRecord | VoidEffect, defects: Mapping[int, str]) -> None:
    """Take the next link of a chain; drop what was taken before; leave what would make a gap (rule E1)."""
    position = record.position
    if not 0 <= position.partition < step.partition.partitions:
        step.dead_letter(f"a message from partition {position.partition}, of {step.partition.partitions}")
        return
    here = (position.offset, position.index)
    row = step.state.row(keys.source(position.partition), LinkRow)
    last = (row.offset, row.index) if row is not None else (-1, 0)
    if here <= last or (position.previous_offset, position.previous_index) > last:
        return
    step.apply(events.MessageTaken(position.partition, position.offset, position.index))
    if isinstance(record, VoidEffect):
        return
    step.source = Source(step.source.offset, record.key, record.value)
    step.hops = 1
    try:
        inner = decode(record.value)
    except DecodeError as error:
        step.dead_letter(str(error))
        return
    if isinstance(inner, ForwardedRecord):
        step.dead_letter("a forwarded record is never forwarded again")
    else:
        _dispatch(step, inner, defects)


def _remove_expired(step: Step) -> None:
    """Forget answered requests after their deadline, sessions that are over, closed runs after their retention."""
    state = step.state
    room = MAX_EXPIRED_ROWS
    skip = len(keys.EXPIRY) + 8
    kept_ms = 0
    for entry, _ in state.scan(keys.EXPIRY):
        at = keys.number_in(entry)
        if at >= step.now or room <= 0:
            state.earliest_expiry_ms = kept_ms or at
            return
        key = entry[skip:]
        if step.partition.resets and _is_being_copied(step, key):
            kept_ms = kept_ms or at
            continue
        room -= 1
        if key[:1] in (keys.REQUEST, keys.SESSION):
            step.apply(events.RowExpired(key))
        else:
            room -= _remove_run(step, key, room)
    state.earliest_expiry_ms = kept_ms or step.now


def _is_being_copied(step: Step, key: bytes) -> bool:
    """Whether a reset needs the run of this row."""
    row = step.state.get(key) if key[:1] in (keys.CURRENT, keys.EARLIER) else None
    return row is not None and resetting.under_way(step, row.workflow_id) is not None


def _remove_run(step: Step, key: bytes, room: int) -> int:
    """Remove up to `room` events of a closed run, then the run itself; say how many rows that were."""
    row = step.state.row(key, RunRow)
    if row is None:
        raise AssertionError("the expiry index follows from the rows")
    removed = 0
    for event_key, _ in step.state.scan(keys.of_run(keys.EVENT, row.workflow_id, row.run_id)):
        if removed >= room:
            return removed
        step.apply(events.RowExpired(event_key))
        removed += 1
    step.apply(events.RowExpired(key))
    return removed + 1


__all__ = ["Folded", "fold"]
