"""How long partitions have no leader, and activities no worker, after an engine or a worker is killed or stopped.

    python bench/recovery.py [--open 100000] [--partitions 16] [--only NAME ...] [--json FILE]

On one real broker (KAFKA_BOOTSTRAP_SERVERS, or a new one): a log with that many open workflows, which wait for their
start, two engines that share the partitions, and this process as client and worker. Each case kills (SIGKILL) or stops
(SIGTERM) the first engine, and measures until the other one leads all its partitions, until the activities of workflows
that are started in each of these at that moment run, and until all their results are there; and how long workflows take
meanwhile (p50, and at most), one after another, in the partitions that the other one led all the time. The second
engine begins with no state of these partitions but what it has as a standby, or where there are checkpoints: those hold
all that is open. `ONE_THREAD=1` in the environment has engines begin no processes to fold with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "kafka"))

from odradek import Client, Worker, activity, workflow  # noqa: E402
from odradek.cli.long_running import collect_seldom  # noqa: E402
from odradek_engine import CheckpointSettings, CheckpointStore, Engine, Settings  # noqa: E402
from odradek_engine.engine import ensure_topics  # noqa: E402
from odradek_engine.maintenance import make_checkpoints  # noqa: E402
from odradek_log import TopicPartition, open_log  # noqa: E402
from odradek_schemas import Topics, encode, partition_of, records  # noqa: E402

QUEUE = "recovery"
DEFAULT_SESSION, SHORT_SESSION = 6.0, 3.0
PACE_S = 0.25
"""Between workflows in partitions that keep their leader: the cores are for those that lose it."""
PATIENCE_S = 900.0
FAR_MS = 7 * 24 * 3_600_000


@dataclass(frozen=True)
class Case:
    name: str
    standbys: int
    session: float
    how: signal.Signals
    checkpoints: bool = False


CASES = [
    Case("killed, standby", 1, DEFAULT_SESSION, signal.SIGKILL),
    Case("killed, no standby", 0, DEFAULT_SESSION, signal.SIGKILL),
    Case("killed, no standby, checkpoints", 0, DEFAULT_SESSION, signal.SIGKILL, True),
    Case("killed, no standby, short session", 0, SHORT_SESSION, signal.SIGKILL),
    Case("stopped, standby", 1, DEFAULT_SESSION, signal.SIGTERM),
    Case("stopped, no standby", 0, DEFAULT_SESSION, signal.SIGTERM),
]


ran: dict[str, float] = {}
"""When the activities of this process began, by what they were given."""


@activity.define
async def step(line: str) -> str:
    ran[line] = time.time()
    if line == "long":
        print(json.dumps({"at": time.time()}), flush=True)
        await asyncio.sleep(PATIENCE_S if not os.environ.get("SECOND") else 0)
    return line


@workflow.define
class Step:
    async def run(self, line: str) -> str:
        return await step(line)


# ---------------------------------------------------------------- processes


async def engine(target: str, namespace: str, folder: str, standbys: str, session: str, kept: str = "") -> None:
    """Prints what it leads and follows, whenever that changes, and how many records it has folded."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    settings = {"session_timeout": float(session)}
    before: tuple[Any, ...] = ()
    collect_seldom()  # as the command line does
    async with Engine(
        target, namespace=namespace, data_dir=folder, standbys=int(standbys), log_settings=settings,
        checkpoints=CheckpointSettings(kept) if kept else None,
        settings=Settings(folding_processes=0 if os.environ.get("ONE_THREAD") else None),
    ) as running:
        while not stopped.is_set():
            now = (running.leading, running.following, sum(c.folded for c in running.counters().values()))
            if now != before:
                print(json.dumps([time.time(), *now]), flush=True)
                before = now
            await asyncio.sleep(0.02)


async def worker(target: str, namespace: str) -> None:
    async with Client(target, namespace=namespace) as client:
        await Worker(client, task_queue=QUEUE, workflows=[Step], activities=[step]).run()


