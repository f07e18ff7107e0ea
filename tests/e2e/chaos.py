"""Kills and stops engines and workers at random moments while orders run, and checks what came out.

As a program it runs many faults and prints a table: `python -m tests.e2e.chaos --faults 50`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from odradek import Client
from odradek_log import TopicPartition, open_log
from odradek_schemas import Topics, decode, history, idempotency_key
from odradek_schemas.tasks import HistoryBatch

from ..kafka.broker import Broker
from ..kafka.cluster import Cluster
from .families import COLLECTOR, EXPECTED, FAMILY_QUEUE, Collector, parent
from .orders import PATIENT_LOG, STEPS, TASK_QUEUE, Order, expected

HERE = Path(__file__).parent
STOP_S = 20.0
PAUSE_S = 3.0
CLAIMED_MS = 2_500
"""How long after a result that is folded an execution may begin whose claim was folded before it: an answer to a claim
counts for a second, an attempt begins within another, and clocks of records and lines differ a little."""
PATIENCE_S = 600.0
"""How long one call of the client may take, at the worst of times."""
WORKER_KINDS = ("workflows", "activities", "both")
KINDS = ("kill engine", "kill worker", "stop engine", "stop worker", "kill broker", "stop broker")


@dataclass
class Role:
    """A process of the cluster, started again after a kill."""

    name: str
    arguments: list[str]
    folder: Path
    lines: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "ODRADEK_TEST_LINES": str(self.lines), "ODRADEK_TEST_PAUSE": str(PAUSE_S)}
        with open(self.folder / f"{self.name}.log", "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "roles.py"), *self.arguments],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment,
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Report:
    """What a run of the kill tests found. The lists that name faults of ours are empty when all is well."""

    faults: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    families: int = 0
    wrong_results: list[str] = field(default_factory=list)
    wrong_families: list[str] = field(default_factory=list)
    wrong_keys: list[str] = field(default_factory=list)
    started_after_result: list[str] = field(default_factory=list)
    claimed_before_result: int = 0
    executions: int = 0
    longest_order_s: float = 0.0
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        return self.wrong_results + self.wrong_families + self.wrong_keys + self.started_after_result


class Chaos:
    """Two engines, three workers, 100 orders at a time, on a real broker. Every fifth order, a parent with children.

    With `brokers`, these are killed and stopped, too, one at a time.
    """

    def __init__(
        self, bootstrap: str, folder: Path, seed: int, in_flight: int = 100, brokers: Cluster | None = None
    ) -> None:
        self.target = f"kafka://{bootstrap}"
        self.namespace = f"chaos-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.lines = folder / "lines.jsonl"
        self.random = random.Random(seed)
        self.in_flight = in_flight
        self.brokers = brokers
        self.report = Report()
        engines = [
            Role(f"engine-{n}", ["engine", self.target, self.namespace, str(folder / f"state-{n}")], folder, self.lines)
            for n in range(2)
        ]
        workers = [
            Role(f"worker-{kind}", ["worker", self.target, self.namespace, kind], folder, self.lines)
            for kind in WORKER_KINDS
        ]
        self.roles = {"engine": engines, "worker": workers}
        self._stopping = asyncio.Event()

    async def run(self, faults_per_kind: int) -> Report:
        begun = time.monotonic()
        for role in (*self.roles["engine"], *self.roles["worker"]):
            role.start()
        try:
            async with (
                Client(
                    self.target, namespace=self.namespace, request_timeout=PATIENCE_S, log_settings=PATIENT_LOG
                ) as client,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(self._orders(client))
                group.create_task(self._faults(faults_per_kind))
        finally:
            for role in (*self.roles["engine"], *self.roles["worker"]):
                role.kill()
        self._audit()
        self.report.seconds = time.monotonic() - begun
        return self.report

    # ------------------------------------------------------------ load

    async def _orders(self, client: Client) -> None:
        """Keep many orders open until the faults are over, then see the last ones end."""
        slots = asyncio.Semaphore(self.in_flight)
        collector = await client.start(Collector, id=COLLECTOR, task_queue=FAMILY_QUEUE)
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                await slots.acquire()
                amount, self.report.orders = self.report.orders, self.report.orders + 1
                group.create_task(self._order(client, amount, slots))
                if amount % 5 == 0:
                    number, self.report.families = self.report.families, self.report.families + 1
                    group.create_task(self._family(client, number))
        await collector.signal(Collector.end)
        heard = await collector.with_options(timeout=PATIENCE_S).result()
        if sorted(heard) != list(range(self.report.families)):
            wrong = [f"{n}: {count} times" for n, count in sorted(Counter(heard).items()) if count != 1]
            self.report.wrong_families.append(f"the collector heard {len(heard)} of {self.report.families}; {wrong}")

    async def _family(self, client: Client, number: int) -> None:
        handle = await client.start(parent, number, id=f"parent-{number}", task_queue=FAMILY_QUEUE)
        result = await handle.with_options(timeout=PATIENCE_S).result()
        if result != EXPECTED:
            self.report.wrong_families.append(f"parent-{number}: {result}")

    async def _order(self, client: Client, amount: int, slots: asyncio.Semaphore) -> None:
        begun = time.monotonic()
        handle = await client.start(Order, amount, id=f"order-{amount}", task_queue=TASK_QUEUE)
        await handle.signal(Order.pick_up)
        await handle.signal(Order.pick_up)
        result = await handle.with_options(timeout=PATIENCE_S).result()
        if result != expected(amount):
            self.report.wrong_results.append(f"order-{amount}: {result}")
        self.report.longest_order_s = max(self.report.longest_order_s, time.monotonic() - begun)
        slots.release()

    # ------------------------------------------------------------ faults

    async def _faults(self, per_kind: int) -> None:
        """Faults of engines and of workers go on side by side, and end the load when they are through."""
        async with asyncio.TaskGroup() as group:
            for what in ("engine", "worker"):
                group.create_task(self._faults_of(what, per_kind))
            if self.brokers is not None:
                group.create_task(self._faults_of_brokers(self.brokers, per_kind))
        self._stopping.set()

    async def _faults_of_brokers(self, cluster: Cluster, count: int) -> None:
        """One broker, which is a controller too, stands still for a while, then one dies; the next fault only when all
        copies are complete again."""
        for _ in range(count):
            stopped, killed = self.random.choice(cluster.brokers), self.random.choice(cluster.brokers)
            stopped.pause()
            self.report.faults["stop broker"] += 1
            await asyncio.sleep(self.random.uniform(2, 12))
            stopped.resume()
            await asyncio.to_thread(cluster.wait_in_sync)
            killed.kill()
            self.report.faults["kill broker"] += 1
            await asyncio.sleep(self.random.uniform(0, 6))
            killed.spawn()  # here: a broker ends with the thread that made it
            await asyncio.to_thread(killed.wait)
            await asyncio.to_thread(cluster.wait_in_sync)

    async def _faults_of(self, what: str, count: int) -> None:
        """One process is stopped for a while, and meanwhile another one killed; then all get some time to go on."""
        for _ in range(count):
            stopped = self.random.choice(self.roles[what])
            stopped.signal(signal.SIGSTOP)
            self.report.faults[f"stop {what}"] += 1
            resumes_at = time.monotonic() + STOP_S
            await asyncio.sleep(self.random.uniform(1, 10))
            victim = self.random.choice([role for role in self.roles[what] if role is not stopped])
            victim.kill()
            self.report.faults[f"kill {what}"] += 1
            await asyncio.sleep(self.random.uniform(0, 2))
            victim.start()
            await asyncio.sleep(resumes_at - time.monotonic())
            stopped.signal(signal.SIGCONT)
            await asyncio.sleep(self.random.uniform(2, 6))

    # ------------------------------------------------------------ what came out

    def _audit(self) -> None:
        """Compare the lines that activities wrote with what the log says."""
        lines = [json.loads(line) for line in self.lines.read_text().splitlines()]
        self.report.executions = len(lines)
        completed = self._completed()
        by_key: dict[str, list[dict[str, object]]] = defaultdict(list)
        for line in lines:
            by_key[line["key"]].append(line)
        wanted = {(f"order-{amount}", step) for amount in range(self.report.orders) for step in STEPS}
        found = Counter((str(group[0]["workflow"]), str(group[0]["step"])) for group in by_key.values())
        for what in sorted(wanted | set(found)):
            if found[what] != 1 or what not in wanted:
                self.report.wrong_keys.append(f"{what} has {found[what]} idempotency keys")
        for key, group in by_key.items():
            if len({(line["workflow"], line["step"]) for line in group}) != 1:
                self.report.wrong_keys.append(f"{key} was used for several steps")
            after = [line for line in group if key in completed and int(str(line["at_ms"])) > completed[key]]
            late = [line for line in after if int(str(line["at_ms"])) > completed[key] + CLAIMED_MS]
            self.report.claimed_before_result += len(after) - len(late)
            if late:
                self.report.started_after_result.append(f"{key} completed at {completed[key]}, then {late}")

    def _completed(self) -> dict[str, int]:
        """When the result of each activity was folded, by idempotency key; from the public history."""
        log = open_log(self.target)
        topic = Topics(self.namespace).history
        scheduled: dict[tuple[str, int], str] = {}
        done: dict[str, int] = {}
        consumer = log.consumer()
        partitions = [TopicPartition(topic, p) for p in range(log.partitions(topic))]
        ends = {tp: log.offsets(tp)[1] for tp in partitions}
        consumer.assign(dict.fromkeys(ends, 0))
        left = {tp for tp, end in ends.items() if end}
        while left:
            for record in consumer.poll(1.0):
                if record.offset + 1 >= ends[TopicPartition(record.topic, record.partition)]:
                    left.discard(TopicPartition(record.topic, record.partition))
                batch = decode(record.value)
                if not isinstance(batch, HistoryBatch):
                    continue
                for encoded in batch.events:
                    event = decode(encoded)
                    assert isinstance(event, history.HistoryEvent)
                    a = event.attributes
                    if isinstance(a, history.ActivityScheduled):
                        scheduled[batch.run_id, a.seq] = idempotency_key(batch.run_id, a.scheduled_by, a.seq)
                    elif isinstance(a, history.ActivityCompleted):
                        done.setdefault(scheduled[batch.run_id, a.seq], event.time_ms)
        consumer.close()
        log.close()
        return done


def show(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "count")
    for kind in KINDS:
        table.add_row(kind, str(report.faults[kind]))
    table.add_row("orders", str(report.orders))
    table.add_row("activity executions", str(report.executions))
    table.add_row("orders lost or wrong", str(len(report.wrong_results)))
    table.add_row("parents, each with three children", str(report.families))
    table.add_row("families lost or wrong, messages lost or doubled", str(len(report.wrong_families)))
    table.add_row("steps without exactly one idempotency key", str(len(report.wrong_keys)))
    table.add_row("activities started after their result", str(len(report.started_after_result)))
    table.add_row("begun within 2.5 s of it, claimed before", str(report.claimed_before_result))
    table.add_row("longest order", f"{report.longest_order_s:.1f} s")
    table.add_row("took", f"{report.seconds:.0f} s")
    Console(width=100).print(table)
    for problem in report.problems[:20]:
        print(problem)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=50, help="of each kind")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="3: they are killed and stopped, too")
    parser.add_argument("--keep", type=Path, help="a folder for the processes' output")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    brokers = Cluster() if arguments.brokers == 3 else Broker()
    with brokers, tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        cluster = brokers if isinstance(brokers, Cluster) else None
        chaos = Chaos(brokers.bootstrap, folder, arguments.seed, brokers=cluster)
        report = asyncio.run(chaos.run(arguments.faults))
    show(report)
    sys.exit(1 if report.problems else 0)


if __name__ == "__main__":
    main()
