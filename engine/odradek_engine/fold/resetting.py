"""Filling the run that a reset began, and letting go what waited meanwhile: a bounded part in each step.

The events kept are applied to the new run as they were to the old one, so that whatever was open at the cut is open
again. Only the new run's own events are published: its first one there is WorkflowReset. The leader asks for the next
part until there is none (`ResetContinued`); records about the workflow wait for the end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

import msgspec
from odradek_schemas import decode, encode, history
from odradek_schemas.common import Failure, Record, Request
from odradek_schemas.records import ReportChild, ResetContinued

from . import activities, events, keys
from .callers import send
from .children import answer_external
from .rows import ActivityRow, ChildRow, ExternalRow, ResetRow, RunRow
from .step import Source, Step
from .tasks import wake
from .updates import ask_update, carry, open_updates

replace = msgspec.structs.replace
R = TypeVar("R", ActivityRow, ChildRow, ExternalRow)

_RESULTS = (history.ActivityCompleted, history.ActivityFailed)
"""What a local result is in history. Only the completion behind it says that it was one."""

_ENDED = (history.ActivityCompleted, history.ActivityFailed, history.ActivityTimedOut, history.ActivityCancelled)

_EXTERNAL_ANSWERS = (
    history.ExternalSignalDelivered,
    history.ExternalSignalFailed,
    history.ExternalCancelDelivered,
    history.ExternalCancelFailed,
)


# ---------------------------------------------------------------- while it goes on


def under_way(step: Step, workflow_id: str) -> ResetRow | None:
    """The workflow's reset that is not finished."""
    return step.state.row(keys.reset(workflow_id), ResetRow) if step.partition.resets else None


def keep_behind(step: Step, record: Record, workflow_id: str) -> bool:
    """Whether a record has to wait for the end of a reset. What the leader says of the state it will say again (L2)."""
    if step.releasing or isinstance(record, ResetContinued) or under_way(step, workflow_id) is None:
        return False
    if getattr(record, "epoch", None) is None:
        source = step.source
        step.apply(
            events.RecordKeptBehind(workflow_id, source.offset, step.now, step.hops, source.key, source.value)
        )
    return True


def decide_continued(step: Step, record: ResetContinued) -> None:
    """The leader asks for the next part: not if that was done, or if it is of another reset."""
    row = under_way(step, record.workflow_id)
    if row is not None and (row.run_id, row.turn) == (record.run_id, record.turn):
        step.apply(events.ResetAdvanced(replace(row, turn=row.turn + 1)))


def go_on(step: Step, workflow_id: str, release: Callable[[Step], None]) -> None:
    """Do as much as belongs into one step. `release` folds `step.source`, a record that waited."""
    if step.releasing:
        return
    while step.work > 0:
        row = under_way(step, workflow_id)
        if row is None:
            return
        if row.phase == "release":
            _let_go(step, row, release)
        else:
            step.apply(events.ResetAdvanced(_PHASES[row.phase](step, row)))


def _let_go(step: Step, row: ResetRow, release: Callable[[Step], None]) -> None:
    """Fold what waited, in its order, until nothing is left or one of them is a reset again."""
    at_hand = step.source, step.hops
    waiting = list(islice(step.state.scan(keys.all_behind(row.workflow_id)), step.work))
    step.releasing = True
    for key, kept in waiting:
        offset = int.from_bytes(key[-8:], "big") - 1
        step.apply(events.RecordLetGo(row.workflow_id, offset))
        step.source, step.hops = Source(offset, kept.key, kept.value), kept.hops
        release(step)
        step.spend(len(kept.value))
        now = under_way(step, row.workflow_id)
        if now is None or now.run_id != row.run_id:
            break
    else:
        if step.work > 0:
            step.apply(events.ResetEnded(row.workflow_id))
    step.releasing = False
    step.source, step.hops = at_hand


# ---------------------------------------------------------------- what is kept


