"""What reads are answered with: functions of the state alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from odradek_schemas import decode, history
from odradek_schemas.ephemeral import ListRuns
from odradek_schemas.identity import task_token
from odradek_schemas.replies import (
    BuildsDescription,
    BuildState,
    HistoryPage,
    OpenUpdate,
    PendingActivity,
    PendingChild,
    PendingLocalActivity,
    PendingTimer,
    RunsPage,
    RunSummary,
    WorkflowDescription,
    WorkflowResult,
)

from .fold import State, keys
from .fold.deployments import build_of
from .fold.outcomes import terminated, timed_out
from .fold.rows import ActivityRow, ChildRow, CurrentBuildRow, NeededRow, RunRow, SessionRow, UpdateRow
from .sessions import Sessions

MAX_PAGE_BYTES = 500_000
MAX_NAMED = 20
"""Of the open runs that need a build, so many are named, in each partition."""

MAX_LOOKED_AT, MAX_LISTED = 1_000, 200
"""A page of a list looks at so many runs, and holds so many."""

MAX_PENDING = 500
"""A description lists at most so many activities, timers, children and updates, each."""


def find_run(state: State, workflow_id: str, run_id: str) -> RunRow | None:
    """A run by its ID, or the newest one of the workflow ID."""
    run = state.row(keys.current(workflow_id), RunRow)
    if run is None or not run_id or run.run_id == run_id:
        return run
    return state.row(keys.earlier(workflow_id, run_id), RunRow)


def result(state: State, run: RunRow, client_id: str, request_id: str) -> WorkflowResult:
    """The outcome of a closed run."""
    encoded = state.get(keys.event(run.workflow_id, run.run_id, run.last_event_id))
    event = decode(encoded) if encoded is not None else None
    closing = event.attributes if isinstance(event, history.HistoryEvent) else None
    failure = getattr(closing, "failure", None)
    if isinstance(closing, history.WorkflowTerminated):
        failure = terminated(closing.reason or "terminated")
    elif isinstance(closing, history.WorkflowTimedOut):
        failure = timed_out(closing.timeout_type)
    return WorkflowResult(
        client_id=client_id,
        request_id=request_id,
        status=run.status,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        next_run_id=run.next_run_id,
        result=closing.result if isinstance(closing, history.WorkflowCompleted) else None,
        failure=failure,
    )


def history_page(state: State, run: RunRow, from_event_id: int, client_id: str, request_id: str) -> HistoryPage:
    """Events from `from_event_id` on, as many as fit into a page."""
    start = keys.event(run.workflow_id, run.run_id, max(1, from_event_id))
    events: list[bytes] = []
    size = 0
    following = 0
    for key, encoded in state.scan(keys.of_run(keys.EVENT, run.workflow_id, run.run_id), start=start):
        if events and size + len(encoded) > MAX_PAGE_BYTES:
            following = int.from_bytes(key[-8:], "big") - 1
            break
        events.append(encoded)
        size += len(encoded)
    return HistoryPage(
        client_id=client_id,
        request_id=request_id,
        found=True,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        status=run.status,
        base=run.base,
        consumed_through=run.consumed_through,
        last_event_id=run.last_event_id,
        next_event_id=following,
        events=events,
        history_size=run.history_size,
    )


def describe(
    state: State, sessions: Sessions, run: RunRow, now_ms: int, client_id: str, request_id: str
) -> WorkflowDescription:
    """What an on-call engineer wants to see of a run."""
    activities, missing = _pending_activities(state, sessions, run)
    timers = [
        PendingTimer(seq=timer.seq, due_ms=timer.due_ms, summary=timer.summary)
        for timer in _pending_rows(state, keys.TIMER, run)
    ]
    children = [_pending_child(child) for child in _pending_rows(state, keys.CHILD, run)]
    updates = [_open_update(update) for update in _pending_rows(state, keys.UPDATE, run)]
    build = build_of(state, run, run.task_queue)
    pollers = sessions.pollers(run.task_queue, build)
    if run.is_open and not pollers:
        missing.insert(0, run.task_queue)
    return WorkflowDescription(
        client_id=client_id,
        request_id=request_id,
        found=True,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        first_run_id=run.first_run_id,
        workflow_type=run.workflow_type,
        task_queue=run.task_queue,
        status=run.status,
        start_ms=run.start_ms,
        started_by=_started_by(state, run),
        close_ms=run.close_ms,
        history_length=run.last_event_id,
        history_size=run.history_size,
        task_attempt=run.task_attempt,
        task_failure=run.task_failure,
        task_failure_cause=run.task_failure_cause,
        task_retry_ms=run.task_retry_ms,
        workers=pollers,
        missing_queues=sorted(set(missing)),
        memo=run.memo,
        search_attributes=run.search_attributes,
        pending_activities=activities,
        pending_timers=timers,
        now_ms=now_ms,
        pending_children=children,
        parent=run.parent,
        paused=run.paused,
        pause_reason=run.pause_reason,
        build_id=build,
        versioning=run.versioning,
        paused_by=run.paused_by,
        paused_ms=run.paused_ms,
        pending_updates=updates,
        local_activities=[
            PendingLocalActivity(seq=one.seq, activity_type=one.activity_type, since_ms=one.since_ms)
            for one in run.local_steps
        ],
        reset_request_id=run.reset_request_id,
    )


def _pending_rows(state: State, table: bytes, run: RunRow) -> Iterator[Any]:
    """What is open of a run, as much as an answer lists."""
    return (row for _, row in islice(state.scan(keys.of_run(table, run.workflow_id, run.run_id)), MAX_PENDING))


def _pending_activities(state: State, sessions: Sessions, run: RunRow) -> tuple[list[PendingActivity], list[str]]:
    """Open activities, as many as fit into an answer; and the queues of all that wait though nobody polls them."""
    activities: list[PendingActivity] = []
    missing: list[str] = []
    size = 0
    for _, row in state.scan(keys.of_run(keys.ACTIVITY, run.workflow_id, run.run_id)):
        if len(activities) < MAX_PENDING and size < MAX_PAGE_BYTES:
            pending = _pending(state, sessions, row)
            activities.append(pending)
            size += len(msgspec.msgpack.encode(pending))
        task_build = build_of(state, run, row.task_queue)
        if row.state == "scheduled" and not sessions.activity_pollers(row.task_queue, task_build):
            missing.append(row.task_queue)
    return activities, missing


def _started_by(state: State, run: RunRow) -> str:
    encoded = state.get(keys.event(run.workflow_id, run.run_id, 1))
    event = decode(encoded) if encoded is not None else None
    started = event.attributes if isinstance(event, history.HistoryEvent) else None
    return started.identity if isinstance(started, history.WorkflowStarted) else ""


def _open_update(row: UpdateRow) -> OpenUpdate:
    return OpenUpdate(
        update_id=row.update_id,
        update=row.update,
        state="accepted" if row.accepted else "pending",
        asked_ms=row.time_ms,
        identity=row.identity,
    )


def _pending_child(row: ChildRow) -> PendingChild:
    state = "started" if row.child_run_id else "starting"
    return PendingChild(
        seq=row.seq,
        workflow_id=row.child_workflow_id,
        workflow_type=row.workflow_type,
        state="cancel_requested" if row.cancel_requested else state,
        run_id=row.child_run_id,
        parent_close_policy=row.parent_close_policy,
        initiated_ms=row.initiated_ms,
    )


def runs_page(state: State, read: ListRuns) -> RunsPage:
    """The next runs that match, of a limited number that are looked at."""
    start = keys.after(keys.current(read.after.replace("\0", ""))) if read.after else keys.CURRENT
    found: list[RunSummary] = []
    following = ""
    for seen, (_, run) in enumerate(state.scan(keys.CURRENT, start=start)):
        if seen >= MAX_LOOKED_AT or len(found) >= MAX_LISTED:
            break
        following = run.workflow_id
        if _matches(run, read):
            found.append(_summary(run))
    else:
        following = ""
    request = read.request
    return RunsPage(
        client_id=request.client_id, request_id=request.request_id, runs=found, next_after=following
    )


def _matches(run: RunRow, read: ListRuns) -> bool:
    stuck = run.is_open and (run.task_failure is not None or run.paused)
    return (
        read.workflow_type in ("", run.workflow_type) and read.status in ("", run.status) and (stuck or not read.stuck)
    )


def _summary(run: RunRow) -> RunSummary:
    failure = run.task_failure
    why = f"{run.task_failure_cause}: {failure.type}: {failure.message}" if failure is not None else ""
    return RunSummary(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        task_queue=run.task_queue,
        status=run.status,
        start_ms=run.start_ms,
        close_ms=run.close_ms,
        history_length=run.last_event_id,
        paused=run.paused,
        task_failure=why[:300],
    )


def builds(state: State, sessions: Sessions, task_queue: str, client_id: str, request_id: str) -> BuildsDescription:
    """The builds of a task queue: those with live workers, those that open runs need, and the current one."""
    row = state.row(keys.current_build(task_queue), CurrentBuildRow)
    current = row.build_id if row is not None else ""
    workers = sessions.builds(task_queue)
    found = {build: BuildState(build_id=build, workers=count) for build, count in workers.items()}
    found.setdefault(current, BuildState(build_id=current))
    prefix = keys.NEEDED_COUNT + keys.text(task_queue.replace("\0", ""))
    for _, need in list(state.scan(prefix)):
        found[need.build_id] = _needing(state, task_queue, need, workers[need.build_id])
    return BuildsDescription(
        client_id=client_id,
        request_id=request_id,
        current=current,
        current_since_ms=row.since_ms if row is not None else 0,
        builds=[found[build] for build in sorted(found)],
    )


def _needing(state: State, task_queue: str, need: NeededRow, workers: int) -> BuildState:
    """How many open runs need a build, and some of them by name."""
    prefix = keys.needed(task_queue, need.build_id)
    runs = [state.row(entry[len(prefix) :], RunRow) for entry, _ in islice(state.scan(prefix), MAX_NAMED)]
    ids = [run.workflow_id for run in runs if run is not None]
    return BuildState(build_id=need.build_id, workers=workers, open=need.count, workflow_ids=ids)


def _pending(state: State, sessions: Sessions, row: ActivityRow) -> PendingActivity:
    session = state.row(keys.session(row.session), SessionRow) if row.session else None
    _, details = sessions.last_heartbeat(row)
    return PendingActivity(
        seq=row.seq,
        activity_type=row.activity_type,
        task_queue=row.task_queue,
        state="cancel_requested" if row.cancel_requested else row.state,
        attempt=row.attempt,
        maximum_attempts=row.retry_policy.maximum_attempts,
        scheduled_ms=row.scheduled_ms,
        started_ms=row.started_ms,
        next_retry_ms=row.next_retry_ms,
        session=row.session,
        identity=session.identity if session is not None else "",
        last_failure=row.last_failure,
        heartbeat_details=details,
        task_token=task_token(row.workflow_id, row.run_id, row.scheduled_by, row.seq),
        paused=row.paused,
        on_exhausted=row.on_exhausted,
        pause_reason=row.pause_reason,
        paused_by=row.paused_by,
        paused_ms=row.paused_ms,
    )
