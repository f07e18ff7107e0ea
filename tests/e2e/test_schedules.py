"""Schedules on both logs: one workflow for each time, also when processes die."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from itertools import takewhile
from pathlib import Path

import pytest
from odradek import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    SchedulePolicy,
    ScheduleSpec,
    Worker,
    workflow,
)
from odradek._schedules.state import TASK_QUEUE
from odradek._schedules.worker import ScheduleWorker

from .system import System, described

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]


@workflow.define
async def tick() -> str:
    return str(workflow.info().search_attributes["OdradekScheduledStartTime"])


@workflow.define
async def other() -> int:
    return 1


def every_second(queue: str) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(tick, task_queue=queue),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=1)]),
        policy=SchedulePolicy(overlap="allow_all"),
    )


async def after(handle: ScheduleHandle, actions: int) -> list[str]:
    """The workflows of the last actions that have ended, one after the other, once there were that many."""

    def ended(found: ScheduleDescription) -> list[str]:
        completed = takewhile(lambda taken: taken.status == "completed", found.recent_actions)
        return [taken.workflow_id for taken in completed]

    return ended(await described(handle, lambda found: len(ended(found)) >= actions))


async def test_a_schedule_acts_on_every_time_once(system: System) -> None:
    queue, name = system.name("queue"), system.name("schedule")
    async with system.worker(queue, workflows=[tick]), ScheduleWorker.of(system.client):
        handle = await system.client.create_schedule(name, every_second(queue))
        workflows = await after(handle, 4)
        await handle.delete()
        seconds = [datetime.fromisoformat(one.removeprefix(f"{name}-")) for one in workflows]
        assert seconds == [seconds[0] + timedelta(seconds=n) for n in range(len(seconds))]
        for workflow_id in workflows:
            assert await system.client.get(workflow_id, tick).result() == workflow_id.removeprefix(f"{name}-")


def workers(client: Client) -> tuple[bool, int]:
    """Whether the log knows the topic of schedules, and how many workers run workflows in this process."""
    topics = client._worker_connection().log.topics(f"odradek.{client.namespace}.")
    running = [thread for thread in threading.enumerate() if thread.name == "odradek-workflows"]
    return any(name.endswith(TASK_QUEUE) for name in topics), len(running)


async def test_without_a_schedule_nothing_runs_for_them(tmp_path: Path) -> None:
    async with Client(f"file:{tmp_path}") as client, Worker(client, task_queue="q", workflows=[tick, other]):
        assert await client.execute(other, id="w", task_queue="q") == 1
        known, without = workers(client)
        assert not known
        handle = await client.create_schedule("s", every_second("q"))
        assert (await handle.describe()).id == "s"
        assert workers(client) == (True, without + 1)


async def test_in_a_folder_a_schedule_needs_nothing_but_the_client_and_goes_on_after_a_while(tmp_path: Path) -> None:
    address = f"file:{tmp_path}"
    async with Client(address) as client, Worker(client, task_queue="q", workflows=[tick]):
        handle = await client.create_schedule("s", every_second("q"))
        first = await after(handle, 1)
    async with Client(address) as client, Worker(client, task_queue="q", workflows=[tick]):
        made_up = await after(client.get_schedule("s"), len(first) + 2)
    seconds = [datetime.fromisoformat(one.removeprefix("s-")) for one in made_up]
    assert seconds == [seconds[0] + timedelta(seconds=n) for n in range(len(seconds))], "none is missing"
