"""Rules about advancing a workflow, as the fold keeps them (W, R1)."""

from __future__ import annotations

from typing import Any

import pytest
from odradek_engine import answers
from odradek_schemas import commands, decode, history, records, replies, tasks

from .harness import DONE, T0, TOPICS, Partition, act, failure, local, of_kind, payload, reasons, sleep


def completions(p: Partition) -> list[history.WorkflowTaskCompleted]:
    """The accepted completions of the newest run."""
    return [e.attributes for e in p.events() if isinstance(e.attributes, history.WorkflowTaskCompleted)]


# ---------------------------------------------------------------- marks of changed code


def test_a_mark_stays_in_the_event_of_its_task_and_leads_to_nothing_else(p: Partition) -> None:
    """Breaks when the name is lost: replay could not tell which change the run has."""
    p.start()
    p.advance(commands.MarkPatch(patch_id="new-price"), commands.DeprecatePatch(patch_id="old"), act(1))
    kept = [(c.kind, c.name) for c in completions(p)[0].commands]
    assert kept == [("MarkPatch", "new-price"), ("DeprecatePatch", "old"), ("ScheduleActivity", "work")]
    assert [type(e.attributes).__name__ for e in p.events()][2:] == ["ActivityScheduled"]


@pytest.mark.parametrize("bad", ["", "i" * 2000, "a\0b"])
def test_e6_a_mark_needs_a_usable_name(p: Partition, bad: str) -> None:
    """Breaks when a name that is no text of a key goes into history."""
    p.start()
    p.advance(commands.MarkPatch(patch_id=bad))
    assert completions(p) == []
    assert p.run().task_failure_cause == "invalid"


# ---------------------------------------------------------------- W1, W6: optimistic concurrency


def test_w1_only_a_completion_on_the_last_base_is_accepted(p: Partition) -> None:
    """Breaks when the base is not compared: two workers could both advance the workflow."""
    run = p.start()
    assert run.base == run.run_id
    first = p.advance(sleep(1, 1000), consumed_through=1)
    assert p.run().base == first
    p.advance(act(2), base=run.run_id)
    p.advance(act(2), base="never there")
    assert [c.id for c in completions(p)] == [first]
    second = p.advance(act(2))
    assert [(c.id, c.base) for c in completions(p)] == [(first, run.run_id), (second, first)]


def test_w1_the_same_record_twice_is_taken_once(p: Partition) -> None:
    """Breaks when an accepted completion leaves its base as it was."""
    run = p.start()
    record = records.WorkflowTaskCompleted(
        workflow_id="w", run_id=run.run_id, id="W1/1", base=run.base, consumed_through=1, commands=[act(1)]
    )
    p.append(record)
    assert p.changes(record) == set()


@pytest.mark.parametrize("bad", ["", "i" * 2000, "a\0b"])
def test_w1_a_completion_has_an_id(p: Partition, bad: str) -> None:
    """Breaks when an ID that can be no base is taken."""
    p.start()
    p.advance(act(1), id=bad)
    assert completions(p) == []
    assert p.run().task_failure_cause == "invalid"


def test_w1_a_completion_s_id_is_not_its_base(p: Partition) -> None:
    """Breaks when a completion may keep the base: copies of it would be taken again and again."""
    run = p.start()
    p.advance(act(1), id=run.run_id)
    assert completions(p) == []
    assert p.run().task_failure_cause == "invalid"


def test_w2_nothing_is_asked_after_the_command_that_closes(p: Partition) -> None:
    """Breaks when commands behind a close are taken."""
    p.start()
    p.advance(DONE, act(1))
    assert p.run().task_failure_cause == "invalid"
    p.task_due()
    p.advance(DONE, DONE)
    assert p.run().is_open


@pytest.mark.parametrize("through", [0, 99])
def test_w2_consumed_through_is_an_event_that_was_fed(p: Partition, through: int) -> None:
    """Breaks when reading may go back, or run ahead of what has happened."""
    p.start()
    p.signal()
    p.advance(sleep(1, 1000), consumed_through=2)
    p.signal()
    p.advance(act(2), consumed_through=through)
    assert p.run().consumed_through == 2
    assert p.run().task_failure_cause == "invalid"


def test_w6_results_in_a_stale_completion_count_its_commands_do_not(p: Partition) -> None:
    """Breaks when the result is lost with the commands, or the commands come in with the result."""
    p.start()
    first = p.advance(act(1, eager=True))
    p.signal()
    p.advance(act(2))
    p.advance(act(3), base=first, local_results=[local(1, first, result=payload("77"))])
    assert p.activity(1) is None
    assert p.activity(3) is None
    event = p.events()[-1].attributes
    assert isinstance(event, history.ActivityCompleted)
    assert event.result == payload("77")
    assert p.run().task_offset == len(p.log) - 1


