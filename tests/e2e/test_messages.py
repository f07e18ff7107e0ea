"""Messages from end to end, on both logs: updates, update-with-start, late handlers, closed workflows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from odradek import (
    ApplicationError,
    QueryFailedError,
    RequestTimeoutError,
    UpdateFailedError,
    UpdateRejectedError,
    WorkflowHandle,
    activity,
    workflow,
)
from odradek.errors import WorkflowClosedError, WorkflowNotFoundError
from odradek.testing import replay

from ..longer import with_longer_times
from .system import System, described

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
QUEUE = "messages"


@workflow.define
class Stock:
    def __init__(self) -> None:
        self.left = 0
        self.closed = False
        self.gate = False

    async def run(self, left: int = 0) -> int:
        self.left += left
        await workflow.wait_condition(lambda: self.closed and workflow.all_handlers_finished())
        return self.left

    @workflow.update
    def take(self, count: int) -> int:
        self.left -= count
        return self.left

    @take.validator
    def check(self, count: int) -> None:
        if count > self.left:
            raise ApplicationError(f"only {self.left} left", type="SoldOut")

    @workflow.update
    async def take_later(self, count: int) -> int:
        await workflow.wait_condition(lambda: self.gate)
        self.left -= count
        return self.left

    @workflow.update
    def fails(self) -> None:
        raise ApplicationError("broken", type="Broken")

    @workflow.signal
    def open_gate(self) -> None:
        self.gate = True

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.query
    def look(self) -> int:
        return self.left

    @workflow.query
    def meddle(self) -> None:
        self.left = 1000


@activity.define
async def doubled(number: int) -> int:
    return 2 * number


@workflow.define
class Hasty:
    """Ends although a handler runs."""

    def __init__(self) -> None:
        self.closed = False

    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.closed)

    @workflow.update
    async def take_later(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@workflow.define
class Sums:
    """Handlers with every kind of step; each notes what it found."""

    def __init__(self) -> None:
        self.found: list[list[int]] = []
        self.closed = False

    async def run(self) -> list[list[int]]:
        await workflow.wait_condition(lambda: self.closed and workflow.all_handlers_finished())
        return self.found

    @workflow.update
    async def add(self, number: int) -> int:
        on_the_spot = await workflow.execute_local_activity(doubled, number)
        noted = await workflow.side_effect(lambda: number)
        self.found.append([number, on_the_spot, noted, await doubled(on_the_spot)])
        return number

    @add.validator
    def not_odd(self, number: int) -> None:
        if number % 2:
            raise ApplicationError("odd")

    @workflow.signal
    async def note(self, number: int) -> None:
        self.found.append([number, await workflow.execute_local_activity(doubled, number)])

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def worker(system: System) -> AsyncIterator[None]:
    async with system.worker(QUEUE, workflows=[Stock, Hasty]):
        yield


async def stock(system: System, left: int) -> WorkflowHandle[Stock, int]:
    return await system.client.start(Stock, left, id=system.name("stock"), task_queue=QUEUE)


async def types(handle: WorkflowHandle[Any, Any]) -> list[str]:
    return [event.type for event in await handle.history()]


async def test_updates_are_validated_answered_and_recorded_only_if_taken(system: System) -> None:
    handle = await stock(system, 5)
    assert await handle.update(Stock.take, 3) == 2
    before = await types(handle)
    with pytest.raises(UpdateRejectedError, match="only 2 left") as rejected:
        await handle.update(Stock.take, 3)
    assert isinstance(rejected.value.cause, ApplicationError)
    with pytest.raises(UpdateRejectedError, match="no update 'gone'"):
        await handle.update("gone")
    assert await types(handle) == before, "a rejected update leaves no trace"
    with pytest.raises(UpdateFailedError, match="broken"):
        await handle.update(Stock.fails)
    assert await handle.update("take", 1) == 1
    await handle.signal(Stock.close)
    assert await handle.result() == 1
    assert before.count("UpdateAccepted") == 1


async def test_a_workflow_that_closes_with_running_handlers_warns(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    handle = await system.client.start(Hasty, id=system.name("hasty"), task_queue=QUEUE)
    update = await handle.start_update(Hasty.take_later)
    with caplog.at_level("WARNING", logger="odradek"):
        await handle.signal(Hasty.close)
        await handle.result()
    assert "workflow Hasty closed while handlers were running: update take_later" in caplog.text
    with pytest.raises(WorkflowClosedError):
        await update.result()


async def test_a_started_update_is_waited_for_later(system: System) -> None:
    handle = await stock(system, 5)
    update = await handle.start_update(Stock.take_later, 2)
    assert await handle.query(Stock.look) == 5
    (shown,) = (await handle.describe()).pending_updates
    assert (shown.id, shown.name, shown.state) == (update.id, "take_later", "accepted")
    accepted = next(e for e in await handle.history() if e.type == "UpdateAccepted")
    assert accepted.attributes["identity"] == shown.identity == system.client.identity
    with pytest.raises(RequestTimeoutError):
        await update.result(timeout=0.3)
    await handle.signal(Stock.open_gate)
    assert await update.result() == 3
    assert await update.result() == 3, "the answer is kept"
    assert await handle.get_update(update.id, Stock.take_later).result() == 3
    with pytest.raises(WorkflowNotFoundError, match="no such update"):
        await handle.get_update("other", Stock.take_later).result()
    assert (await handle.describe()).pending_updates == ()
    await handle.pause()
    waiting = asyncio.ensure_future(handle.update(Stock.take, 1))
    found = (await described(handle, lambda d: d.pending_updates)).pending_updates
    assert (found[0].name, found[0].state, found[0].identity) == ("take", "pending", system.client.identity)
    await handle.unpause()
    assert await waiting == 2
    await handle.terminate()


async def test_the_same_request_twice_is_one_update(system: System) -> None:
    handle = await stock(system, 5)
    once = handle.with_options(request_id=system.name("request"))
    assert [await once.update(Stock.take, 1), await once.update(Stock.take, 1)] == [4, 4]
    assert await handle.query(Stock.look) == 4
    await handle.terminate()


async def test_update_with_start_starts_once_and_finds_the_open_run(system: System) -> None:
    workflow_id = system.name("stock")
    first = await system.client.update_with_start(
        Stock, 5, id=workflow_id, task_queue=QUEUE, update=Stock.take, update_args=[2]
    )
    assert await first.result() == 3
    second = await system.client.update_with_start(
        Stock, 5, id=workflow_id, task_queue=QUEUE, update=Stock.take, update_args=[2]
    )
    assert await second.result() == 1
    assert first.workflow.run_id == second.workflow.run_id
    with pytest.raises(UpdateRejectedError):
        await system.client.update_with_start(
            Stock, 5, id=workflow_id, task_queue=QUEUE, update=Stock.take, update_args=[2]
        )
    await first.workflow.terminate()


async def test_W3_a_close_answers_the_updates_that_are_open(system: System) -> None:
    handle = await stock(system, 5)
    update = await handle.start_update(Stock.take_later, 2)
    waiting = asyncio.create_task(update.result())
    await handle.terminate("enough")
    with pytest.raises(WorkflowClosedError):
        await waiting
    with pytest.raises(WorkflowClosedError):
        await handle.update(Stock.take, 1)
    assert await handle.query(Stock.look) == 5, "queries work on closed workflows"
    with pytest.raises(QueryFailedError, match="only reads"):
        await handle.query(Stock.meddle)
    assert await handle.query(Stock.look) == 5


async def test_without_a_worker_the_error_says_so(system: System) -> None:
    handle = await system.client.start(Stock, 1, id=system.name("alone"), task_queue="nobody")

    async def says_so(timeout: float) -> None:
        with pytest.raises(RequestTimeoutError, match=r"to be sure\. If one is, .* does one poll the workflow's"):
            await handle.with_options(timeout=timeout).update(Stock.take, 1)

    await with_longer_times(0.5, says_so)
    await handle.terminate()


async def test_updates_survive_the_loss_of_the_cache(system: System) -> None:
    """A new worker replays what was accepted, in the middle of a handler, and completes it."""
    queue = system.name("queue")
    async with system.worker(queue, workflows=[Stock]):
        handle = await system.client.start(Stock, 5, id=system.name("stock"), task_queue=queue)
        assert await handle.update(Stock.take, 1) == 4
        update = await handle.start_update(Stock.take_later, 2)
    async with system.worker(queue, workflows=[Stock]):
        await handle.signal(Stock.open_gate)
        assert await update.result() == 2
        assert await handle.update(Stock.take, 1) == 1
        await handle.signal(Stock.close)
        assert await handle.result() == 1


async def test_R1_a_reset_gives_later_updates_again_or_not(system: System) -> None:
    """Those kept are replayed; those after the cut are validated anew, and keep the answer that they had."""
    handle = await stock(system, 5)
    assert await handle.update(Stock.take, 1) == 4
    late = await handle.start_update(Stock.take_later, 1)  # of the part that is kept: its handler goes on
    known = handle.with_options(request_id=system.name("take"))
    assert await known.update(Stock.take, 2) == 2
    cut = next(e.id for e in reversed(await handle.history()) if e.type == "WorkflowTaskCompleted")
    again = await handle.reset(cut)
    with pytest.raises(WorkflowClosedError):
        await late.result()
    assert await again.update(Stock.take, 0) == 2
    assert await known.update(Stock.take, 2) == 2, "the answer is remembered, and nothing taken"
    await again.signal(Stock.open_gate)
    assert await again.update(Stock.take, 0) == 1
    without = await handle.reset(cut, reapply="none")
    assert await without.update(Stock.take, 0) == 4
    await without.signal(Stock.open_gate)
    await without.signal(Stock.close)
    assert await without.result() == 3


@pytest.mark.parametrize("eager", [False, True])
async def test_handlers_with_every_kind_of_step_run_once_and_replay(system: System, eager: bool) -> None:
    queue, numbers = system.name("sums"), range(12)
    options: dict[str, Any] = {"workflows": [Sums], "activities": [doubled], "eager_activities": eager}
    async with system.worker(queue, **options):
        handle = await system.client.start(Sums, id=system.name("sums"), task_queue=queue)
        updates = [handle.update(Sums.add, number) for number in numbers]
        answers = await asyncio.gather(
            *updates, *(handle.signal(Sums.note, number) for number in numbers), return_exceptions=True
        )
    assert [answer for answer in answers[:12] if isinstance(answer, int)] == [0, 2, 4, 6, 8, 10]
    assert sum(isinstance(answer, UpdateRejectedError) for answer in answers) == 6
    async with system.worker(queue, **options):  # another session: it replays all of that
        await handle.signal(Sums.close)
        found = await handle.result()
    expected = [[n, 2 * n] for n in numbers] + [[n, 2 * n, n, 4 * n] for n in numbers if n % 2 == 0]
    assert sorted(found) == sorted(expected)
    replay(await handle.export(), workflows=[Sums])
