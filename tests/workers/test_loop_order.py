"""The order of everything is the same over 200 replays, in processes of different PYTHONHASHSEEDs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, random, sys
from tests.workers.loop_harness import VirtualTime

async def main():
    order = []
    async def step(number):
        order.append(("starts", number))
        try:
            await asyncio.sleep(1 if number % 3 else 0)
            if number == 30:
                raise KeyError(number)
        except asyncio.CancelledError:
            order.append(("cancelled", number))
            raise
        return number

    tasks = [asyncio.create_task(step(number)) for number in range(20)]
    tasks.append(asyncio.get_running_loop().create_future())
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    order.append([one.result() for one in done])
    order.append([tasks.index(one) for one in pending])
    tasks.pop()
    done, pending = await asyncio.wait(set(tasks), timeout=5)
    order.append([one.result() for one in done])
    for one in asyncio.as_completed([step(number) for number in range(20)]):
        order.append(await one)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(20, 45):
                group.create_task(step(number))
    except* KeyError:
        order.append("failed")
    order.append([one.get_name() for one in {asyncio.create_task(step(n)) for n in range(50, 90)}])
    return order
"""

REPLAY = (
    PROGRAM
    + """
traces = set()
for replay in range(25):
    scatter = [bytearray(random.randrange(1, 2000)) for _ in range(random.randrange(2000))]  # other addresses
    virtual = VirtualTime("run")
    traces.add(str(virtual.run(main())))
    virtual.loop.close()
print(len(traces), traces.pop())
"""
)


def test_200_replays_in_processes_of_different_hash_seeds_have_one_order() -> None:
    root = Path(__file__).parents[2]
    outputs = []
    for seed in range(8):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", REPLAY], cwd=root, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        outputs.append(done.stdout)
    assert outputs[0].startswith(b"1 [")
    assert len(set(outputs)) == 1