def test_w6_local_results_come_with_their_commands(p: Partition) -> None:
    """Breaks when a chained completion's result is not part of what it names as its local events."""
    p.start()
    first = p.advance(act(1, eager=True))
    p.advance(DONE, local_results=[local(1, first, time_ms=p.now + 5, result=payload("77"))], consumed_through=1)
    assert p.happened()[-3:] == ["ActivityCompleted", "WorkflowTaskCompleted", "WorkflowCompleted"]
    done, completed, closing = p.events()[-3:]
    assert isinstance(completed.attributes, history.WorkflowTaskCompleted)
    assert completed.attributes.local_events == [done.event_id]
    assert isinstance(closing.attributes, history.WorkflowCompleted)
    assert closing.attributes.unread == []
    assert done.time_ms == p.now + 5


def test_w6_a_result_of_an_activity_that_has_ended_refuses_the_completion(p: Partition) -> None:
    """Breaks when one activity gets two results in a history."""
    p.start()
    first = p.advance(act(1, eager=True), act(2, eager=True))
    p.succeed(1)
    p.advance(
        DONE,
        consumed_through=1,
        local_results=[local(1, first, result=payload("again")), local(2, first, result=payload("88"))],
    )
    assert p.run().is_open
    assert p.happened().count("ActivityCompleted") == 2
    assert len(completions(p)) == 1


# ---------------------------------------------------------------- W7: right base, refused


@pytest.mark.parametrize("why", ["stale result", "bad command"])
def test_w7_a_refused_completion_leads_to_another_task(p: Partition, why: str) -> None:
    """Breaks when the task that was answered stays out: its worker has committed it, nobody would answer again."""
    p.start()
    first = p.advance(act(1, eager=True))
    p.signal()
    if why == "stale result":
        p.succeed(1)
        p.advance(DONE, local_results=[local(1, first)])
        assert p.run().task_offset == len(p.log) - 1
    else:
        p.advance(act(0))
        assert p.run().task_offset < 0 < p.run().task_retry_ms
        p.task_due()
        assert p.run().task_offset == len(p.log) - 1
    assert p.made(tasks.WorkflowTask)[-1].base == first


def test_w7_a_failed_task_is_tried_again_after_a_backoff_that_grows(p: Partition) -> None:
    """Breaks when a workflow with a bug is not tried again, or at once and for ever."""
    run = p.start()
    waits = []
    for _ in range(9):
        failed = records.WorkflowTaskFailed(workflow_id="w", run_id=run.run_id, base=run.base, failure=failure("bug"))
        p.append(failed)
        waits.append(p.run().task_retry_ms - p.now)
        assert p.changes(failed) == set()
        p.signal()
        assert p.run().task_offset < 0
        p.task_due()
        assert p.run().task_offset == len(p.log) - 1
    assert waits == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]
    assert p.made(tasks.WorkflowTask)[-1].attempt == 10
    p.advance(sleep(1, 1000))
    assert (p.run().task_attempt, p.run().task_failure) == (1, None)


def test_w7_a_report_on_another_base_or_run_changes_nothing(p: Partition) -> None:
    """Breaks when a late WorkflowTaskFailed takes back a task that it is not about."""
    run = p.start()
    p.advance(sleep(1, 1000))
    p.signal()
    others: list[dict[str, Any]] = [{"base": run.run_id}, {"base": p.run().base, "run_id": "another"}]
    for fields in others:
        record = records.WorkflowTaskFailed(
            **{"workflow_id": "w", "run_id": run.run_id, "failure": failure(), **fields}
        )
        assert p.changes(record) == set()


# ---------------------------------------------------------------- W3: closing


def unread_of(p: Partition) -> list[int]:
    closing = p.events()[-1].attributes
    assert isinstance(closing, history.CLOSES)
    return closing.unread


@pytest.mark.parametrize(
    "command", [DONE, commands.FailWorkflow(failure=failure()), commands.CancelledWorkflow()], ids=repr
)
def test_w3_a_close_is_accepted_whatever_is_unread(p: Partition, command: commands.Command) -> None:
    """Breaks when unread input refuses a close: a stream of signals could keep a workflow open for ever."""
    p.start()
    p.signal()
    p.advance(command, consumed_through=1)
    assert not p.run().is_open
    assert unread_of(p) == [2]


