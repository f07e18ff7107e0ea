"""Children and messages to other workflows, across partitions: each exactly once, whatever befalls the messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from odradek_schemas import commands, encode, history, records
from odradek_schemas.common import Caller, Failure, Payload, Position, Record

from .cluster import Cluster
from .harness import DONE, TOPICS, Partition, failure, payload, reasons


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.finish()


def child(workflow_id: str, seq: int = 1, **fields: Any) -> commands.StartChildWorkflow:
    return commands.StartChildWorkflow(seq=seq, workflow_id=workflow_id, workflow_type="Child", **fields)


def happened(cluster: Cluster, workflow_id: str) -> list[str]:
    """Kinds of events, without the tasks."""
    return [k for k in cluster.home(workflow_id).happened(workflow_id) if k != "WorkflowTaskCompleted"]


def last(cluster: Cluster, workflow_id: str) -> Any:
    return cluster.home(workflow_id).events(workflow_id)[-1].attributes


def closing(kind: str) -> commands.Command:
    made: dict[str, commands.Command] = {
        "completed": commands.CompleteWorkflow(result=payload("7")),
        "failed": commands.FailWorkflow(failure=failure("no")),
        "cancelled": commands.CancelledWorkflow(),
    }
    return made[kind]


# ---------------------------------------------------------------- a child's life


@pytest.mark.parametrize("kind", ["completed", "failed", "cancelled"])
def test_a_child_in_another_partition_starts_and_tells_its_end(cluster: Cluster, kind: str) -> None:
    name = cluster.elsewhere("w")
    cluster.start()
    cluster.advance("w", child(name, input=[payload("1")], memo={"m": payload("2")}))
    assert happened(cluster, "w") == ["WorkflowStarted", "ChildWorkflowInitiated"]
    cluster.settle()
    started = cluster.home(name).events(name)[0].attributes
    assert isinstance(started, history.WorkflowStarted)
    run = cluster.home("w").run("w")
    assert started.parent == Caller(workflow_id="w", run_id=run.run_id, seq=1)
    assert (started.input, started.memo, started.task_queue) == ([payload("1")], {"m": payload("2")}, "orders")
    assert isinstance(last(cluster, "w"), history.ChildWorkflowStarted)
    assert last(cluster, "w").run_id == cluster.home(name).run(name).run_id
    cluster.advance("w")
    cluster.advance(name, closing(kind))
    cluster.settle()
    event = last(cluster, "w")
    assert type(event).__name__ == f"ChildWorkflow{kind.capitalize()}"
    assert (event.workflow_id, event.run_id, event.seq) == (name, cluster.home(name).run(name).run_id, 1)
    assert cluster.home("w").run("w").open_children == 0
    assert cluster.home("w").run("w").task_offset >= 0, "the parent is woken"


def test_a_child_that_is_terminated_or_times_out_tells_its_parent(cluster: Cluster) -> None:
    cluster.start()
    cluster.advance("w", child("a"), child("b", 2, run_timeout_ms=1_000))
    cluster.settle()
    cluster.append(records.TerminateWorkflow(workflow_id="a", reason="why"))
    home = cluster.home("b")
    home.wait(1_000)
    run_id, epoch = home.run("b").run_id, home.row.epoch
    cluster.append(records.WorkflowTimedOut(workflow_id="b", run_id=run_id, timeout_type="run", epoch=epoch))
    cluster.settle()
    events = {type(e.attributes): e.attributes for e in cluster.home("w").events("w")}
    assert events[history.ChildWorkflowTerminated].reason == "why"  # type: ignore[union-attr]  # it is one
    assert events[history.ChildWorkflowTimedOut].timeout_type == "run"  # type: ignore[union-attr]  # it is one


def test_e1_one_child_run_and_one_result_whatever_befalls_the_messages() -> None:
    """Breaks when a repeated start begins a second run, or a repeated end is taken again."""
    for seed in range(25):
        cluster = Cluster(seed)
        names = [f"child-{n}" for n in range(6)]
        cluster.start()
        cluster.advance("w", *(child(name, seq) for seq, name in enumerate(names, 1)))
        cluster.settle_badly()
        for name in names:
            cluster.advance(name, closing("completed"))
        cluster.settle_badly()
        counted = Counter(happened(cluster, "w"))
        assert counted["ChildWorkflowStarted"] == counted["ChildWorkflowCompleted"] == len(names), seed
        for name in names:
            assert happened(cluster, name).count("WorkflowStarted") == 1
            assert cluster.home(name).run(name).first_run_id == cluster.home(name).run(name).run_id
        cluster.finish()


@pytest.mark.parametrize("policy", ["terminate", "abandon", "request_cancel"])
@pytest.mark.parametrize("started", [True, False], ids=["started", "starting"])
def test_the_parent_close_policy(cluster: Cluster, policy: str, started: bool) -> None:
    name = cluster.elsewhere("w")
    cluster.start()
    cluster.advance("w", child(name, parent_close_policy=policy))
    if started:
        cluster.settle()
    cluster.advance("w", DONE)
    cluster.settle_badly()
    end = {"terminate": "WorkflowTerminated", "abandon": "WorkflowStarted", "request_cancel": "WorkflowCancelRequested"}
    assert happened(cluster, name)[-1] == end[policy]
    assert happened(cluster, name).count(end[policy]) == 1
    assert happened(cluster, "w")[-1] == "WorkflowCompleted", "what a child tells a closed parent is ignored"


def test_the_policy_of_a_parent_is_not_for_another_workflow_with_the_id_of_its_child(cluster: Cluster) -> None:
    cluster.start()
    cluster.advance("w", child("c"))
    cluster.settle()
    cluster.append(records.TerminateWorkflow(workflow_id="c"))  # the news of it is still on its way
    cluster.start("c")
    cluster.advance("w", commands.SignalExternalWorkflow(seq=2, workflow_id="c", signal="s", child_seq=1), DONE)
    cluster.settle()
    assert happened(cluster, "c") == ["WorkflowStarted"]


def test_w9_cancelling_a_child(cluster: Cluster) -> None:
    """Once, also while it is being started; of one that has ended, or never was, a no-op."""
    cancel = commands.CancelChildWorkflow(seq=1, reason="enough")
    cluster.start()
    cluster.advance("w", child("c"), cancel, cancel, commands.CancelChildWorkflow(seq=9))
    cluster.settle()
    assert happened(cluster, "c") == ["WorkflowStarted", "WorkflowCancelRequested"]
    assert happened(cluster, "w").count("ChildWorkflowCancelRequested") == 1
    cluster.advance("c", closing("cancelled"))
    cluster.settle()
    cluster.advance("w", cancel)
    assert happened(cluster, "w")[-1] == "ChildWorkflowCancelled"


# ---------------------------------------------------------------- what cannot be


def test_an_id_in_use_fails_the_start(cluster: Cluster) -> None:
    cluster.start()
    cluster.start("c")
    cluster.advance("w", child("c"))
    cluster.settle()
    failed = last(cluster, "w")
    assert isinstance(failed, history.ChildWorkflowStartFailed)
    assert (failed.cause, failed.run_id) == ("already_started", cluster.home("c").run("c").run_id)
    cluster.append(records.TerminateWorkflow(workflow_id="c"))
    cluster.advance("w", child("c", 2, id_reuse_policy="reject"))
    cluster.settle()
    assert last(cluster, "w").cause == "reuse_rejected"
    cluster.advance("w", child("w", 3))
    cluster.settle()
    assert last(cluster, "w").cause == "already_started", "a workflow is not its own child"


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"workflow_id": "a\0b"}, "invalid"),
        ({"workflow_id": ""}, "invalid"),
        ({"task_queue": "no/queue"}, "invalid"),
        ({"parent_close_policy": "hope"}, "invalid"),
        ({"run_timeout_ms": -1}, "invalid"),
        ({"input": [Payload(data=b"x" * 999_950)]}, "too_large"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_e6_what_cannot_be_started_fails_at_once(cluster: Cluster, fields: dict[str, Any], cause: str) -> None:
    cluster.start()
    cluster.advance("w", commands.StartChildWorkflow(**{"seq": 1, "workflow_id": "c", "workflow_type": "C", **fields}))
    failed = last(cluster, "w")
    assert isinstance(failed, history.ChildWorkflowStartFailed)
    assert failed.cause == cause
    run = cluster.home("w").run("w")
    assert run.open_children == 0
    assert run.task_offset >= 0, "the parent is woken"


def test_e6_a_result_too_large_for_a_message_is_a_failure(cluster: Cluster) -> None:
    cluster.start()
    cluster.advance("w", child("c"))
    cluster.settle()
    cluster.advance("c", commands.CompleteWorkflow(result=Payload(data=b"x" * 999_990)))
    cluster.settle()
    failed = last(cluster, "w")
    assert isinstance(failed, history.ChildWorkflowFailed)
    assert "too large" in failed.failure.message


def refused(partition: Partition, kind: type[Record]) -> records.EffectFailed:
    """What the leader appends when the log never takes the first message of this kind."""
    effect = next(e for e in partition.emitted if isinstance(body := records_in(e.value), kind) and body is not None)
    return records.EffectFailed(
        topic=effect.topic, partition=effect.partition, offset=effect.offset, index=effect.index, reason="too big",
        epoch=partition.row.epoch,
    )  # fmt: skip


def records_in(value: bytes) -> Record | None:
    from odradek_schemas import decode

    body = decode(value)
    return decode(body.value) if isinstance(body, records.ForwardedRecord) else None


def test_e6_a_message_that_the_log_refuses_is_answered(cluster: Cluster) -> None:
    cluster.start()
    cluster.start("other")
    cluster.advance("w", child("c"), commands.SignalExternalWorkflow(seq=2, workflow_id="other", signal="s"))
    home = cluster.home("w")
    home.append(refused(home, records.StartWorkflow))
    home.append(refused(home, records.SignalWorkflow))
    assert happened(cluster, "w")[-2:] == ["ChildWorkflowStartFailed", "ExternalSignalFailed"]
    assert [e.attributes.cause for e in home.events("w")[-2:]] == ["undeliverable"] * 2  # type: ignore[union-attr]  # both have one
    assert (home.run("w").open_children, home.run("w").open_externals) == (0, 0)


def test_e6_an_end_that_the_log_refuses_is_told_without_its_result(cluster: Cluster) -> None:
    name = cluster.elsewhere("w")
    cluster.start()
    cluster.advance("w", child(name))
    cluster.settle()
    cluster.home(name).advance(closing("completed"), workflow_id=name)
    before = len(cluster.home(name).log)
    cluster.fold(cluster.home(name), refused(cluster.home(name), records.ChildClosed))
    (told,) = [records_in(e.value) for e in cluster.home(name).made_since(before) if "events" in e.topic]
    assert isinstance(told, records.ChildClosed)
    assert (told.status, told.result) == ("failed", None)


@pytest.mark.parametrize(
    "record",
    [
        records.ChildStarted(workflow_id="w", run_id="r", seq=1, child_run_id="x"),
        records.ChildStartFailed(workflow_id="w", run_id="r", seq=1, cause="invalid"),
        records.ChildClosed(workflow_id="w", run_id="r", seq=1, child_run_id="x", status="completed"),
        records.ExternalAnswered(workflow_id="w", run_id="r", seq=1, outcome="ok"),
        records.StartWorkflow(workflow_id="c", workflow_type="C", task_queue="q",
                              parent=Caller(workflow_id="w", run_id="r", seq=1)),
        records.SignalWorkflow(workflow_id="w", signal="s", caller=Caller(workflow_id="w", run_id="r", seq=1)),
        records.TerminateWorkflow(workflow_id="w", child_of=Caller(workflow_id="w", run_id="r", seq=1)),
    ],
    ids=lambda record: type(record).__name__,
)  # fmt: skip
def test_n1_what_only_engines_send_is_refused_from_others_in_any_partition(cluster: Cluster, record: Record) -> None:
    """Breaks when such a record is forwarded: it would come out as an engine's."""
    cluster.start()
    for partition in cluster.partitions:
        (reason,) = reasons(partition.append(record))
        assert "only engines" in reason
    assert happened(cluster, "w") == ["WorkflowStarted"]


