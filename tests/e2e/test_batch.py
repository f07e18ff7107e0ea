"""A bug in a loyalty programme, repaired by a batch of resets; on both logs."""

from __future__ import annotations

import pytest
from odradek import Worker, activity, workflow
from odradek.errors import InvalidRequestError

from .system import System

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
CUSTOMERS = 12
factor = {"points": 0}


@activity.define
async def rate(customer: int) -> int:
    return factor["points"]


@activity.define
async def greet(customer: int) -> None: ...


@workflow.define
class Loyalty:
    """Collects points until its customer leaves."""

    def __init__(self) -> None:
        self.bought: list[int] = []
        self.points = 0
        self.left = False

    async def run(self, customer: int) -> int:
        await greet(customer)
        per_euro = await rate(customer)  # the bad step: its answer was 0 for a day
        while True:
            await workflow.wait_condition(lambda: bool(self.bought) or self.left)
            if not self.bought:
                return self.points
            self.points += self.bought.pop(0) * per_euro

    @workflow.signal
    def buy(self, euros: int) -> None:
        self.bought.append(euros)

    @workflow.signal
    def leave(self) -> None:
        self.left = True

    @workflow.query
    def balance(self) -> int:
        return self.points


async def test_all_customers_are_reset_to_before_the_bad_step_and_keep_what_they_bought(system: System) -> None:
    client, queue = system.client, system.name("loyalty")
    async with Worker(client, task_queue=queue, workflows=[Loyalty], activities=[rate, greet]):
        factor["points"] = 0
        handles = [
            await client.start(Loyalty, n, id=system.name("customer"), task_queue=queue) for n in range(CUSTOMERS)
        ]
        gone = handles.pop()
        for handle in [*handles, gone]:
            await handle.signal(Loyalty.buy, 10)
            await handle.signal(Loyalty.buy, 5)
            assert await handle.query(Loyalty.balance) == 0
        await gone.signal(Loyalty.leave)
        assert await gone.result() == 0
        factor["points"] = 3
        first = {handle.id: handle.run_id for handle in handles}

        async def batch(**options: bool) -> dict[str, str]:
            found = client.reset_batch(
                workflow_type="Loyalty", activity="rate", request_id="ticket-7", reason="rate was 0", **options
            )
            return {result.workflow_id: result.status async for result in found}

        assert await batch(dry_run=True) == dict.fromkeys(first, "would_reset"), "a closed one is not among them"
        assert {(await handle.describe()).run_id for handle in handles} == set(first.values())
        cut_off = client.reset_batch(workflow_type="Loyalty", activity="rate", request_id="ticket-7", concurrency=3)
        done = await anext(cut_off)
        assert (done.status, done.error) == ("reset", "")
        await cut_off.aclose()
        statuses = await batch()
        assert set(statuses) == set(first)
        assert set(statuses.values()) == {"reset", "already_reset"}
        assert await batch() == dict.fromkeys(first, "already_reset")
        for handle in handles:
            now = client.get(handle.id, Loyalty)
            await now.signal(Loyalty.buy, 1)
            await now.signal(Loyalty.leave)
            assert await now.result() == 48
            kinds = [e.type for e in await now.history()]
            assert kinds.count("WorkflowReset") == 1
        closed = [r async for r in client.reset_batch([gone.id], activity="rate", request_id="ticket-8")]
        assert [r.status for r in closed] == ["reset"]
        assert await client.get(gone.id, Loyalty).result() == 45, "it leaves again"


async def test_a_list_asks_all_partitions_page_by_page(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is in this process: a page looks at three workflows."""
    monkeypatch.setattr("odradek_engine.answers.MAX_LOOKED_AT", 3)
    queue = system.name("listed")
    ids = {system.name("listed") for _ in range(16)}
    for workflow_id in ids:
        await system.client.start("Listed", id=workflow_id, task_queue=queue)
    found = [w async for w in system.client.list_workflows(workflow_type="Listed")]
    assert sorted(w.id for w in found) == sorted(ids)
    assert {(w.status, w.task_queue, w.history_length) for w in found} == {("running", queue, 1)}
    one = ids.pop()
    await system.client.get(one).terminate()
    open_ids = {w.id async for w in system.client.list_workflows(workflow_type="Listed", status="running")}
    assert open_ids == ids
    assert [w.id async for w in system.client.list_workflows(workflow_type="Listed", status="terminated")] == [one]


async def test_a_batch_says_which_step_it_needs(system: System) -> None:
    with pytest.raises(InvalidRequestError, match="one of event_id, last_task, activity, build_id, patch"):
        await anext(system.client.reset_batch(request_id="r"))
    with pytest.raises(InvalidRequestError):
        await anext(system.client.reset_batch(request_id="r", last_task=True, patch="p"))
