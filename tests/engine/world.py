"""A simulated world: engines that crash, stop and come back on a simulated log, by a seed.

The engines are the production class, driven turn by turn in one thread; their disks keep what was persisted, and lose
what was not. `audit` compares all that left the engines with what a fold from zero says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from odradek_engine import Engine
from odradek_engine.engine import ensure_topics
from odradek_engine.fold import MemoryStorage, State, fold, keys
from odradek_engine.settings import Settings
from odradek_log import TopicPartition
from odradek_log.simulated import SimulatedLog, SimulatedProcess
from odradek_schemas import decode, encode, records, tasks

from .harness import T0, TOPICS, request

PARTITIONS = 2
GROUP = f"{TOPICS.prefix}engine"
QUIET = 400
"""Rounds without faults after which everything has come to rest, if it ever does."""

class Disk:
    """What survives a crash: the state of each partition as it was persisted last."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.durable: dict[str, dict[bytes, bytes]] = {}

    def open(self, folder: Path) -> DiskStorage:
        return DiskStorage(self, folder.name)


class DiskStorage(MemoryStorage):
    """One partition's state. RocksDB puts memory on disk when it likes; so does this."""

    def __init__(self, disk: Disk, name: str) -> None:
        super().__init__()
        self._disk = disk
        self._name = name
        self.entries = dict(disk.durable.get(name, {}))

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        super().write(changes)
        if self._disk.rng.random() < 0.2:
            self.persist()

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        found = sorted(k for k in self.entries if start <= k < end)
        return ((k, self.entries[k]) for k in found)

    def persist(self) -> None:
        self._disk.durable[self._name] = dict(self.entries)

    def close(self) -> None:
        self.persist()

    def destroy(self) -> None:
        self._disk.durable.pop(self._name, None)


class SimulatedTime:
    def __init__(self, world: World) -> None:
        self._world = world

    def now_ms(self) -> int:
        return self._world.now_ms

    def monotonic(self) -> float:
        return self._world.now_ms / 1000


class SeededRandomness:
    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def token(self) -> str:
        return f"{self._rng.getrandbits(64):016x}"

    def uniform(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)