def test_r1_answers_of_another_run_or_number_change_nothing(cluster: Cluster) -> None:
    """Breaks when an answer is taken by its number alone."""
    cluster.start()
    cluster.advance("w", child("c"), commands.SignalExternalWorkflow(seq=2, workflow_id="nobody", signal="s"))
    home = cluster.home("w")
    run_id = home.run("w").run_id
    wrong: list[Record] = [
        records.ChildStarted(workflow_id="w", run_id="another", seq=1, child_run_id="x"),
        records.ChildStarted(workflow_id="w", run_id=run_id, seq=-5, child_run_id="x"),
        records.ChildStarted(workflow_id="w", run_id=run_id, seq=2**62, child_run_id="x"),
        records.ChildClosed(workflow_id="w", run_id=run_id, seq=1, child_run_id="x", status="completed"),
        records.ChildClosed(workflow_id="w", run_id=run_id, seq=2, child_run_id="x", status="what"),
        records.ExternalAnswered(workflow_id="w", run_id="another", seq=2, outcome="ok"),
        records.ExternalAnswered(workflow_id="w", run_id=run_id, seq=1, outcome="ok"),
    ]
    before = home.happened("w")
    for offset, record in enumerate(wrong):
        position = Position(partition=2, offset=offset, index=0, previous_offset=offset - 1)
        home.append(records.ForwardedRecord(position=position, value=encode(record)))
    assert home.happened("w") == before


