"""The workers and the client of the fault suite: `roles.py worker TARGET NAMESPACE KIND`, `roles.py client TARGET
NAMESPACE JOURNAL IN_FLIGHT PAUSE`. They end by SIGTERM; engines are `odradek engine`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from families import COLLECTOR, EXPECTED, FAMILY_QUEUE, FAMILY_WORKFLOWS, Collector, parent
from odradek import Client, RequestTimeoutError, Worker, WorkflowHandle
from odradek.errors import OutcomeUnknownError, UnavailableError
from orders import TASK_QUEUE, Order, charge, expected, ship, thank, weigh

ACTIVITIES = [charge, ship, thank]
FAMILY_EVERY = 5
_ASK_AGAIN = (RequestTimeoutError, OutcomeUnknownError, UnavailableError)


def _on_terminate(callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, callback)
    print("ready", flush=True)


async def worker(target: str, namespace: str, kind: str) -> None:
    workflows = [] if kind == "activities" else [Order]
    activities = [] if kind == "workflows" else ACTIVITIES
    async with Client(target, namespace=namespace) as client:
        workers = [
            Worker(
                client, task_queue=TASK_QUEUE, workflows=workflows, activities=activities, local_activities=[weigh],
                eager_activities=True,
            )
        ]
        if kind in ("workflows", "all"):
            workers.append(Worker(client, task_queue=FAMILY_QUEUE, workflows=FAMILY_WORKFLOWS))
        async with asyncio.TaskGroup() as group:
            for one in workers:
                group.create_task(one.run())
            await asyncio.sleep(0)
            _on_terminate(lambda: [one.shutdown() for one in workers] and None)


class Customers:
    """Orders and families, so many at a time. A new life goes on with what an earlier one has begun: all requests have
    IDs that follow from the number of the order, so that asking again changes nothing.

    The journal says what was acknowledged, and what came out.
    """

    def __init__(self, client: Client, journal: Path, in_flight: int, pause: float) -> None:
        self.client = client
        self.pause = pause
        self.stopping = asyncio.Event()
        self._file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        self._begun = {line["workflow"] for line in lines if line["what"] == "begun"}
        self._ended = {line["workflow"] for line in lines if line["what"] == "result"}
        self._told = {line["token"] for line in lines if line["what"] == "acknowledged"}
        self._slots = asyncio.Semaphore(in_flight)

    def _note(self, what: str, workflow_id: str, **more: object) -> None:
        line = {"what": what, "workflow": workflow_id, "at": time.time(), **more}
        os.write(self._file, json.dumps(line).encode() + b"\n")

    async def run(self) -> None:
        await self._start(Collector, COLLECTOR, FAMILY_QUEUE)
        collector = self.client.get(COLLECTOR, Collector)
        async with asyncio.TaskGroup() as group:
            number = 0
            while not self.stopping.is_set() or f"order-{number}" in self._begun:
                if f"order-{number}" not in self._ended:
                    await self._slots.acquire()
                    self._begin(f"order-{number}")
                    group.create_task(self._order(number))
                if number % FAMILY_EVERY == 0 and f"parent-{number}" not in self._ended:
                    self._begin(f"parent-{number}")
                    group.create_task(self._family(number))
                number += 1
        await self._signal(collector, Collector.end, "end-collector")
        heard = await self._insist(collector.result)
        families = [n for n in range(number) if n % FAMILY_EVERY == 0]
        self._note("result", COLLECTOR, right=sorted(heard) == families, seconds=0.0, result=heard)

    def _begin(self, workflow_id: str) -> None:
        if workflow_id not in self._begun:
            self._note("begun", workflow_id)
            self._begun.add(workflow_id)

    async def _order(self, number: int) -> None:
        begun, name = time.monotonic(), f"order-{number}"
        pause = self.pause * (0.5 + number * 7 % 11 / 10)
        handle = await self._start(Order, name, TASK_QUEUE, number, pause)
        for pick in range(2):
            await self._signal(handle, Order.pick_up, f"pick-{number}-{pick}")
        self._result(name, await self._insist(handle.result), expected(number), begun)
        self._slots.release()

    async def _family(self, number: int) -> None:
        begun, name = time.monotonic(), f"parent-{number}"
        handle = await self._start(parent, name, FAMILY_QUEUE, number)
        self._result(name, await self._insist(handle.result), EXPECTED, begun)

    def _result(self, name: str, result: object, right: object, begun: float) -> None:
        self._note("result", name, right=result == right, seconds=time.monotonic() - begun, result=result)

    async def _start(self, what, name: str, queue: str, *arguments: float) -> WorkflowHandle:  # type: ignore[no-untyped-def, type-arg]
        handle = await self._insist(
            lambda: self.client.start(
                what, *arguments, id=name, task_queue=queue, id_conflict_policy="use_existing",
                id_reuse_policy="reject", request_id=f"start-{name}",
            )
        )
        self._acknowledged("start", name, f"start-{name}")
        return handle

    async def _signal(self, handle, signal, token: str) -> None:  # type: ignore[no-untyped-def]
        if token not in self._told:  # an order that has ended takes no signal, not even one that it has
            await self._insist(lambda: handle.with_options(request_id=token).signal(signal))
            self._acknowledged("signal", handle.id, token)

    def _acknowledged(self, kind: str, workflow_id: str, token: str) -> None:
        if token not in self._told:
            self._told.add(token)
            self._note("acknowledged", workflow_id, kind=kind, token=token)

    async def _insist(self, ask: Callable[[], Awaitable]):  # type: ignore[no-untyped-def, type-arg]
        """Ask until there is an answer: each error is one that says that asking again is right."""
        while True:
            try:
                return await ask()
            except _ASK_AGAIN as error:
                logging.getLogger("client").warning("%s: %s", type(error).__name__, error)
                if "cannot read replies" in str(error) or "log cannot be used" in str(error):
                    raise  # a supervisor begins anew
                await asyncio.sleep(0.5)


async def client(target: str, namespace: str, journal: str, in_flight: str, pause: str) -> None:
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(Client(target, namespace=namespace))
        customers = Customers(opened, Path(journal), int(in_flight), float(pause))
        _on_terminate(customers.stopping.set)
        await customers.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    asyncio.run({"worker": worker, "client": client}[sys.argv[1]](*sys.argv[2:]))
