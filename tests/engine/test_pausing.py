"""Paused workflows get no tasks; pending activities are paused, retried and changed by people."""

from __future__ import annotations

from typing import Any

import pytest
from odradek_schemas import commands, records, replies, tasks
from odradek_schemas.common import RetryPolicy

from .harness import DONE, ONCE, Partition, act, failure, local, of_kind, outcomes, payload, request, sleep


def asked(p: Partition, record: type, **fields: Any) -> Any:
    return p.append(record(workflow_id="w", request=request(f"r{len(p.log)}"), **fields))


def change(p: Partition, action: str, seq: int = 1, **fields: Any) -> Any:
    return asked(p, records.ChangeActivity, action=action, seq=seq, **fields)


def activity_tasks(p: Partition) -> int:
    return len(p.made(tasks.ActivityTask))


# ---------------------------------------------------------------- workflows


def test_a_paused_workflow_takes_what_comes_and_gets_no_task(p: Partition) -> None:
    p.start()
    p.advance(act(1), sleep(2, 1000))
    assert outcomes(asked(p, records.PauseWorkflow, reason="look")) == ["ok"]
    assert (p.run().paused, p.run().pause_reason, p.happened()[-1]) == (True, "look", "WorkflowPaused")
    before = len(p.made(tasks.WorkflowTask))
    p.signal()
    p.succeed(1)
    p.wait(1000)
    p.fire(2)
    asked(p, records.PauseWorkflow)
    assert len(p.made(tasks.WorkflowTask)) == before
    assert p.happened()[-4:] == ["WorkflowPaused", "SignalReceived", "ActivityCompleted", "TimerFired"]
    folded = asked(p, records.UnpauseWorkflow, reason="seen")
    (task,) = of_kind(folded, tasks.WorkflowTask)
    assert (task.last_event_id, p.happened()[-1], p.run().pause_reason) == (9, "WorkflowUnpaused", "")
    assert of_kind(asked(p, records.UnpauseWorkflow), tasks.WorkflowTask) == []
    p.advance(DONE)
    assert outcomes(asked(p, records.PauseWorkflow)) == ["closed"]


def test_the_task_that_was_out_may_be_answered_and_none_follows(p: Partition) -> None:
    p.start()
    asked(p, records.PauseWorkflow)
    p.advance(act(1), consumed_through=1)
    assert p.open_activity(1).state == "scheduled"
    before = len(p.made(tasks.WorkflowTask))
    p.succeed(1)
    assert len(p.made(tasks.WorkflowTask)) == before


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (commands.ContinueAsNewWorkflow(), {}),
        (commands.FailWorkflow(failure=failure("no")), {"retry_policy": RetryPolicy(initial_interval_ms=0)}),
    ],
)
def test_a_pause_holds_for_the_next_run_too(p: Partition, command: commands.Command, fields: dict[str, Any]) -> None:
    """Breaks when the task that was out ends a pause: its answer may close the run, and begin another."""
    first = p.start(**fields)
    asked(p, records.PauseWorkflow, reason="look", identity="ann")
    before = len(p.made(tasks.WorkflowTask))
    p.advance(command, consumed_through=1)
    run = p.run()
    assert run.run_id != first.run_id
    assert (run.paused, run.pause_reason, run.paused_by) == (True, "look", "ann")
    p.wait(1000)
    p.signal()
    assert len(p.made(tasks.WorkflowTask)) == before
    (task,) = of_kind(asked(p, records.UnpauseWorkflow), tasks.WorkflowTask)
    assert task.run_id == run.run_id
    assert p.happened() == ["WorkflowStarted", "WorkflowPaused", "SignalReceived", "WorkflowUnpaused"]
    p.finish()


def test_a_worker_that_runs_ahead_does_not_advance_a_paused_workflow(p: Partition) -> None:
    """Its result counts, its commands do not; after the pause the code is asked again."""
    p.start()
    by = p.advance(act(1, eager=True))
    asked(p, records.PauseWorkflow)
    p.advance(act(2), local_results=[local(1, by, result=payload("r"))], consumed_through=1)
    assert p.activity(1) is None
    assert p.activity(2) is None
    assert p.happened()[-1] == "ActivityCompleted"
    (task,) = of_kind(asked(p, records.UnpauseWorkflow), tasks.WorkflowTask)
    assert task.base == by


def test_a_task_that_failed_is_not_tried_again_until_the_pause_ends(p: Partition) -> None:
    run = p.start()
    p.append(records.WorkflowTaskFailed(workflow_id="w", run_id=run.run_id, base=run.base, failure=failure()))
    asked(p, records.PauseWorkflow)
    before = len(p.made(tasks.WorkflowTask))
    p.task_due()
    assert len(p.made(tasks.WorkflowTask)) == before
    assert len(of_kind(asked(p, records.UnpauseWorkflow), tasks.WorkflowTask)) == 1