# ---------------------------------------------------------------- messages to others


def test_signals_and_cancels_reach_others_exactly_once_and_are_answered() -> None:
    for seed in range(15):
        cluster = Cluster(seed)
        cluster.start()
        others = [f"other-{n}" for n in range(4)]
        for name in others:
            cluster.start(name)
        sent: list[commands.Command] = []
        for name in others:
            sent.append(commands.SignalExternalWorkflow(seq=len(sent) + 1, workflow_id=name, signal="a"))
            sent.append(commands.SignalExternalWorkflow(seq=len(sent) + 1, workflow_id=name, signal="b"))
            sent.append(commands.CancelExternalWorkflow(seq=len(sent) + 1, workflow_id=name, reason="r"))
        cluster.advance("w", *sent)
        cluster.settle_badly()
        for name in others:
            events = [e.attributes for e in cluster.home(name).events(name)]
            assert [e.signal for e in events if isinstance(e, history.SignalReceived)] == ["a", "b"], "in order"
            assert happened(cluster, name).count("WorkflowCancelRequested") == 1
        counted = Counter(happened(cluster, "w"))
        assert (counted["ExternalSignalDelivered"], counted["ExternalCancelDelivered"]) == (8, 4)
        assert cluster.home("w").run("w").open_externals == 0
        cluster.finish()


