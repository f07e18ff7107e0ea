"""Replay: bring a new instance to where its history ends, and check that the code asks for what it asked before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import msgspec
from odradek_schemas import history
from odradek_schemas.history import HistoryEvent, WorkflowTaskCompleted, summarize

from ._instance import WorkflowInstance
from ._instance_patches import without_settled_marks
from ._replay_difference import Replayed, difference
from .errors import NonDeterminismError


def replay(instance: WorkflowInstance, events: Sequence[HistoryEvent]) -> None:
    """Feed a new instance with the whole history of its run, as its completed tasks saw it (rule W10).

    Inputs after what the last of them saw are left unfed. Raises NonDeterminismError if the code gives other commands
    than history holds, WorkflowTaskError for a bug in it; the instance is unusable then.
    """
    if not events or events[0].event_id != 1:
        raise ValueError("a replay needs the whole history, from event 1")
    instance.replaying = True
    try:
        _replay(instance, events)
    finally:
        instance.replaying = False


def _replay(instance: WorkflowInstance, events: Sequence[HistoryEvent]) -> None:
    tasks = [event for event in events if isinstance(event.attributes, WorkflowTaskCompleted)]
    local = {event_id for task in tasks for event_id in _completed(task).local_events}
    updates = any(_completed(task).updates for task in tasks)
    inputs = [event for event in events if isinstance(event.attributes, history.INPUTS) and event.event_id not in local]
    by_id = {event.event_id: event for event in events} if local or updates else {}
    fed = 0
    for task in tasks:
        completed = _completed(task)
        first = fed
        while fed < len(inputs) and inputs[fed].event_id <= completed.consumed_through:
            fed += 1
        seen = _merged(inputs[first:fed], [by_id[event_id] for event_id in completed.updates])
        seen += _local_results(completed, by_id)
        instance.patches.hold(completed.commands)
        instance.history_size = completed.history_size
        unfed = _feed(instance, seen, set(completed.local_events))
        asked = [summarize(command) for command in instance.take_commands()]
        held = completed.commands
        if asked != held:
            held, asked = without_settled_marks(held, asked, instance.patches.deprecated)
        if unfed or asked != held:
            raise NonDeterminismError(
                difference(
                    Replayed(
                        info=instance.info(),
                        task=task,
                        seen=seen,
                        unfed=unfed,
                        held=held,
                        asked=asked,
                        events=events,
                    )
                )
            )


def _merged(inputs: Sequence[HistoryEvent], updates: Sequence[HistoryEvent]) -> list[HistoryEvent]:
    """Inputs, with each update after the event that it was fed after."""
    merged: list[HistoryEvent] = []
    at = 0
    for update in updates:
        assert isinstance(update.attributes, history.UpdateAccepted)
        while at < len(inputs) and inputs[at].event_id <= update.attributes.fed_after:
            merged.append(inputs[at])
            at += 1
        merged.append(update)
    return [*merged, *inputs[at:]]


def _local_results(completed: WorkflowTaskCompleted, by_id: Mapping[int, HistoryEvent]) -> list[HistoryEvent]:
    """What the worker fed itself, at the times at which it did (rule C1)."""
    events = [by_id[event_id] for event_id in completed.local_events]
    times = completed.local_times or [event.time_ms for event in events]
    return [msgspec.structs.replace(event, time_ms=ms) for event, ms in zip(events, times, strict=True)]


def _feed(
    instance: WorkflowInstance, events: Sequence[HistoryEvent], local: Set[int]
) -> Sequence[HistoryEvent]:
    """Feed events; those left over when the workflow ended before the last of them."""
    for index, event in enumerate(events):
        if instance.ended:
            return events[index:]
        if event.event_id in local:
            instance.feed_local(event.attributes, event.time_ms)
        else:
            instance.feed(event)
    return ()


def _completed(event: HistoryEvent) -> WorkflowTaskCompleted:
    assert isinstance(event.attributes, WorkflowTaskCompleted)
    return event.attributes
