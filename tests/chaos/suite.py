"""A run of the fault suite: brokers, three engines, four workers and a client, each a process; load throughout, one
round of faults after the other, and in the end the auditors.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..kafka.cluster import Cluster, ClusterElsewhere, broker_name
from .audit import Outcome, audit
from .disks import Disk
from .faults import CLIENT, CONTROLLER, DISK_FULL, ENGINES, WORKERS, Fault
from .network import Network
from .processes import Role
from .watch import Watch, now

HERE = Path(__file__).parent
PARTITIONS = 8
KINDS_OF_WORKERS = ("workflows", "activities", "both", "both")
PATIENCE_S = 120.0
"""After a round of faults all partitions go on within so long, and in the end everything comes to its end."""
DELAY_S = 0.1
FETCH_WAIT_MS = 400
"""Less than the default would have many idle consumers keep a small machine busy."""
_LEADS = re.compile(r"leading partition (\d+) from offset (\d+)")


@dataclass
class Struck:
    """A fault that happened. `at`: Unix time. `alone`: no other one at the same time."""

    fault: Fault
    at: float
    alone: bool


@dataclass
class Report:
    struck: list[Struck] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from each fault until workflows advanced again in all partitions that it affects, by kind."""
    outcome: Outcome = field(default_factory=Outcome)
    stalls: list[str] = field(default_factory=list)
    ended_by_themselves: dict[str, int] = field(default_factory=dict)
    longest_stall_s: float = 0.0
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        return self.stalls + self.outcome.problems


@contextmanager
def running(network: Network, brokers: int) -> Iterator[Cluster]:
    """A cluster whose brokers reach each other, and are reached, through the network. Raises BrokerError."""
    cluster = Cluster(heap="256m", publish=network.publish, size=brokers)
    try:
        cluster.spawn()
        for number, broker in enumerate(cluster.brokers, 1):
            network.know(broker_name(number), broker.process_id)
        cluster.wait()
        yield cluster
    finally:
        cluster.stop()


