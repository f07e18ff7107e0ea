"""Resets that take more than one step, and what they do with children, messages, updates and results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from odradek_engine.due import DueRecords
from odradek_engine.fold import Folded, events, keys, requests, step
from odradek_engine.fold.rows import ChildRow, ResetRow
from odradek_schemas import commands, records, replies, tasks
from odradek_schemas.common import Caller, Failure, RetryPolicy

from .cluster import Cluster
from .harness import DONE, Partition, act, local, of_kind, outcomes, payload, reasons, request, sleep
from .test_children import child, happened, last
from .test_reset import reset


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.finish()


def under_way(p: Partition) -> ResetRow | None:
    return p.state.row(keys.reset("w"), ResetRow)


def go_on(p: Partition, upto: int = 10_000) -> list[Folded]:
    """What the leader asks for until the reset is done."""
    done: list[Folded] = []
    due = DueRecords(p.state, lambda row: (0, []), 30_000)
    while under_way(p) is not None and len(done) < upto:
        asked = [r for r in due.take(p.now) if isinstance(r, records.ResetContinued)]
        assert len(asked) == 1, "the leader asks at once, and once"
        done.append(p.append(asked[0]))
    return done


def long_run(p: Partition, steps: int) -> None:
    """A run with a result, a signal and a decision in each step."""
    p.start(input=[payload("in")])
    for n in range(1, steps + 1):
        by = p.advance(act(n, eager=n % 3 == 0))
        if n % 3 == 0:
            p.advance(sleep(10_000 + n, 10**9), local_results=[local(n, by, p.now, result=payload("r"))])
        else:
            p.succeed(n)
        p.signal(f"s{n}")


# ---------------------------------------------------------------- long histories


def test_a_step_does_a_bounded_part_of_a_long_reset(monkeypatch: pytest.MonkeyPatch, p: Partition) -> None:
    """Breaks when a reset does all of a long history in one step, which stops its partition."""
    monkeypatch.setattr(step, "WORK", 50)
    long_run(p, 60)
    length = p.run().last_event_id
    folded = [reset(p, length - 1, reapply="none"), *go_on(p)]
    appended = [sum(isinstance(e, events.Appended) for e in f.events) for f in folded]
    assert sum(appended) > length - 10
    assert max(appended) <= 52, "the part, WorkflowTerminated and WorkflowReset"
    assert length / 50 <= len(folded) < length / 50 + 4
    assert outcomes(folded[0]) == ["ok"]
    assert p.row.resets == 0


def test_in_parts_comes_to_the_same_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when it matters where a part ends: between a local result and its completion, or anywhere else."""
    runs = []
    for work in (1, 2, 3, 5, 100_000):
        monkeypatch.setattr(step, "WORK", work)
        p = Partition()
        p.lead()
        p.alive()
        long_run(p, 9)
        reset(p, 40)
        assert bool(go_on(p)) is (work < 1000)
        run = p.run()
        rows = [row for table in (keys.ACTIVITY, keys.TIMER) for _, row in p.state.scan(table)]
        named = [(type(row).__name__, row.seq) for row in rows]
        seen = (run.last_input_id, run.consumed_through, run.seen_through, run.open_timers, run.open_activities)
        runs.append((p.happened(), [e.attributes for e in p.events()][1:30], named, seen))
        p.finish()
    assert all(run == runs[0] for run in runs)


def test_what_comes_meanwhile_waits_for_the_end_in_its_order(monkeypatch: pytest.MonkeyPatch, p: Partition) -> None:
    monkeypatch.setattr(step, "WORK", 10)
    long_run(p, 10)
    reset(p, p.run().last_event_id, reapply="none")
    assert under_way(p) is not None
    run_id = p.run().run_id
    before = len(p.made(tasks.WorkflowTask))
    p.signal("one")
    p.append(records.PauseWorkflow(workflow_id="w", request=request("pause")))
    p.signal("two", workflow_id="other")  # another workflow of the partition goes on
    p.start("other")
    p.signal("two", workflow_id="other")
    p.append(records.SignalWorkflow(workflow_id="w", signal="three", run_id=run_id, request=request("three")))
    assert "one" not in [getattr(e.attributes, "signal", "") for e in p.events()]
    assert p.happened("other")[-1] == "SignalReceived"
    folded = go_on(p)
    assert [o for f in folded for o in outcomes(f)] == ["ok", "ok"]
    assert p.happened()[-4:] == ["WorkflowReset", "SignalReceived", "WorkflowPaused", "SignalReceived"]
    assert [getattr(e.attributes, "signal", "") for e in p.events()][-4:] == ["", "one", "", "three"]
    assert len(p.made(tasks.WorkflowTask)) == before + 2, "one of each workflow"
    p.finish()


