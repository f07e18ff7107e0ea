"""A run of the fault suite: brokers, three engines, four workers and a client, each a process; load throughout, faults
one after the other or many at once, and in the end the auditors.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
import uuid
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..kafka.cluster import Cluster, ClusterElsewhere, broker_name
from .audit import Outcome, audit
from .disks import Disk
from .faults import CLIENT, CONTROLLER, DISK_FULL, ENGINES, WORKERS, Fault, in_lanes
from .network import Network
from .processes import Role
from .stalls import LONG_S, Span, shown
from .watch import Watch, now

HERE = Path(__file__).parent
PARTITIONS = 16
KINDS_OF_WORKERS = ("workflows", "activities", "orders", "all")
PATIENCE_S = 120.0
"""No partition stands still for longer, whatever befalls; after the faults everything comes to its end within it."""
LEAVE_S = 60.0
"""A process that is asked to end does so within so long."""
DELAY_S = 0.1
FETCH_WAIT_MS = 1000
"""Less than the default would have many idle consumers keep a small machine busy."""
_LEADS = re.compile(r"leading partition (\d+) from offset (\d+)")


@dataclass
class Struck:
    """A fault that happened. `at`, `until`: Unix time."""

    fault: Fault
    at: float
    until: float = 0.0


@dataclass
class Report:
    struck: list[Struck] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from each fault until workflows advanced again in all partitions that it affects, by kind; of faults that
    came one by one."""
    outcome: Outcome = field(default_factory=Outcome)
    stalls: list[str] = field(default_factory=list)
    ended_by_themselves: dict[str, int] = field(default_factory=dict)
    longest_silence_s: float = 0.0
    """For which no workflow has advanced in a partition, whether there was something to do or not."""
    longest_stall_s: float = 0.0
    """For which none has, although there was something to do."""
    long_stalls: list[str] = field(default_factory=list)
    """What the longest ones were, in lines for people."""
    fewest_open: int = 0
    """How many workflows of the client were open when a fault struck, at the least."""
    faults_s: float = 0.0
    """From the first fault to the end of the last."""
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        return self.stalls + self.outcome.problems


