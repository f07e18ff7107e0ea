"""Slots that a workflow hands out by signals."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from odradek import WorkflowFailedError
from odradek.testing import Environment

from examples.limited_parallelism import Job, Limit, Slots, work

from .recording import recorded


async def test_few_of_many_jobs_run_at_a_time() -> None:
    running, most = 0, 0

    async def watched(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    async with Environment(workflows=[Slots, Job], activities={work: watched}) as env:
        slots = await env.client.start(Slots, Limit(3), id="slots")
        jobs = [await env.client.start(Job, number, "slots", id=f"job-{number}") for number in range(20)]
        assert await asyncio.gather(*[job.result() for job in jobs]) == list(range(20))
        assert await slots.query(Slots.holders) == []
        await recorded(slots, "limited_parallelism-slots")
        await recorded(jobs[7], "limited_parallelism-job")
    assert 1 <= most <= 3


async def test_the_slot_of_a_job_that_is_gone_is_free_when_its_lease_ends() -> None:
    async with Environment(workflows=[Slots, Job], activities={work: lambda number: number}) as env:
        slots = await env.client.start(Slots, Limit(1, lease=timedelta(hours=1)), id="slots")
        await slots.signal(Slots.acquire, "gone")  # nobody of that name is there to take it
        lost = await env.client.start(Job, 1, "nobody", id="lost")
        with pytest.raises(WorkflowFailedError):
            await lost.result()
        holder = await env.client.start(Job, 1, "slots", id="holder")
        assert await holder.result() == 1
        await slots.signal(Slots.acquire, "lost")  # closed
        assert await env.client.execute(Job, 2, "slots", id="next") == 2


async def test_a_lease_ends() -> None:
    async with Environment(workflows=[Slots, Job], activities={work: lambda number: number}) as env:
        slots = await env.client.start(Slots, Limit(1, lease=timedelta(hours=1), held=["dead"]), id="slots")
        began = env.now()
        assert await env.client.execute(Job, 2, "slots", id="next") == 2
        assert env.now() - began >= timedelta(minutes=59)
        assert await slots.query(Slots.holders) == []