def test_R1_R2_what_the_leader_says_of_a_run_that_is_being_filled_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, p: Partition
) -> None:
    """Breaks when a timer fires that a later event of the history cancels: its row is there for a while."""
    monkeypatch.setattr(step, "WORK", 6)
    p.start()
    p.advance(sleep(1, 10))
    for n in range(10):
        p.signal(f"s{n}")
    p.advance(commands.CancelTimer(seq=1), act(2))
    p.signal()
    p.advance(act(3))
    reset(p, p.run().last_event_id)
    p.wait(60_000)
    p.fire(1)
    assert p.timer(1) is not None
    p.append(records.WorkflowTimedOut(workflow_id="w", run_id=p.run().run_id, timeout_type="run", epoch=p.row.epoch))
    go_on(p)
    assert p.timer(1) is None
    assert "TimerFired" not in p.happened()
    p.finish()


def test_a_reset_that_waited_for_a_reset(monkeypatch: pytest.MonkeyPatch, p: Partition) -> None:
    monkeypatch.setattr(step, "WORK", 5)
    long_run(p, 6)
    first = p.run().run_id
    reset(p, 12)
    reset(p, 4, reapply="none")
    p.signal("last")
    folded = go_on(p)
    assert [o for f in folded for o in outcomes(f)] == ["ok"]
    kinds = p.happened()
    assert (kinds.count("WorkflowReset"), kinds[-2:]) == (1, ["WorkflowReset", "SignalReceived"])
    assert p.run().seed == first
    p.finish()


def test_a_defect_in_what_waited_is_its_own(monkeypatch: pytest.MonkeyPatch, p: Partition) -> None:
    """Breaks when a record that the fold cannot do holds up the reset that it waits for."""
    monkeypatch.setattr(step, "WORK", 5)
    long_run(p, 4)
    reset(p, 14)
    bad = p.signal("bad")
    p.signal("good")
    offset = len(p.log) - 2
    real = requests._signal

    def broken(s: Any, record: records.SignalWorkflow) -> Any:
        if record.signal == "bad":
            raise RuntimeError("a defect")
        return real(s, record)

    monkeypatch.setattr(requests, "_signal", broken)
    monkeypatch.setattr(p, "_check", lambda folded: None)
    folded = go_on(p)
    (letter,) = [d for f in folded for d in of_kind(f, tasks.DeadLetter)]
    assert (letter.offset, "a defect" in letter.reason, bad.record is not None) == (offset, True, True)
    assert [getattr(e.attributes, "signal", "") for e in p.events()][-1] == "good"


def test_a_decision_too_far_back_is_to_be_named(monkeypatch: pytest.MonkeyPatch, p: Partition) -> None:
    monkeypatch.setattr("odradek_engine.fold.reset.MAX_SEEK", 20)
    p.start()
    p.advance(act(1))
    for n in range(30):
        p.signal(f"s{n}")
    assert outcomes(reset(p, 30)) == ["ok"], "where the last decision is, is known"
    p.advance(act(2))
    folded = reset(p, p.run().last_task_event_id - 1)
    assert outcomes(folded) == ["invalid"]
    assert "WorkflowTaskCompleted" in of_kind(folded, replies.RequestReply)[0].message


# ---------------------------------------------------------------- what was open at the cut