class _Election(NamedTuple):
    """An engine leads a partition `at` a Unix time, by a record at `epoch`."""

    epoch: int
    partition: int
    at: float
    engine: str


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
    group that is gone loses its partitions (default: Odradek's own). `standbys`: of each partition. `in_flight`: orders
    at a time, each of which pauses for so many seconds, or half of them more or less."""

    def __init__(
        self,
        cluster: Cluster | ClusterElsewhere,
        network: Network,
        folder: Path,
        *,
        in_flight: int = 100,
        pause: float = 15.0,
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
        client = [*program, "client", target, self.namespace, str(self.journal), str(in_flight), str(pause)]
        self.roles[CLIENT] = self._role(CLIENT, client)

    def _role(self, name: str, command: list[str]) -> Role:
        output = self.folder / f"{name}.log"
        output.touch()
        return Role(name, command, output, self.network.know, {"ODRADEK_TEST_LINES": str(self.lines), "COLUMNS": "200"})

    async def run(self, faults: Sequence[Fault], *, one_by_one: bool = False) -> Report:
        """`one_by_one`: the next fault comes when all partitions have gone on and all copies are complete."""
        try:
            return await self._run([faults] if one_by_one else in_lanes(faults), one_by_one)
        finally:
            for disk in self.disks.values():
                disk.close()

    async def _run(self, lanes: Sequence[Sequence[Fault]], one_by_one: bool) -> Report:
        begun = time.monotonic()
        self.journal.touch()
        self.lines.touch()
        keepers = [asyncio.create_task(role.keep()) for role in self.roles.values()]
        watch = Watch(f"kafka://{self.cluster.direct}", self.namespace, PARTITIONS)
        try:
            await self._all_go_on(watch, "the start", now())
            if not self.report.stalls:
                await self._faults(watch, lanes, one_by_one)
            await self._end()
        finally:
            for role in self.roles.values():
                role.kill()
                await role.stop(5.0)
            await asyncio.gather(*keepers)
            await asyncio.to_thread(watch.close)
        self._measure(watch, one_by_one)
        folders = [disk.folder for disk in self.disks.values()]
        self.report.outcome = await asyncio.to_thread(
            audit, f"kafka://{self.cluster.direct}", self.namespace, PARTITIONS, self.lines, self.journal, folders
        )
        self.report.seconds = time.monotonic() - begun
        return self.report

    # ------------------------------------------------------------ faults

    async def _faults(self, watch: Watch, lanes: Sequence[Sequence[Fault]], one_by_one: bool) -> None:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(self._lane(watch, lane, one_by_one))
        await self._all_go_on(watch, "the last fault", now())
        self.report.faults_s = time.monotonic() - begun

    async def _lane(self, watch: Watch, faults: Sequence[Fault], one_by_one: bool) -> None:
        for fault in faults:
            await asyncio.sleep(fault.after)
            struck = Struck(fault, now())
            self.report.struck.append(struck)
            print(f"{len(self.report.struck)}: {fault}", flush=True)
            await self._strike(fault, struck)
            struck.until = now()
            if one_by_one:
                await self._all_go_on(watch, str(fault), now())
            if one_by_one or fault.of_brokers:
                await asyncio.to_thread(self.cluster.wait_in_sync)

    async def _all_go_on(self, watch: Watch, what: str, since: float) -> None:
        behind = await asyncio.to_thread(watch.wait, since, PATIENCE_S)
        if behind:
            self.report.stalls.append(f"{PATIENCE_S:g} s after {what}: no workflow has advanced in partitions {behind}")

    async def _strike(self, fault: Fault, struck: Struck) -> None:
        how = fault.kind.partition(" ")[0]
        if fault.kind == DISK_FULL:
            await self._fill(fault, struck)
        elif fault.of_network:
            await self._disturb(fault, slow=how == "slow")
        elif fault.of_brokers:
            await self._strike_broker(fault, how)
        else:
            await self._strike_process(fault, how)

    async def _disturb(self, fault: Fault, slow: bool) -> None:
        pairs = [frozenset((fault.victim, other)) for other in fault.others]
        self.network.slow(pairs, DELAY_S) if slow else self.network.cut(pairs)
        await asyncio.sleep(fault.seconds)
        self.network.heal(pairs, DELAY_S if slow else None, reset=fault.reset)

    async def _strike_process(self, fault: Fault, how: str) -> None:
        role = self.roles[fault.victim]
        if how == "stop":
            role.signal(signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            role.signal(signal.SIGCONT)
            return
        if how == "kill":
            role.kill()
        elif not await role.leave(LEAVE_S):
            self.report.stalls.append(f"{fault.victim} did not end within {LEAVE_S:g} s of SIGTERM")
        await asyncio.sleep(fault.seconds)
        role.restart()

    async def _strike_broker(self, fault: Fault, how: str) -> None:
        assert isinstance(self.cluster, Cluster)
        number = self.cluster.controller() if fault.victim == CONTROLLER else int(fault.victim.rpartition("-")[2])
        broker = self.cluster.brokers[number - 1]
        if how == "stop":
            broker.pause()
            await asyncio.sleep(fault.seconds)
            broker.resume()
            return
        await asyncio.to_thread(broker.kill if how == "kill" else broker.leave)
        await asyncio.sleep(fault.seconds)
        broker.spawn()  # here: a broker ends with the thread that made it
        self.network.know(broker_name(number), broker.process_id)

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
            stopped = await asyncio.gather(*(self.roles[name].stop(LEAVE_S) for name in names))
            late = [name for name, ended in zip(names, stopped, strict=True) if not ended]
            if late:
                self.report.stalls.append(f"{late} did not end within {LEAVE_S:g} s of SIGTERM")

    def _measure(self, watch: Watch, one_by_one: bool) -> None:
        self.report.ended_by_themselves = {
            name: len(role.ended) for name, role in self.roles.items() if role.ended
        }
        self.report.longest_silence_s = watch.longest_silence()
        if self.report.longest_silence_s > PATIENCE_S:
            self.report.stalls.append(f"a partition stood still for {self.report.longest_silence_s:.0f} s")
        found = watch.stalls(until=now())
        self.report.longest_stall_s = max((stall.waited for stall in found), default=0.0)
        faults = [Span(str(struck.fault), struck.at, struck.until) for struck in self.report.struck]
        long = [stall for stall in found if stall.waited >= LONG_S]
        self.report.long_stalls = shown(long, faults, [(e.partition, e.at, e.engine) for e in self._elections()])
        self.report.fewest_open = self._fewest_open()
        for struck in self.report.struck if one_by_one else ():
            affected = None
            if struck.fault.victim in ENGINES:
                affected = self._led_by(struck.fault.victim, struck.at)
            if affected != []:  # else it led nothing: nobody had to go on
                self.report.recoveries[struck.fault.kind].append(watch.recovery(struck.at, affected))

    def _fewest_open(self) -> int:
        """Of the client's workflows, when a fault struck."""
        notes = [json.loads(line) for line in self.journal.read_text().splitlines()]
        begun = sorted(note["at"] for note in notes if note["what"] == "begun")
        ended = sorted(note["at"] for note in notes if note["what"] == "result")
        return min((bisect(begun, s.at) - bisect(ended, s.at) for s in self.report.struck), default=0)

    def _led_by(self, engine: str, at: float) -> list[int]:
        """The partitions that an engine had been the last to lead, at a time, from what engines printed."""
        last: dict[int, _Election] = {}
        for election in self._elections():
            if election.at <= at:
                last[election.partition] = election
        return [partition for partition, election in last.items() if election.engine == engine]

    def _elections(self) -> list[_Election]:
        """Of all engines, in the order of the log, from what they printed."""
        return sorted(
            _Election(int(found[2]), int(found[1]), _time_of(line), name)
            for name in ENGINES
            for line in self.roles[name].output.read_text().splitlines()
            if (found := _LEADS.search(line))
        )


def _time_of(line: str) -> float:
    """The time with which a line of an engine begins."""
    return time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S"))
