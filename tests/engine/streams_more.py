"""More kinds of records for random logs: what people do to runs and activities, what other
partitions answer, and updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from odradek_engine.fold import keys
from odradek_engine.fold.rows import RunRow, UpdateRow
from odradek_schemas import encode, records, tasks
from odradek_schemas.common import Caller, Position, Record

if TYPE_CHECKING:
    from .streams import Stream


def reset(s: Stream) -> Record:
    run = s.run()
    return records.ResetWorkflow(
        workflow_id=run.workflow_id, event_id=s.rng.randrange(-1, run.last_event_id + 2),
        run_id=s.rng.choice(("", run.run_id)), reapply=s.rng.choice(("signals", "none")), request=s.request(),
    )


def pause(s: Stream) -> Record:
    return records.PauseWorkflow(workflow_id=s.workflow_id(), request=s.request())


def unpause(s: Stream) -> Record:
    return records.UnpauseWorkflow(workflow_id=s.workflow_id(), request=s.request())


def change_activity(s: Stream) -> Record:
    row = s.activity()
    return records.ChangeActivity(
        workflow_id=row.workflow_id, action=s.rng.choice(("pause", "unpause", "unpause", "retry", "update", "other")),
        seq=s.rng.choice((row.seq, 0)), activity_type=s.rng.choice(("", row.activity_type)),
        heartbeat_timeout_ms=s.rng.choice((-1, 0, 5000)), request=s.request(),
    )


def answer(s: Stream) -> Record:
    """What another partition answers to a workflow's command; sometimes without the envelope that it must have."""
    rows = [row for _, row in s.state.scan(keys.CHILD)]
    run = s.run()
    caller: dict[str, Any] = {"workflow_id": run.workflow_id, "run_id": run.run_id, "seq": s.rng.randrange(1, 6)}
    if rows and s.rng.random() < 0.8:
        row = s.rng.choice(rows)
        caller = {"workflow_id": row.workflow_id, "run_id": row.run_id, "seq": row.seq}
    inner = s.rng.choice((_child_started, _child_start_failed, _child_closed, _external))(s, caller)
    return inner if s.rng.random() < 0.3 else forwarded(s, inner)


def _child_started(s: Stream, caller: dict[str, Any]) -> Record:
    return records.ChildStarted(**caller, child_run_id="child")


def _child_start_failed(s: Stream, caller: dict[str, Any]) -> Record:
    return records.ChildStartFailed(**caller, cause=s.rng.choice(("already_started", "invalid")))


def _child_closed(s: Stream, caller: dict[str, Any]) -> Record:
    status = s.rng.choice(("completed", "failed", "cancelled", "terminated", "timed_out"))
    failure = s.failure() if status == "failed" else None
    return records.ChildClosed(**caller, child_run_id="child", status=status, failure=failure)


def _external(s: Stream, caller: dict[str, Any]) -> Record:
    return records.ExternalAnswered(**caller, outcome=s.rng.choice(("ok", "not_found", "closed", "invalid")))


def forwarded(s: Stream, inner: Record | None) -> Record:
    """`inner` (None: a void effect) as the next link of another partition's chain; now and then there is a gap."""
    source = s.rng.choice((1, 2))
    last = s.chains.get(source, -1)
    s.chains[source] = last + 1
    position = Position(
        partition=source, offset=last + 1, index=0, previous_offset=last + (s.rng.random() < 0.05), previous_index=0
    )
    if inner is None:
        return tasks.VoidEffect(position=position)
    return records.ForwardedRecord(position=position, key=b"key", value=encode(inner))


def update(s: Stream) -> Record:
    return records.UpdateWorkflow(
        workflow_id=s.workflow_id(),
        update="rename",
        input=s.payloads(),
        request=s.request(),
        wait_for=s.rng.choice(("accepted", "completed")),
        attach=s.rng.random() < 0.1,
    )


def pending(s: Stream, run: RunRow) -> list[UpdateRow]:
    rows = [row for _, row in s.state.scan(keys.of_run(keys.UPDATE, run.workflow_id, run.run_id))]
    return [row for row in rows if not row.accepted]


def updates_rejected(s: Stream) -> Record:
    run = s.run()
    rejected = [
        records.RejectedUpdate(seq=row.seq, update_id=row.update_id, failure=s.failure()) for row in pending(s, run)
    ]
    return records.UpdatesRejected(
        workflow_id=run.workflow_id, run_id=run.run_id, base=run.base, rejected_updates=rejected
    )


def reset_continued(s: Stream) -> Record:
    """The next part of a reset, as its leader asks for it, or a stale one."""
    rows = [row for _, row in s.state.scan(keys.RESET)]
    epoch = s.state.partition.epoch
    if not rows:
        return records.ResetContinued(workflow_id=s.workflow_id(), run_id="gone", turn=1, epoch=epoch)
    row = s.rng.choice(rows)
    turn = row.turn - (s.rng.random() < 0.1)
    return records.ResetContinued(workflow_id=row.workflow_id, run_id=row.run_id, turn=turn, epoch=epoch)


def report_child(s: Stream) -> Record:
    run = s.run()
    parent = run.parent or Caller(workflow_id="parent", run_id="p", seq=1)
    inner = records.ReportChild(workflow_id=run.workflow_id, child_of=parent)
    return inner if s.rng.random() < 0.3 else forwarded(s, inner)


MORE: list[tuple[Callable[[Stream], Record], int]] = [
    (reset, 2),
    (reset_continued, 12),
    (report_child, 2),
    (pause, 1),
    (unpause, 3),
    (change_activity, 4),
    (answer, 8),
    (update, 4),
    (updates_rejected, 2),
]