class Suite:
    """`cluster`: brokers that run, whose ports were published in `network`. `session_s`: after so long a member of a
    group that is gone loses its partitions (default: Odradek's own). `standbys`: of each partition."""

    def __init__(
        self,
        cluster: Cluster | ClusterElsewhere,
        network: Network,
        folder: Path,
        *,
        in_flight: int = 20,
        session_s: float | None = None,
        standbys: int = 0,
    ) -> None:
        self.cluster = cluster
        self.network = network
        self.folder = folder
        self.namespace = f"chaos-{uuid.uuid4().hex[:8]}"
        self.report = Report()
        self.disks = {name: Disk(folder / f"state-{name}") for name in ENGINES}
        self.journal, self.lines = folder / "journal.jsonl", folder / "lines.jsonl"
        target = f"kafka://{cluster.bootstrap}?fetch.wait.max.ms={FETCH_WAIT_MS}"
        session = [] if session_s is None else ["--kafka-option", f"session.timeout.ms={round(session_s * 1000)}"]
        engine = [
            str(Path(sys.executable).with_name("odradek")), "engine", "--log", target, "-n", self.namespace,
            "--partitions", str(PARTITIONS), "--standbys", str(standbys), *session,
        ]  # fmt: skip
        program = [sys.executable, str(HERE / "roles.py")]
        self.roles = {name: self._role(name, [*engine, "--data", str(self.disks[name].folder)]) for name in ENGINES}
        for name, kind in zip(WORKERS, KINDS_OF_WORKERS, strict=True):
            self.roles[name] = self._role(name, [*program, "worker", target, self.namespace, kind])
        client = [*program, "client", target, self.namespace, str(self.journal), str(in_flight)]
        self.roles[CLIENT] = self._role(CLIENT, client)

    def _role(self, name: str, command: list[str]) -> Role:
        output = self.folder / f"{name}.log"
        output.touch()
        return Role(name, command, output, self.network.know, {"ODRADEK_TEST_LINES": str(self.lines), "COLUMNS": "200"})

    async def run(self, rounds: Sequence[Sequence[Fault]]) -> Report:
        try:
            return await self._run(rounds)
        finally:
            for disk in self.disks.values():
                disk.close()

    async def _run(self, rounds: Sequence[Sequence[Fault]]) -> Report:
        begun = time.monotonic()
        self.journal.touch()
        self.lines.touch()
        keepers = [asyncio.create_task(role.keep()) for role in self.roles.values()]
        watch = Watch(f"kafka://{self.cluster.direct}", self.namespace, PARTITIONS)
        try:
            await self._all_go_on(watch, "the start", now())
            for number, faults in enumerate([] if self.report.stalls else rounds, 1):
                await self._round(watch, number, faults)
            await self._end()
        finally:
            for role in self.roles.values():
                role.kill()
                await role.stop(5.0)
            await asyncio.gather(*keepers)
            await asyncio.to_thread(watch.close)
        self._measure(watch)
        folders = [disk.folder for disk in self.disks.values()]
        self.report.outcome = await asyncio.to_thread(
            audit, f"kafka://{self.cluster.direct}", self.namespace, PARTITIONS, self.lines, self.journal, folders
        )
        self.report.seconds = time.monotonic() - begun
        return self.report

    # ------------------------------------------------------------ faults

    async def _round(self, watch: Watch, number: int, faults: Sequence[Fault]) -> None:
        print(f"round {number}: {'; '.join(map(str, faults))}", flush=True)
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._strike(fault, alone=len(faults) == 1))
        await self._all_go_on(watch, f"round {number}: {'; '.join(map(str, faults))}", now())
        await asyncio.to_thread(self.cluster.wait_in_sync)

    async def _all_go_on(self, watch: Watch, what: str, since: float) -> None:
        behind = await asyncio.to_thread(watch.wait, since, PATIENCE_S)
        if behind:
            self.report.stalls.append(f"{PATIENCE_S:g} s after {what}: no workflow has advanced in partitions {behind}")

    async def _strike(self, fault: Fault, alone: bool) -> None:
        await asyncio.sleep(fault.after)
        struck = Struck(fault, now(), alone)
        self.report.struck.append(struck)
        how = fault.kind.partition(" ")[0]
        if fault.kind == DISK_FULL:
            await self._fill(fault, struck)
        elif how in ("cut", "slow"):
            pairs = [frozenset((fault.victim, other)) for other in fault.others]
            self.network.cut(pairs) if how == "cut" else self.network.slow(pairs, DELAY_S)
            await asyncio.sleep(fault.seconds)
            self.network.heal(reset=fault.reset)
        elif "broker" in fault.kind or fault.victim == CONTROLLER:
            await self._strike_broker(fault, how)
        elif how == "kill":
            self.roles[fault.victim].kill()
            await asyncio.sleep(fault.seconds)
            self.roles[fault.victim].restart()
        else:
            self.roles[fault.victim].signal(signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            self.roles[fault.victim].signal(signal.SIGCONT)

    async def _strike_broker(self, fault: Fault, how: str) -> None:
        assert isinstance(self.cluster, Cluster)
        number = self.cluster.controller() if fault.victim == CONTROLLER else int(fault.victim.rpartition("-")[2])
        broker = self.cluster.brokers[number - 1]
        broker.kill() if how == "kill" else broker.pause()
        await asyncio.sleep(fault.seconds)
        if how == "kill":
            broker.spawn()  # here: a broker ends with the thread that made it
            self.network.know(broker_name(number), broker.process_id)
        else:
            broker.resume()

    async def _fill(self, fault: Fault, struck: Struck) -> None:
        """The disk of an engine has no room left until the engine has said so and ended, from where recovery counts;
        then, for a while longer."""
        role, disk = self.roles[fault.victim], self.disks[fault.victim]
        ended = len(role.ended)
        disk.fill()
        give_up = time.monotonic() + PATIENCE_S
        while len(role.ended) == ended and time.monotonic() < give_up:
            await asyncio.sleep(0.1)
        struck.at = now()
        if len(role.ended) == ended or "Is the disk full?" not in role.output.read_text():
            self.report.stalls.append(f"{fault.victim} went on with a full disk, or ended without saying why")
        await asyncio.sleep(fault.seconds)
        disk.free()

    # ------------------------------------------------------------ the end

    async def _end(self) -> None:
        """No faults any more: everything comes to its end, and all processes end in order."""
        self.roles[CLIENT].signal(signal.SIGTERM)
        if not await self.roles[CLIENT].finished(PATIENCE_S):
            self.report.stalls.append(f"workflows had not all ended {PATIENCE_S:g} s after the last fault")
        for names in (WORKERS, ENGINES):
            stopped = await asyncio.gather(*(self.roles[name].stop(60.0) for name in names))
            late = [name for name, ended in zip(names, stopped, strict=True) if not ended]
            if late:
                self.report.stalls.append(f"{late} did not end within 60 s of SIGTERM")

    def _measure(self, watch: Watch) -> None:
        self.report.ended_by_themselves = {
            name: len(role.ended) for name, role in self.roles.items() if role.ended
        }
        self.report.longest_stall_s = watch.longest_stall()
        for struck in self.report.struck:
            affected = None
            if struck.fault.victim in ENGINES:
                affected = self._led_by(struck.fault.victim, struck.at)
            if affected == []:
                continue  # it led nothing: nobody had to go on
            kind = struck.fault.kind if struck.alone else "two at once"
            self.report.recoveries[kind].append(watch.recovery(struck.at, affected))

    def _led_by(self, engine: str, at: float) -> list[int]:
        """The partitions that an engine had been the last to lead, at a time, from what engines printed."""
        elections: dict[int, list[tuple[int, str, float]]] = defaultdict(list)
        for name in ENGINES:
            for line in self.roles[name].output.read_text().splitlines():
                if found := _LEADS.search(line):
                    elections[int(found[1])].append((int(found[2]), name, _time_of(line)))
        return [
            partition
            for partition, found in elections.items()
            if max((e for e in found if e[2] <= at), default=(0, "", 0.0))[1] == engine
        ]


def _time_of(line: str) -> float:
    """The time with which a line of an engine begins."""
    return time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S"))
