"""What holds in every state, after every record: `problems` lists where it does not.

No open workflow is without a wake-up source, indexes and counters say what the rows say, and no link of a chain of
effects is above its tail. A look at every row; for tests, `odradek log verify` and simulations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from odradek_schemas import decode, history

from . import keys
from .rows import ActivityRow, Row, RunRow
from .state import State
from .tables import INDEXES, TABLES


def problems(state: State) -> list[str]:
    """Every broken invariant in words; an empty list for a sound state."""
    return [
        *_indexes(state),
        *_counts(state),
        *_partition(state),
        *_runs(state),
        *_activities(state),
        *_timers(state),
        *_children(state),
        *_history(state),
        *_seen(state),
        *_resets(state),
        *_chains(state),
    ]


def _rows(state: State, table: bytes) -> Iterator[tuple[bytes, Any]]:
    return state.scan(table)


def _indexes(state: State) -> Iterator[str]:
    """Each index holds what the rows give, and nothing else."""
    expected = {
        entry
        for table, kind in TABLES.items()
        if kind.indexes is not Row.indexes
        for key, row in _rows(state, table)
        for entry in row.indexes(key)
    }
    found = {key for table in INDEXES for key, _ in _rows(state, table)}
    for entry in sorted(expected - found):
        yield f"index entry {entry!r} is missing"
    for entry in sorted(found - expected):
        yield f"index entry {entry!r} stands for no row"


def _counts(state: State) -> Iterator[str]:
    """Runs that need a build are counted."""
    entries = Counter(keys.needed_count(key) for key, _ in _rows(state, keys.NEEDED))
    counted = {key: row.count for key, row in _rows(state, keys.NEEDED_COUNT)}
    if counted != dict(entries):
        yield f"runs that need a build are counted as {counted}, there are {dict(entries)}"


def _partition(state: State) -> Iterator[str]:
    partition = state.partition
    waiting = sum(1 for _ in _rows(state, keys.WAITING))
    if partition.waiting != waiting:
        yield f"the partition counts {partition.waiting} waiting records, there are {waiting}"
    opened = sum(row.is_open for _, row in _rows(state, keys.CURRENT))
    if partition.open_workflows != opened:
        yield f"the partition counts {partition.open_workflows} open workflows, there are {opened}"


def _runs(state: State) -> Iterator[str]:
    activities = Counter((row.workflow_id, row.run_id) for _, row in _rows(state, keys.ACTIVITY))
    timers = Counter((row.workflow_id, row.run_id) for _, row in _rows(state, keys.TIMER))
    for _, run in _rows(state, keys.EARLIER):
        if run.is_open:
            yield f"{_name(run)} is open, but not the newest run of its workflow"
    for _, run in _rows(state, keys.CURRENT):
        if run.open_activities != activities[run.workflow_id, run.run_id]:
            yield f"{_name(run)} counts {run.open_activities} activities"
        if run.open_timers != timers[run.workflow_id, run.run_id]:
            yield f"{_name(run)} counts {run.open_timers} timers"
        updates = [row for _, row in state.scan(keys.of_run(keys.UPDATE, run.workflow_id, run.run_id))]
        pending = sum(not row.accepted for row in updates)
        if (run.open_updates, run.pending_updates) != (len(updates), pending):
            yield f"{_name(run)} counts {run.open_updates} updates, {run.pending_updates} of them pending"
        if run.consumed_through > run.last_event_id or run.last_input_id > run.last_event_id:
            yield f"{_name(run)} has read beyond its last event"
        woken = run.task_offset >= 0 or run.task_retry_ms or run.paused  # a paused one waits for a person
        woken = woken or _is_being_filled(state, run.workflow_id)
        if run.is_open and run.needs_worker and not woken:
            yield f"{_name(run)} has unread input, but neither a task out nor a time to retry: nothing wakes it"
        if not run.is_open and (run.task_offset >= 0 or run.task_retry_ms):
            yield f"{_name(run)} is closed, but has a task"


def _name(run: RunRow) -> str:
    return f"run {run.run_id} of {run.workflow_id!r}"


def _activities(state: State) -> Iterator[str]:
    for key, row in _rows(state, keys.ACTIVITY):
        name = f"activity {row.seq} of run {row.run_id} of {row.workflow_id!r}"
        if not _belongs_to_open_run(state, row.workflow_id, row.run_id):
            yield f"{name} belongs to no open run"
        if row.state == "scheduled":
            if row.task_offset < 0 and not _is_being_filled(state, row.workflow_id):
                yield f"{name} is scheduled, but no task is out"
        elif row.state == "started":
            session = state.get(keys.session(row.session))
            if row.session and (session is None or session.ended_ms) and not _has_due(row, key):
                yield f"{name} is held by the dead session {row.session!r}: nothing wakes it"
        elif row.state == "paused":
            if not row.paused:
                yield f"{name} is paused, but its row does not say that it is to be"
        elif row.state != "backing_off" or not row.next_retry_ms:
            yield f"{name} is {row.state!r} with its next attempt at {row.next_retry_ms}"


def _has_due(row: ActivityRow, key: bytes) -> bool:
    return any(entry[:1] == keys.DUE for entry in row.indexes(key))


def _timers(state: State) -> Iterator[str]:
    for _, row in _rows(state, keys.TIMER):
        if not _belongs_to_open_run(state, row.workflow_id, row.run_id):
            yield f"timer {row.seq} of run {row.run_id} of {row.workflow_id!r} belongs to no open run"


def _children(state: State) -> Iterator[str]:
    """Children and messages to other workflows are counted by their runs, which are open."""
    children = Counter((row.workflow_id, row.run_id) for _, row in _rows(state, keys.CHILD))
    externals = Counter((row.workflow_id, row.run_id) for _, row in _rows(state, keys.EXTERNAL))
    for _, run in _rows(state, keys.CURRENT):
        counted = (run.open_children, run.open_externals)
        found = (children[run.workflow_id, run.run_id], externals[run.workflow_id, run.run_id])
        if counted != found:
            yield f"{_name(run)} counts {counted} children and messages to others, there are {found}"
    for workflow_id, run_id in children.keys() | externals.keys():
        if not _belongs_to_open_run(state, workflow_id, run_id):
            yield f"a child or a message of run {run_id} of {workflow_id!r} belongs to no open run"


def _belongs_to_open_run(state: State, workflow_id: str, run_id: str) -> bool:
    run = state.row(keys.current(workflow_id), RunRow)
    return run is not None and run.is_open and run.run_id == run_id


def _history(state: State) -> Iterator[str]:
    """Events of open runs count from 1 without gaps; a closed run may have lost its first ones to retention."""
    for table in (keys.CURRENT, keys.EARLIER):
        for _, run in _rows(state, table):
            found = [key for key, _ in state.scan(keys.of_run(keys.EVENT, run.workflow_id, run.run_id))]
            ids = [int.from_bytes(key[-8:], "big") - 1 for key in found]
            first = ids[0] if ids and not run.is_open else 1
            if ids != list(range(first, run.last_event_id + 1)):
                yield f"{_name(run)} has the events {ids}, its last one is {run.last_event_id}"


def _seen(state: State) -> Iterator[str]:
    """What the code has seen it has been fed with: between `consumed_through` and `seen_through` is no other input."""
    for _, run in _rows(state, keys.CURRENT):
        numbers = range(run.consumed_through + 1, run.seen_through + 1)
        found = [state.get(keys.event(run.workflow_id, run.run_id, n)) for n in numbers if run.is_open]
        decoded = [decode(event) for event in found if event is not None]
        events = [event for event in decoded if isinstance(event, history.HistoryEvent)]
        completed = [e.attributes for e in events if isinstance(e.attributes, history.WorkflowTaskCompleted)]
        local = {event_id for task in completed for event_id in task.local_events}
        inputs = {e.event_id for e in events if isinstance(e.attributes, history.INPUTS)}
        if run.seen_through > run.last_event_id or inputs - local:
            yield f"{_name(run)} counts as seen through {run.seen_through}, but was not fed with {inputs - local}"


def _is_being_filled(state: State, workflow_id: str) -> bool:
    row = state.get(keys.reset(workflow_id))
    return row is not None and row.phase != "release"


def _resets(state: State) -> Iterator[str]:
    """Unfinished resets are counted, and only behind one does a record wait."""
    under_way = {row.workflow_id for _, row in _rows(state, keys.RESET)}
    if state.partition.resets != len(under_way):
        yield f"the partition counts {state.partition.resets} resets, there are {len(under_way)}"
    kept = {key[1:].partition(b"\0")[0].decode() for key, _ in _rows(state, keys.BEHIND)}
    for workflow_id in sorted(kept - under_way):
        yield f"records about {workflow_id!r} wait for the end of a reset that is not there"


def _chains(state: State) -> Iterator[str]:
    for _, row in _rows(state, keys.OUTBOX):
        tail = state.get(keys.tail(row.topic, row.partition))
        if tail is None or (tail.offset, tail.index) < (row.offset, row.index):
            yield f"the effect ({row.offset}, {row.index}) to {row.topic}/{row.partition} is above its tail"


__all__ = ["problems"]