def unbegun(step: Step, run: RunRow) -> list[int]:
    """The activities of a run that may run at most once, and that no worker has begun (rule T8)."""
    if not run.open_activities:
        return []
    rows = [row for _, row in step.state.scan(keys.of_run(keys.ACTIVITY, run.workflow_id, run.run_id))]
    return [row.seq for row in rows if row.delivery == "at_most_once" and row.state in ("scheduled", "paused")]


def _event(step: Step, row: ResetRow, number: int) -> tuple[history.HistoryEvent, bytes]:
    encoded: bytes = step.state.get(keys.event(row.workflow_id, row.source_run_id, number))
    event = decode(encoded)
    if not isinstance(event, history.HistoryEvent):
        raise AssertionError("a run's history holds something else than events")
    step.spend(len(encoded))
    return event, encoded


def copy_event(step: Step, row: ResetRow) -> ResetRow:
    """Apply the next event to the new run: same ID, same time, same bytes but for the seed in the first."""
    event, encoded = _event(step, row, row.next)
    if isinstance(event.attributes, history.WorkflowStarted):
        event = replace(event, attributes=replace(event.attributes, seed=row.seed))
        encoded = encode(event)
    step.apply(
        events.Appended(row.workflow_id, row.run_id, event.event_id, event.time_ms, event.attributes, encoded)
    )
    return _count_input(replace(row, next=row.next + 1), event)


def _count_input(row: ResetRow, event: history.HistoryEvent) -> ResetRow:
    """Local results are no input, but that is said behind them."""
    attributes, number = event.attributes, event.event_id
    if isinstance(attributes, _RESULTS):
        if not row.results_from:
            row = replace(row, results_from=number, input_before_results=row.last_input_id)
        return replace(row, last_input_id=number)
    if isinstance(attributes, history.WorkflowTaskCompleted) and attributes.local_events:
        first = min(attributes.local_events)
        before = first - 1 if first > row.results_from else row.input_before_results
        return replace(row, last_input_id=before, results_from=0)
    if isinstance(attributes, history.INPUTS):
        return replace(row, last_input_id=number, results_from=0)
    return replace(row, results_from=0)


def _copy(step: Step, row: ResetRow) -> ResetRow:
    while row.next <= row.kept and step.work > 0:
        row = copy_event(step, row)
    if row.next <= row.kept:
        return row
    step.apply(events.RunForked(row.workflow_id, row.run_id, step.now, row.build_id, row.last_input_id))
    step.append(
        row.workflow_id,
        row.run_id,
        history.WorkflowReset(
            run_id=row.source_run_id,
            event_id=row.event_id,
            reason=row.reason,
            reapply=row.reapply,
            request_id=row.request_id,
            identity=row.identity,
            build_id=row.build_id,
        ),
    )
    return replace(row, phase="rest")


# ---------------------------------------------------------------- what came later, and is given again


def _rest(step: Step, row: ResetRow) -> ResetRow:
    while row.next <= row.last and step.work > 0:
        event, _ = _event(step, row, row.next)
        _give_again(step, row, event.attributes)
        row = replace(row, next=row.next + 1)
    return row if row.next <= row.last else replace(row, phase="open", next=0)


def _give_again(step: Step, row: ResetRow, attributes: history.Attributes) -> None:
    """Messages, if that is asked for; and always what became of what was open at the cut and is not done twice."""
    again = row.reapply == "signals"
    if isinstance(attributes, history.SignalReceived) and again:
        step.append(row.workflow_id, row.run_id, attributes)
    elif isinstance(attributes, history.UpdateAccepted) and again:
        run = _run(step, row)
        request, by = Request(request_id=attributes.update_id), attributes.identity
        ask_update(step, run, request, attributes.update, attributes.input, attributes.headers, "completed", by)
    elif isinstance(attributes, _EXTERNAL_ANSWERS):
        sent = _open(step, keys.external(row.workflow_id, row.run_id, attributes.seq), ExternalRow)
        if sent is not None and sent.requested_event_id == attributes.requested_event_id:
            step.append(row.workflow_id, row.run_id, attributes)
    elif isinstance(attributes, _ENDED):
        activity = _open(step, keys.activity(row.workflow_id, row.run_id, attributes.seq), ActivityRow)
        once = activity is not None and activity.delivery == "at_most_once"
        if activity is not None and once and activity.scheduled_event_id == attributes.scheduled_event_id:
            step.append(row.workflow_id, row.run_id, attributes)


