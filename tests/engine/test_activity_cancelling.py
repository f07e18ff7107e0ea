"""Cancellation of activities by the code (cancellation_type), and activities that wait for their task token."""

from __future__ import annotations

from typing import Any

import pytest
from odradek_engine.fold.rows import ActivityRow
from odradek_schemas import commands, history, records, replies, task_token, tasks

from .harness import Partition, act, failure, of_kind, outcomes, payload, request


def cancelled(p: Partition, begun: bool = True, **fields: Any) -> ActivityRow:
    """An activity with cancellation_type `wait` that the code has cancelled."""
    p.alive()
    p.start()
    p.advance(act(1, cancellation_type="wait", **fields))
    if begun:
        p.begin()
    row = p.open_activity()
    p.signal()
    p.advance(commands.CancelActivity(seq=1))
    return row


def ended(p: Partition) -> history.Attributes:
    """The event that ended the activity; the code is told."""
    assert p.activity() is None
    assert p.run().task_offset >= 0
    return p.events()[-1].attributes


def by_token(p: Partition, row: ActivityRow, **fields: Any) -> list[str]:
    """Complete or fail by task token; the outcomes."""
    token = task_token(row.workflow_id, row.run_id, row.scheduled_by, row.seq)
    fields = {"workflow_id": row.workflow_id, "task_token": token, "request": request(f"r{len(p.log)}"), **fields}
    kind = records.FailActivity if "failure" in fields else records.CompleteActivity
    return outcomes(p.append(kind(**fields)))


def test_wait_keeps_the_activity_open_until_its_worker_has_stopped_it(p: Partition) -> None:
    """Breaks when the request ends the activity: the code would clean up beside a running activity."""
    cancelled(p)
    assert p.open_activity().cancel_requested
    assert [r.reason for r in p.made(replies.ActivityCancelRequest)] == ["cancelled"]
    row = p.open_activity()
    p.append(records.ActivityCancelled(workflow_id="w", run_id=row.run_id, seq=1, scheduled_by=row.scheduled_by,
                                       attempt=1, session="W1", details=[payload("3")]))
    assert ended(p) == history.ActivityCancelled(seq=1, scheduled_event_id=row.scheduled_event_id,
                                                 details=[payload("3")])


def test_wait_gives_the_result_of_an_activity_that_ends_nevertheless(p: Partition) -> None:
    """Breaks when a success after the request is dropped."""
    cancelled(p)
    p.succeed(result=payload("1"))
    event = ended(p)
    assert isinstance(event, history.ActivityCompleted)
    assert event.result == payload("1")


def test_a_cancelled_activity_that_fails_is_not_retried(p: Partition) -> None:
    """Breaks when the retry policy is asked first: it would run again although nobody wants it."""
    cancelled(p)
    p.fail()
    event = ended(p)
    assert isinstance(event, history.ActivityFailed)
    assert event.reason == "cancelled"


@pytest.mark.parametrize("how", ["lost", "stopped", "handed back"])
def test_a_cancelled_activity_whose_worker_goes_ends_as_cancelled(p: Partition, how: str) -> None:
    """Breaks when it is delivered again."""
    cancelled(p)
    if how == "lost":
        p.lost()
    elif how == "stopped":
        p.append(records.WorkerStopped(session="W1"))
    else:
        p.hand_back()
    assert isinstance(ended(p), history.ActivityCancelled)
    assert len(p.made(tasks.ActivityTask)) == 1


@pytest.mark.parametrize("state", ["scheduled", "backing_off"])
def test_a_cancelled_activity_that_nobody_runs_ends_at_once(p: Partition, state: str) -> None:
    """Breaks when the code waits for a worker that has nothing to stop; or when a late worker may run it."""
    p.alive()
    p.start()
    p.advance(act(1, cancellation_type="wait"))
    assert [t.claim for t in p.made(tasks.ActivityTask)] == [True], "a start that nobody answered begins nothing"
    if state == "backing_off":
        p.begin()
        p.fail()
    row = p.open_activity()
    p.signal()
    p.advance(commands.CancelActivity(seq=1))
    assert isinstance(ended(p), history.ActivityCancelled)
    folded = p.begin(scheduled_by=row.scheduled_by, attempt=row.attempt, claim=True)
    assert [r.accepted for r in of_kind(folded, replies.ActivityClaimed)] == [False]


def test_a_second_request_changes_nothing(p: Partition) -> None:
    """Breaks when each command appends an event (rule W9)."""
    cancelled(p)
    p.signal()
    p.advance(commands.CancelActivity(seq=1))
    assert p.happened().count("ActivityCancelRequested") == 1


@pytest.mark.parametrize("field", ["cancellation_type", "delivery"])
def test_e6_an_unknown_choice_fails_the_task(p: Partition, field: str) -> None:
    """Breaks when a word that nobody knows is kept in the state."""
    p.start()
    p.advance(act(1, **{field: "perhaps"}))
    assert p.activity() is None
    task_failure = p.run().task_failure
    assert task_failure is not None
    assert field in task_failure.message


# ---------------------------------------------------------------- completion by task token


def test_an_activity_that_waits_for_its_token_does_not_hang_on_its_worker(p: Partition) -> None:
    """Breaks when the end of the session delivers it again: every deployment would ask the outside world anew."""
    p.alive()
    p.start()
    p.advance(act(1))
    p.begin(deferred=True)
    p.lost()
    row = p.open_activity()
    assert (row.state, row.session, row.attempt) == ("started", "", 1)
    assert by_token(p, row, result=payload("7")) == ["ok"]
    assert isinstance(ended(p), history.ActivityCompleted)
    assert by_token(p, row, result=payload("8")) == ["not_found"], "doubled"


def test_a_late_token_completes_nothing_else(p: Partition) -> None:
    """Breaks when the token names the number only: the answer would go to another activity of that number."""
    p.alive()
    p.start()
    p.advance(act(1, start_to_close_timeout_ms=1_000, schedule_to_close_timeout_ms=1_000))
    p.begin(deferred=True)
    late = p.open_activity()
    p.wait(1_000)
    p.timed_out("schedule_to_close")
    assert isinstance(ended(p), history.ActivityTimedOut)
    p.advance(act(1))
    before = p.open_activity()
    assert by_token(p, late, result=payload("7")) == ["not_found"]
    assert by_token(p, late, failure=failure()) == ["not_found"]
    assert p.open_activity() == before


def test_who_has_the_token_may_end_a_cancelled_activity_as_cancelled(p: Partition) -> None:
    """Breaks when such an activity can only fail."""
    row = cancelled(p)
    assert by_token(p, row, failure=failure(kind="cancelled")) == ["ok"]
    assert isinstance(ended(p), history.ActivityCancelled)
