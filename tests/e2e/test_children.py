"""Children and messages between workflows, from end to end on both logs, whose workflows lie on several partitions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from odradek import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    WorkflowFailedError,
    WorkflowHandle,
    WorkflowNotFoundError,
    workflow,
)

from .system import System, described

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
QUEUE = "children"


@workflow.define(name="children.double")
async def double(number: int) -> int:
    if number < 0:
        raise ApplicationError("negative", number, type="Negative")
    return number * 2


@workflow.define(name="children.waits")
class Waits:
    """Waits for a signal; cleans up when it is cancelled."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.cleaned = False

    async def run(self) -> list[str]:
        try:
            await workflow.wait_condition(lambda: "end" in self.heard)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            self.cleaned = True
            raise
        return self.heard

    @workflow.signal
    def hear(self, word: str) -> None:
        self.heard.append(word)

    @workflow.query
    def state(self) -> bool:
        return self.cleaned


@workflow.define(name="children.fans_out")
async def fans_out(count: int) -> int:
    return sum(await asyncio.gather(*(workflow.execute_child(double, n) for n in range(count))))


@workflow.define(name="children.talks")
async def talks(child_id: str) -> list[str]:
    child = await workflow.start_child(Waits, id=child_id)
    for word in ("a", "b", "end"):
        await child.signal(Waits.hear, word)
    return await child


@workflow.define(name="children.catches")
async def catches() -> list[str]:
    try:
        await workflow.execute_child(double, -1)
    except ChildWorkflowError as error:
        cause = error.__cause__
        assert isinstance(cause, ApplicationError)
        return [cause.type, cause.message, error.workflow_type]
    return []


@workflow.define(name="children.times_out")
async def times_out(child_id: str) -> str:
    try:
        async with asyncio.timeout(0.2):
            await workflow.execute_child(Waits, id=child_id)
    except TimeoutError:
        return "timed out"
    return "no"


@workflow.define(name="children.leaves")
async def leaves(child_id: str, policy: str) -> str:
    child = await workflow.start_child(Waits, id=child_id, parent_close_policy=policy)  # type: ignore[call-overload]  # the test gives all of them
    return str(child.run_id)


@workflow.define(name="children.sends")
async def sends(other: str) -> str:
    handle = workflow.external(other, Waits)
    await handle.signal(Waits.hear, "from outside")
    await handle.cancel("enough")
    try:
        await workflow.external("there is none").signal("hear", "x")
    except WorkflowNotFoundError:
        return "not found"
    return "found"


@workflow.define(name="children.takes")
async def takes(child_id: str) -> str:
    try:
        await workflow.execute_child(Waits, id=child_id)
    except WorkflowAlreadyStartedError as error:
        return error.run_id
    return ""


WORKFLOWS = [double, Waits, fans_out, talks, catches, times_out, leaves, sends, takes]


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def worker(system: System) -> AsyncIterator[None]:
    async with system.worker(QUEUE, workflows=WORKFLOWS):
        yield


async def start(system: System, run: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
    options = {"id": system.name("wf"), "task_queue": QUEUE, **options}
    handle: WorkflowHandle[Any, Any] = await system.client.start(run, *args, **options)
    return handle


async def test_many_children_at_once_on_all_partitions(system: System) -> None:
    handle = await start(system, fans_out, 40)
    assert await handle.result() == sum(2 * n for n in range(40))
    types = [event.type for event in await handle.history()]
    assert types.count("ChildWorkflowStarted") == types.count("ChildWorkflowCompleted") == 40


async def test_a_parent_talks_to_its_child(system: System) -> None:
    name = system.name("child")
    assert await (await start(system, talks, name)).result() == ["a", "b", "end"]
    described = await system.client.get(name).describe()
    assert described.status == "completed"
    assert described.parent_id


async def test_the_failure_of_a_child_has_its_cause(system: System) -> None:
    assert await (await start(system, catches)).result() == ["Negative", "negative", "children.double"]


async def test_cancelling_the_wait_lets_the_child_clean_up_first(system: System) -> None:
    name = system.name("child")
    assert await (await start(system, times_out, name)).result() == "timed out"
    child = system.client.get(name, Waits)
    assert (await child.describe()).status == "cancelled"
    assert await child.query(Waits.state)


@pytest.mark.parametrize(
    ("policy", "status"), [("terminate", "terminated"), ("abandon", "running"), ("request_cancel", "cancelled")]
)
async def test_the_parent_close_policy(system: System, policy: str, status: str) -> None:
    name = system.name("child")
    run_id = await (await start(system, leaves, name, policy)).result()
    child = system.client.get(name, Waits)
    assert (await child.describe()).run_id == run_id
    if policy == "abandon":
        await child.signal(Waits.hear, "end")
        assert await child.result() == ["end"]
        return
    with pytest.raises(WorkflowFailedError):
        await child.result()
    assert (await child.describe()).status == status


async def test_signals_and_cancels_to_other_workflows(system: System) -> None:
    other = await start(system, Waits)
    assert await (await start(system, sends, other.id)).result() == "not found"
    with pytest.raises(WorkflowFailedError):
        await other.result()
    heard = [e.attributes["signal"] for e in await other.history() if e.type == "SignalReceived"]
    assert heard == ["hear"]
    assert (await other.describe()).status == "cancelled"


async def test_an_id_in_use_is_said_and_pending_children_are_shown(system: System) -> None:
    other = await start(system, Waits)
    assert await (await start(system, takes, other.id)).result() == other.run_id
    name = system.name("child")
    parent = await start(system, takes, name)
    found = await described(parent, lambda d: d.pending_children and d.pending_children[0].state == "started")
    pending = found.pending_children
    assert (pending[0].id, pending[0].workflow_type, pending[0].parent_close_policy) == (
        name, "children.waits", "terminate",
    )  # fmt: skip
    await parent.terminate()
    with pytest.raises(WorkflowFailedError):
        await system.client.get(name).result()