def test_messages_to_nobody_to_the_closed_and_to_itself(cluster: Cluster) -> None:
    cluster.start()
    cluster.start("closed")
    cluster.advance("closed", DONE)
    cluster.advance(
        "w",
        commands.SignalExternalWorkflow(seq=1, workflow_id="nobody", signal="s"),
        commands.CancelExternalWorkflow(seq=2, workflow_id="closed"),
        commands.SignalExternalWorkflow(seq=3, workflow_id="w", signal="to myself"),
        commands.SignalExternalWorkflow(seq=4, workflow_id="", signal="s"),
        commands.SignalExternalWorkflow(seq=5, workflow_id="w", signal="\0"),
        commands.SignalExternalWorkflow(seq=6, workflow_id="w", signal="s", input=[Payload(data=b"x" * 999_950)]),
    )
    cluster.settle()
    found = {
        e.attributes.seq: e.attributes.cause
        for e in cluster.home("w").events("w")
        if isinstance(e.attributes, (history.ExternalSignalFailed, history.ExternalCancelFailed))
    }
    assert found == {1: "not_found", 2: "closed", 4: "invalid", 5: "invalid", 6: "too_large"}
    assert "SignalReceived" in happened(cluster, "w")
    assert "ExternalSignalDelivered" in happened(cluster, "w")