def test_w3_unread_listed_and_dead_lettered(p: Partition) -> None:
    """Breaks when an acknowledged message that was never read is not in the closing event, or in no dead letter."""
    p.start()
    first = p.advance(act(1, eager=True), sleep(2, 1000))
    p.signal("read")
    p.signal("unread", input=[payload("5")])
    p.wait(1000)
    p.fire(2)
    read = next(e for e in p.events() if isinstance(e.attributes, history.SignalReceived))
    p.advance(DONE, consumed_through=read.event_id, local_results=[local(1, first)])
    events = {e.event_id: e.attributes for e in p.events()}
    assert [type(events[i]).__name__ for i in unread_of(p)] == ["SignalReceived", "TimerFired"]
    [letter] = p.made(tasks.DeadLetter)
    dead = decode(letter.value)
    assert isinstance(dead, history.HistoryEvent)
    assert isinstance(dead.attributes, history.SignalReceived)
    assert dead.attributes.input == [payload("5")]
    assert "'unread'" in letter.reason


def test_w3_terminate_and_timeout_report_what_was_not_read(p: Partition) -> None:
    """Breaks when only the workflow's own close reports unread messages."""
    for workflow_id in ("t", "x"):
        p.start(workflow_id, execution_timeout_ms=5000)
        p.signal(workflow_id=workflow_id)
    p.append(records.TerminateWorkflow(workflow_id="t", reason="enough"))
    p.wait(5000)
    p.append(
        records.WorkflowTimedOut(
            workflow_id="x", run_id=p.run("x").run_id, timeout_type="execution", epoch=p.row.epoch
        )
    )
    for workflow_id, status in (("t", "terminated"), ("x", "timed_out")):
        assert p.run(workflow_id).status == status
        assert p.events(workflow_id)[-1].attributes.unread == [1, 2]  # type: ignore[union-attr]  # it closes
    assert len(p.made(tasks.DeadLetter)) == 2


def test_w3_what_is_open_goes_with_the_run(p: Partition) -> None:
    """Breaks when activities or timers of a closed run stay, or running workers are not told."""
    p.start()
    p.advance(act(1), act(2), sleep(3, 1000))
    p.begin(1)
    p.append(records.TerminateWorkflow(workflow_id="w"))
    assert (p.activity(1), p.activity(2), p.timer(3)) == (None, None, None)
    assert [r.reason for r in p.made(replies.ActivityCancelRequest)] == ["closed"]


# ---------------------------------------------------------------- W4: commands count when folded


def test_w4_a_timer_counts_from_when_its_command_is_folded(p: Partition) -> None:
    """Breaks when the due time comes from anything but fold time."""
    p.start()
    p.wait(7000)
    p.advance(sleep(1, 1000))
    timer = p.timer(1)
    assert timer is not None
    assert timer.due_ms == T0 + 8000


def test_w4_a_stale_completion_s_activities_are_never_there(p: Partition) -> None:
    """Breaks when an eager activity of a refused completion is open: a phantom's result would be taken."""
    run = p.start()
    p.advance(act(1))
    phantom = p.advance(act(2, name="phantom", eager=True), base=run.run_id)
    assert p.activity(2) is None
    count = len(p.events())
    p.succeed(2, scheduled_by=phantom, attempt=1)
    assert len(p.events()) == count


# ---------------------------------------------------------------- W9: commands on what has ended


def test_w9_a_command_on_what_has_finished_is_a_no_op(p: Partition) -> None:
    """Breaks when the race of a cancel with a result refuses the completion: the code gives the same for ever."""
    p.start()
    p.advance(act(1), sleep(2, 1000))
    p.succeed(1)
    p.wait(1000)
    p.fire(2)
    taken = p.advance(
        commands.CancelActivity(seq=1), commands.CancelTimer(seq=2), commands.CancelActivity(seq=9), act(3)
    )
    assert p.run().base == taken
    assert p.activity(3) is not None
    assert {"ActivityCancelRequested", "TimerCancelled"}.isdisjoint(p.happened())


def test_w9_a_number_that_never_was_can_be_cancelled(p: Partition) -> None:
    """Breaks when an impossible number is a defect of the fold."""
    p.start()
    taken = p.advance(commands.CancelActivity(seq=-5), commands.CancelTimer(seq=-5))
    assert p.run().base == taken


def test_w9_a_cancelled_timer_fires_no_more(p: Partition) -> None:
    """Breaks when the fired record of a cancelled timer becomes an event."""
    p.start()
    p.advance(sleep(1, 1000))
    p.signal()
    p.advance(commands.CancelTimer(seq=1))
    p.wait(1000)
    count = len(p.events())
    p.fire(1)
    assert len(p.events()) == count


# ---------------------------------------------------------------- W11: history says what it is of