class Process:
    """Another process of this program, and what it printed."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self.lines: list[Any] = []
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, env={**os.environ, **variables}
        )
        self._reading = asyncio.create_task(asyncio.to_thread(self._read))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line))

    def send(self, what: signal.Signals) -> float:
        at = time.time()
        self._process.send_signal(what)
        return at

    async def end(self) -> None:
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        await self._reading

    async def stop(self) -> None:
        self.send(signal.SIGTERM)
        await asyncio.to_thread(self._process.wait)
        await self._reading

    async def until(self, reached: Callable[[Any], bool]) -> Any:
        """The first line that says so."""
        for _ in range(round(PATIENCE_S / 0.02)):
            for line in list(self.lines):
                if reached(line):
                    return line
            await asyncio.sleep(0.02)
        raise TimeoutError(f"not reached: {self.lines[-1:]}")


# ---------------------------------------------------------------- the cases


def prepare(target: str, namespace: str, count: int, partitions: int) -> None:
    """Open workflows that wait for their start, as a log has them that was led when they came (rule C1)."""
    topics = Topics(namespace)
    log = open_log(target)
    ensure_topics(log, topics, partitions)
    producer = log.producer(linger_ms=20)
    elected = records.LeaderElected(
        member="nobody", nonce="1", clock_ms=round(time.time() * 1000), partitions=partitions,
        closed_retention_ms=FAR_MS,
    )
    for number in range(partitions):
        producer.send(topics.events, number, b"", encode(elected))
    for number in range(count):
        workflow_id = f"waiting-{number}"
        start = records.StartWorkflow(
            workflow_id=workflow_id, workflow_type="Step", task_queue=QUEUE, start_delay_ms=FAR_MS
        )
        key = workflow_id.encode()
        producer.send(topics.events, partition_of(key, partitions), key, encode(start))
    if producer.flush(PATIENCE_S):
        raise TimeoutError("the broker takes no records")
    producer.close()
    log.close()


def appended(target: str, namespace: str) -> int:
    log = open_log(target)
    topic = Topics(namespace).events
    count = sum(log.offsets(TopicPartition(topic, p))[1] for p in range(log.partitions(topic)))
    log.close()
    return count


def keep_checkpoints(target: str, namespace: str, folder: str) -> None:
    log = open_log(target)
    for _ in make_checkpoints(log, namespace, CheckpointStore(folder)):
        pass
    log.close()


async def measure(case: Case, target: str, namespace: str, client: Client, partitions: int) -> dict[str, float]:
    """One case: seconds from the signal until all is led, and until a workflow in each partition has ended."""
    everything = list(range(partitions))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        options = [str(case.standbys), str(case.session)]
        if case.checkpoints:
            options.append(f"{folder}/kept")
            await asyncio.to_thread(keep_checkpoints, target, namespace, options[-1])
        first = Process("engine", target, namespace, f"{folder}/1", *options)
        stack.push_async_callback(first.end)
        await first.until(lambda line: line[1] == everything)
        second = Process("engine", target, namespace, f"{folder}/2", *options)
        stack.push_async_callback(second.end)

        def shared(line: Any) -> bool:
            """Each leads half, and the second one follows the other half."""
            led, followed = line[1], line[2]
            other = first.lines[-1][1]
            return len(led) == len(everything) // 2 and sorted(led + other) == everything and followed in (other, [])

        half = await second.until(lambda line: line is second.lines[-1] and shared(line))
        count = await asyncio.to_thread(appended, target, namespace)
        if case.standbys:  # warm: it has folded all there is
            await second.until(lambda line: line[3] >= count and sorted(line[1] + line[2]) == everything)
        taken = [p for p in everything if p not in half[1]]
        probes = [probe(taken_one, partitions) for taken_one in taken]
        live = stack.enter_context(running_on(client, half[1], partitions))
        at = first.send(case.how)
        results = asyncio.gather(*(client.execute(Step, one, id=one, task_queue=QUEUE) for one in probes))
        led = await second.until(lambda line: line[0] > at and line[1] == everything)
        await results
        answered = time.time() - at
        progressed = max(ran[one] for one in probes) - at
        waits = sorted(wait for begun, wait in live if begun >= at)
        await first.end()
        await second.stop()
    led_after = led[0] - at
    return {
        "partitions": len(taken), "led after s": led_after, "work goes on after s": progressed,
        "answered after s": answered, "elsewhere p50 s": waits[len(waits) // 2], "elsewhere at most s": waits[-1],
    }  # fmt: skip


@contextmanager
def running_on(client: Client, live: list[int], partitions: int) -> Iterator[list[tuple[float, float]]]:
    """One workflow after another, at a pace that leaves the cores free, in partitions that keep their leader: when each
    began, and how long it took."""
    took: list[tuple[float, float]] = []

    async def run() -> None:
        for partition in cycle(live):
            name = probe(partition, partitions)
            begun = time.time()
            try:
                await client.execute(Step, name, id=name, task_queue=QUEUE)
            finally:  # also one that has waited to the end
                took.append((begun, time.time() - begun))
            await asyncio.sleep(PACE_S)

    running = asyncio.create_task(run())
    try:
        yield took
    finally:
        running.cancel()


def probe(partition: int, partitions: int) -> str:
    """A new workflow ID of a partition."""
    while True:
        name = f"probe-{uuid.uuid4().hex}"
        if partition_of(name.encode(), partitions) == partition:
            return name


async def worker_death(target: str, namespace: str, client: Client) -> dict[str, float]:
    """A worker is killed while it runs an activity: until that begins in another one."""
    with tempfile.TemporaryDirectory() as folder:
        running = Process("engine", target, namespace, folder, "0", str(DEFAULT_SESSION))
        one = Process("worker", target, namespace)
        handle = await client.start(Step, "long", id=f"long-{uuid.uuid4().hex}", task_queue=QUEUE)
        await one.until(lambda line: True)
        other = Process("worker", target, namespace, SECOND="1")
        await asyncio.sleep(5)  # it has joined
        at = one.send(signal.SIGKILL)
        begun = await other.until(lambda line: True)
        await handle.result()
        await one.end()
        for process in (other, running):
            await process.stop()
    return {"begins elsewhere after s": begun["at"] - at}


async def main(options: argparse.Namespace) -> None:
    from broker import Broker  # tests/kafka

    found: dict[str, dict[str, float]] = {}
    async with AsyncExitStack() as stack:
        given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        broker = None if given else Broker()
        if broker is not None:
            stack.callback(broker.stop)
            await asyncio.to_thread(broker.start)
        target = f"kafka://{given or broker.bootstrap}"  # type: ignore[union-attr]  # one of the two is there
        namespace = f"recovery-{uuid.uuid4().hex[:8]}"
        await asyncio.to_thread(prepare, target, namespace, options.open, options.partitions)
        client = await stack.enter_async_context(Client(target, namespace=namespace, request_timeout=PATIENCE_S))

        async def run(name: str, measured: Callable[[], Awaitable[dict[str, float]]]) -> None:
            if not options.only or name in options.only:
                found[name] = await measured()
                print(f"{name:36}", {k: round(v, 2) for k, v in found[name].items()}, flush=True)

        async with Worker(client, task_queue=QUEUE, workflows=[Step], activities=[step]):
            for case in CASES:
                await run(case.name, lambda case=case: measure(case, target, namespace, client, options.partitions))  # type: ignore[misc]
        await run("worker killed", lambda: worker_death(target, namespace, client))
    if options.json:
        figures = json.dumps({"open": options.open, **found}, indent=2)
        await asyncio.to_thread(Path(options.json).write_text, figures)


if __name__ == "__main__":
    if sys.argv[1:2] in (["engine"], ["worker"]):
        asyncio.run({"engine": engine, "worker": worker}[sys.argv[1]](*sys.argv[2:]))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--open", type=int, default=100_000, help="how many workflows are open")
        parser.add_argument("--partitions", type=int, default=16)
        parser.add_argument("--only", action="append", help="the name of a case, once or more")
        parser.add_argument("--json", default="", help="a file for the figures")
        asyncio.run(main(parser.parse_args()))
