"""Reset: a new run from a cut in the history of another, and nothing of the old one reaches it (rule R1)."""

from __future__ import annotations

from typing import Any

import pytest
from odradek_schemas import commands, history, records, replies, tasks
from odradek_schemas.common import RetryPolicy

from .harness import DONE, T0, Partition, act, bodies, failure, of_kind, outcomes, payload, reasons, request, sleep


def reset(p: Partition, event_id: int, workflow_id: str = "w", **fields: Any) -> Any:
    fields = {"request": request(f"reset-{len(p.log)}"), **fields}
    return p.append(records.ResetWorkflow(workflow_id=workflow_id, event_id=event_id, **fields))


def event_id(p: Partition, kind: type, last: bool = False) -> int:
    found = [e.event_id for e in p.events() if isinstance(e.attributes, kind)]
    return found[-1 if last else 0]


def two_steps(p: Partition) -> str:
    """A workflow that has paid (activity 1) and then asked for a shipment (activity 2)."""
    p.start(input=[payload("in")])
    p.advance(act(1, "pay"))
    p.succeed(1, result=payload("paid"))
    return p.advance(act(2, "ship"))


def test_what_lies_before_the_decision_is_kept_and_the_code_decides_anew(p: Partition) -> None:
    two_steps(p)
    old = p.run()
    before = p.events()
    folded = reset(p, event_id(p, history.ActivityScheduled, last=True))
    run = p.run()
    assert outcomes(folded) == ["ok"]
    assert run.run_id != old.run_id
    kept = [type(e.attributes).__name__ for e in p.events()]
    assert kept == [
        "WorkflowStarted", "WorkflowTaskCompleted", "ActivityScheduled", "ActivityCompleted", "WorkflowReset",
    ]  # fmt: skip
    assert [(e.event_id, e.time_ms) for e in p.events()[:4]] == [(e.event_id, e.time_ms) for e in before[:4]]
    assert [e.attributes for e in p.events()[1:4]] == [e.attributes for e in before[1:4]]
    (task,) = of_kind(folded, tasks.WorkflowTask)
    assert (task.run_id, task.base, task.consumed_through) == (run.run_id, run.run_id, 1)
    assert p.events(run_id=old.run_id)[-1].attributes == history.WorkflowTerminated(
        reason=f"reset to event 6, goes on as run {run.run_id}", new_run_id=run.run_id
    )
    p.advance(act(2, "ship by air"))
    assert p.open_activity(2).activity_type == "ship by air"


def test_random_numbers_stay_those_of_the_first_run(p: Partition) -> None:
    first = p.start().run_id
    p.advance(act(1))
    reset(p, 2)
    assert p.run().seed == first
    started = p.events()[0].attributes
    assert isinstance(started, history.WorkflowStarted)
    assert started.seed == first
    p.advance(act(1))
    reset(p, p.run().last_event_id)
    assert p.run().seed == first


@pytest.mark.parametrize("end", [commands.ContinueAsNewWorkflow(), commands.FailWorkflow(failure=failure("no"))])
def test_the_run_that_follows_one_of_a_reset_has_random_numbers_of_its_own(p: Partition, end: Any) -> None:
    """Breaks when runs behind a reset all draw the same "unique" IDs, and a service takes the next run's for done."""
    p.start(retry_policy=RetryPolicy(maximum_attempts=3))
    p.advance(act(1))
    reset(p, 2)
    p.advance(end)
    assert p.run().seed == ""


def test_R1_late_records_of_the_run_before_the_reset_change_nothing(p: Partition) -> None:
    """Without R1 the old run's timer, result, completion or loss reaches the new run, whose numbers are the same."""
    p.start()
    base = p.advance(act(1), sleep(2, 1000))
    p.signal()
    p.begin(1)
    old = p.run().run_id
    p.advance(act(3))
    reset(p, p.run().last_event_id)
    now = p.run().run_id
    assert p.open_activity(1).scheduled_by == base
    assert p.timer(2) is not None
    row = p.open_activity(1)
    p.wait(2000)
    tail: dict[str, Any] = {"run_id": old, "scheduled_by": base, "attempt": row.attempt}
    p.fire(2, run_id=old)
    p.succeed(1, **tail)
    p.fail(1, **tail)
    p.begin(1, **tail)
    p.advance(DONE, run_id=old, base="c2")
    p.advance(DONE, base="c2")
    assert p.timer(2) is not None
    assert p.open_activity(1) == row
    assert (p.run().run_id, p.run().is_open) == (now, True)


def test_R1_the_base_of_the_new_run_never_existed(p: Partition) -> None:
    """A worker that has the old run in its cache, and goes on with it, is refused."""
    two_steps(p)
    old = p.run()
    reset(p, old.last_event_id)
    assert p.run().base not in (old.base, old.run_id, "c1", "c2")


