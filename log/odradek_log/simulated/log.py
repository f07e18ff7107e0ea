"""The simulated log and the processes that use it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from .. import refusals
from ..membership import Group
from ..protocol import LogError, Record, TopicPartition, TopicSpec
from .clients import SimulatedConsumer, SimulatedProducer
from .network import Network

_T = TypeVar("_T")

_NONE = 0.2
"""How often nothing of a partition has reached a consumer yet that polls."""


@dataclass
class Faults:
    """How often (0 to 1) an append lands twice, as that of a producer without idempotence may (repeat); is given up
    alone, while later ones go on (refuse); lands, and is said to have been given up: the outcome is unknown (mistake).
    happened: how often what did.
    """

    repeat: float = 0.0
    refuse: float = 0.0
    mistake: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)

    def strikes(self, what: str, rate: float, rng: Random) -> bool:
        """Whether it happens now, at this rate."""
        if rate <= 0 or rng.random() >= rate:
            return False
        self.happened[what] += 1
        return True


class SimulatedProcess:
    """The log as one process has it (see `odradek_log.Log`), and what may befall that process."""

    max_record_bytes: int

    def __init__(self, log: SimulatedLog, name: str) -> None:
        self.log = log
        self.name = name
        self.max_record_bytes = log.max_record_bytes
        self.paused = False
        self.stalled = False
        self._producers: list[SimulatedProducer] = []
        self._consumers: list[SimulatedConsumer] = []
        self._answers = log.network.channel()

    # ------------------------------------------------------------ the log protocol

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        self.log.create_topics(specs)

    def partitions(self, topic: str) -> int:
        return self.log.partitions(topic)

    def topics(self, prefix: str) -> list[str]:
        return self.log.topics(prefix)

    def offsets(self, partition: TopicPartition) -> tuple[int, int]:
        return self.log.offsets(partition)

    def end_offsets(
        self,
        partitions: Iterable[TopicPartition],
        on_result: Callable[[dict[TopicPartition, int], LogError | None], None],
    ) -> None:
        wanted = list(partitions)

        def answer() -> None:
            try:
                ends = {partition: self.offsets(partition)[1] for partition in wanted}
            except LogError as e:
                on_result({}, e)
            else:
                on_result(ends, None)

        self._answers.put(answer)
        self.log.settle()

    def delete_before(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        for partition, offset in offsets.items():
            self.log.check_known(partition)
            self.log.expire(partition, offset)
        return {partition: self.log.first[partition] for partition in offsets}

    def producer(self, linger_ms: float = 0.0) -> SimulatedProducer:
        producer = SimulatedProducer(self)
        self._producers.append(producer)
        return producer

    def consumer(self) -> SimulatedConsumer:
        consumer = SimulatedConsumer(self)
        self._consumers.append(consumer)
        return consumer

    def close(self) -> None:
        for producer in self._producers:
            producer.close()

    # ------------------------------------------------------------ what befalls the process

    def crash(self) -> None:
        """Gone at once. What it sent lands in part; what it had committed, too. It never hears of anything again.

        Its group goes on counting it until `expel`. A process that starts again is a new one.
        """
        for producer in self._producers:
            producer.crash()
        for consumer in self._consumers:
            consumer.crash()
        self._answers.queue.clear()

    def pause(self, paused: bool = True) -> None:
        """Stopped where it stands (a zombie): what it sent still lands, but it hears of nothing until it goes on."""
        self.paused = paused
        self._answers.held = self.paused or self.stalled
        for producer in self._producers:
            producer.hold(self.stalled, self.paused)

    def stall(self, stalled: bool = True) -> None:
        """Cut off: what it sends stays in the network until it is not."""
        self.stalled = stalled
        self.pause(self.paused)

    def fail_producers(self) -> None:
        """All its producers meet a fatal error."""
        for producer in list(self._producers):  # whoever hears of it may ask for a new one
            producer.fail()

    def forget_producers(self) -> None:
        """The brokers forget all its producers, as Kafka may: what these send again lands twice, or is refused."""
        for producer in list(self._producers):
            producer.forgotten()

    def expel(self) -> None:
        """Its groups take it for dead, and give its partitions to others."""
        for consumer in self._consumers:
            member = consumer.member
            if member is not None and not member.expelled and member in member.group.members:
                member.group.expel(member)

    def skip(self, partition: TopicPartition) -> None:
        """Its members of groups jump to the end of a partition (rule T3)."""
        for consumer in self._consumers:
            consumer.skip(partition)


class SimulatedLog(SimulatedProcess):
    """A log without threads. It is the log of the process "main"; `process` gives it to further ones.

    Nothing that is sent lands, and nothing that landed is acknowledged, but in `step`: one thing a step, chosen by
    the seed. `auto`: all is delivered in the very call, for tests that want just a log.
    clock: the time of appends, in ms since the Unix epoch. Default: `now_ms`, which stands still until it is set.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        auto: bool = False,
        clock: Callable[[], int] | None = None,
        max_record_bytes: int = 1_000_000,
    ) -> None:
        self.rng = Random(seed)
        self.network = Network(self.rng)
        self.faults = Faults()
        self.now_ms = 1_700_000_000_000
        self.records: dict[TopicPartition, list[Record]] = {}
        self.first: dict[TopicPartition, int] = {}
        self.markers: dict[TopicPartition, set[int]] = defaultdict(set)
        self.max_record_bytes = max_record_bytes
        self._clock = clock or (lambda: self.now_ms)
        self._auto = auto
        self._settling = False
        self._topics: dict[str, TopicSpec] = {}
        self._groups: dict[str, Group] = {}
        self._skew: dict[TopicPartition, int] = {}
        super().__init__(self, "main")

    def process(self, name: str) -> SimulatedProcess:
        """The log for a new process."""
        return SimulatedProcess(self, name)

    # ------------------------------------------------------------ time

    def step(self) -> bool:
        """Deliver one thing that is on its way; False if there is none that can be."""
        return self.network.step()

    def run(self, limit: int = 1_000_000) -> None:
        """Step until nothing is on its way. Raises AssertionError after `limit` steps."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError(f"still not quiet after {limit:,} steps: something sends without end")

    def settle(self) -> None:
        """With `auto`: deliver everything. Callbacks that send again are served in turn."""
        if self._auto and not self._settling:
            self._settling = True
            try:
                self.run()
            finally:
                self._settling = False

    # ------------------------------------------------------------ the log

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        added = False
        for spec in specs:
            if spec.name not in self._topics:
                self._topics[spec.name] = spec
                added = True
                for number in range(spec.partitions):
                    self.records[TopicPartition(spec.name, number)] = []
                    self.first[TopicPartition(spec.name, number)] = 0
        if added:
            for group in self._groups.values():
                group.rebalance()

    def partitions(self, topic: str) -> int:
        return self._topics[topic].partitions if topic in self._topics else 0

    def topics(self, prefix: str) -> list[str]:
        return sorted(name for name in self._topics if name.startswith(prefix))

    def offsets(self, partition: TopicPartition) -> tuple[int, int]:
        self.check_known(partition)
        return self.first[partition], len(self.records[partition])

    def check_known(self, partition: TopicPartition) -> None:
        if partition not in self.records:
            raise refusals.unknown_partition(partition)

    def append(self, where: TopicPartition, key: bytes, value: bytes) -> int:
        """A record lands. Also for a simulation that plays a program of somebody else."""
        offset = len(self.records[where])
        self.records[where].append(Record(*where, offset, self._clock() + self._skew.get(where, 0), key, value))
        return offset

    def group(self, name: str) -> Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name, self.partitions)
        return group

    # ------------------------------------------------------------ chance

    def shuffle(self, items: list[_T]) -> None:
        if not self._auto:
            self.rng.shuffle(items)

    def some(self, count: int) -> int:
        """How many of `count` records have reached a consumer: sometimes none."""
        if self._auto or count <= 0:
            return count
        return 0 if self.rng.random() < _NONE else 1 + int(self.rng.random() * count)

    # ------------------------------------------------------------ what befalls the log

    def set_skew(self, partition: TopicPartition, skew_ms: int) -> None:
        """The clock of the partition's broker is off by so much from now on; timestamps may go back (rule C1)."""
        self._skew[partition] = skew_ms

    def mark(self, partition: TopicPartition) -> None:
        """Somebody's transaction ends: an offset is taken by what no reader gets."""
        self.markers[partition].add(self.append(partition, b"", b"the end of a transaction"))

    def expire(self, partition: TopicPartition, first: int) -> None:
        """Retention: records below `first` are gone."""
        self.first[partition] = min(max(first, self.first[partition]), len(self.records[partition]))

    def rebalance(self, group: str) -> None:
        """Give a random partition of a group to a random member."""
        members = [m for m in self.group(group).members if m.target]
        if members:
            partition = self.rng.choice(sorted(self.rng.choice(members).target))
            others = [m for m in self.group(group).members if partition.topic in m.topics]
            self.group(group).give(partition, self.rng.choice(others))

    def forget_commits(self, group: str) -> None:
        """The group's committed positions are lost."""
        self.group(group).committed.clear()