class Machine:
    """A place where an engine runs, crashes and runs again on the same disk."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.disk = Disk(world.rng)
        self.up = self.paused = False
        self.boot()

    def boot(self) -> None:
        world = self.world
        self.process: SimulatedProcess = world.log.process(self.name)
        self.engine = Engine(
            log=self.process,
            namespace="test",
            data_dir="nowhere",
            partitions=PARTITIONS,
            settings=Settings(mark_interval=0.2, reissue_after=1e9),
            clock=SimulatedTime(world),
            randomness=SeededRandomness(world.rng),
            open_storage=self.disk.open,
        )
        self.engine.connect()
        self.up, self.paused = True, False

    def turn(self) -> None:
        if self.up and not self.paused:
            self.engine.step(0.0)
            self.engine.follow_step(0.0)

    def crash(self) -> None:
        self.process.crash()
        self.up = False
        if self.world.rng.random() < 0.2:
            self.disk.durable.clear()

    def pause(self, paused: bool) -> None:
        self.paused = paused
        self.process.pause(paused)


class World:
    """`happened` counts what befell the engines."""

    def __init__(self, seed: int, machines: int = 2) -> None:
        self.rng = Random(seed)
        self.now_ms = T0
        self.log = SimulatedLog(seed, clock=lambda: self.now_ms)
        self.log.faults.repeat = self.log.faults.refuse = 0.02
        ensure_topics(self.log, TOPICS, PARTITIONS)
        self.machines = [Machine(self, f"m{i}") for i in range(machines)]
        self.happened: Counter[str] = Counter()

    # ------------------------------------------------------------ what happens

    def run(self, steps: int = 250) -> list[str]:
        """Faults for a while, then none until all has come to rest; returns what is wrong."""
        actions = [self._feed, self._deliver, self._turn, self._rebalance, self._crash, self._boot, self._pause,
                   self._stall, self._fail_producers, self._expel]
        weights = [10, 40, 40, 1, 1, 3, 2, 2, 0.5, 1]
        for _ in range(steps):
            self.now_ms += self.rng.choice((1, 10, 60, 300))
            self.rng.choices(actions, weights)[0]()
        return self._rest() or self.audit()

    def _feed(self) -> None:
        """Somebody appends a record of a workflow, into its own partition or another."""
        workflow_id = f"w{self.rng.randrange(12)}"
        asked = request(f"r{self.rng.randrange(10**9)}", reply_partition=self.rng.randrange(PARTITIONS))
        made: list[bytes] = [
            encode(
                records.StartWorkflow(
                    workflow_id=workflow_id,
                    workflow_type="Order",
                    task_queue=self.rng.choice(("a", "b")),
                    request=asked,
                )
            ),
            encode(records.SignalWorkflow(workflow_id=workflow_id, signal="poke", request=asked)),
            encode(records.TerminateWorkflow(workflow_id=workflow_id, request=asked)),
            b"nonsense",
        ]
        where = TopicPartition(TOPICS.events, self.rng.randrange(PARTITIONS))
        self.log.append(where, b"", self.rng.choices(made, (6, 4, 2, 1))[0])

    def _deliver(self) -> None:
        for _ in range(self.rng.randint(1, 6)):
            self.log.step()

    def _turn(self) -> None:
        self.rng.choice(self.machines).turn()

    def _rebalance(self) -> None:
        self.log.rebalance(GROUP)

    def _crash(self) -> None:
        machine = self.rng.choice(self.machines)
        if machine.up:
            self.happened["crash"] += 1
            machine.crash()

    def _boot(self) -> None:
        for machine in self.machines:
            if not machine.up:
                machine.process.expel()
                machine.boot()

    def _pause(self) -> None:
        machine = self.rng.choice(self.machines)
        if machine.up:
            self.happened["pause"] += not machine.paused
            machine.pause(not machine.paused)

    def _stall(self) -> None:
        machine = self.rng.choice(self.machines)
        if machine.up:
            machine.process.stall(not machine.process.stalled)

    def _fail_producers(self) -> None:
        machine = self.rng.choice(self.machines)
        if machine.up:
            self.happened["producer failed"] += 1
            machine.process.fail_producers()

    def _expel(self) -> None:
        """A machine is taken for dead by the group, whether it is or not."""
        self.happened["expelled"] += 1
        self.rng.choice(self.machines).process.expel()

    # ------------------------------------------------------------ how it ends

    def _rest(self) -> list[str]:
        """Faults are over: let everything come to rest."""
        self.log.faults.repeat = self.log.faults.refuse = 0.0
        self._boot()
        for machine in self.machines:
            machine.process.stall(False)
            machine.pause(False)
        for _ in range(QUIET):
            self.now_ms += 100
            for machine in self.machines:
                machine.turn()
            for _ in range(12):
                self.log.step()
            if self._settled():
                return []
        return [f"no rest: {[m.engine.leading for m in self.machines]} lead"]

    def _settled(self) -> bool:
        if sorted(p for m in self.machines for p in m.engine.leading) != list(range(PARTITIONS)):
            return False
        for machine in self.machines:
            if sorted(machine.engine._processors) != machine.engine.leading:
                return False  # what it led, and another leads now, it lets go
            for partition in machine.engine.leading:
                state = machine.engine._processors[partition].state
                end = len(self.log.records[TopicPartition(TOPICS.events, partition)])
                if state.partition.position < end or next(state.scan(keys.OUTBOX), None) is not None:
                    return False
        return self.log.network.idle

    def audit(self) -> list[str]:
        """What is wrong: effects that are missing, doubled, out of order or other than the fold says; states, too."""
        wrong: list[str] = []
        for source in range(PARTITIONS):
            state, wanted = self._golden(source)
            for machine in self.machines:
                processor = machine.engine._processors.get(source)
                if processor is not None and processor.state.dump() != state.dump():
                    wrong.append(f"the state of {machine.name} for partition {source} is not what the log says")
            for where, bodies in wanted.items():
                got = self._received(where, source)
                if got != bodies:
                    wrong.append(f"{where} of partition {source}: {len(got)} effects taken, {len(bodies)} made")
        return wrong

    def _golden(self, source: int) -> tuple[State, dict[TopicPartition, list[Any]]]:
        """The state of a fold from zero, and the effects that it makes."""
        state = State(MemoryStorage(), source)
        wanted: dict[TopicPartition, list[Any]] = {}
        for record in self.log.records[TopicPartition(TOPICS.events, source)]:
            folded = fold(state, TOPICS, record.offset, record.timestamp_ms, record.key, record.value)
            for effect in folded.effects:
                wanted.setdefault(TopicPartition(effect.topic, effect.partition), []).append(decode(effect.value))
        return state, wanted

    def _received(self, where: TopicPartition, source: int) -> list[Any]:
        """What a receiver takes of one source's effects, by the chain (rule E1)."""
        last, taken = (-1, 0), []
        for record in self.log.records.get(where, []):
            body: Any = decode(record.value) if record.value != b"nonsense" else None
            if where.topic == TOPICS.events and not isinstance(body, (records.ForwardedRecord, tasks.VoidEffect)):
                continue
            position = body.position
            if position.partition != source:
                continue
            here = (position.offset, position.index)
            if (position.previous_offset, position.previous_index) <= last < here:
                taken.append(body)
                last = here
            else:
                self.happened["dropped by the chain"] += 1
        return taken