def test_R1_T8_an_activity_that_may_run_once_is_not_run_again(p: Partition) -> None:
    """Breaks when a reset emits an at-most-once activity that a worker had begun, or loses its outcome."""
    once: dict[str, Any] = {"delivery": "at_most_once"}
    p.start()
    p.advance(act(1, "done", **once), act(2, "begun", **once), act(3, "waits", **once), act(4, "usual"))
    p.begin(1, claim=True)
    p.begin(2, claim=True)
    p.signal()
    by = p.advance(act(5))
    p.succeed(1, result=payload("charged"))
    p.succeed(4, result=payload("old"))
    decision = next(e.event_id for e in p.events() if getattr(e.attributes, "id", "") == by)
    folded = reset(p, decision)
    assert sorted(t.activity_type for t in of_kind(folded, tasks.ActivityTask)) == ["usual", "waits"]
    ended = {type(e.attributes).__name__: e.attributes for e in p.events()[-2:]}
    assert ended["ActivityCompleted"].result == payload("charged")  # type: ignore[union-attr]  # it has one
    assert "may or may not have run" in ended["ActivityFailed"].failure.message  # type: ignore[union-attr]  # it has
    assert sorted(row.seq for _, row in p.state.scan(keys.ACTIVITY)) == [3, 4]


def test_the_idempotency_key_names_the_run_that_scheduled_it_through_all_resets(p: Partition) -> None:
    first = p.start().run_id
    p.advance(act(1))
    p.signal()
    p.advance(sleep(9, 1000))
    reset(p, p.run().last_event_id)
    second = p.run().run_id
    p.advance(act(2))
    p.signal()
    p.advance(sleep(8, 1000))
    folded = reset(p, p.run().last_event_id)
    named = {t.seq: t.first_identity_run_id for t in of_kind(folded, tasks.ActivityTask)}
    assert named == {1: first, 2: second}


def test_updates_that_nobody_decided_on_go_on_and_accepted_ones_come_again(p: Partition) -> None:
    """Breaks when an update is lost by a reset, or its asker hears nothing or twice."""
    p.start()
    p.advance(act(1))
    asked = records.UpdateWorkflow(workflow_id="w", update="rename", input=[payload("a")], request=request("u1"))
    p.append(asked)
    run = p.run()
    accepted = [records.AcceptedUpdate(seq=1, update_id="u1", fed_after=run.consumed_through, fed_ms=p.now)]
    p.advance(
        commands.CompleteUpdate(seq=1, result=payload("ok")), accepted_updates=accepted,
        consumed_through=run.consumed_through,
    )  # fmt: skip
    p.append(records.UpdateWorkflow(workflow_id="w", update="rename", input=[payload("b")], request=request("u2")))
    folded = reset(p, p.run().last_event_id)
    assert "UpdateAccepted" not in p.happened()
    (task,) = of_kind(folded, tasks.WorkflowTask)
    assert [(u.update_id, u.input) for u in task.updates] == [("u1", [payload("a")]), ("u2", [payload("b")])]
    assert "closed" not in outcomes(folded)
    now = p.run()
    decided = [
        records.AcceptedUpdate(seq=u.seq, update_id=u.update_id, fed_after=u.after_event_id, fed_ms=p.now)
        for u in task.updates
    ]
    done = [commands.CompleteUpdate(seq=u.seq, result=payload("again")) for u in task.updates]
    folded = p.append(
        records.WorkflowTaskCompleted(
            workflow_id="w", run_id=now.run_id, id="after", base=now.base, consumed_through=now.last_event_id,
            session="W1", accepted_updates=decided, commands=done,
        )
    )  # fmt: skip
    assert [(r.request_id, r.outcome) for r in of_kind(folded, replies.RequestReply)] == [("u2", "completed")]
    again = p.append(asked)
    assert [(r.outcome, r.result) for r in of_kind(again, replies.RequestReply)] == [("completed", payload("ok"))]


def test_without_reapply_a_pending_update_is_told_that_its_run_closed(p: Partition) -> None:
    p.start()
    p.advance(act(1))
    p.append(records.UpdateWorkflow(workflow_id="w", update="rename", request=request("u1")))
    folded = reset(p, p.run().last_event_id, reapply="none")
    assert outcomes(folded)[:2] == ["closed", "ok"] or sorted(outcomes(folded)) == ["closed", "ok"]
    assert (p.run().pending_updates, p.run().open_updates) == (0, 0)


