"""The processes of the kill tests: `roles.py engine TARGET NAMESPACE FOLDER`, `roles.py alone TARGET NAMESPACE`.

Each prints `ready` when it serves.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from odradek import Client, Worker
from odradek_engine import Engine
from orders import PATIENT_LOG, TASK_QUEUE, Order, charge, ship, thank, weigh

ACTIVITIES = [charge, ship, thank]


async def _until_terminated() -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print("ready", flush=True)
    await stopped.wait()


async def engine(target: str, namespace: str, folder: str) -> None:
    async with Engine(target, namespace=namespace, data_dir=folder, standbys=1, log_settings=PATIENT_LOG):
        await _until_terminated()


async def alone(target: str, namespace: str) -> None:
    """Everything in one process, on a folder: works off the orders that are open, and starts those that are not."""
    async with (
        Client(target, namespace=namespace) as client,
        Worker(
            client, task_queue=TASK_QUEUE, workflows=[Order], activities=ACTIVITIES, local_activities=[weigh],
            eager_activities=True,
        ),
    ):
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            for amount in range(int(line)):
                handle = await client.start(
                    Order, amount, id=f"order-{amount}", task_queue=TASK_QUEUE, id_conflict_policy="use_existing",
                    id_reuse_policy="reject", request_id=f"start-{amount}",
                )
                for number in range(2):
                    request_id = f"pick-{amount}-{number}"
                    await handle.with_options(request_id=request_id).signal(Order.pick_up)
            results = [await client.get(f"order-{amount}", Order).result() for amount in range(int(line))]
            print(results, flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    asyncio.run({"engine": engine, "alone": alone}[sys.argv[1]](*sys.argv[2:]))
