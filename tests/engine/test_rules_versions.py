"""Builds of workers, as the fold keeps them: where a run's tasks go, and who is needed for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from odradek_engine import answers
from odradek_engine.clock import SystemClock
from odradek_engine.sessions import Sessions
from odradek_schemas import Topics, commands, decode, ephemeral, history, records, tasks
from odradek_schemas.common import Failure, RetryPolicy

from .harness import DONE, T0, TOPICS, Partition, act, of_kind, outcomes, reasons, request

PINNED = {"build_id": "v1", "versioning": "pinned"}
MOVING = {"build_id": "v1", "versioning": "auto_upgrade"}


def set_current(p: Partition, build: str, queue: str = "orders", **fields: Any) -> Any:
    return p.append(records.SetCurrentBuild(task_queue=queue, build_id=build, **fields))


def sent_to(p: Partition, kind: type) -> list[str]:
    """The topics that all tasks of a kind went to, in order, without the prefix."""
    return [topic.removeprefix(TOPICS.prefix) for topic, _, body in p.effects if isinstance(body, kind)]


def workflow_tasks(p: Partition) -> list[str]:
    return sent_to(p, tasks.WorkflowTask)


def needed(p: Partition, queue: str = "orders") -> dict[str, list[str]]:
    sessions = Sessions(p.state, SystemClock(), 10.0)
    described = answers.builds(p.state, sessions, queue, "c", "r")
    assert all(build.open == len(build.workflow_ids) for build in described.builds)
    return {build.build_id: build.workflow_ids for build in described.builds}


def test_new_runs_go_to_the_current_build_of_their_queue(p: Partition) -> None:
    """Breaks when a queue's current build is that of another queue, or comes too late."""
    p.start("a")
    set_current(p, "v1")
    p.start("b")
    p.start("c", task_queue="other")
    set_current(p, "")
    p.start("d")
    assert workflow_tasks(p) == [
        "workflow-tasks.orders", "workflow-builds.6.orders.v1", "workflow-tasks.other", "workflow-tasks.orders",
    ]  # fmt: skip


def test_a_pinned_run_stays_with_its_activities_on_its_own_queue(p: Partition) -> None:
    """Breaks when what is current moves it."""
    set_current(p, "v1")
    p.start()
    set_current(p, "v2")
    p.advance(act(1), act(2, task_queue="push"), **PINNED)
    p.signal()
    assert workflow_tasks(p)[-1] == "workflow-builds.6.orders.v1"
    assert sent_to(p, tasks.ActivityTask) == ["activity-builds.6.orders.v1", "activity-tasks.push"]
    event = next(e.attributes for e in p.events() if isinstance(e.attributes, history.WorkflowTaskCompleted))
    assert (event.build_id, event.versioning) == ("v1", "pinned")


def test_other_runs_move_with_their_next_task(p: Partition) -> None:
    """Breaks when the build of the last completion holds a run that is not pinned."""
    set_current(p, "v1")
    p.start()
    p.advance(act(1), **MOVING)
    set_current(p, "v2")
    p.signal()
    assert workflow_tasks(p) == ["workflow-builds.6.orders.v1", "workflow-builds.6.orders.v2"]
    p.advance(act(2), build_id="v2", versioning="auto_upgrade")
    assert sent_to(p, tasks.ActivityTask) == ["activity-builds.6.orders.v1", "activity-builds.6.orders.v2"]


def test_t3_a_task_that_is_out_to_a_build_that_is_gone_is_emitted_again_to_the_current_one(p: Partition) -> None:
    """Breaks when a task that nobody took stays where it was sent."""
    set_current(p, "v1")
    run = p.start()
    set_current(p, "v2")
    assert needed(p) == {"v1": ["w"], "v2": []}
    p.append(
        records.TaskReissued(
            workflow_id="w", run_id=run.run_id, base=run.base, offset=run.task_offset, index=run.task_index,
            epoch=p.row.epoch,
        )
    )  # fmt: skip
    assert workflow_tasks(p) == ["workflow-builds.6.orders.v1", "workflow-builds.6.orders.v2"]
    assert needed(p) == {"v2": ["w"]}


def test_a_build_is_needed_until_its_pinned_runs_have_closed(p: Partition) -> None:
    """Breaks when a drain ends too early, or never."""
    set_current(p, "v1")
    p.start("a")
    p.start("b")
    p.advance(act(1), workflow_id="a", **PINNED)
    p.advance(act(1), workflow_id="b", **MOVING)
    set_current(p, "v2")
    assert needed(p) == {"v1": ["a"], "v2": []}
    p.signal(workflow_id="a")
    p.advance(DONE, workflow_id="a", **PINNED)
    assert needed(p) == {"v2": []}