def test_what_was_open_at_the_cut_is_open_again_and_emitted_under_the_new_run(p: Partition) -> None:
    p.start()
    by = p.advance(act(1, "slow", task_queue="far"), sleep(2, 60_000))
    p.begin(1)
    p.signal()
    p.advance(act(3))
    due = p.timer(2)
    assert due is not None
    first = p.run().run_id
    p.wait(5_000)
    folded = reset(p, p.run().last_event_id)
    (task,) = of_kind(folded, tasks.ActivityTask)
    assert (task.run_id, task.scheduled_by, task.seq, task.attempt) == (p.run().run_id, by, 1, 1)
    assert task.first_identity_run_id == first
    assert (task.task_queue, p.open_activity(1).scheduled_ms) == ("far", p.now)
    assert p.activity(3) is None
    now = p.timer(2)
    assert now is not None
    assert now.due_ms == due.due_ms == T0 + 60_000
    (told,) = of_kind(folded, replies.ActivityCancelRequest)
    assert (told.run_id, told.reason) == (first, "closed")
    p.succeed(1)
    assert p.happened()[-1] == "ActivityCompleted"


@pytest.mark.parametrize("reapply", ["signals", "none"])
def test_signals_after_the_cut_come_again_or_not(p: Partition, reapply: str) -> None:
    p.start()
    p.signal("before")
    p.advance(act(1))
    p.signal("after", input=[payload("x")])
    p.advance(act(2))
    p.signal("unread")
    folded = reset(p, 3, reapply=reapply)
    got = [e.attributes.signal for e in p.events() if isinstance(e.attributes, history.SignalReceived)]
    again = reapply == "signals"
    assert got == ["before", *(["after", "unread"] if again else [])]
    assert bool([r for r in reasons(folded) if "'unread'" in r]) is not again, "acknowledged: read, carried or reported"
    assert p.run().last_input_id == (5 if again else 2)


def test_the_first_event_begins_anew_from_the_input_alone(p: Partition) -> None:
    p.start()
    p.signal("early")
    p.advance(act(1))
    reset(p, 1, reapply="none")
    assert p.happened() == ["WorkflowStarted", "WorkflowReset"]
    assert (p.run().consumed_through, p.run().open_activities) == (0, 0)


def test_a_closed_run_is_reset_too_and_an_earlier_one(p: Partition) -> None:
    first = p.start().run_id
    p.advance(act(1))
    p.succeed(1)
    p.advance(commands.FailWorkflow(failure=history.Failure(message="bug")))
    assert not p.run().is_open
    reset(p, event_id(p, history.ActivityCompleted) + 1)
    assert (p.run().is_open, p.happened()[-1]) == (True, "WorkflowReset")
    second = p.run().run_id
    p.advance(DONE)
    third = p.start().run_id
    reset(p, 2, run_id=second, reapply="none")
    assert p.events(run_id=third)[-1].attributes.reason.startswith("reset to event 2")  # type: ignore[union-attr]
    assert p.happened() == ["WorkflowStarted", "WorkflowReset"]
    assert p.run().seed == first
    assert p.row.open_workflows == 1


def test_results_that_the_undone_decision_had_itself_stay(p: Partition) -> None:
    p.start()
    by = p.advance(act(1, eager=True))
    p.advance(act(2), local_results=[records.LocalResult(seq=1, scheduled_by=by, time_ms=T0, result=payload("r"))])
    reset(p, p.run().last_event_id)
    assert p.happened() == [
        "WorkflowStarted", "WorkflowTaskCompleted", "ActivityScheduled", "ActivityCompleted", "WorkflowReset",
    ]  # fmt: skip
    assert (p.run().last_input_id, p.run().has_unread, p.run().open_activities) == (4, True, 0)


def test_timeouts_of_the_whole_run_count_from_the_reset(p: Partition) -> None:
    p.start(run_timeout_ms=1000, execution_timeout_ms=5000)
    p.advance(act(1))
    p.wait(4000)
    reset(p, 2)
    assert (p.run().run_deadline_ms, p.run().execution_deadline_ms) == (p.now + 1000, p.now + 5000)


@pytest.mark.parametrize("wrong", [0, -1, 4, 2**62])
def test_an_event_that_is_not_there_is_refused_and_nothing_changes(p: Partition, wrong: int) -> None:
    p.start()
    p.advance(act(1))
    run = p.run()
    folded = reset(p, wrong)
    assert outcomes(folded) == ["invalid"]
    assert "events 1 to 3" in of_kind(folded, replies.RequestReply)[0].message
    assert p.run() == run


def test_what_cannot_be_reset_says_why(p: Partition) -> None:
    assert outcomes(reset(p, 1, "nobody")) == ["not_found"]
    p.start()
    assert outcomes(reset(p, 1, run_id="another")) == ["not_found"]
    assert outcomes(reset(p, 1, reapply="everything")) == ["invalid"]


def test_a_repeated_request_resets_once(p: Partition) -> None:
    p.start()
    p.advance(act(1))
    asked = request("once")
    reset(p, 2, request=asked)
    now = p.run().run_id
    folded = reset(p, 2, request=asked)
    assert [(r.outcome, r.run_id) for r in of_kind(folded, replies.RequestReply)] == [("ok", now)]
    assert p.run().run_id == now


def test_the_public_stream_shows_what_is_new_of_the_run(p: Partition) -> None:
    two_steps(p)
    old = p.run().run_id
    folded = reset(p, 6)
    batches = {b.run_id: b for b in bodies(folded) if isinstance(b, tasks.HistoryBatch)}
    assert set(batches) == {old, p.run().run_id}
    assert len(batches[p.run().run_id].events) == 1