# ---------------------------------------------------------------- children and messages to others


def parent_reset(cluster: Cluster, at: int | None = None, **fields: Any) -> None:
    home = cluster.home("w")
    run = home.run("w")
    cluster.append(
        records.ResetWorkflow(
            workflow_id="w", event_id=at or run.last_task_event_id, request=request(f"r{len(home.log)}"), **fields
        )
    )


@pytest.mark.parametrize("ends", ["after", "before the reset", "while closed"])
def test_a_child_begun_before_the_cut_stays_the_child_and_tells_its_end_once(ends: str) -> None:
    """Breaks when the new run waits for ever for a child that it kept, or hears of its end twice."""
    for seed in range(6):
        cluster = Cluster(seed)
        name = cluster.elsewhere("w")
        cluster.start()
        cluster.advance("w", child(name, parent_close_policy="abandon"))
        cluster.settle()
        cluster.advance("w", act(7))
        if ends != "after":
            if ends == "while closed":
                cluster.advance("w", DONE)
            cluster.advance(name, commands.CompleteWorkflow(result=payload("7")))
            cluster.settle()
        parent_reset(cluster, at=6)
        assert happened(cluster, name).count("WorkflowStarted") == 1
        cluster.settle_badly()
        if ends == "after":
            cluster.advance(name, commands.CompleteWorkflow(result=payload("7")))
            cluster.settle_badly()
        assert happened(cluster, "w").count("ChildWorkflowStarted") == 1
        assert happened(cluster, "w").count("ChildWorkflowCompleted") == 1, (ends, seed)
        assert last(cluster, "w").result == payload("7")
        cluster.finish()


def test_a_child_that_the_reset_undoes_goes_by_its_policy_and_its_successor_is_another(cluster: Cluster) -> None:
    name = cluster.elsewhere("w")
    cluster.start()
    cluster.advance("w", act(9))
    cluster.home("w").succeed(9)
    cluster.advance("w", child(name))
    cluster.settle()
    parent_reset(cluster, at=5)
    cluster.settle()
    assert happened(cluster, name)[-1] == "WorkflowTerminated"
    cluster.advance("w", child(name))
    cluster.settle_badly()
    cluster.advance(name, DONE)
    cluster.settle_badly()
    assert happened(cluster, "w")[-3:] == ["ChildWorkflowInitiated", "ChildWorkflowStarted", "ChildWorkflowCompleted"]


def test_a_kept_child_is_told_to_cancel_signalled_and_released_by_the_new_run(cluster: Cluster) -> None:
    """It knows its parent by the run that began it."""
    name = cluster.elsewhere("w")
    cluster.start()
    cluster.advance("w", child(name))
    cluster.settle()
    cluster.advance("w", act(9))
    parent_reset(cluster)
    cluster.settle()
    assert happened(cluster, name) == ["WorkflowStarted"], "the reset ends no child that it keeps"
    cluster.advance("w", commands.SignalExternalWorkflow(seq=3, workflow_id=name, signal="hello", child_seq=1))
    cluster.settle()
    assert happened(cluster, name)[-1] == "SignalReceived"
    assert happened(cluster, "w")[-1] == "ExternalSignalDelivered"
    cluster.advance("w", commands.CancelChildWorkflow(seq=1))
    cluster.settle()
    assert happened(cluster, name)[-1] == "WorkflowCancelRequested"
    cluster.advance("w", DONE)
    cluster.settle()
    assert happened(cluster, name)[-1] == "WorkflowTerminated"


def test_a_child_of_which_nothing_is_known_any_more_has_ended_for_its_parent(cluster: Cluster) -> None:
    name = cluster.elsewhere("w")
    cluster.start()
    cluster.advance("w", child(name))
    cluster.settle()
    cluster.advance("w", DONE)  # terminates it
    cluster.settle()
    cluster.start(name)  # its ID belongs to another workflow now
    parent_reset(cluster, at=5)
    cluster.settle_badly()
    assert happened(cluster, "w")[-1] == "ChildWorkflowTerminated"
    assert "nothing is known" in last(cluster, "w").reason
    assert cluster.home("w").run("w").open_children == 0


