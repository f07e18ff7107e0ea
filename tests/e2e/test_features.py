"""What a user can do, from end to end, on both logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from odradek import (
    ActivityError,
    WorkflowAlreadyStartedError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowHandle,
    WorkflowNotFoundError,
    WorkflowTerminatedError,
)
from odradek_schemas import Position, Request, records, tasks

from ..longer import with_longer_times
from . import programs
from .programs import ACTIVITIES, WORKFLOWS, Buy, Item, calls, gates
from .system import System, described, system_on

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
QUEUE = "features"


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def worker(system: System) -> AsyncIterator[None]:
    async with system.worker(QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES):
        yield


async def start(system: System, workflow: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
    options = {"id": system.name("wf"), "task_queue": QUEUE, **options}
    handle: WorkflowHandle[Any, Any] = await system.client.start(workflow, *args, **options)
    return handle


async def execute(system: System, workflow: Any, *args: Any) -> Any:
    return await (await start(system, workflow, *args)).result()


# ---------------------------------------------------------------- activities


async def test_activities_of_both_kinds_signals_and_queries_also_after_the_end(system: System) -> None:
    order = await start(system, Buy, Item("poke", 1299))
    await order.signal(Buy.note, "no onions")
    assert await order.query(Buy.heard) == ["no onions"], "a query sees every message acknowledged before it"
    await order.signal(Buy.finish)
    assert await order.result() == {"first": 1299, "second": 2598, "notes": 1}
    assert await order.query(Buy.heard) == ["no onions"]
    assert (await order.describe()).status == "completed"


async def test_an_error_arrives_as_its_own_class_with_the_attempt_behind_it(system: System) -> None:
    assert await execute(system, Buy, Item("gone", 7)) == {"attempt": 1, "7": 0}


async def test_a_failing_activity_is_retried_and_history_shows_only_the_end(system: System) -> None:
    handle = await start(system, programs.retried, 3)
    assert await handle.result() == 4
    infos = calls[handle.id]
    assert [info.attempt for info in infos] == [1, 2, 3, 4]
    assert len({info.idempotency_key for info in infos}) == 1
    assert [e.type for e in await handle.history()] == [
        "WorkflowStarted", "WorkflowTaskCompleted", "ActivityScheduled", "ActivityCompleted", "WorkflowTaskCompleted",
        "WorkflowCompleted",
    ]


async def test_a_workflow_fails_with_the_activity_behind_it_when_attempts_run_out(system: System) -> None:
    handle = await start(system, programs.runs_out_of_attempts)
    with pytest.raises(WorkflowFailedError) as failed:
        await handle.result()
    chain = [failed.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)  # type: ignore[arg-type]  # any exception
    (activity_error,) = [e for e in chain if isinstance(e, ActivityError)]
    assert activity_error.attempt == 3
    assert len(calls[handle.id]) == 3


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("start_to_close", "start_to_close 2"),
        ("schedule_to_start", "schedule_to_start 1"),
        ("schedule_to_close", "failed RuntimeError True"),
    ],
)
async def test_timeouts(system: System, which: str, expected: str) -> None:
    assert await execute(system, programs.reports_timeout, which) == expected


async def test_heartbeat_timeout_and_details_for_the_next_attempt(system: System) -> None:
    async def silent(timeout: float) -> None:
        assert await execute(system, programs.heartbeats, timeout) == [40, 2]

    await with_longer_times(1.5, silent)


async def test_a_cancelled_activity_is_told(system: System) -> None:
    handle = await start(system, programs.CancelsItsActivity)
    assert await asyncio.to_thread(gates[f"{handle.id} has begun"].wait, 30)
    await handle.signal(programs.CancelsItsActivity.has_begun)
    assert await handle.result() == "timed out"
    assert await asyncio.to_thread(gates[handle.id].wait, 30)


async def test_many_activities_at_once(system: System) -> None:
    assert await execute(system, programs.many_at_once, 200) == sum(range(200))


async def test_durable_sleep_is_never_too_short(system: System) -> None:
    assert await execute(system, programs.sleeps, 0.5) >= 0.5


async def test_a_pending_activity_is_described_and_completed_from_elsewhere_by_its_token(system: System) -> None:
    handle = await start(system, programs.holds_activity)
    found = await described(handle, lambda d: d.pending_activities and d.pending_activities[0].state == "started")
    pending = found.pending_activities
    assert (pending[0].activity_type, pending[0].attempt) == ("waits_for_gate", 1)
    await system.client.complete_activity(pending[0].task_token, "by hand")
    assert await handle.result() == "by hand"
    gates[handle.id].set()


# ---------------------------------------------------------------- closing


async def test_cancel_runs_the_clean_up(system: System) -> None:
    handle = await start(system, programs.waits_long)
    await handle.cancel("changed my mind")
    with pytest.raises(WorkflowFailedError) as failed:
        await handle.result()
    assert isinstance(failed.value, WorkflowCancelledError) or isinstance(failed.value.__cause__, Exception)
    assert (await handle.describe()).status == "cancelled"
    assert len(calls[handle.id]) == 1


async def test_terminate_ends_at_once(system: System) -> None:
    handle = await start(system, programs.waits_long)
    await handle.terminate("enough")
    with pytest.raises((WorkflowFailedError, WorkflowTerminatedError), match="enough"):
        await handle.result()
    assert calls[handle.id] == []


async def test_a_bug_is_shown_and_a_fixed_deployment_carries_on(system: System) -> None:
    programs.broken = True
    handle = await start(system, programs.has_a_bug, 7)
    found = await described(handle, lambda d: d.task_failure_cause)
    assert found.status == "running"
    assert "a typo" in found.task_failure_traceback
    programs.broken = False
    assert await handle.result() == 7
    assert len(calls[handle.id]) == 1, "the completed step was not done again"
    assert (await handle.describe()).task_failure_cause == ""


# ---------------------------------------------------------------- requests


async def test_id_policies(system: System) -> None:
    name = system.name("policy")
    first = await start(system, programs.waits_long, id=name)
    with pytest.raises(WorkflowAlreadyStartedError):
        await start(system, programs.waits_long, id=name)
    same = await start(system, programs.waits_long, id=name, id_conflict_policy="use_existing")
    assert same.run_id == first.run_id
    other = await start(system, programs.waits_long, id=name, id_conflict_policy="terminate_existing")
    assert other.run_id != first.run_id
    assert (await system.client.get(name, run_id=first.run_id).describe()).status == "terminated"
    await other.terminate()
    with pytest.raises(WorkflowAlreadyStartedError):
        await start(system, programs.waits_long, id=name, id_reuse_policy="reject")
    again = await start(system, programs.sleeps, 0, id=name, id_reuse_policy="allow_if_failed")
    assert await again.result() >= 0
    with pytest.raises(WorkflowAlreadyStartedError):
        await start(system, programs.sleeps, 0, id=name, id_reuse_policy="allow_if_failed")


async def test_q1_a_repeated_request_gets_the_same_answer_and_changes_nothing(system: System) -> None:
    name = system.name("q1")
    first = await start(system, Buy, Item("poke", 1), id=name, request_id="start-me")
    again = await start(system, Buy, Item("poke", 1), id=name, request_id="start-me")
    assert again.run_id == first.run_id
    for _ in range(3):
        await first.with_options(request_id="tell-once").signal(Buy.note, "once")
    await first.signal(Buy.finish)
    assert (await first.result())["notes"] == 1
    after_close = await start(system, Buy, Item("poke", 1), id=name, request_id="start-me")
    assert after_close.run_id == first.run_id


async def test_signal_with_start(system: System) -> None:
    name = system.name("sws")
    options = {"id": name, "task_queue": QUEUE, "signal": Buy.note}
    first = await system.client.signal_with_start(Buy, Item("x", 1), signal_args=["a"], **options)
    second = await system.client.signal_with_start(Buy, Item("x", 1), signal_args=["b"], **options)
    assert second.run_id == first.run_id
    assert await first.query(Buy.heard) == ["a", "b"]
    await first.terminate()


async def test_errors_name_what_is_wrong(system: System) -> None:
    nobody = system.client.get(system.name("nobody"))
    with pytest.raises(WorkflowNotFoundError):
        await nobody.signal("x")
    with pytest.raises(WorkflowNotFoundError):
        await nobody.result()
    with pytest.raises(WorkflowNotFoundError):
        await nobody.query("x")
    with pytest.raises(WorkflowNotFoundError):
        await nobody.describe()


async def test_describe_says_that_no_worker_polls_the_queue(system: System) -> None:
    handle = await start(system, programs.waits_long, task_queue="a-queue-without-workers")
    found = await handle.describe()
    assert found.workers == 0
    assert found.missing_queues == ("a-queue-without-workers",)
    assert any("a-queue-without-workers" in warning for warning in found.warnings)
    await handle.terminate()


async def test_a_worker_that_has_ended_is_missed_at_once(system: System) -> None:
    """Breaks when it counts for as long as one may be silent, here an hour."""
    handle = await start(system, programs.waits_long, task_queue="left")
    async with system.worker("left", workflows=WORKFLOWS, lost_after=3_600.0):
        await described(handle, lambda d: d.workers)
    found = await described(handle, lambda d: not d.workers)
    assert found.missing_queues == ("left",)
    await handle.terminate()


async def test_a_worker_that_is_gone_is_not_taken_for_live_by_the_next_engine(tmp_path: Path) -> None:
    target = f"file:{tmp_path / 'log'}"
    async with system_on(target, tmp_path / "state", "again") as system, system.worker("q", workflows=WORKFLOWS):
        handle = await system.client.start(programs.waits_long, id="w", task_queue="q")
        await described(handle, lambda d: d.workers)
    async with system_on(target, tmp_path / "state", "again") as system:
        assert (await system.client.get("w").describe()).missing_queues == ("q",)


async def test_describe_says_that_the_workflow_type_is_unknown(system: System) -> None:
    handle = await start(system, "Nonsense")
    found = await described(handle, lambda d: d.task_failure_cause)
    assert found.task_failure_cause == "unknown_type"
    assert "Nonsense" in str(found.task_failure)
    await handle.terminate()


# ---------------------------------------------------------------- bad records


async def test_bad_records_become_dead_letters_and_the_partition_goes_on(system: System) -> None:
    name = system.name("bad")
    bad = [b"", b"nonsense", b"{", b'{"type":"StartWorkflow"}', b"\xc3\x01 no such schema", bytes(200)]
    for value in bad:
        await system.append(value, name)
    batch = tasks.HistoryBatch(position=_position(), workflow_id=name, run_id="r", workflow_type="t", task_queue="q")
    await system.append(batch, name)
    handle = await start(system, programs.sleeps, 0, id=name)
    assert await handle.result() >= 0

    def all_there(found: list[Any]) -> bool:
        return sum(letter.key == name.encode() for letter in found) >= len(bad) + 1

    letters = [r for r in await system.read(system.topics.dead_letters, all_there) if r.key == name.encode()]
    assert [letter.value for letter in letters][: len(bad)] == bad
    assert all(letter.reason and "defect" not in letter.reason for letter in letters)


async def test_stale_and_repeated_records_change_nothing(system: System) -> None:
    handle = await start(system, programs.retried, 0)
    assert await handle.result() == 1
    before = await handle.history()
    (scheduled,) = [e for e in before if e.type == "ActivityScheduled"]
    identity = {"workflow_id": handle.id, "run_id": handle.run_id, "seq": 1, "attempt": 1, "session": "x",
                "scheduled_by": scheduled.attributes["scheduled_by"]}
    await system.append(records.ActivityStarted(**identity), handle.id)
    await system.append(records.ActivityCompleted(**identity), handle.id)
    await system.append(records.TimerFired(workflow_id=handle.id, run_id=str(handle.run_id), seq=9, epoch=0), handle.id)
    stale = records.WorkflowTaskCompleted(
        workflow_id=handle.id, run_id=str(handle.run_id), id="z-1", base=str(handle.run_id), consumed_through=1
    )
    await system.append(stale, handle.id)
    assert await handle.history() == before


async def test_n1_a_record_in_the_wrong_partition_starts_its_workflow_all_the_same(system: System) -> None:
    name = system.name("n1")
    wrong = (system.home(name) + 1) % 4
    start = {"type": "StartWorkflow", "workflow_id": name, "workflow_type": "sleeps", "task_queue": QUEUE, "input": [0]}
    await system.append(json.dumps(start).encode(), name, wrong)
    handle = system.client.get(name)
    while True:
        try:
            assert await handle.result() >= 0
            break
        except WorkflowNotFoundError:
            continue  # it is on its way through the other partition


async def test_e6_names_that_no_topic_can_carry_are_refused(system: System) -> None:
    record = records.StartWorkflow(
        workflow_id=system.name("e6"), workflow_type="x", task_queue="no/such queue", request=Request(request_id="r")
    )
    await system.append(record, record.workflow_id)
    with pytest.raises(WorkflowNotFoundError):
        await system.client.get(record.workflow_id).describe()


def _position() -> Position:
    return Position(partition=0, offset=0, index=0)
