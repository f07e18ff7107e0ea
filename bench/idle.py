"""Many workflows that wait: what they cost in memory and on disk, and what a restart costs with them.

    python bench/idle.py [--workflows 1000000] [--partitions 16] [--json FILE]

Writes the log and state of workflows that wait for a signal for up to a year, on a folder: in each partition the first
hundred as they are folded, the others as copies of one of these. Then an engine and a client
begin in a process of their own, once on an empty folder and once on that one: until all partitions are led, and until
one of the waiting workflows has taken a signal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import histories
import psutil
from odradek import Client
from odradek_engine import Engine
from odradek_engine.engine import ensure_topics
from odradek_log import open_log
from odradek_schemas import Topics
from rebuild import size_of

NAME = "order-00000000"


def write(folder: Path, workflows: int, partitions: int) -> float:
    """The log and the state; how many CPU seconds it took."""
    begun = time.process_time()
    log, topics = open_log(f"file:{folder}/log", fsync=False), Topics("default")
    ensure_topics(log, topics, partitions)
    for number in range(partitions):
        state = folder / "state" / "default"
        writer = histories.Writer(log, topics, number, partitions, state, [histories.idle])
        writer.begin(round(time.time() * 1000))
        writer.advance(more=True)
        while writer.advance(more=False):
            pass
        writer.advance(more=False)  # the marks of the last round
        writer.multiply(workflows // partitions - writer.workflows)
        writer.close(keep=True)
    log.close()
    return time.process_time() - begun


async def begin(folder: str, partitions: int, waiting: bool) -> dict[str, Any]:
    """An engine on the folder, as a new process begins."""
    process = psutil.Process()
    before, cpu, begun = process.memory_info().rss, sum(process.cpu_times()[:2]), time.perf_counter()
    log = open_log(f"file:{folder}/log")
    opened = time.perf_counter() - begun
    async with Engine(log=log, data_dir=f"{folder}/state", partitions=partitions) as engine, Client(log) as client:
        while len(engine.leading) < partitions:
            await asyncio.sleep(0.01)
        leading = time.perf_counter() - begun
        if waiting:
            await client.get(NAME).signal("approved")
        found = {
            "s until the log is open": opened,
            "s until all is led": leading,
            "s until a signal is taken": time.perf_counter() - begun,
            "cpu s": sum(process.cpu_times()[:2]) - cpu,
            "rss MB before": before / 1e6,
            "rss MB then": process.memory_info().rss / 1e6,
        }
        await asyncio.sleep(10.0)  # what is done each second, or later, is done by then
        found["rss MB after 10 s"] = process.memory_info().rss / 1e6
        found["cpu s in these 10 s"] = sum(process.cpu_times()[:2]) - cpu - found["cpu s"]
    log.close()
    return found


def run(folder: str, partitions: int, waiting: bool, answer: Connection) -> None:
    answer.send(asyncio.run(begin(folder, partitions, waiting)))


def in_a_process(folder: Path, partitions: int, waiting: bool) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=run, args=(str(folder), partitions, waiting, there))
    process.start()
    there.close()
    found: dict[str, Any] = here.recv()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflows", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as full:
        cpu = write(Path(full), arguments.workflows, arguments.partitions)
        found: dict[str, Any] = {
            "cpu s to write": cpu,
            "log MB": size_of(Path(full) / "log") / 1e6,
            "state MB": size_of(Path(full) / "state") / 1e6,
            "none": in_a_process(Path(empty), arguments.partitions, False),
            f"{arguments.workflows:,}": in_a_process(Path(full), arguments.partitions, True),
        }
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
