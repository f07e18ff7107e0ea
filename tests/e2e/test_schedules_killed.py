"""Engines, and the schedules beside them, are killed while they start workflows: each time still starts exactly one."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from odradek import Client
from odradek_log import Log, TopicPartition
from odradek_schemas import Topics, decode
from odradek_schemas.tasks import HistoryBatch

from ..cli.running import ODRADEK, SECONDS, environment, until
from .scheduled import SCHEDULE

PROGRAM = Path(__file__).parent / "scheduled.py"


def run(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder / "output.log").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment())


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def wait_for_engine(folder: Path) -> None:
    until(lambda: b"Engine running" in (folder / "output.log").read_bytes(), "an engine")


def wait_for_lines(lines: Path, more: int, alive: subprocess.Popen[bytes]) -> None:
    wanted = len(lines.read_bytes().splitlines()) + more
    until(lambda: len(lines.read_bytes().splitlines()) >= wanted or alive.poll() is not None, f"{wanted} lines")
    assert alive.poll() is None, (lines.parent / "output.log").read_text()[-3_000:]


def started(log: Log, namespace: str) -> list[str]:
    """The workflow IDs of all runs that the schedule began, as far as the public history has them."""
    topic = Topics(namespace).history
    ends = {tp: log.offsets(tp)[1] for tp in (TopicPartition(topic, p) for p in range(log.partitions(topic)))}
    consumer = log.consumer()
    consumer.assign(dict.fromkeys(ends, 0))
    reached = dict.fromkeys(ends, 0)
    found: dict[str, str] = {}
    while any(reached[tp] < end for tp, end in ends.items()):
        for record in consumer.poll(1.0):
            reached[TopicPartition(record.topic, record.partition)] = record.offset + 1
            batch = decode(record.value)
            if isinstance(batch, HistoryBatch) and batch.workflow_type == "tick":
                found[batch.run_id] = batch.workflow_id
    consumer.close()
    return sorted(found.values())


async def check(log: Log, client: Client, lines: Path) -> None:
    """One run for each second, from the first to the last, as many as are counted; none did its work as two."""
    handle = client.get_schedule(SCHEDULE)
    await handle.pause()
    wanted = (await handle.describe()).num_actions
    give_up = time.monotonic() + SECONDS
    while len(ids := await asyncio.to_thread(started, log, client.namespace)) < wanted:
        assert time.monotonic() < give_up, f"of {wanted} runs the history has {ids}"
    assert len(ids) == wanted
    assert wanted > 2
    seconds = [datetime.fromisoformat(one.removeprefix("tick-")) for one in ids]
    assert seconds == [seconds[0] + timedelta(seconds=n) for n in range(len(seconds))]
    worked = set(lines.read_text().splitlines())  # noqa: ASYNC240
    assert len({line.split()[0] for line in worked}) == len(worked), "one run of each ID"


@pytest.mark.timeout(180)
async def test_in_a_folder(tmp_path: Path) -> None:
    lines, chosen = tmp_path / "lines", random.Random()
    lines.touch()
    target = f"file:{tmp_path / 'data'}"
    for _ in range(3):
        process = run(tmp_path, sys.executable, str(PROGRAM), target, "default", str(lines))
        try:
            wait_for_lines(lines, chosen.randrange(1, 4), process)
        finally:
            kill(process)
    async with Client(target) as client:
        await check(client._worker_connection().log, client, lines)


@pytest.mark.timeout(300)
async def test_on_kafka_with_two_engines(kafka_bootstrap: str, tmp_path: Path) -> None:
    target, namespace = f"kafka://{kafka_bootstrap}", f"sched-{uuid.uuid4().hex[:8]}"
    lines = tmp_path / "lines"
    lines.touch()

    def engine(name: str) -> subprocess.Popen[bytes]:
        data = str(tmp_path / name)
        return run(tmp_path, ODRADEK, "engine", "--log", target, "--namespace", namespace, "--data", data)

    with ExitStack() as stack:
        engines = [engine("a"), engine("b")]
        stack.callback(lambda: [kill(process) for process in engines])
        wait_for_engine(tmp_path)
        worker = run(tmp_path, sys.executable, str(PROGRAM), target, namespace, str(lines))
        stack.callback(kill, worker)
        wait_for_lines(lines, 2, worker)
        for number, name in enumerate(("a", "b")):  # whichever leads the schedule's partition is among them
            kill(engines[number])
            engines[number] = engine(name)
            wait_for_lines(lines, 3, worker)
        async with Client(target, namespace=namespace) as client:
            await check(client._worker_connection().log, client, lines)
