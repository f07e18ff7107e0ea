"""Reset, pause and what people do to pending activities, from end to end on both logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from odradek import (
    RetryPolicy,
    WorkflowDescription,
    WorkflowFailedError,
    WorkflowHandle,
    WorkflowNotFoundError,
    activity,
    workflow,
)
from odradek.errors import InvalidRequestError

from .system import System, described

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
QUEUE = "resets"
attempts: dict[str, int] = {}
keys: dict[str, list[str]] = {}
works: set[str] = set()


@activity.define
async def pay(amount: int) -> int:
    return amount


@activity.define
async def ship(percent: int) -> int:
    keys.setdefault(activity.info().workflow_id, []).append(activity.info().idempotency_key)
    return percent * 2


@activity.define(retry_policy=RetryPolicy(initial_interval=3600))
async def fragile() -> str:
    workflow_id = activity.info().workflow_id
    attempts[workflow_id] = attempts.get(workflow_id, 0) + 1
    if workflow_id not in works:
        raise ConnectionError("away")
    return f"attempt {activity.info().attempt}"


@workflow.define
class Buying:
    """Its numbers are random: they must stay the same over a reset."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def run(self) -> list[Any]:
        first = await pay(workflow.random().randrange(10**9))
        await workflow.wait_condition(lambda: "go" in self.heard)
        second = await ship(workflow.random().randrange(10**9))
        await workflow.wait_condition(lambda: "end" in self.heard)
        return [first, second, str(workflow.uuid4()), self.heard]

    @workflow.signal
    def hear(self, word: str) -> None:
        self.heard.append(word)

    @workflow.query
    def words(self) -> list[str]:
        return self.heard


@workflow.define
async def needs_fragile(once: bool) -> str:
    if once:
        return await fragile.with_options(retry_policy=RetryPolicy(maximum_attempts=1), on_exhausted="pause")()
    return await fragile()


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def worker(system: System) -> AsyncIterator[None]:
    async with system.worker(QUEUE, workflows=[Buying, needs_fragile], activities=[pay, ship, fragile]):
        yield


async def start(system: System, what: Any, *args: Any) -> WorkflowHandle[Any, Any]:
    handle: WorkflowHandle[Any, Any] = await system.client.start(what, *args, id=system.name("r"), task_queue=QUEUE)
    return handle


async def until(handle: WorkflowHandle[Any, Any], holds: Callable[[WorkflowDescription], bool]) -> WorkflowDescription:
    found: WorkflowDescription = await described(handle, holds)
    return found


async def event_of(handle: WorkflowHandle[Any, Any], kind: str, last: bool = False) -> int:
    found = [e.id for e in await handle.history() if e.type == kind]
    return found[-1 if last else 0]


async def test_a_run_under_way_goes_on_from_the_cut_with_its_random_numbers(system: System) -> None:
    run = await start(system, Buying)
    await run.signal(Buying.hear, "go")
    await until(run, lambda d: d.history_length >= 9)
    before = await run.history()
    reset = await run.reset(await event_of(run, "ActivityScheduled", last=True), reason="a test")
    assert reset.run_id not in (None, run.run_id)
    assert reset.id == run.id
    await reset.signal(Buying.hear, "end")
    first, second, _, heard = await reset.result()
    scheduled = [e.attributes["input"][0] for e in before if e.type == "ActivityScheduled"]
    assert [first, second] == [scheduled[0], scheduled[1] * 2]
    assert heard == ["go", "end"], "a signal that is kept is not applied again"
    assert len(set(keys[run.id])) == 2, "what is decided anew is another activity"
    with pytest.raises(WorkflowFailedError, match="reset to event"):
        await run.result()


async def test_a_completed_run_is_run_again_from_its_start_with_its_signals_or_without(system: System) -> None:
    run = await start(system, Buying)
    await run.signal(Buying.hear, "go")
    await run.signal(Buying.hear, "end")
    result = await run.result()
    again = await run.reset(1)
    assert await again.result() == result
    without = await again.reset(1, reapply="none")
    assert await without.query(Buying.words) == []
    await without.terminate()


async def test_reset_to_an_event_that_is_not_there_says_which_there_are(system: System) -> None:
    run = await start(system, Buying)
    with pytest.raises(InvalidRequestError, match=r"has the events 1 to \d+, not 500"):
        await run.reset(500)
    with pytest.raises(WorkflowNotFoundError):
        await system.client.get(system.name("nobody")).reset(1)
    await run.terminate()


async def test_a_paused_workflow_stands_still_and_then_goes_on(system: System) -> None:
    run = await start(system, Buying)
    await until(run, lambda d: d.history_length >= 5)
    await run.pause("lunch")
    await run.signal(Buying.hear, "go")
    found = await run.describe()
    assert (found.status, found.paused, found.pause_reason) == ("running", True, "lunch")
    assert any("unpause" in warning for warning in found.warnings)
    assert (await run.history())[-1].type == "SignalReceived"
    await run.unpause()
    await run.signal(Buying.hear, "end")
    assert (await run.result())[3] == ["go", "end"]


async def test_a_person_retries_a_pending_activity_now(system: System) -> None:
    run = await start(system, needs_fragile, False)
    await until(run, lambda d: [a.state for a in d.pending_activities] == ["backing_off"])
    await run.pause_activity("fragile")
    (pending,) = (await run.describe()).pending_activities
    assert (pending.state, str(pending.last_failure)) == ("paused", "away")
    works.add(run.id)
    await run.retry_activity(pending.seq)
    assert await run.result() == "attempt 2"


async def test_other_options_of_a_pending_activity(system: System) -> None:
    run = await start(system, needs_fragile, False)
    await until(run, lambda d: [a.state for a in d.pending_activities] == ["backing_off"])
    await run.update_activity_options("fragile", retry_policy=RetryPolicy(maximum_attempts=2), task_queue=QUEUE)
    await run.retry_activity("fragile")
    with pytest.raises(WorkflowFailedError):
        await run.result()
    assert attempts[run.id] == 2


async def test_attempts_used_up_wait_for_a_person(system: System) -> None:
    run = await start(system, needs_fragile, True)
    found = await until(run, lambda d: [a.state for a in d.pending_activities] == ["paused"])
    assert str(found.pending_activities[0].last_failure) == "away"
    assert any("fragile is paused" in warning for warning in found.warnings)
    works.add(run.id)
    await run.unpause_activity("fragile")
    assert await run.result() == "attempt 2"


async def test_a_reset_in_many_parts_holds_up_only_its_own_workflow(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is in this process: with small steps it takes some thirty of them, each asked for by the leader."""
    monkeypatch.setattr("odradek_engine.fold.step.WORK", 5)
    run = await start(system, Buying)
    for n in range(40):
        await run.signal(Buying.hear, f"word {n}")
    assert len(await run.query(Buying.words)) == 40
    again = await run.reset(1)
    await run.signal(Buying.hear, "go")  # waits for its end, as does the query
    assert await run.query(Buying.words) == [*(f"word {n}" for n in range(40)), "go"]
    await run.signal(Buying.hear, "end")
    assert (await again.result())[3][-2:] == ["go", "end"]
    kinds = [e.type for e in await again.history()]
    assert (kinds[1], kinds.count("SignalReceived")) == ("WorkflowReset", 42)