def test_numbers_of_children_and_messages_are_used_once(cluster: Cluster) -> None:
    cluster.start()
    cluster.advance("w", child("c"))
    cluster.advance("w", commands.StartTimer(seq=1, duration_ms=5))
    failed = cluster.home("w").run("w").task_failure
    assert isinstance(failed, Failure)
    assert "seq 1 is in use" in failed.message


# ---------------------------------------------------------------- what outlives the run that started it


def test_a_close_signal_reaches_the_run_that_continues_the_parent(cluster: Cluster) -> None:
    name = cluster.elsewhere("w")
    cluster.start()
    cluster.advance("w", child(name, parent_close_policy="abandon", close_signal="ended"))
    cluster.settle()
    cluster.advance("w", commands.ContinueAsNewWorkflow())
    cluster.settle()
    cluster.advance(name, closing("failed"))
    cluster.settle()
    signal = last(cluster, "w")
    assert isinstance(signal, history.SignalReceived)
    assert (signal.signal, len(happened(cluster, "w"))) == ("ended", 2)
    assert msgspec.json.decode(signal.input[0].data) == {
        "workflow_id": name,
        "run_id": cluster.home(name).run(name).run_id,
        "status": "failed",
    }


def test_a_close_signal_comes_once_whatever_befalls_the_messages_and_nobody_misses_it() -> None:
    for seed in range(10):
        cluster = Cluster(seed)
        cluster.start()
        cluster.advance("w", child("a", close_signal="ended"), child("b", 2, close_signal="bad\0signal"))
        cluster.settle_badly()
        assert happened(cluster, "w").count("ChildWorkflowStartFailed") == 1, "a signal that cannot be sent"
        cluster.advance("a", closing("completed"))
        cluster.settle_badly()
        assert happened(cluster, "w").count("SignalReceived") == 1
        cluster.advance("w", child("c", 3, close_signal="ended", parent_close_policy="abandon"))
        cluster.settle_badly()
        cluster.advance("w", closing("completed"))
        cluster.advance("c", closing("completed"))
        cluster.settle_badly()
        letters = [e for e in cluster.home("w").made_since(0) if e.topic == TOPICS.dead_letters]
        assert letters == [], "the parent has gone: nobody is told"
        cluster.finish()


def test_a_child_with_a_close_signal_can_be_cancelled_and_ends_with_its_parent(cluster: Cluster) -> None:
    cluster.start()
    cluster.advance("w", child("a", close_signal="ended"))
    cluster.settle()
    cluster.advance("w", commands.CancelChildWorkflow(seq=1))
    cluster.settle()
    assert happened(cluster, "a")[-1] == "WorkflowCancelRequested"
    cluster.advance("w", closing("completed"))
    cluster.settle()
    assert happened(cluster, "a")[-1] == "WorkflowTerminated"


def test_a_workflow_terminates_another_one_and_is_told(cluster: Cluster) -> None:
    name = cluster.elsewhere("w")
    cluster.start()
    cluster.start(name)
    cluster.advance(
        "w",
        commands.CancelExternalWorkflow(seq=1, workflow_id=name, reason="late", terminate=True),
        commands.CancelExternalWorkflow(seq=2, workflow_id="nobody", terminate=True),
    )
    cluster.settle()
    assert (happened(cluster, name)[-1], last(cluster, name).reason) == ("WorkflowTerminated", "late")
    answers = [k for k in happened(cluster, "w") if k.startswith("ExternalCancel") and "Requested" not in k]
    assert sorted(answers) == ["ExternalCancelDelivered", "ExternalCancelFailed"]
