"""`evolve(state, event)`: how each event changes the rows. No decision is made here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import events, evolve_open, keys
from .evolve_history import appended
from .evolve_rows import NOT_PAUSED, change_partition, change_run, replace, run_of
from .rows import (
    BehindRow,
    CurrentBuildRow,
    LinkRow,
    RequestRow,
    SessionRow,
    WaitingRow,
    outbox_row,
)
from .state import State


def evolve(state: State, event: events.Event) -> None:
    """Apply one event."""
    APPLY[type(event)](state, event)


# ---------------------------------------------------------------- the partition


def _record_folded(state: State, e: events.RecordFolded) -> None:
    row = replace(state.partition, position=e.position, time_ms=e.time_ms, checksum=e.checksum)
    state.put_partition(row)


def _leader_changed(state: State, e: events.LeaderChanged) -> None:
    change_partition(
        state,
        epoch=e.epoch,
        version=e.version,
        member=e.member,
        nonce=e.nonce,
        partitions=e.partitions,
        clock_ms=e.clock_ms,
        closed_retention_ms=e.closed_retention_ms,
    )


def _clock_advanced(state: State, e: events.ClockAdvanced) -> None:
    change_partition(state, clock_ms=e.clock_ms)


def _record_held(state: State, e: events.RecordHeld) -> None:
    state.put(keys.waiting(e.offset), WaitingRow(timestamp_ms=e.timestamp_ms, key=e.key, value=e.value))
    change_partition(state, waiting=state.partition.waiting + 1)


def _record_released(state: State, e: events.RecordReleased) -> None:
    state.delete(keys.waiting(e.offset))
    change_partition(state, waiting=state.partition.waiting - 1)


def _effect_staged(state: State, e: events.EffectStaged) -> None:
    effect = e.effect
    state.stage(effect)
    state.put(keys.tail(effect.topic, effect.partition), LinkRow(offset=effect.offset, index=effect.index))


def _effects_left(state: State, e: events.EffectsLeft) -> None:
    marks = {(m.topic, m.partition): (m.offset, m.index) for m in e.marks}
    if marks:
        state.effects_left(marks)


def _effect_replaced(state: State, e: events.EffectReplaced) -> None:
    key = keys.outbox(e.offset, e.index)
    row = state.effect(key)
    if row is not None:
        state.replace_effect(key, replace(outbox_row(row), value=e.value))


def _message_taken(state: State, e: events.MessageTaken) -> None:
    state.put(keys.source(e.source), LinkRow(offset=e.offset, index=e.index))


def _row_expired(state: State, e: events.RowExpired) -> None:
    state.delete(e.key)


def _session_began(state: State, e: events.SessionBegan) -> None:
    alive = e.alive
    row = SessionRow(
        session=alive.session,
        identity=alive.identity,
        client_id=alive.client_id,
        reply_partition=alive.reply_partition,
        build_id=alive.build_id,
        since_ms=e.time_ms,
    )
    state.put(keys.session(alive.session), row)


def _session_over(state: State, e: events.SessionOver) -> None:
    key = keys.session(e.session)
    state.put(key, replace(state.get(key), ended_ms=e.time_ms))


def _request_answered(state: State, e: events.RequestAnswered) -> None:
    row = RequestRow(
        outcome=e.outcome,
        run_id=e.run_id,
        message=e.message,
        expire_ms=e.expire_ms,
        update_seq=e.update_seq,
        result=e.result,
        failure=e.failure,
    )
    state.put(keys.request(e.workflow_id, e.request_id), row)


def _current_build_set(state: State, e: events.CurrentBuildSet) -> None:
    row = CurrentBuildRow(task_queue=e.task_queue, build_id=e.build_id, since_ms=e.time_ms)
    state.put(keys.current_build(e.task_queue), row)


# ---------------------------------------------------------------- a run


def _task_out(state: State, e: events.TaskOut) -> None:
    change_run(
        state,
        e.workflow_id,
        task_offset=e.offset,
        task_index=e.index,
        task_since_ms=e.time_ms,
        task_retry_ms=0,
        task_build_id=e.build_id,
    )


def _task_withdrawn(state: State, e: events.TaskWithdrawn) -> None:
    change_run(state, e.workflow_id, task_offset=-1)


def _task_attempt_failed(state: State, e: events.TaskAttemptFailed) -> None:
    change_run(
        state,
        e.workflow_id,
        task_offset=-1,
        task_attempt=run_of(state, e.workflow_id).task_attempt + 1,
        task_retry_ms=e.retry_ms,
        task_failure=e.failure,
        task_failure_cause=e.cause,
    )


def _task_delayed(state: State, e: events.TaskDelayed) -> None:
    """The run's clock is where the delay ends, also if a leader's clock was a little ahead (C1)."""
    run = run_of(state, e.workflow_id)
    reached = max(run.last_event_ms, run.task_retry_ms)
    change_run(state, e.workflow_id, task_retry_ms=e.until_ms, last_event_ms=reached)


def _run_forked(state: State, e: events.RunForked) -> None:
    """Its time counts from now on. A pause was of the run that it comes from."""
    run = run_of(state, e.workflow_id)
    execution, whole = run.execution_deadline_ms, run.run_deadline_ms
    change_run(
        state,
        e.workflow_id,
        base=e.run_id,
        last_input_id=e.last_input_id,
        start_ms=e.time_ms,
        task_retry_ms=0,
        execution_deadline_ms=e.time_ms + execution - run.start_ms if execution else 0,
        run_deadline_ms=e.time_ms + whole - run.start_ms if whole else 0,
        build_id=e.build_id,
        versioning="pinned" if e.build_id else "",
        **NOT_PAUSED,
    )


def _reset_began(state: State, e: events.ResetBegan) -> None:
    key = keys.reset(e.reset.workflow_id)
    if state.get(key) is None:
        change_partition(state, resets=state.partition.resets + 1)
    state.put(key, e.reset)
    change_run(state, e.reset.workflow_id, last_update_seq=e.update_seq)


def _reset_advanced(state: State, e: events.ResetAdvanced) -> None:
    state.put(keys.reset(e.reset.workflow_id), e.reset)


def _reset_ended(state: State, e: events.ResetEnded) -> None:
    state.delete(keys.reset(e.workflow_id))
    change_partition(state, resets=state.partition.resets - 1)


def _record_kept_behind(state: State, e: events.RecordKeptBehind) -> None:
    row = BehindRow(timestamp_ms=e.timestamp_ms, hops=e.hops, key=e.key, value=e.value)
    state.put(keys.behind(e.workflow_id, e.offset), row)


def _record_let_go(state: State, e: events.RecordLetGo) -> None:
    state.delete(keys.behind(e.workflow_id, e.offset))


APPLY: dict[type, Callable[[State, Any], None]] = {
    events.RecordFolded: _record_folded,
    events.LeaderChanged: _leader_changed,
    events.ClockAdvanced: _clock_advanced,
    events.RecordHeld: _record_held,
    events.RecordReleased: _record_released,
    events.EffectStaged: _effect_staged,
    events.EffectsLeft: _effects_left,
    events.EffectReplaced: _effect_replaced,
    events.MessageTaken: _message_taken,
    events.RowExpired: _row_expired,
    events.SessionBegan: _session_began,
    events.SessionOver: _session_over,
    events.RequestAnswered: _request_answered,
    events.CurrentBuildSet: _current_build_set,
    events.Appended: appended,
    events.TaskOut: _task_out,
    events.TaskWithdrawn: _task_withdrawn,
    events.TaskAttemptFailed: _task_attempt_failed,
    events.TaskDelayed: _task_delayed,
    events.RunForked: _run_forked,
    events.ResetBegan: _reset_began,
    events.ResetAdvanced: _reset_advanced,
    events.ResetEnded: _reset_ended,
    events.RecordKeptBehind: _record_kept_behind,
    events.RecordLetGo: _record_let_go,
    events.UpdateAsked: evolve_open.update_asked,
    events.UpdateRejected: evolve_open.update_rejected,
    events.PieceKept: evolve_open.piece_kept,
    events.PiecesDropped: evolve_open.pieces_dropped,
    events.ActivityDispatched: evolve_open.activity_dispatched,
    events.ActivityTaken: evolve_open.activity_taken,
    events.ActivityRenewed: evolve_open.activity_renewed,
    events.ActivityAttemptFailed: evolve_open.activity_attempt_failed,
    events.ActivityPaused: evolve_open.activity_paused,
    events.ActivityUnpaused: evolve_open.activity_unpaused,
    events.ActivityChanged: evolve_open.activity_changed,
    events.ActivityCarried: evolve_open.activity_carried,
}
