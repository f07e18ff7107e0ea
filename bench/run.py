"""Benchmarks: throughput, sequential steps, latency, on each log. Prints a table, writes JSON.

    python bench/run.py [--log embedded|embedded-nosync|kafka ...] [--quick] [--tasks] [--partitions 16] [--json FILE]

In the same run, the log alone is measured (append until delivered, append until read), so that the figures can be
read as ratios to what the log costs on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from cluster import LOGS, Cluster, cluster_for, events_appended, percentile
from odradek_log import Log, TopicPartition, TopicSpec
from workloads import TASK_QUEUE, Steps


async def throughput(cluster: Cluster, workflows: int, in_flight: int) -> dict[str, Any]:
    """(a) Workflows of three sequential activities, `in_flight` of them at a time."""
    slots = asyncio.Semaphore(in_flight)
    latencies: list[float] = []

    async def one(number: int) -> None:
        async with slots:
            begun = time.perf_counter()
            await cluster.client.execute(Steps, 3, id=f"a-{number}", task_queue=TASK_QUEUE)
            latencies.append(time.perf_counter() - begun)

    before, cpu, begun = events_appended(cluster), cluster.cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(workflows)))
    elapsed = time.perf_counter() - begun
    used = {role: seconds - cpu[role] for role, seconds in cluster.cpu_seconds().items()}
    return {
        "workflows/s": workflows / elapsed,
        "p50 ms": percentile(latencies, 0.5) * 1000,
        "p99 ms": percentile(latencies, 0.99) * 1000,
        "events/workflow": (events_appended(cluster) - before) / workflows,
        "cpu s/1000 workflows": {role: seconds / workflows * 1000 for role, seconds in used.items()},
        "rss MB": cluster.rss_mb(),
    }


async def sequential(cluster: Cluster, steps: int) -> dict[str, Any]:
    """(b) One workflow of many sequential activities."""
    begun = time.perf_counter()
    await cluster.client.execute(Steps, steps, id="b", task_queue=TASK_QUEUE)
    return {"steps/s": steps / (time.perf_counter() - begun)}


async def latency(cluster: Cluster, workflows: int) -> dict[str, Any]:
    """(c) Workflows of one activity, one after another."""
    latencies = []
    for number in range(workflows):
        begun = time.perf_counter()
        await cluster.client.execute(Steps, 1, id=f"c-{number}", task_queue=TASK_QUEUE)
        latencies.append(time.perf_counter() - begun)
    return {"p50 ms": percentile(latencies, 0.5) * 1000, "p99 ms": percentile(latencies, 0.99) * 1000}


async def warm(cluster: Cluster, at_least: int, at_most: int) -> dict[str, Any]:
    """Rounds of 300 workflows until a broker's just-in-time compiler is done: its first thousands of requests cost it
    eight times what the later ones do, and a broker that serves people is not a minute old."""
    costs: list[float] = []
    for number in range(at_most):
        before = cluster.cpu_seconds().get("broker")
        if before is None:
            break
        await asyncio.gather(*(
            cluster.client.execute(Steps, 3, id=f"warm-{number}-{one}", task_queue=TASK_QUEUE) for one in range(300)
        ))
        costs.append((cluster.cpu_seconds()["broker"] - before) / 0.3)
        if len(costs) >= at_least and statistics.median(costs[-5:]) > 0.9 * statistics.median(costs[-10:-5]):
            break
    return {"broker cpu s/1000 workflows": costs}


def log_alone(log: Log, rounds: int = 200) -> dict[str, Any]:
    """What one append costs: until it is delivered, and until another reader has it."""
    log.create_topics([TopicSpec("bench", 1)])
    producer, consumer = log.producer(), log.consumer()
    tp = TopicPartition("bench", 0)
    consumer.assign({tp: log.offsets(tp)[1]})
    consumer.poll(0.2)
    delivered, read = [], []
    for _ in range(rounds):
        done = threading.Event()
        begun = time.perf_counter()
        at: list[float] = []

        def note(offset: int, error: object, at: list[float] = at, done: threading.Event = done) -> None:
            at.append(time.perf_counter())
            done.set()

        producer.send("bench", 0, b"", b"x" * 200, note)
        while not consumer.poll(1.0):
            pass
        read.append(time.perf_counter() - begun)
        done.wait()
        delivered.append(at[0] - begun)
    producer.close()
    consumer.close()
    return {
        "delivered p50 ms": statistics.median(delivered) * 1000,
        "read p50 ms": statistics.median(read) * 1000,
    }


async def measure(name: str, partitions: int, quick: bool) -> dict[str, Any]:
    scale = 10 if quick else 1
    async with cluster_for(name, partitions) as cluster:
        await cluster.client.execute(Steps, 3, id="warm-up", task_queue=TASK_QUEUE)
        warmed = await warm(cluster, *(0, 0) if quick else (30, 60))
        found = {
            "warm-up": warmed,
            "log": await asyncio.to_thread(log_alone, cluster.log),
            "c": await latency(cluster, 200 // scale),
            "b": await sequential(cluster, 500 // scale),
            "a": await throughput(cluster, 2000 // scale, 100),
        }
    hop = found["log"]["read p50 ms"]
    found["c"]["p50 in log hops"] = found["c"]["p50 ms"] / hop
    found["b"]["log hops/step"] = 1000 / found["b"]["steps/s"] / hop
    return found


def show(results: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{os.cpu_count()} cores, {platform.python_implementation()} {platform.python_version()}")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for part, key in (
        ("a", "workflows/s"), ("a", "p50 ms"), ("a", "p99 ms"), ("a", "events/workflow"),
        ("b", "steps/s"), ("b", "log hops/step"), ("c", "p50 ms"), ("c", "p99 ms"), ("c", "p50 in log hops"),
        ("log", "delivered p50 ms"), ("log", "read p50 ms"),
    ):
        table.add_row(f"({part}) {key}", *(f"{r[part][key]:.2f}" for r in results.values()))
    for key in ("cpu s/1000 workflows", "rss MB"):
        roles = sorted({role for r in results.values() for role in r["a"][key]})
        for role in roles:
            cells = (r["a"][key].get(role) for r in results.values())
            table.add_row(f"(a) {key}: {role}", *("" if c is None else f"{c:.2f}" for c in cells))
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", nargs="*", choices=LOGS, default=list(LOGS))
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for trying")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tasks", action="store_true", help="activities by tasks, not eagerly")
    arguments = parser.parse_args()
    if arguments.tasks:
        os.environ["ODRADEK_BENCH_TASKS"] = "1"  # for the processes as well
    results = {
        name: asyncio.run(measure(name, arguments.partitions, arguments.quick)) for name in arguments.log
    }
    show(results)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
