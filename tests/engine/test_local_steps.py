"""Steps that a worker does within its completion: local activities and side effects (rules W6, W7, W10)."""

from __future__ import annotations

import pytest
from odradek_schemas import commands, history, records, tasks

from .harness import T0, Partition, failure, payload

LOCAL = commands.StartLocalActivity(seq=1, activity_type="quick")
SIDE = commands.RecordSideEffect(seq=2)
DONE = commands.CompleteWorkflow()


def result(seq: int = 1, kind: str = "local_activity", **fields: object) -> records.LocalResult:
    return records.LocalResult(seq=seq, scheduled_by="", time_ms=T0, kind=kind, name="quick", **fields)  # type: ignore[arg-type]


def test_local_results_are_events_of_their_completion(p: Partition) -> None:
    p.start()
    p.advance(LOCAL, SIDE, DONE, local_results=[result(result=payload("7"), attempt=2), result(2, "side_effect")])
    kinds = ["LocalActivityCompleted", "SideEffectRecorded", "WorkflowTaskCompleted", "WorkflowCompleted"]
    assert p.happened()[-4:] == kinds
    done, _, completed, _ = p.events()[-4:]
    assert done.attributes == history.LocalActivityCompleted(
        seq=1, activity_type="quick", result=payload("7"), attempt=2
    )
    assert isinstance(completed.attributes, history.WorkflowTaskCompleted)
    assert completed.attributes.local_events == [done.event_id, done.event_id + 1]
    assert [c.name for c in completed.attributes.commands] == ["quick", "", ""]


def test_w6_local_steps_of_a_refused_completion_never_happened(p: Partition) -> None:
    """Breaks when what another worker did on the spot gets into the history of the one that was first."""
    p.start()
    first = p.run().base
    p.advance(LOCAL, local_results=[result(failure=failure())])
    p.advance(LOCAL, base=first, local_results=[result(result=payload("other"))])
    assert p.happened().count("LocalActivityFailed") == 1
    assert "LocalActivityCompleted" not in p.happened()


def test_new_task_gives_the_run_a_task_without_anything_to_read(p: Partition) -> None:
    """Breaks when a worker that dies while a local activity runs takes the workflow with it (rule 7 of the design)."""
    p.start()
    first = p.advance(LOCAL, new_task=True)
    task = p.made(tasks.WorkflowTask)[-1]
    assert (task.base, task.events, task.complete) == (first, [], True)
    p.append(records.WorkflowTaskFailed(workflow_id="w", run_id=p.run().run_id, base=first, failure=failure()))
    p.task_due()
    assert p.run().task_offset == len(p.log) - 1, "it comes again until it is answered"
    second = p.advance(consumed_through=p.run().consumed_through, local_results=[result()])
    assert (p.run().base, p.run().task_offset) == (second, -1)


@pytest.mark.parametrize("wrong", [result(kind="other"), result(seq=0), result(seq=-1, kind="side_effect")])
def test_w7_local_results_that_make_no_sense_are_refused(p: Partition, wrong: records.LocalResult) -> None:
    p.start()
    p.advance(LOCAL, local_results=[wrong])
    assert p.run().task_failure_cause == "invalid"


def test_a_reset_begins_undone_local_steps_again(p: Partition) -> None:
    p.start()
    p.advance(LOCAL, local_results=[result()])
    p.append(records.ResetWorkflow(workflow_id="w", event_id=p.run().last_event_id))
    assert p.run().consumed_through == 0
    assert p.run().task_offset == len(p.log) - 1