def test_a_pinned_run_that_is_started_again_begins_on_the_current_build(p: Partition) -> None:
    """Breaks when a new run inherits the build of the one before."""
    set_current(p, "v1")
    p.start()
    p.advance(DONE, **PINNED)
    set_current(p, "v2")
    p.start()
    assert workflow_tasks(p)[-1] == "workflow-builds.6.orders.v2"


def test_q1_a_repeated_request_does_not_take_back_what_came_after_it(p: Partition) -> None:
    """Breaks when a client's retry makes an old build current again."""
    first = set_current(p, "v1", request=request("r1"))
    set_current(p, "v2", request=request("r2"))
    again = set_current(p, "v1", request=request("r1"))
    late = set_current(p, "v1", request=request("r3", deadline_ms=T0 - 1))
    p.start()
    assert workflow_tasks(p) == ["workflow-builds.6.orders.v2"]
    assert [outcomes(one) for one in (first, again, late)] == [["ok"], ["ok"], ["expired"]]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"queue": "or ders"}, "task_queue"),
        ({"queue": ""}, "task_queue"),
        ({"build": "v/1"}, "build_id"),
        ({"build": "v" * 101}, "build_id"),
        ({"request": request("")}, "request_id"),
    ],
    ids=str,
)
def test_e6_what_cannot_be_a_build_is_refused(p: Partition, fields: dict[str, Any], reason: str) -> None:
    """Breaks when a name reaches a topic's name unchecked."""
    folded = set_current(p, **{"build": "v1", **fields})
    assert reason in reasons(folded)[0]
    p.start()
    assert workflow_tasks(p) == ["workflow-tasks.orders"]


@pytest.mark.parametrize(
    "fields",
    [
        {"build_id": "v/1", "versioning": "pinned"},
        {"build_id": "v1", "versioning": ""},
        {"build_id": "v1", "versioning": "often"},
        {"build_id": "", "versioning": "pinned"},
    ],
    ids=str,
)
def test_e6_a_completion_of_no_possible_build_fails_its_task(p: Partition, fields: dict[str, Any]) -> None:
    """Breaks when a worker's wrong build pins a run to where nothing can be sent."""
    p.start()
    p.advance(act(1), **fields)
    assert p.run().task_failure_cause == "invalid"
    assert of_kind(p.append(records.TerminateWorkflow(workflow_id="w")), tasks.WorkflowTask) == []


def test_live_workers_are_counted_by_build(p: Partition) -> None:
    """Breaks when a worker of another build hides that the current one has none."""
    set_current(p, "v2")
    p.start()
    sessions = Sessions(p.state, SystemClock(), 10.0)
    for session, build in (("A", "v1"), ("B", "v1"), ("C", "")):
        beat = ephemeral.WorkerHeartbeat(session=session, workflow_queues=["orders"], build_id=build)
        sessions.heard(beat)
    described = answers.builds(p.state, sessions, "orders", "c", "r")
    assert {build.build_id: build.workers for build in described.builds} == {"": 1, "v1": 2, "v2": 0}
    assert described.current == "v2"
    run = answers.describe(p.state, sessions, p.run(), T0, "c", "r")
    assert (run.build_id, run.workers, run.missing_queues) == ("v2", 0, ["orders"])


def test_no_two_builds_share_a_topic() -> None:
    """Breaks when a dot in one name can stand for the border between two."""
    topics = Topics("n" * 100)
    long = "q" * 100
    pairs = [("a", "b.c"), ("a.b", "c"), (long, "b" * 100), (long, "b" * 99 + "c"), ("1.a", "b"), ("1", "a.b")]
    names = [topics.workflow_tasks(*pair) for pair in pairs]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 249, "Kafka's limit"


def test_r1_a_reset_goes_on_on_the_current_build_unless_told_otherwise(p: Partition) -> None:
    """Breaks when a run that is reset after a bug fix is bound to the code that has the bug."""
    set_current(p, "v1")
    p.start()
    p.advance(act(1), **PINNED)
    p.signal()
    p.advance(act(2), **PINNED)
    set_current(p, "v2")
    p.append(records.ResetWorkflow(workflow_id="w", event_id=p.run().last_event_id))
    assert (p.run().build_id, p.run().versioning) == ("", "")
    assert workflow_tasks(p)[-1] == "workflow-builds.6.orders.v2"
    assert sent_to(p, tasks.ActivityTask)[-1] == "activity-builds.6.orders.v2", "what was open at the cut moves too"
    assert needed(p) == {"v2": ["w"]}
    p.append(records.ResetWorkflow(workflow_id="w", event_id=4, build_id="v1"))
    assert workflow_tasks(p)[-1] == "workflow-builds.6.orders.v1"
    assert needed(p) == {"v1": ["w"], "v2": []}
    folded = p.append(records.ResetWorkflow(workflow_id="w", event_id=4, build_id="v/1", request=request("r")))
    assert outcomes(folded) == ["invalid"]


