"""One of three workers stands still: no task waits for it while the others have room (rules T3, T4)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from odradek import Worker, WorkflowHandle, workflow

from .pids import SESSION_S
from .system import system_on

QUEUE = "stuck"
PATIENCE_MS = SESSION_S * 1_000 / 2
"""Kafka takes a member of a group for dead that is silent for twice as long: it is not what helps here."""


@workflow.define(name="stuck.asks")
async def asks(queue: str) -> int:
    pid: int = await workflow.execute_activity("process_id", task_queue=queue, result_type=int)
    return pid


async def _waited_ms(handle: WorkflowHandle[Any, Any]) -> int:
    """From the moment an activity was scheduled until its result was there: it takes no time itself."""
    times = {event.type: event.time for event in await handle.history()}
    return round((times["ActivityCompleted"] - times["ActivityScheduled"]).total_seconds() * 1000)


@pytest.mark.timeout(180)
async def test_t3_no_task_waits_for_a_worker_that_stands_still(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Breaks when a task stays in the partition of a stopped worker, or what was moved runs twice when it goes on."""
    lines, script = tmp_path / "lines", str(Path(__file__).parent / "pids.py")
    lines.touch()
    async with system_on(f"kafka://{kafka_bootstrap}", tmp_path / "state") as system:
        command = [sys.executable, script, system.target, system.namespace, QUEUE, str(lines)]
        workers = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(3)]

        async def burst(count: int) -> list[WorkflowHandle[Any, int]]:
            started = [system.client.start(asks, QUEUE, id=system.name("w"), task_queue="asks") for _ in range(count)]
            handles = list(await asyncio.gather(*started))
            pids.update(await asyncio.gather(*(handle.result() for handle in handles)))
            return handles

        pids: set[int] = set()
        try:
            for worker in workers:
                assert worker.stdout is not None
                await worker.stdout.readline()
            async with Worker(system.client, task_queue="asks", workflows=[asks]):
                while pids != {worker.pid for worker in workers}:
                    await burst(8)  # until each has partitions, and serves them
                os.kill(workers[0].pid, signal.SIGSTOP)
                pids.clear()
                handles = await burst(20)
                waits = sorted([await _waited_ms(handle) for handle in handles])
                assert waits[-1] < PATIENCE_MS, waits
                while pids != {worker.pid for worker in workers[1:]}:
                    await burst(8)  # both of the others serve
                os.kill(workers[0].pid, signal.SIGCONT)
                pids.clear()
                while workers[0].pid not in pids:
                    await burst(8)
        finally:
            for worker in workers:
                worker.kill()
                await worker.wait()
    ran = lines.read_text().split()
    assert len(ran) == len(set(ran)), "none ran twice"
