"""A worker of activities that say in which process they ran: `pids.py TARGET NAMESPACE QUEUE FILE`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from odradek import Client, Worker, activity

SESSION_S = 60.0
"""After so long Kafka takes a worker that stands still for dead, and gives its partitions to others."""

FILE = Path(sys.argv[4]) if len(sys.argv) > 4 else Path()


@activity.define
async def process_id() -> int:
    with FILE.open("ab", buffering=0) as file:
        file.write(f"{activity.info().workflow_id}\n".encode())
    return os.getpid()


async def main(target: str, namespace: str, queue: str) -> None:
    async with (
        Client(target, namespace=namespace, log_settings={"session_timeout": SESSION_S}) as client,
        Worker(client, task_queue=queue, activities=[process_id], lost_after=600),
    ):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
