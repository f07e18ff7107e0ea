"""Limited parallelism: a workflow hands out slots to others by signals, so that few of many jobs run at a time.

python examples/limited_parallelism.py        ten jobs, three slots
"""

import asyncio
import os
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from odradek import Client, Worker, activity, workflow
from odradek.errors import WorkflowClosedError, WorkflowNotFoundError

TASK_QUEUE = "jobs"


@dataclass(frozen=True)
class Limit:
    """How many slots there are, who has them, and who waits. `lease`: a slot that is not given back by then is free."""

    slots: int
    lease: timedelta = timedelta(hours=1)
    held: list[str] = field(default_factory=list[str])
    waiting: list[str] = field(default_factory=list[str])


@workflow.define
class Slots:
    """Runs for ever. Jobs ask with `acquire`, are told with `Job.granted`, and give back with `release`."""

    def __init__(self) -> None:
        self.held: dict[str, asyncio.Task[None]] = {}  # with the end of each lease
        self.waiting: deque[str] = deque()

    async def run(self, limit: Limit) -> None:
        self.waiting.extend(limit.waiting)
        for job in limit.held:
            self.grant(job, limit.lease)
        while not workflow.info().continue_as_new_suggested:
            await workflow.wait_condition(lambda: bool(self.waiting) and len(self.held) < limit.slots)
            job = self.waiting.popleft()
            self.grant(job, limit.lease)
            try:
                await workflow.external(job, Job).signal(Job.granted)
            except (WorkflowNotFoundError, WorkflowClosedError):  # it has ended while it waited
                self.release(job)
        workflow.continue_as_new(
            Slots, Limit(limit.slots, limit.lease, held=list(self.held), waiting=list(self.waiting))
        )

    def grant(self, job: str, lease: timedelta) -> None:
        self.held[job] = asyncio.create_task(self.expire(job, lease))

    async def expire(self, job: str, lease: timedelta) -> None:
        await asyncio.sleep(lease.total_seconds())
        self.held.pop(job, None)

    @workflow.signal
    def acquire(self, job: str) -> None:
        if job not in self.held and job not in self.waiting:
            self.waiting.append(job)

    @workflow.signal
    def release(self, job: str) -> None:
        lease = self.held.pop(job, None)
        if lease is not None:
            lease.cancel()

    @workflow.query
    def holders(self) -> list[str]:
        return sorted(self.held)


@activity.define(start_to_close_timeout=timedelta(minutes=5))
async def work(number: int) -> int:
    await asyncio.sleep(0.05)
    return number * number


@workflow.define
class Job:
    def __init__(self) -> None:
        self.has_slot = False

    async def run(self, number: int, slots_id: str) -> int:
        slots = workflow.external(slots_id, Slots)
        me = workflow.info().workflow_id
        await slots.signal(Slots.acquire, me)
        try:
            await workflow.wait_condition(lambda: self.has_slot)
            return await work(number)
        finally:
            await asyncio.shield(slots.signal(Slots.release, me))

    @workflow.signal
    def granted(self) -> None:
        self.has_slot = True


async def main() -> None:
    running = 0
    most = 0

    async def counted(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await work.fn(number)
        finally:
            running -= 1

    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Slots, Job], activities=[work.with_fn(counted)]),
    ):
        slots = await client.start(
            Slots, Limit(3), id="slots", task_queue=TASK_QUEUE, id_conflict_policy="use_existing"
        )
        jobs = [
            await client.start(Job, number, slots.id, id=f"job-{number}", task_queue=TASK_QUEUE) for number in range(10)
        ]
        results = await asyncio.gather(*[job.result() for job in jobs])
        print(f"ten jobs: {results}")
        print(f"never more than three at a time: {most <= 3}")


if __name__ == "__main__":
    asyncio.run(main())
