"""A workflow in two versions of its code, and a worker with one of them: `trips.py TARGET NAMESPACE QUEUE NUMBER`.

The worker prints `ready` when it serves.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from odradek import Client, Worker, activity, workflow


def version(number: int) -> tuple[Any, Any]:
    """The workflow and its activity, as they are in a version of the code. The change is behind `patched`."""

    @activity.define(name="stamp")
    async def stamp(step: str) -> str:
        return f"{step} by {number}"

    @workflow.define(name="Trip")
    class Trip:
        def __init__(self) -> None:
            self.steps: list[str] = []
            self.done = False

        async def run(self) -> list[str]:
            self.steps.append(await stamp("packed"))
            await workflow.wait_condition(lambda: self.done)
            changed = number > 1 and workflow.patched("by-train")
            self.steps.append(await stamp("train" if changed else "bus"))
            return self.steps

        @workflow.signal
        def go(self) -> None:
            self.done = True

        @workflow.query
        def so_far(self) -> list[str]:
            return self.steps

    return Trip, stamp


def worker(client: Client, queue: str, number: int, versioning: Any = "pinned", **options: Any) -> Worker:
    trip, stamp = version(number)
    return Worker(
        client, task_queue=queue, workflows=[trip], activities=[stamp], build_id=f"v{number}", versioning=versioning,
        **options,
    )  # fmt: skip


async def main(target: str, namespace: str, queue: str, number: str) -> None:
    async with Client(target, namespace=namespace) as client, worker(client, queue, int(number), lost_after=2):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
