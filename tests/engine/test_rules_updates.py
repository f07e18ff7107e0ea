"""Updates in the fold: they wait outside history, and each gets exactly one answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from odradek_engine.fold import updates
from odradek_engine.fold.step import Source, Step
from odradek_engine.fold.tasks import wake
from odradek_schemas import commands, decode, history, records, replies, tasks
from odradek_schemas.common import Payload, Request

from .harness import DONE, T0, TOPICS, Folded, Partition, bodies, failure, of_kind, outcomes, payload, request


def update(p: Partition, request_id: str = "u1", **fields: Any) -> Folded:
    fields = {"request": request(request_id, reply_partition=0), "input": [payload("1")], **fields}
    return p.append(records.UpdateWorkflow(workflow_id="w", update="rename", **fields))


def accept(p: Partition, *asked: commands.Command, seqs: tuple[int, ...] = (1,), **fields: Any) -> str:
    run = p.run()
    accepted = [
        records.AcceptedUpdate(seq=seq, update_id=f"u{seq}", fed_after=run.last_event_id, fed_ms=p.now) for seq in seqs
    ]
    return p.advance(*asked, accepted_updates=accepted, **fields)


def rejected(seq: int = 1) -> records.RejectedUpdate:
    return records.RejectedUpdate(seq=seq, update_id=f"u{seq}", failure=failure("no"))


def answers(p: Partition) -> list[tuple[str, str]]:
    return [(reply.request_id, reply.outcome) for reply in p.made(replies.RequestReply)]


@pytest.fixture
def p() -> Partition:
    partition = Partition()
    partition.lead()
    partition.start()
    partition.advance()
    return partition


def test_an_update_leads_to_a_task_and_history_shows_it_only_once_accepted(p: Partition) -> None:
    before = p.happened()
    (task,) = of_kind(update(p), tasks.WorkflowTask)
    assert [(u.seq, u.update, u.after_event_id, u.time_ms) for u in task.updates] == [(1, "rename", 2, T0)]
    assert p.happened() == before
    assert p.run().pending_updates == 1
    accept(p, commands.CompleteUpdate(seq=1, result=payload('"new"')))
    assert p.happened()[len(before) :] == ["UpdateAccepted", "WorkflowTaskCompleted", "UpdateCompleted"]
    completed = p.events()[-2].attributes
    assert isinstance(completed, history.WorkflowTaskCompleted)
    assert completed.updates == [3]
    (reply,) = p.made(replies.RequestReply)
    assert (reply.outcome, reply.result) == ("completed", payload('"new"'))
    assert not p.run().has_unread
    assert p.run().open_updates == 0
    p.finish()


def test_a_rejected_update_leaves_nothing_and_the_run_stands_where_it_was(p: Partition) -> None:
    before = p.happened(), p.run().base
    update(p)
    record = records.UpdatesRejected(
        workflow_id="w", run_id=p.run().run_id, base=p.run().base, rejected_updates=[rejected()]
    )
    assert outcomes(p.append(record)) == ["rejected"]
    assert (p.happened(), p.run().base) == before
    assert p.run().task_offset == -1
    assert bodies(p.append(record)) == [], "a repeated rejection is no answer"
    assert of_kind(update(p, "u2"), tasks.WorkflowTask)[0].updates[0].update_id == "u2"
    p.finish()


def test_one_completion_rejects_and_accepts(p: Partition) -> None:
    update(p)
    update(p, "u2")
    accept(p, seqs=(2,), rejected_updates=[rejected()])
    assert answers(p) == [("u1", "rejected")]
    assert p.happened().count("UpdateAccepted") == 1
    assert p.run().open_updates == 1
    p.advance(commands.CompleteUpdate(seq=2, failure=failure("late")), commands.CompleteUpdate(seq=2))
    assert answers(p)[1:] == [("u2", "failed")], "completed again is a no-op (rule W9)"


def test_an_update_that_came_during_a_task_is_in_the_next_one(p: Partition) -> None:
    p.signal()
    assert of_kind(update(p), tasks.WorkflowTask) == []
    p.advance()
    assert [u.after_event_id for u in p.made(tasks.WorkflowTask)[-1].updates] == [3]


def test_a_repeated_request_waits_for_the_same_answer_and_gets_it(p: Partition) -> None:
    update(p)
    again = records.UpdateWorkflow(
        workflow_id="w", update="rename", request=records.Request(request_id="u1", client_id="other", reply_partition=0)
    )
    assert bodies(p.append(again)) == []
    assert p.run().pending_updates == 1
    accept(p, commands.CompleteUpdate(seq=1, result=payload("1")))
    assert [(r.client_id, r.outcome) for r in p.made(replies.RequestReply)] == [("other", "completed")]
    (stored,) = of_kind(p.append(again), replies.RequestReply)
    assert (stored.outcome, stored.result) == ("completed", payload("1"))
    p.finish()


def test_who_waits_for_acceptance_is_told_then_and_can_wait_for_the_result(p: Partition) -> None:
    update(p, wait_for="accepted")
    accept(p)
    assert answers(p) == [("u1", "accepted")]
    assert outcomes(update(p, wait_for="accepted", attach=True)) == ["accepted"]
    assert outcomes(update(p, attach=True)) == []
    p.advance(commands.CompleteUpdate(seq=1))
    assert answers(p)[-1] == ("u1", "completed")
    assert outcomes(update(p, "unknown", attach=True)) == ["not_found"]


def test_W3_a_close_answers_open_updates_and_dead_letters_unread_signals(p: Partition) -> None:
    update(p)
    accept(p)
    update(p, "u2")
    p.signal("late")
    p.advance(DONE, consumed_through=p.run().last_event_id - 1)
    assert sorted(answers(p)) == [("u1", "closed"), ("u2", "closed")]
    assert ["late" in letter.reason for letter in p.made(tasks.DeadLetter)] == [True]
    closed = p.events()[-1].attributes
    assert isinstance(closed, history.WorkflowCompleted)
    assert len(closed.unread) == 1
    assert outcomes(update(p)) == ["closed"], "the stored answer"
    assert outcomes(update(p, "u3")) == ["closed"]
    p.finish()


def test_W3_terminate_answers_open_updates_too(p: Partition) -> None:
    update(p)
    p.append(records.TerminateWorkflow(workflow_id="w"))
    assert answers(p) == [("u1", "closed")]


def test_W3_undecided_updates_can_be_carried_into_another_run(p: Partition) -> None:
    """What continue-as-new does with them, by the two functions that are there for it."""
    update(p)
    step = Step(p.state, TOPICS, Source(len(p.log), b"", b""), p.now)
    run = p.run()
    rows = updates.take_undecided(step, run)
    step.append("w", run.run_id, history.WorkflowCompleted())
    step.append("w", "next", history.WorkflowStarted(workflow_type="Order", task_queue="orders"))
    updates.carry(step, "w", rows)
    wake(step, "w")
    p.state.commit()
    assert (p.run().run_id, p.run().pending_updates) == ("next", 1)
    p._before = p.state.dump()
    update(p)  # the client asks again
    p.advance(accepted_updates=[records.AcceptedUpdate(seq=1, update_id="u1", fed_after=1, fed_ms=p.now)])
    p.advance(commands.CompleteUpdate(seq=1))
    assert answers(p) == [("u1", "completed")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"seq": 2},
        {"update_id": "x"},
        {"fed_after": 0},
        {"fed_after": 99},
        {"seq": -5},
        {"fed_ms": -1},
    ],
)
def test_a_completion_that_takes_what_is_not_there_is_refused_and_tried_again(
    p: Partition, wrong: dict[str, Any]
) -> None:
    update(p)
    fields = {"seq": 1, "update_id": "u1", "fed_after": 2, "fed_ms": T0, **wrong}
    p.advance(accepted_updates=[records.AcceptedUpdate(**fields)])
    assert p.run().task_failure is not None
    assert p.run().pending_updates == 1
    p.finish()


def test_update_with_start_starts_or_finds_the_run_and_answers_once(p: Partition) -> None:
    start = {"workflow_type": "Order", "task_queue": "orders", "update": "rename", "update_input": [payload("1")]}
    p.append(records.StartWorkflow(workflow_id="v", request=request("u1", reply_partition=0), **start))  # type: ignore[arg-type]
    (task,) = [t for t in p.made(tasks.WorkflowTask) if t.workflow_id == "v"]
    assert [u.after_event_id for u in task.updates] == [1]
    run = p.run("v")
    p.append(
        records.StartWorkflow(
            workflow_id="v", id_conflict_policy="use_existing", request=request("u2", reply_partition=0), **start  # type: ignore[arg-type]
        )
    )
    assert p.run("v").run_id == run.run_id
    assert p.run("v").pending_updates == 2
    accepted = [records.AcceptedUpdate(seq=s, update_id=f"u{s}", fed_after=1, fed_ms=p.now) for s in (1, 2)]
    p.advance(workflow_id="v", accepted_updates=accepted[:1])
    p.advance(commands.CompleteUpdate(seq=1), commands.CompleteUpdate(seq=2), workflow_id="v", accepted_updates=[
        records.AcceptedUpdate(seq=2, update_id="u2", fed_after=p.run("v").last_event_id, fed_ms=p.now)
    ])
    assert answers(p) == [("u1", "completed"), ("u2", "completed")]


def test_many_large_updates_go_in_several_tasks_in_order_with_the_events_between(p: Partition) -> None:
    large = Payload(data=b"x" * 200_000)
    update(p, "u0")
    for number in range(1, 4):
        p.append(
            records.UpdateWorkflow(
                workflow_id="w", update="rename", input=[large], request=request(f"u{number}", reply_partition=0)
            )
        )
        p.signal()
    p.advance(
        accepted_updates=[records.AcceptedUpdate(seq=1, update_id="u0", fed_after=2, fed_ms=p.now)], consumed_through=2
    )
    task = p.made(tasks.WorkflowTask)[-1]
    assert [u.update_id for u in task.updates] == ["u1"]
    assert task.last_event_id == 3, "what came after the next update is not for this task"


def test_an_update_that_is_too_large_or_has_no_request_is_refused(p: Partition) -> None:
    folded = update(p, input=[Payload(data=b"x" * 500_000)])
    assert outcomes(folded) == ["invalid"]
    assert [type(b) for b in bodies(update(p, request=None))] == [tasks.DeadLetter]
    assert p.run().pending_updates == 0


def test_W3_an_update_that_nobody_waits_for_is_reported(p: Partition) -> None:
    """Made by hand it has no client: acknowledged means taken, or found among the dead letters."""
    for request_id in ("u1", "u2"):
        update(p, request_id, request=Request(request_id=request_id))
    first = p.advance(rejected_updates=[rejected()])
    assert first
    p.advance(DONE)
    letters = p.made(tasks.DeadLetter)
    assert [letter.reason for letter in letters] == [
        "update 'rename': rejected: no",
        "update 'rename': closed: workflow 'w' closed before it answered the update",
    ]
    asked = decode(letters[1].value)
    assert asked == records.UpdateWorkflow(
        workflow_id="w", update="rename", input=[payload("1")], request=Request(request_id="u2")
    )
    assert answers(p) == []


def test_W3_an_accepted_update_is_in_the_history_and_no_dead_letter(p: Partition) -> None:
    update(p, request=Request(request_id="u1"))
    accept(p)
    p.advance(DONE)
    assert p.made(tasks.DeadLetter) == []
    assert "UpdateAccepted" in p.happened()


def test_E6_what_a_rejection_holds_is_bounded_also_where_it_is_encrypted(p: Partition) -> None:
    large = Payload(metadata={}, data=b"x" * 60_000)
    for number, hidden in enumerate((large, payload("1")), 1):
        update(p, f"u{number}")
        why = msgspec.structs.replace(failure("Encoded failure"), encoded_attributes=hidden)
        p.advance(rejected_updates=[msgspec.structs.replace(rejected(number), failure=why)])
    kept = [reply.failure for reply in p.made(replies.RequestReply)]
    assert [one.encoded_attributes if one else one for one in kept] == [None, payload("1")]


def test_who_asks_for_an_update_that_is_not_there_is_told_so_and_it_may_still_come(p: Partition) -> None:
    """Were that answer remembered, the update of this ID would get it too, and never be taken."""
    assert outcomes(update(p, attach=True)) == ["not_found"]
    assert of_kind(update(p), tasks.WorkflowTask)
    assert outcomes(update(p, attach=True)) == []
    accept(p, commands.CompleteUpdate(seq=1, result=payload('"new"')))
    assert answers(p) == [("u1", "not_found"), ("u1", "completed")]
    assert outcomes(update(p, attach=True)) == ["completed"]
