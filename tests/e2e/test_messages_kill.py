"""An engine is killed while updates and signals come, runs follow each other, and a batch resets workflows.

Each message is taken once, and in order (W3), and each workflow is reset once.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from odradek import Client, Worker, WorkflowHandle, workflow

from .engines import two_engines
from .members import MEMBER_QUEUE, Member, part, rate, repair
from .orders import PATIENT_LOG

LEDGERS, UPDATES, SIGNALS, EVERY, AT_ONCE = 6, 40, 150, 25, 10
QUEUE = "ledgers"
PATIENCE_S = 150.0


@workflow.define(name="ledgers.ledger")
class Ledger:
    """Writes down what it is told, and continues as new after every few messages."""

    def __init__(self) -> None:
        self.here = 0
        self.updated: list[int] = []
        self.signalled: list[int] = []

    async def run(self, updated: list[int], signalled: list[int]) -> tuple[list[int], list[int]]:
        self.updated, self.signalled = updated, signalled
        complete = [UPDATES, SIGNALS]
        await workflow.wait_condition(
            lambda: self.here >= EVERY or [len(self.updated), len(self.signalled)] == complete
        )
        if [len(self.updated), len(self.signalled)] != complete:
            workflow.continue_as_new(Ledger, self.updated, self.signalled)
        return self.updated, self.signalled

    @workflow.update
    def add(self, number: int) -> int:
        self.updated.append(number)
        self.here += 1
        return len(self.updated)

    @add.validator
    def next_only(self, number: int) -> None:
        if number != len(self.updated):
            raise ValueError(f"{number} after {self.updated[-1:]}")

    @workflow.signal
    def note(self, number: int) -> None:
        self.signalled.append(number)
        self.here += 1


async def _tell(ledger: WorkflowHandle[Ledger, object], answered: asyncio.Semaphore) -> None:
    """All updates, some at a time, and all signals; what was sent first is in the log first."""

    async def updates() -> None:
        for first in range(0, UPDATES, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, UPDATES))
            asked = [asyncio.ensure_future(ledger.update(Ledger.add, number)) for number in numbers]
            assert await asyncio.gather(*asked) == [number + 1 for number in numbers]
            answered.release()

    async def signals() -> None:
        for first in range(0, SIGNALS, 50):
            await asyncio.gather(
                *(asyncio.ensure_future(ledger.signal(Ledger.note, number)) for number in range(first, first + 50))
            )

    await asyncio.gather(updates(), signals())


@pytest.mark.timeout(240)
async def test_w3_messages_are_taken_and_workflows_reset_once_and_in_order_though_an_engine_is_killed(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    """Sixteen partitions, two engines; one dies by -9 after some updates and resets, and the other does the rest."""
    target, namespace = f"kafka://{kafka_bootstrap}", f"ledgers-{uuid.uuid4().hex[:8]}"
    async with (
        two_engines(target, namespace, tmp_path) as running,
        Client(target, namespace=namespace, request_timeout=PATIENCE_S, log_settings=PATIENT_LOG) as client,
        Worker(client, task_queue=QUEUE, workflows=[Ledger]),
        Worker(client, task_queue=MEMBER_QUEUE, workflows=[Member, part], activities=[rate]),
    ):
        ledgers = [await client.start(Ledger, [], [], id=f"ledger-{n}", task_queue=QUEUE) for n in range(LEDGERS)]
        answered, halfway = asyncio.Semaphore(0), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for ledger in ledgers:
                group.create_task(_tell(ledger, answered))
            group.create_task(repair(client, halfway))
            for _ in range(LEDGERS):
                await answered.acquire()
            await halfway.wait()
            running[0].kill()
        for ledger in ledgers:
            assert await ledger.result() == ([*range(UPDATES)], [*range(SIGNALS)])
            assert (await client.get(ledger.id).describe()).run_id != ledger.run_id, "it continued as new"