def child_start(p: Partition) -> records.StartWorkflow:
    found = [decode(body.value) for body in p.made(records.ForwardedRecord)]
    return [record for record in found if isinstance(record, records.StartWorkflow)][-1]


def test_children_of_a_pinned_run_begin_on_its_build_on_its_own_queue(p: Partition) -> None:
    """Breaks when parent and child are of different code, which need not know each other's arguments."""
    set_current(p, "v1")
    p.start()
    set_current(p, "v2")
    child = commands.StartChildWorkflow(seq=1, workflow_id="c", workflow_type="Child")
    p.advance(child, **PINNED)
    assert child_start(p).build_id == "v1"
    p.advance(msgspec.structs.replace(child, seq=2, workflow_id="d", task_queue="push"), **PINNED)
    assert child_start(p).build_id == "", "another queue has builds of its own"
    p.signal()
    p.advance(msgspec.structs.replace(child, seq=3, workflow_id="e"), **MOVING)
    assert child_start(p).build_id == ""


def test_a_run_may_begin_pinned(p: Partition) -> None:
    """Breaks when it begins on the current build, or a build is needed only after its first task."""
    set_current(p, "v1")
    p.start("canary", build_id="v2")
    assert workflow_tasks(p) == ["workflow-builds.6.orders.v2"]
    set_current(p, "v3")
    p.signal(workflow_id="canary")
    assert needed(p) == {"v2": ["canary"], "v3": []}
    folded = p.append(records.StartWorkflow(workflow_id="x", workflow_type="T", task_queue="orders", build_id="v\0"))
    assert "build_id" in reasons(folded)[0]


@pytest.mark.parametrize(
    ("how", "command", "build"),
    [
        (PINNED, {}, "v1"),
        (PINNED, {"versioning": "auto_upgrade"}, "v2"),
        (MOVING, {}, "v2"),
    ],
)
def test_w3_the_next_run_of_a_pinned_one_stays_on_its_build_unless_the_code_moves_it(
    p: Partition, how: dict[str, str], command: dict[str, str], build: str
) -> None:
    """Breaks when old code's arguments go to new code unasked, or workflows without an end hold a build for ever."""
    set_current(p, "v1")
    p.start()
    set_current(p, "v2")
    p.advance(commands.ContinueAsNewWorkflow(**command), **how)  # type: ignore[arg-type]  # none is a list
    assert workflow_tasks(p)[-1] == f"workflow-builds.6.orders.{build}"
    assert needed(p) == {"v2": []} | {build: ["w"]}


def test_w3_a_next_run_on_another_queue_and_a_cron_run_begin_on_the_current_build(p: Partition) -> None:
    """Breaks when a build is taken along to a queue that does not have it."""
    set_current(p, "v1")
    p.start("a")
    p.advance(commands.ContinueAsNewWorkflow(task_queue="push"), workflow_id="a", **PINNED)
    assert workflow_tasks(p)[-1] == "workflow-tasks.push"
    p.start("b", cron_schedule="* * * * *", start_delay_ms=1, build_id="v1")
    set_current(p, "v2")
    p.advance(commands.CompleteWorkflow(next_cron_ms=p.now + 1), workflow_id="b", **PINNED)
    assert p.run("b").build_id == ""


def test_a_run_that_is_tried_again_begins_as_it_began(p: Partition) -> None:
    """Breaks when a failed run that began on the current build is tried again on the old one."""
    set_current(p, "v1")
    policy = RetryPolicy(initial_interval_ms=1)
    failed = commands.FailWorkflow(failure=Failure(message="no", type="E", kind="application"))
    p.start("a", retry_policy=policy)
    p.start("b", retry_policy=policy, build_id="v1")
    set_current(p, "v2")
    for name in ("a", "b"):
        p.advance(failed, workflow_id=name, **PINNED)
    assert (p.run("a").build_id, p.run("b").build_id) == ("", "v1")


def test_what_a_build_is_needed_for_is_counted_without_a_look_at_every_run(p: Partition) -> None:
    """Breaks when a list of builds walks through all that is open."""
    for number in range(30):
        p.start(f"w-{number:02}", build_id="v1")
    looked = []
    scan = p.state.scan

    def watched(*args: Any, **kwargs: Any) -> Any:
        for entry in scan(*args, **kwargs):
            looked.append(entry)
            yield entry

    p.state.scan = watched  # type: ignore[method-assign]  # counts what is read
    described = answers.builds(p.state, Sessions(p.state, SystemClock(), 10.0), "orders", "c", "r")
    (v1,) = [build for build in described.builds if build.build_id == "v1"]
    assert (v1.open, len(v1.workflow_ids)) == (30, 20)
    assert len(looked) == 21, "the count, and those that are named"