# ---------------------------------------------------------------- activities: pause


def test_a_paused_activity_that_waits_for_a_worker_is_not_run(p: Partition) -> None:
    p.alive()
    p.start()
    p.advance(act(1, schedule_to_close_timeout_ms=5000, schedule_to_start_timeout_ms=10))
    assert outcomes(change(p, "pause")) == ["ok"]
    row = p.open_activity(1)
    assert (row.state, row.counted_attempts, row.indexes(b"")) == ("paused", 1, ())
    told = p.begin(1, attempt=1)
    assert [r.reason for r in of_kind(told, replies.ActivityCancelRequest)] == ["cancelled"]
    claimed = p.begin(1, attempt=1, claim=True)
    assert [c.accepted for c in of_kind(claimed, replies.ActivityClaimed)] == [False]
    p.fail(1, attempt=1)
    p.hand_back(1, attempt=1)
    assert p.open_activity(1) == row
    p.wait(9000)
    (task,) = of_kind(change(p, "unpause"), tasks.ActivityTask)
    assert (task.attempt, task.scheduled_ms) == (2, p.now), "the time as a whole counts from the end of the pause"
    p.begin(1)
    p.succeed(1)
    assert p.happened()[-1] == "ActivityCompleted"


def test_an_attempt_under_way_may_end_and_none_follows(p: Partition) -> None:
    p.alive()
    p.start()
    p.advance(act(1))
    p.begin(1)
    change(p, "pause")
    change(p, "pause")
    assert (p.open_activity(1).state, p.open_activity(1).paused) == ("started", True)
    p.fail(1, failure=failure("again"))
    row = p.open_activity(1)
    assert (row.state, row.attempt, row.session, row.next_retry_ms) == ("paused", 2, "", 0)
    assert row.last_failure is not None
    assert row.last_failure.message == "again"
    before = activity_tasks(p)
    change(p, "unpause")
    assert activity_tasks(p) == before + 1


def test_a_pause_ends_before_the_attempt_does(p: Partition) -> None:
    p.alive()
    p.start()
    p.advance(act(1))
    p.begin(1)
    change(p, "pause")
    change(p, "unpause")
    p.fail(1)
    assert p.open_activity(1).state == "backing_off"


@pytest.mark.parametrize("gone", ["lost", "handed_back"])
def test_a_paused_activity_whose_worker_goes_waits_for_a_person(p: Partition, gone: str) -> None:
    p.alive()
    p.start()
    p.advance(act(1))
    p.begin(1)
    change(p, "pause")
    before = activity_tasks(p)
    if gone == "lost":
        p.lost()
    else:
        p.hand_back(1)
    assert (p.open_activity(1).state, activity_tasks(p)) == ("paused", before)


def test_a_paused_activity_is_completed_by_whoever_has_its_result(p: Partition) -> None:
    p.alive()
    p.start()
    p.advance(act(1))
    change(p, "pause")
    p.succeed(1, attempt=1)
    assert p.happened()[-1] == "ActivityCompleted"


# ---------------------------------------------------------------- activities: retry and options


def test_retry_now_does_not_wait_for_the_backoff(p: Partition) -> None:
    p.alive()
    p.start()
    p.advance(act(1, retry_policy=RetryPolicy(initial_interval_ms=3_600_000)))
    p.begin(1)
    p.fail(1)
    (task,) = of_kind(change(p, "retry"), tasks.ActivityTask)
    assert (task.attempt, p.open_activity(1).state) == (2, "scheduled")
    assert of_kind(change(p, "retry"), tasks.ActivityTask) == [], "it is out already"


def test_other_options_hold_from_the_next_delivery_on(p: Partition) -> None:
    p.alive()
    p.start()
    p.advance(act(1, start_to_close_timeout_ms=10, heartbeat_timeout_ms=7))
    folded = change(p, "update", task_queue="other", start_to_close_timeout_ms=99, retry_policy=ONCE)
    (task,) = of_kind(folded, tasks.ActivityTask)
    assert (task.task_queue, task.start_to_close_timeout_ms, task.heartbeat_timeout_ms) == ("other", 99, 7)
    assert (task.attempt, p.open_activity(1).counted_attempts) == (2, 1)
    p.begin(1)
    assert of_kind(change(p, "update", heartbeat_timeout_ms=0), tasks.ActivityTask) == []
    assert p.open_activity(1).heartbeat_timeout_ms == 0
    p.fail(1)
    assert p.happened()[-1] == "ActivityFailed"


