"""The processes of a benchmark on Kafka.

`roles.py engine TARGET NAMESPACE FOLDER PARTITIONS` and `roles.py worker TARGET NAMESPACE`.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from odradek import Client, Worker
from odradek.cli.long_running import collect_seldom
from odradek_engine import Engine
from workloads import ACTIVITIES, TASK_QUEUE, WORKFLOWS, eager


async def until_terminated() -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    collect_seldom()  # as the command line does
    print("ready", flush=True)
    await stopped.wait()


async def engine(target: str, namespace: str, folder: str, partitions: str) -> None:
    async with Engine(target, namespace=namespace, data_dir=folder, partitions=int(partitions)) as engine:
        while len(engine.leading) < int(partitions):
            await asyncio.sleep(0.05)
        await until_terminated()


async def worker(target: str, namespace: str) -> None:
    async with (
        Client(target, namespace=namespace) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES, eager_activities=eager()),
    ):
        await until_terminated()


if __name__ == "__main__":
    asyncio.run({"engine": engine, "worker": worker}[sys.argv[1]](*sys.argv[2:]))