@pytest.mark.parametrize("answered", ["before", "after", "never"])
def test_the_answer_to_a_message_reaches_the_new_run_once(cluster: Cluster, answered: str) -> None:
    """Breaks when an answer that the reset undoes, or that comes later, is lost: the code would wait for ever."""
    name = cluster.elsewhere("w")
    cluster.start(name)
    cluster.start()
    cluster.advance("w", commands.SignalExternalWorkflow(seq=1, workflow_id=name, signal="hello"), act(2))
    cluster.home("w").succeed(2)
    cluster.advance("w", act(3))
    if answered == "before":
        cluster.settle()
    if answered == "never":
        cluster.advance("w", DONE)
        cluster.settle()
    parent_reset(cluster, at=6)
    cluster.settle_badly()
    assert happened(cluster, name).count("SignalReceived") == 1
    kinds = happened(cluster, "w")
    found = [k for k in kinds if k.startswith("ExternalSignal") and k != "ExternalSignalRequested"]
    assert found == ["ExternalSignalFailed" if answered == "never" else "ExternalSignalDelivered"]


# ---------------------------------------------------------------- a child that goes on as another run


@pytest.mark.parametrize("way", ["continued", "retried", "reset", "reset after its end"])
def test_the_parent_gets_the_outcome_of_the_last_run_once(way: str) -> None:
    """Breaks when a run in between counts as the child's end, or its last one is told twice or not at all."""
    for seed in range(6):
        cluster = Cluster(seed)
        name = cluster.elsewhere("w")
        cluster.start()
        cluster.advance("w", child(name, retry_policy=RetryPolicy(maximum_attempts=3)))
        cluster.settle_badly()
        home = cluster.home(name)
        first = home.run(name).run_id
        if way == "continued":
            cluster.advance(name, commands.ContinueAsNewWorkflow())
        elif way == "retried":
            cluster.advance(name, commands.FailWorkflow(failure=Failure(message="once more")))
            home.wait(10_000)
            cluster.fold(home, home_task_due(home, name))
        elif way == "reset":
            cluster.advance(name, act(1))
            cluster.append(records.ResetWorkflow(workflow_id=name, event_id=2, request=request("r")))
        else:
            cluster.advance(name, commands.CompleteWorkflow(result=payload("first")))
            cluster.append(records.ResetWorkflow(workflow_id=name, event_id=2, request=request("r")))
        cluster.settle_badly()
        assert home.run(name).run_id != first
        assert home.run(name).parent == Caller(workflow_id="w", run_id=cluster.home("w").run("w").run_id, seq=1)
        told = way == "reset after its end"
        assert happened(cluster, "w").count("ChildWorkflowCompleted") == told
        cluster.advance(name, commands.CompleteWorkflow(result=payload("last")))
        cluster.settle_badly()
        ends = [e.attributes for e in cluster.home("w").events("w") if "ChildWorkflow" in type(e.attributes).__name__]
        assert [type(e).__name__ for e in ends] == [
            "ChildWorkflowInitiated", "ChildWorkflowStarted", "ChildWorkflowCompleted",
        ]  # fmt: skip
        assert ends[-1].result == payload("first" if told else "last")  # type: ignore[union-attr]  # it has one
        assert cluster.home("w").state.row(keys.child("w", "", 1), ChildRow) is None
        cluster.finish()


def home_task_due(home: Partition, name: str) -> records.WorkflowTaskDue:
    run = home.run(name)
    return records.WorkflowTaskDue(
        workflow_id=name, run_id=run.run_id, base=run.base, attempt=run.task_attempt, epoch=home.row.epoch
    )


def test_nothing_of_a_reset_is_left_in_the_reasons(p: Partition) -> None:
    long_run(p, 3)
    assert reasons(reset(p, 6)) == []