def test_all_of_a_type_at_once(p: Partition) -> None:
    p.start()
    p.advance(act(1, "a"), act(2, "b"), act(3, "a"))
    change(p, "pause", seq=0, activity_type="a")
    assert [p.open_activity(n).state for n in (1, 2, 3)] == ["paused", "scheduled", "paused"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "stop"},
        {"action": "pause", "seq": 0},
        {"action": "pause", "seq": -1},
        {"action": "update", "task_queue": "no/queue"},
        {"action": "update", "heartbeat_timeout_ms": -2},
        {"action": "update", "retry_policy": RetryPolicy(backoff_coefficient=0.1)},
    ],
)
def test_a_change_that_makes_no_sense_is_refused(p: Partition, wrong: dict[str, Any]) -> None:
    p.start()
    p.advance(act(1))
    row = p.open_activity(1)
    assert outcomes(change(p, **wrong)) == ["invalid"]
    assert p.open_activity(1) == row


def test_a_change_of_what_is_not_there_says_so(p: Partition) -> None:
    assert outcomes(change(p, "pause")) == ["not_found"]
    p.start()
    assert outcomes(change(p, "pause", seq=9)) == ["not_found"]
    p.advance(act(1))
    assert outcomes(change(p, "pause", activity_type="another")) == ["not_found"]


# ---------------------------------------------------------------- on_exhausted


def test_attempts_used_up_pause_the_activity_instead_of_failing(p: Partition) -> None:
    p.alive()
    p.start()
    p.advance(act(1, on_exhausted="pause", retry_policy=ONCE))
    p.begin(1)
    p.fail(1, failure=failure("no money"))
    row = p.open_activity(1)
    assert (row.state, row.last_failure and row.last_failure.message) == ("paused", "no money")
    change(p, "retry")
    p.begin(1)
    p.fail(1)
    assert p.open_activity(1).state == "paused", "it has no attempt left: each further one is a person's"
    change(p, "unpause")
    p.begin(1)
    p.succeed(1)
    assert p.happened()[-1] == "ActivityCompleted"


def test_the_time_as_a_whole_used_up_pauses_too(p: Partition) -> None:
    p.alive()
    p.start()
    p.advance(act(1, on_exhausted="pause", schedule_to_close_timeout_ms=5000))
    p.begin(1)
    p.wait(5000)
    p.timed_out("schedule_to_close")
    assert p.open_activity(1).state == "paused"
    p.wait(50_000)
    change(p, "retry")
    p.begin(1)
    p.timed_out("schedule_to_close")
    assert p.open_activity(1).state == "started", "its time began anew"


@pytest.mark.parametrize("fields", [{"delivery": "at_most_once"}, {}])
def test_what_must_not_be_repeated_fails_all_the_same(p: Partition, fields: dict[str, Any]) -> None:
    p.alive()
    p.start()
    p.advance(act(1, on_exhausted="pause", **fields))
    p.begin(1)
    p.fail(1, failure=failure(non_retryable=not fields))
    assert p.happened()[-1] == "ActivityFailed"


def test_a_wrong_on_exhausted_is_refused(p: Partition) -> None:
    p.start()
    p.advance(act(1, on_exhausted="explode"))
    assert p.activity(1) is None
    assert p.run().task_failure_cause == "invalid"


# ---------------------------------------------------------------- who and why


def test_who_paused_and_why_is_kept_until_the_pause_ends(p: Partition) -> None:
    p.start()
    p.advance(act(1))
    asked(p, records.PauseWorkflow, reason="look" * 1000, identity="Ada")
    run = p.run()
    assert (run.pause_reason, run.paused_by, run.paused_ms) == (("look" * 1000)[:1000], "Ada", run.last_event_ms)
    change(p, "pause", reason="bank", identity="Bob")
    change(p, "pause", reason="again", identity="Eve")  # paused already: the first one stays
    row = p.open_activity(1)
    assert (row.pause_reason, row.paused_by, row.paused_ms > 0) == ("bank", "Bob", True)
    change(p, "unpause")
    row = p.open_activity(1)
    assert (row.pause_reason, row.paused_by, row.paused_ms) == ("", "", 0)
    asked(p, records.UnpauseWorkflow, identity="Ada")
    assert (p.run().paused_by, p.run().paused_ms) == ("", 0)


@pytest.mark.parametrize("seq", [-1, 2**31, 2**70])
def test_a_number_that_is_none_is_refused(p: Partition, seq: int) -> None:
    p.start()
    value = f'{{"type":"ChangeActivity","workflow_id":"w","action":"pause","activity":{seq}}}'
    folded = p.append(value.encode())
    assert [letter.reason for letter in of_kind(folded, tasks.DeadLetter)] == [
        "ChangeActivity: say which activity: its number (seq), or its activity_type"
    ]
