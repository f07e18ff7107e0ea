"""One run after another: continue-as-new, workflow retries and cron, as the fold keeps them (rules W2, W3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odradek_engine.due import DueRecords
from odradek_schemas import commands, decode, history, records, replies, tasks
from odradek_schemas.common import RetryPolicy

from .harness import DONE, Partition, act, failure, of_kind, outcomes, payload, reasons, request, sleep

AGAIN = commands.ContinueAsNewWorkflow(input=[payload("1")])
FAILED = commands.FailWorkflow(failure=failure("no"))


def started(p: Partition) -> history.WorkflowStarted:
    """How the newest run began."""
    attributes = p.events()[0].attributes
    assert isinstance(attributes, history.WorkflowStarted)
    return attributes


def signals(p: Partition, run_id: str = "") -> list[str]:
    return [e.attributes.signal for e in p.events(run_id=run_id) if isinstance(e.attributes, history.SignalReceived)]


def closing(p: Partition, run_id: str) -> Any:
    return p.events(run_id=run_id)[-1].attributes


# ---------------------------------------------------------------- W3: what nobody read goes on


def test_w3_unread_messages_are_the_first_of_the_next_run_in_order(p: Partition) -> None:
    """Breaks when a message is lost with the run that was to read it, or comes behind a newer one."""
    first = p.start()
    p.signal("read")
    p.advance(sleep(1, 1000), consumed_through=2)
    for name in ("a", "b"):
        p.signal(name, input=[payload(name)])
    p.append(records.CancelWorkflow(workflow_id="w", reason="stop", request=request("r")))
    p.signal("c")
    p.advance(AGAIN, consumed_through=2)
    p.signal("newer")
    assert p.happened() == [
        "WorkflowStarted", "SignalReceived", "SignalReceived", "WorkflowCancelRequested", "SignalReceived",
        "SignalReceived",
    ]
    assert signals(p) == ["a", "b", "c", "newer"]
    assert p.run().cancel_requested
    ended = closing(p, first.run_id)
    assert isinstance(ended, history.WorkflowContinuedAsNew)
    assert ended.new_run_id == p.run().run_id
    assert len(ended.unread) == 4
    assert p.made(tasks.DeadLetter) == []
    task = p.made(tasks.WorkflowTask)[-1]
    assert (task.run_id, task.base, task.consumed_through, task.last_event_id) == (p.run().run_id, p.run().run_id, 0, 5)


def test_w3_signals_without_a_handler_go_on_before_the_unread(p: Partition) -> None:
    """Breaks when a signal that was fed, and that no handler took, is lost with the run."""
    p.start()
    p.signal("no handler", input=[payload("7")])
    p.advance(sleep(1, 1000))
    p.signal("unread")
    kept = commands.KeptSignal(signal="no handler", input=[payload("7")])
    p.advance(commands.ContinueAsNewWorkflow(kept=[kept]), consumed_through=2)
    assert signals(p) == ["no handler", "unread"]
    first = p.events()[1].attributes
    assert isinstance(first, history.SignalReceived)
    assert first.input == [payload("7")]


def test_w3_what_was_read_does_not_go_on(p: Partition) -> None:
    """Breaks when a message is read twice, once in each run."""
    p.start()
    p.signal("read")
    p.append(records.CancelWorkflow(workflow_id="w"))
    p.advance(AGAIN)
    assert p.happened() == ["WorkflowStarted"]
    assert not p.run().cancel_requested


def test_w3_a_late_completion_of_the_run_before_changes_nothing(p: Partition) -> None:
    """Breaks when the chain forks: two workers, one of which is late."""
    first = p.start()
    p.advance(AGAIN)
    assert p.changes(
        records.WorkflowTaskCompleted(
            workflow_id="w", run_id=first.run_id, id="late", base=first.base, consumed_through=1, commands=[AGAIN]
        )
    ) == set()


def test_w3_activities_and_timers_of_the_run_end_with_it(p: Partition) -> None:
    """Breaks when something of the old run stays, or reaches the code of the new one (rule R1)."""
    first = p.start()
    p.advance(act(1), sleep(2, 1000))
    p.begin(1)
    p.advance(AGAIN)
    assert [m.reason for m in p.made(replies.ActivityCancelRequest)] == ["closed"]
    assert p.run().open_activities == p.run().open_timers == 0
    p.succeed(1, run_id=first.run_id, scheduled_by="c1", attempt=1)
    p.fire(2, run_id=first.run_id)
    assert p.happened() == ["WorkflowStarted"]


def test_q1_a_request_is_known_in_the_next_run_too(p: Partition) -> None:
    """Breaks when a repeated signal is taken again because another run has begun meanwhile."""
    p.start()
    p.signal("once", request=request("r1"))
    p.advance(AGAIN)
    again = p.signal("once", request=request("r1"))
    assert outcomes(again) == ["ok"]
    assert signals(p) == []


MOVES = st.lists(st.sampled_from(["signal", "read one", "read all", "again", "cancel", "late"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(MOVES)
def test_w3_every_signal_is_read_once_and_in_order(moves: list[str]) -> None:
    """Any interleaving of signals, reading and continue-as-new: what the code reads is what was sent."""
    p = Partition()
    p.lead()
    p.alive()
    p.start()
    sent = 0
    read: list[str] = []
    for move in [*moves, "read all"]:
        run = p.run()
        inputs = [e for e in p.events() if isinstance(e.attributes, history.INPUTS)]
        unread = [e for e in inputs if e.event_id > run.consumed_through]
        if move == "signal":
            p.signal(f"s{sent}")
            sent += 1
        elif move == "cancel":
            p.append(records.CancelWorkflow(workflow_id="w"))
        elif move == "late":
            p.advance(AGAIN, base="of another time")
        else:
            taken = unread[:1] if move == "read one" else unread
            if move == "again":
                taken = unread[: len(unread) // 2 + 1]
            read += [e.attributes.signal for e in taken if isinstance(e.attributes, history.SignalReceived)]
            through = taken[-1].event_id if taken else run.consumed_through
            p.advance(*([AGAIN] if move == "again" else []), consumed_through=through)
    assert read == [f"s{n}" for n in range(sent)]
    p.finish()


# ---------------------------------------------------------------- what the next run is


def test_the_next_run_keeps_what_is_not_said_anew(p: Partition) -> None:
    first = p.start(
        run_timeout_ms=60_000, execution_timeout_ms=3_600_000, memo={"m": payload("1")}, retry_policy=RetryPolicy(),
        search_attributes={"a": payload("1")}, cron_schedule="@daily", start_delay_ms=1,
    )
    p.task_due()
    p.advance(commands.UpsertSearchAttributes(search_attributes={"b": payload("2")}))
    p.wait(10_000)
    p.signal()
    p.advance(AGAIN)
    second, run = started(p), p.run()
    assert (second.workflow_type, second.task_queue, second.input) == ("Order", "orders", [payload("1")])
    assert (second.continued_from_run_id, second.first_run_id, second.initiator) == (
        first.run_id, first.run_id, "workflow"
    )
    assert set(run.search_attributes) == {"a", "b"}
    assert (set(run.memo), second.retry_policy, second.cron_schedule) == ({"m"}, RetryPolicy(), "@daily")
    assert run.execution_deadline_ms == first.execution_deadline_ms, "it is of the whole chain"
    assert run.run_deadline_ms == p.now + 60_000
    p.advance(
        commands.ContinueAsNewWorkflow(
            workflow_type="Other", task_queue="q", run_timeout_ms=5, keep_memo=False, keep_search_attributes=False
        )
    )
    third = started(p)
    assert (third.workflow_type, third.task_queue, third.run_timeout_ms) == ("Other", "q", 5)
    assert (third.memo, third.search_attributes, third.first_run_id) == ({}, {}, first.run_id)


def test_the_result_of_a_run_names_the_next_one_only_if_it_continues(p: Partition) -> None:
    """A new start of the same ID is another matter: whoever waits for the first does not get its result."""
    from odradek_engine import answers

    first = p.start()
    p.advance(AGAIN)
    second = p.run()
    p.advance(DONE)
    third = p.start()
    found = {}
    for run in (first, second, third):
        row = answers.find_run(p.state, "w", run.run_id)
        assert row is not None
        result = answers.result(p.state, row, "client", "r")
        found[run.run_id] = (result.status, result.next_run_id)
    assert found == {
        first.run_id: ("continued_as_new", second.run_id),
        second.run_id: ("completed", ""),
        third.run_id: ("running", ""),
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"workflow_type": "a\0b"}, {"task_queue": "no queue!"}, {"begin_ms": 2**62}, {"begin_ms": -1},
        {"kept": [commands.KeptSignal(signal="")]},
        {"run_timeout_ms": -2}, {"task_timeout_ms": 2**62}, {"initiator": "me"},
        {"retry_policy": RetryPolicy(backoff_coefficient=0)}, {"search_attributes": {"a": payload("x" * 70_000)}},
    ],
)
def test_e6_a_next_run_that_cannot_be_is_refused(p: Partition, wrong: dict[str, Any]) -> None:
    p.start()
    p.advance(commands.ContinueAsNewWorkflow(**wrong))
    assert p.run().task_failure_cause == "invalid"


@pytest.mark.parametrize(
    "wrong",
    [
        commands.CompleteWorkflow(next_cron_ms=2**62),
        commands.FailWorkflow(failure=failure(), next_cron_ms=-1),
        commands.FailWorkflow(failure=failure(), next_retry_delay_ms=2**62),
        commands.UpsertSearchAttributes(search_attributes={"": payload("1")}),
    ],
)
def test_e6_numbers_and_names_are_checked(p: Partition, wrong: commands.Command) -> None:
    p.start()
    p.advance(wrong)
    assert p.run().task_failure_cause == "invalid"


# ---------------------------------------------------------------- retries


def test_a_failed_workflow_is_tried_again_after_its_backoff(p: Partition) -> None:
    first = p.start(retry_policy=RetryPolicy(initial_interval_ms=1000, maximum_attempts=2), input=[payload("7")])
    p.signal("unread")
    p.advance(FAILED, consumed_through=1)
    second = started(p)
    assert (second.attempt, second.initiator, second.start_delay_ms, second.input) == (2, "retry", 1000, [payload("7")])
    assert second.last_failure == failure("no")
    assert signals(p) == ["unread"]
    assert p.made(tasks.DeadLetter) == []
    ended = closing(p, first.run_id)
    assert isinstance(ended, history.WorkflowFailed)
    assert ended.new_run_id == p.run().run_id
    assert p.run().task_offset < 0, "its first task waits for the end of the backoff"
    p.task_due()
    assert p.run().task_offset >= 0
    p.advance(FAILED)
    assert p.run().status == "failed", "two attempts are all"


@pytest.mark.parametrize(
    ("policy", "command", "delay"),
    [
        (RetryPolicy(), FAILED, 1000),
        (RetryPolicy(), commands.FailWorkflow(failure=failure(), next_retry_delay_ms=77), 77),
        (RetryPolicy(), commands.FailWorkflow(failure=failure(kind="activity", non_retryable=True)), 1000),
        (RetryPolicy(), commands.FailWorkflow(failure=failure(non_retryable=True)), None),
        (RetryPolicy(non_retryable_error_types=["Bad"]), commands.FailWorkflow(failure=failure(type="Bad")), None),
        (RetryPolicy(maximum_attempts=1), FAILED, None),
        (None, FAILED, None),
    ],
)
def test_what_a_retry_policy_decides(
    p: Partition, policy: RetryPolicy | None, command: commands.FailWorkflow, delay: int | None
) -> None:
    p.start(retry_policy=policy)
    p.advance(command)
    assert p.run().is_open == (delay is not None)
    if delay is not None:
        assert started(p).start_delay_ms == delay


def test_no_attempt_follows_a_request_to_cancel_or_the_end_of_the_chain(p: Partition) -> None:
    p.start("a", retry_policy=RetryPolicy())
    p.append(records.CancelWorkflow(workflow_id="a"))
    p.advance(FAILED, workflow_id="a")
    p.start("b", retry_policy=RetryPolicy(initial_interval_ms=5000), execution_timeout_ms=4000)
    p.advance(FAILED, workflow_id="b")
    assert [p.run(name).status for name in ("a", "b")] == ["failed", "failed"]


def timed_out(p: Partition, kind: str) -> None:
    run = p.run()
    p.wait((run.run_deadline_ms if kind == "run" else run.execution_deadline_ms) - p.now)
    p.append(records.WorkflowTimedOut(workflow_id="w", run_id=run.run_id, timeout_type=kind, epoch=p.row.epoch))


def test_a_run_timeout_is_an_attempt_an_execution_timeout_the_end(p: Partition) -> None:
    first = p.start(retry_policy=RetryPolicy(), run_timeout_ms=1000, execution_timeout_ms=60_000)
    timed_out(p, "run")
    assert started(p).attempt == 2
    assert started(p).last_failure is not None
    assert p.run().run_deadline_ms == p.now + 1000 + 1000, "it counts from the end of the backoff"
    p.advance(AGAIN)
    assert p.run().execution_deadline_ms == first.execution_deadline_ms
    timed_out(p, "execution")
    assert p.run().status == "timed_out"


# ---------------------------------------------------------------- cron


def test_a_cron_workflow_begins_again_at_the_time_that_the_worker_gives(p: Partition) -> None:
    p.start(cron_schedule="@hourly", input=[payload("7")])
    assert started(p).cron_pending
    p.advance(commands.ContinueAsNewWorkflow(initiator="cron", begin_ms=p.now + 5000))
    first = started(p)
    assert (first.cron_pending, first.start_delay_ms, first.input, first.initiator) == (
        False, 5000, [payload("7")], "cron"
    )
    p.task_due()
    p.signal("unread")
    p.advance(commands.CompleteWorkflow(result=payload("9"), next_cron_ms=p.now + 3_600_000), consumed_through=1)
    second = started(p)
    assert (second.last_result, second.start_delay_ms, second.attempt) == (payload("9"), 3_600_000, 1)
    assert signals(p) == ["unread"]
    p.task_due()
    p.advance(commands.FailWorkflow(failure=failure("no"), next_cron_ms=p.now - 5))
    third = started(p)
    assert (third.last_result, third.last_failure, third.start_delay_ms) == (payload("9"), failure("no"), 0)
    p.append(records.CancelWorkflow(workflow_id="w"))
    p.advance(commands.CompleteWorkflow(next_cron_ms=p.now + 5))
    assert p.run().status == "completed", "a request to cancel ends the schedule"


def test_a_cron_run_that_times_out_leaves_it_to_the_next_to_ask_for_its_time(p: Partition) -> None:
    p.start(cron_schedule="@hourly", start_delay_ms=1000, run_timeout_ms=500)
    p.task_due()
    timed_out(p, "run")
    assert started(p).cron_pending
    assert p.run().task_offset >= 0


def test_a_retry_comes_before_the_next_time_of_a_cron_schedule(p: Partition) -> None:
    p.start(cron_schedule="@hourly", start_delay_ms=1, retry_policy=RetryPolicy(maximum_attempts=2))
    p.task_due()
    for expected in (("retry", 2), ("cron", 1)):
        p.advance(commands.FailWorkflow(failure=failure(), next_cron_ms=p.now + 60_000))
        assert (started(p).initiator, started(p).attempt) == expected
        p.task_due()


# ---------------------------------------------------------------- search attributes, sizes


def test_upserted_search_attributes_replace_and_remove(p: Partition) -> None:
    p.start(search_attributes={"a": payload("1"), "b": payload("1")})
    p.advance(
        commands.UpsertSearchAttributes(search_attributes={"b": payload("2"), "c": payload("3")}, removed=["a", "x"])
    )
    assert p.run().search_attributes == {"b": payload("2"), "c": payload("3")}
    assert p.happened()[-1] == "SearchAttributesUpserted"


def test_what_the_code_was_told_of_its_size_is_in_the_history(p: Partition) -> None:
    p.start()
    task = p.made(tasks.WorkflowTask)[-1]
    assert task.history_size == p.run().history_size > 0
    p.advance(sleep(1, 1), history_size=task.history_size)
    completed = p.events()[1].attributes
    assert isinstance(completed, history.WorkflowTaskCompleted)
    assert completed.history_size == task.history_size


def test_w3_a_close_reports_what_a_continuation_would_carry(p: Partition) -> None:
    """The same unread signal: carried by one, dead-lettered by the other."""
    p.start()
    p.signal("late")
    p.advance(AGAIN, consumed_through=1)
    run = p.run()
    folded = p.append(
        records.WorkflowTaskCompleted(
            workflow_id="w", run_id=run.run_id, id="last", base=run.base, consumed_through=1, commands=[DONE]
        )
    )
    assert len(reasons(folded)) == 1
    (letter,) = of_kind(folded, tasks.DeadLetter)
    assert isinstance(decode(letter.value), history.HistoryEvent)


# ---------------------------------------------------------------- the task timeout


def test_t3_a_task_timeout_emits_an_unanswered_task_again(p: Partition) -> None:
    """Breaks when only the engine's own patience counts, and not what was asked for this workflow."""
    p.start(task_timeout_ms=5000)
    due = DueRecords(p.state, lambda row: (0, []), reissue_after_ms=3_600_000)
    assert list(due.take(p.now + 4999)) == []
    (record,) = due.take(p.now + 5000)
    assert isinstance(record, records.TaskReissued)
    p.wait(5000)
    assert len(of_kind(p.append(record), tasks.WorkflowTask)) == 1
    assert of_kind(p.append(record), tasks.WorkflowTask) == [], "the leader repeats it; it counts once"
    p.advance(sleep(1, 60_000))
    assert list(due.take(p.now + 10_000)) == [], "an answered task has no timeout"