def test_w11_history_carries_base_and_consumed_through_of_what_it_shows(p: Partition) -> None:
    """Breaks when a page gives a base that is not that of its events."""
    p.start()
    p.advance(sleep(1, 1000))
    p.signal()
    page = answers.history_page(p.state, p.run(), 1, "client", "r")
    shown = [decode(e) for e in page.events]
    last = [e.attributes for e in shown if isinstance(e.attributes, history.WorkflowTaskCompleted)][-1]  # type: ignore[attr-defined]
    assert (page.base, page.consumed_through) == (last.id, last.consumed_through)
    assert page.last_event_id == len(shown) == p.run().last_event_id


# ---------------------------------------------------------------- R1: runs


def test_r1_records_of_another_run_are_dropped(p: Partition) -> None:
    """Breaks when what belongs to an earlier run of the same workflow is taken for the present one's."""
    old = p.start()
    p.advance(act(1), sleep(2, 1000))
    by = p.open_activity(1).scheduled_by
    p.append(records.TerminateWorkflow(workflow_id="w"))
    p.start()
    p.advance(act(1), sleep(2, 100_000), id=by + "x")
    p.begin(1)
    p.wait(60_000)
    p.wait(60_000)
    for stale in (
        lambda: p.fire(2, run_id=old.run_id),
        lambda: p.succeed(1, run_id=old.run_id),
        lambda: p.fail(1, run_id=old.run_id),
        lambda: p.hand_back(1, run_id=old.run_id),
        lambda: p.advance(DONE, run_id=old.run_id),
        lambda: p.signal(run_id=old.run_id),
    ):
        before = p.run()
        stale()
        assert p.run() == before
    assert p.open_activity(1).state == "started"
    p.fire(2)
    assert p.happened()[-1] == "TimerFired"


def test_r1_every_run_has_its_own_id_history_and_first_base(p: Partition) -> None:
    """Breaks when two runs share an ID, or the earlier one's history is overwritten."""
    seen = []
    for _ in range(3):
        run = p.start()
        assert run.base == run.run_id
        p.advance(DONE)
        seen.append(run.run_id)
    assert len(set(seen)) == 3
    for run_id in seen:
        kinds = [type(e.attributes).__name__ for e in p.events(run_id=run_id)]
        assert kinds == ["WorkflowStarted", "WorkflowTaskCompleted", "WorkflowCompleted"]


# ---------------------------------------------------------------- wake-ups


def test_one_task_at_a_time_and_none_without_unread_input(p: Partition) -> None:
    """Breaks when each signal makes a task of its own, or none comes for what arrived while one was out."""
    p.start()
    for _ in range(3):
        p.signal()
    assert len(p.made(tasks.WorkflowTask)) == 1
    p.advance(sleep(1, 1000), consumed_through=2)
    last = p.made(tasks.WorkflowTask)[-1]
    assert (len(p.made(tasks.WorkflowTask)), last.consumed_through) == (2, 2)
    assert [decode(e).event_id for e in last.events] == list(range(3, last.last_event_id + 1))  # type: ignore[attr-defined]
    p.advance(sleep(2, 1000))
    assert len(p.made(tasks.WorkflowTask)) == 2


def test_a_task_with_too_many_bytes_says_that_it_is_not_complete(p: Partition) -> None:
    """Breaks when a task grows above the limit of a record."""
    p.start(input=[payload("x" * 300_000)])
    [task] = p.made(tasks.WorkflowTask)
    assert (task.complete, task.events, task.last_event_id) == (False, [], 1)


def test_a_start_delay_holds_the_first_task_back(p: Partition) -> None:
    """Breaks when the delayed workflow is woken by a signal, or never."""
    p.start(start_delay_ms=5000)
    p.signal()
    assert p.made(tasks.WorkflowTask) == []
    p.task_due()
    assert len(p.made(tasks.WorkflowTask)) == 1
    assert p.now == T0 + 5000


def test_history_events_are_published_in_order(p: Partition) -> None:
    """Breaks when an event is missing in the public stream, or twice in it."""
    p.start()
    p.advance(act(1), sleep(2, 1000))
    p.succeed(1)
    p.advance(DONE)
    published = [decode(e) for b in p.made(tasks.HistoryBatch) for e in b.events]
    assert published == p.events()
    assert {topic for topic, _, body in p.effects if isinstance(body, tasks.HistoryBatch)} == {TOPICS.history}


def test_an_event_too_large_to_publish_is_reported(p: Partition) -> None:
    """Breaks when a large event takes the fold of its record down, or vanishes unsaid."""
    folded = p.append(
        records.StartWorkflow(
            workflow_id="w", workflow_type="Order", task_queue="orders", input=[payload("x" * 999_900)]
        )
    )
    assert "too large to be published" in reasons(folded)[0]
    assert p.run().is_open
    assert len(of_kind(folded, tasks.WorkflowTask)) == 1
