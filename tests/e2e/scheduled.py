"""One life of a process with a schedule that acts every second: `scheduled.py TARGET NAMESPACE FILE`.

Each workflow that it starts writes its ID and run ID as a line to FILE. The process runs until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from odradek import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    SchedulePolicy,
    ScheduleSpec,
    Worker,
    activity,
    workflow,
)

QUEUE, SCHEDULE = "ticks", "every-second"


@activity.define
def note(line: str) -> None:
    with Path(sys.argv[3]).open("a") as file:
        file.write(f"{line}\n")


@workflow.define
async def tick() -> None:
    about = workflow.info()
    await note(f"{about.workflow_id} {about.run_id}")


EVERY_SECOND = Schedule(
    action=ScheduleActionStartWorkflow(tick, id="tick", task_queue=QUEUE),
    spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=1)]),
    policy=SchedulePolicy(overlap="allow_all"),
)


async def make_schedule(client: Client) -> None:
    try:
        await client.create_schedule(SCHEDULE, EVERY_SECOND)
    except ScheduleAlreadyRunningError:
        return


async def main(target: str, namespace: str) -> None:
    async with (
        Client(target, namespace=namespace, request_timeout=120) as client,
        Worker(client, task_queue=QUEUE, workflows=[tick], activities=[note]),
    ):
        await make_schedule(client)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
