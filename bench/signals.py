"""A steady rate of signals into one workflow that continues as new again and again (rules W2, W3).

    python bench/signals.py --log embedded kafka --rate 1000 --seconds 20 --every 1000

Signals are sent at the rate whatever becomes of them. None may be lost, doubled or out of order: else this ends with 1.
`behind ms`: how long after the last one was sent the workflow had heard them all; if that grows with `--seconds`, the
rate is more than the workflow sustains. `--rate 0`: as fast as 500 at a time go, which shows what it does sustain.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from cluster import LOGS, Cluster, cluster_for, percentile
from workloads import TASK_QUEUE, Counted

AT_ONCE = 500


async def _paced(send: Any, total: int, rate: int, took: list[float]) -> None:
    """`rate` signals a second, from a clock: a late turn of the loop sends what is due by then."""
    begun = time.perf_counter()
    sent: list[asyncio.Task[None]] = []
    while len(sent) < total:
        due = min(total, int((time.perf_counter() - begun) * rate) + 1)
        sent.extend(asyncio.create_task(_timed(send, number, took)) for number in range(len(sent), due))
        await asyncio.sleep(0.001)
    await asyncio.gather(*sent)


async def _at_full_speed(send: Any, total: int, took: list[float]) -> None:
    """So many under way at a time; they are sent in order."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        try:
            await _timed(send, number, took)
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        for number in range(total):
            await room.acquire()
            group.create_task(one(number))


async def _timed(send: Any, number: int, took: list[float]) -> None:
    begun = time.perf_counter()
    await send(number)
    took.append(time.perf_counter() - begun)


async def signals(cluster: Cluster, rate: int, total: int, every: int) -> dict[str, Any]:
    """Send `total` signals; what came of them."""
    name = f"counted-{rate}-{every}-{time.time_ns()}"
    handle = await cluster.client.start(Counted, 0, 0, [], total, every, id=name, task_queue=TASK_QUEUE)

    async def send(number: int) -> None:
        await handle.signal(Counted.number, number)

    took: list[float] = []
    cpu, begun = cluster.cpu_seconds(), time.perf_counter()
    await (_paced(send, total, rate, took) if rate else _at_full_speed(send, total, took))
    sent = time.perf_counter()
    heard, runs, wrong = await handle.result()
    ended = time.perf_counter()
    used = {role: seconds - cpu[role] for role, seconds in cluster.cpu_seconds().items()}
    return {
        "signals": total,
        "heard": heard,
        "out of order": len(wrong),
        "runs": runs,
        "signals/s": total / (ended - begun),
        "behind ms": (ended - sent) * 1000,
        "acknowledged p50 ms": percentile(took, 0.5) * 1000,
        "acknowledged p99 ms": percentile(took, 0.99) * 1000,
        **{f"cpu ms/signal: {role}": seconds * 1000 / total for role, seconds in used.items()},
    }


async def measure(log: str, arguments: argparse.Namespace) -> bool:
    async with cluster_for(log, arguments.partitions) as cluster:
        await signals(cluster, 0, 200, 20)
        rate = arguments.rate
        found = await signals(cluster, rate, (rate or 1000) * arguments.seconds, arguments.every)
    print(log)
    for key, value in found.items():
        print(f"  {key:<28} {value:>12,.2f}" if isinstance(value, float) else f"  {key:<28} {value:>12,}")
    return found["heard"] == found["signals"] and not found["out of order"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", nargs="*", choices=LOGS, default=["embedded"])
    parser.add_argument("--rate", type=int, default=1000, help="signals a second; 0: as fast as they go")
    parser.add_argument("--seconds", type=int, default=20, help="with --rate 0, thousands of signals")
    parser.add_argument("--every", type=int, default=1000, help="signals after which it continues as new")
    parser.add_argument("--partitions", type=int, default=16)
    arguments = parser.parse_args()
    fine = [asyncio.run(measure(log, arguments)) for log in arguments.log]
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
