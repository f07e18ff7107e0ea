"""What the fault suite says of a stall is what happened: else people look for its cause in the wrong place."""

from __future__ import annotations

import time

from odradek_schemas import history
from odradek_schemas.history import HistoryEvent

from .stalls import Happened, Span, shown, stalls


def _happened(workflow: str, number: int, at: float, what: history.Attributes, time_s: float | None = None) -> Happened:
    event = HistoryEvent(number, round((at if time_s is None else time_s) * 1000), what)
    return Happened(at, workflow, f"run-{workflow}", event)


def _done(workflow: str, number: int, at: float, through: int) -> Happened:
    return _happened(workflow, number, at, history.WorkflowTaskCompleted("id", "base", through))


def _activity(workflow: str, number: int, at: float) -> Happened:
    return _happened(workflow, number, at, history.ActivityScheduled(1, "id", "charge", "queue"))


STARTED = history.WorkflowStarted("Order", "queue")
CHARGED = history.ActivityCompleted(1, 3)


def test_a_stall_is_how_long_something_was_to_be_done_and_was_not() -> None:
    """Breaks when silence counts in which there was nothing to do: timers are not due, customers are away."""
    happened = [
        _happened("a", 1, 100.0, STARTED),
        _done("a", 2, 100.0, 1),
        _happened("a", 3, 100.0, history.TimerStarted(1, 130_000)),
        _happened("a", 4, 142.0, history.TimerFired(1, 3)),
        _done("a", 5, 145.0, 4),
    ]
    [stall] = stalls(7, happened, 200.0)
    assert (stall.partition, stall.begun, stall.ended, stall.waited) == (7, 100.0, 145.0, 15.0)
    [stall] = stalls(7, [*happened[:3], _happened("b", 1, 110.0, STARTED), _done("b", 2, 140.0, 1)], 140.5)
    assert (stall.waited, [wait.workflow_id for wait in stall.waits]) == (30.0, ["b", "a"])
    assert (stall.waits[1].since, stall.waits[1].until) == (130.0, 140.0)
    waits_by_right = [*happened[:3], _happened("c", 1, 120.0, STARTED), _done("c", 2, 120.5, 1)]
    assert [stall.waited for stall in stalls(7, waits_by_right, 121.0)] == [0.5]


def test_what_was_folded_late_has_waited_since_the_log_had_it() -> None:
    """Breaks when a partition that nobody leads looks as if nobody had asked it for anything."""
    begun = [_happened("a", 1, 100.0, STARTED), _done("a", 2, 100.0, 1)]
    late = [_happened("b", 1, 160.0, STARTED, time_s=105.0), _done("b", 2, 161.0, 1)]
    [stall] = stalls(0, [*begun, *late], 161.0)
    assert (stall.waited, stall.waits[0].workflow_id) == (56.0, "b")


def test_an_activity_counts_until_it_has_a_result_and_that_until_a_worker_has_looked_at_it() -> None:
    """Breaks when a worker that is lost, whose activity another one does at last, leaves no trace of it."""
    happened = [_happened("a", 1, 100.0, STARTED), _done("a", 2, 100.0, 1), _activity("a", 3, 100.0)]
    [goes_on] = stalls(0, happened, 150.0)
    assert (goes_on.waited, goes_on.went_on, goes_on.waits[0].what) == (50.0, [], "activity charge has no result")
    happened += [_happened("a", 4, 110.0, CHARGED), _done("a", 5, 112.0, 4)]
    happened.append(_happened("a", 6, 112.0, history.WorkflowCompleted()))
    happened += happened[3:4]  # a new leader publishes it again
    [stall] = stalls(0, happened, 500.0)
    assert (stall.ended, stall.waited, [wait.until for wait in stall.waits]) == (112.0, 12.0, [110.0, 112.0])


def test_a_reader_sees_the_faults_under_way_who_led_and_where_workflows_stood() -> None:
    happened = [_happened("a", 1, 100.0, STARTED), _done("a", 2, 100.0, 1), _activity("a", 3, 100.0)]
    found = [stall for partition in (3, 4) for stall in stalls(partition, [*happened, _done("b", 1, 130.0, 0)], 130.0)]
    faults = [Span("kill engine (engine-1)", 99.0, 102.0), Span("stop worker (worker-0)", 60.0, 90.0)]
    lines = shown(found, faults, [(3, 112.5, "engine-2"), (9, 113.0, "engine-0")])
    clock = time.strftime("%H:%M:%S", time.localtime(100))
    assert lines == [
        f"partition 3 stood still for 30.0 s of the 30.0 s after {clock}, and 1 others meanwhile",
        "    kill engine (engine-1): from -1.0 s to +2.0 s",
        "    engine-2 led it from +12.5 s",
        "    a: activity charge has no result, from +0.0 s to +30.0 s (last event: ActivityScheduled, 30.0 s old)",
        "    went on: b, by what a worker appended at +30.0 s",
    ]
