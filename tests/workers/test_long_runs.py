"""Very long runs: nothing limits the events of a run, and one of 100,000 of them still comes back by replay."""

from __future__ import annotations

import time

from odradek import activity, workflow
from odradek._replay import replay
from odradek_schemas import encode, history
from odradek_schemas.history import CommandSummary, HistoryEvent

from .engine_model import START_MS, converter, new_instance

EVENTS = 100_000


@activity.define
async def step(n: int) -> int:
    return n


@workflow.define
class Long:
    def __init__(self) -> None:
        self.total = 0

    async def run(self) -> None:
        while True:
            self.total += await step(self.total)
            if workflow.info().continue_as_new_suggested:
                self.suggested = True

    @workflow.query
    def state(self) -> tuple[int, bool]:
        return self.total, self.suggested


def long_history() -> list[HistoryEvent]:
    """A run that has done nothing but one activity after another."""
    events: list[HistoryEvent] = []

    def append(attributes: history.Attributes) -> int:
        event_id = len(events) + 1
        events.append(HistoryEvent(event_id=event_id, time_ms=START_MS + event_id, attributes=attributes))
        return event_id

    consumed = append(history.WorkflowStarted(workflow_type="Long", task_queue="queue"))
    base, seq, one = "run-1", 0, converter.to_payload(1)
    while len(events) < EVENTS - 1:
        seq += 1
        asked = [CommandSummary(kind="ScheduleActivity", seq=seq, name="step")]
        task = history.WorkflowTaskCompleted(id=f"c{seq}", base=base, consumed_through=consumed, commands=asked)
        append(task)
        base = task.id
        scheduled = history.ActivityScheduled(seq=seq, scheduled_by=base, activity_type="step", task_queue="queue")
        event_id = append(scheduled)
        consumed = append(history.ActivityCompleted(seq=seq, scheduled_event_id=event_id, result=one))
    asked = [CommandSummary(kind="ScheduleActivity", seq=seq + 1, name="step")]
    append(history.WorkflowTaskCompleted(id="last", base=base, consumed_through=consumed, commands=asked))
    return events


def test_a_run_of_100_000_events_replays() -> None:
    events = long_history()
    assert len(events) >= EVENTS
    instance = new_instance(Long)
    began = time.perf_counter()
    replay(instance, events)
    took = time.perf_counter() - began
    steps = sum(isinstance(event.attributes, history.ActivityCompleted) for event in events)
    total, suggested = converter.from_payload(instance.query("state", []), tuple[int, bool])
    assert (total, suggested) == (steps, True)
    size = sum(len(encode(event)) for event in events)
    print(f"{len(events):,} events, {size:,} bytes, replayed in {took:.2f} s: {len(events) / took:,.0f} events/s")