def _run(step: Step, row: ResetRow) -> RunRow:
    run = step.open_run(row.workflow_id, row.run_id)
    if run is None:
        raise AssertionError("a run that is being filled is open")
    return run


def _open(step: Step, key: bytes, kind: type[R]) -> R | None:
    return step.state.row(key, kind)


# ---------------------------------------------------------------- what was open at the cut


def _reopen(step: Step, row: ResetRow) -> ResetRow:
    """Emit open activities under the new run; ask how children stand. Timers need nothing: their rows say when."""
    scan: Any = step.state.scan
    of_run = keys.of_run(keys.ACTIVITY, row.workflow_id, row.run_id)
    start = keys.activity(row.workflow_id, row.run_id, row.next)
    for _, activity in list(islice(scan(of_run, start=start), step.work)):
        _reopen_activity(step, row, activity)
        row = replace(row, next=activity.seq + 1)
        step.spend(0)
    if step.work <= 0:
        return row
    return replace(row, phase="others", next=0)


def _reopen_activity(step: Step, row: ResetRow, activity: ActivityRow) -> None:
    if activity.delivery == "at_most_once" and activity.seq not in row.unbegun:
        activities.fail_attempt(
            step,
            activity,
            Failure(
                message="the run was reset while the activity was under way; it may or may not have run, and "
                "at_most_once forbids to run it again",
                type="Reset",
                kind="server",
                non_retryable=True,
            ),
        )
        return
    step.apply(events.ActivityCarried(row.workflow_id, row.run_id, activity.seq, step.now))
    carried = _open(step, keys.activity(row.workflow_id, row.run_id, activity.seq), ActivityRow)
    if carried is None:
        raise AssertionError("a carried activity is open")
    activities.dispatch(step, carried)


def _others(step: Step, row: ResetRow) -> ResetRow:
    """Children stay those of the workflow: each is asked to say again how it stands, as that may have been undone."""
    run = _run(step, row)
    scan: Any = step.state.scan
    if run.open_children:
        of_run = keys.of_run(keys.CHILD, row.workflow_id, row.run_id)
        start = keys.child(row.workflow_id, row.run_id, row.next)
        for _, child in list(islice(scan(of_run, start=start), step.work)):
            report = ReportChild(
                workflow_id=child.child_workflow_id, child_of=child.link, child_run_id=child.child_run_id
            )
            send(step, report)
            row = replace(row, next=child.seq + 1)
            step.spend(0)
        if step.work <= 0:
            return row
    if run.open_externals and not row.was_open:
        _answer_externals(step, row, run)
    return _finish(step, row)


def _answer_externals(step: Step, row: ResetRow, run: RunRow) -> None:
    """Answers to a run that had closed are lost: nobody knows any more what became of these messages."""
    of_run = keys.of_run(keys.EXTERNAL, row.workflow_id, row.run_id)
    for _, sent in list(step.state.scan(of_run)):
        why = "the run was reset after it had closed: whether the message arrived is not known"
        answer_external(step, run, sent.seq, "undeliverable", why)


def _finish(step: Step, row: ResetRow) -> ResetRow:
    """The run stands. Updates that nobody had decided on come after all that is given again."""
    run = _run(step, row)
    first, last = row.carried_updates
    undecided = [update for update in open_updates(step, run) if first <= update.seq <= last]
    for update in undecided:
        step.apply(events.UpdateRejected(row.workflow_id, row.run_id, update.seq))
    carry(step, row.workflow_id, undecided)
    done = replace(row, phase="release", next=0)
    step.apply(events.ResetAdvanced(done))
    wake(step, row.workflow_id)
    return done


_PHASES: dict[str, Callable[[Step, ResetRow], ResetRow]] = {
    "copy": _copy,
    "rest": _rest,
    "open": _reopen,
    "others": _others,
}
