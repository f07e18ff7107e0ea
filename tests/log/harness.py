"""What the contract tests need of each log: opening it, a second process's view of it, and small helpers."""

from __future__ import annotations

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from odradek_log import Committed, Consumer, Log, LogError, Record, TopicPartition, TopicSpec, open_log
from odradek_log.embedded import EmbeddedLog
from odradek_log.embedded.consumer import EmbeddedConsumer
from odradek_log.memory import MemoryConsumer, MemoryLog
from odradek_log.simulated import SimulatedConsumer, SimulatedLog

PATIENCE = 60.0
LONG = 300.0
"""Seconds for which members of groups may stand still: longer than any machine does."""


class Harness(ABC):
    """One kind of log. `threads`: may be used from several."""

    threads = True
    durable = True

    def __init__(self) -> None:
        self.opened = ExitStack()
        self.log = self.open()

    @abstractmethod
    def open(self, max_poll_interval: float | None = None) -> Log:
        """The log, as a process has it that begins."""

    def another(self, **settings: Any) -> Log:
        """The log, as a second process has it, where there can be one; else the same."""
        return self.log

    def restart(self) -> Log:
        """The same log in a new process after the first has ended in order."""
        return self.log

    def let_die(self, consumer: Consumer) -> None:  # noqa: B027
        """Make a member of a group count as dead, if it is not enough not to poll it any more."""

    def topic(self, partitions: int = 1, log: Log | None = None) -> str:
        """Create a new topic; return its name."""
        name = f"test.{uuid.uuid4().hex}"
        (log or self.log).create_topics([TopicSpec(name, partitions, durable=self.durable)])
        return name

    def close(self) -> None:
        self.opened.close()

    def _keep(self, log: Log) -> Log:
        self.opened.callback(log.close)
        return log


class EmbeddedHarness(Harness):
    def __init__(self, folder: Path, durable: bool) -> None:
        self.folder = folder
        self.durable = durable
        super().__init__()

    def open(self, max_poll_interval: float | None = None) -> Log:
        return self._keep(open_log(f"file:{self.folder}", max_poll_interval=max_poll_interval or LONG))

    def let_die(self, consumer: Consumer) -> None:
        """It has not polled for too long."""
        assert isinstance(consumer, EmbeddedConsumer)
        assert isinstance(self.log, EmbeddedLog)
        assert consumer._member is not None
        self.log.groups._last_poll[consumer._member] -= LONG

    def restart(self) -> Log:
        self.log.close()
        self.log = self.open()
        return self.log


class KafkaHarness(Harness):
    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        super().__init__()

    def open(self, max_poll_interval: float | None = None) -> Log:
        return self._keep(
            open_log(
                f"kafka://{self.bootstrap}",
                config={"topic.metadata.propagation.max.ms": 1_000},
                session_timeout=min(max_poll_interval or LONG, 30.0),
                max_poll_interval=max_poll_interval or LONG,
            )
        )

    def another(self, **settings: Any) -> Log:
        return self.open(**settings)

    def restart(self) -> Log:
        self.log.close()
        self.log = self.open()
        return self.log


class MemoryHarness(Harness):
    def open(self, max_poll_interval: float | None = None) -> Log:
        return self._keep(MemoryLog())

    def let_die(self, consumer: Consumer) -> None:
        assert isinstance(consumer, MemoryConsumer)
        assert consumer.member is not None
        consumer.member.group.expel(consumer.member)


class SimulatedHarness(Harness):
    threads = False

    def open(self, max_poll_interval: float | None = None) -> Log:
        return SimulatedLog(auto=True)

    def another(self, **settings: Any) -> Log:
        assert isinstance(self.log, SimulatedLog)
        return self.log.process("another")

    def let_die(self, consumer: Consumer) -> None:
        assert isinstance(consumer, SimulatedConsumer)
        assert consumer.member is not None
        consumer.member.group.expel(consumer.member)


class Deliveries:
    """Collects delivery callbacks. Each send gets a label."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, int, LogError | None]] = []
        self._changed = threading.Condition()

    def of(self, label: Any) -> Callable[[int, LogError | None], None]:
        def on_delivery(offset: int, error: LogError | None) -> None:
            with self._changed:
                self.seen.append((label, offset, error))
                self._changed.notify_all()

        return on_delivery

    def wait(self, count: int) -> list[tuple[Any, int, LogError | None]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, PATIENCE), f"only {len(self.seen)}"
            return list(self.seen)


class Membership:
    """A consumer in a group, with what its callbacks were told. `begin`: offsets that it asks to begin at."""

    def __init__(self, log: Log, group: str, topics: Iterable[str]) -> None:
        self.consumer = log.consumer()
        self.begin: Mapping[TopicPartition, int] = {}
        self.gained: list[dict[TopicPartition, Committed | None]] = []
        self.lost: list[list[TopicPartition]] = []
        self.owned: set[TopicPartition] = set()
        self.on_assign: Callable[[list[TopicPartition]], None] = lambda _: None
        self.on_revoke: Callable[[list[TopicPartition]], None] = lambda _: None
        self.records: list[Record] = []
        self.consumer.subscribe(group, topics, self._assigned, self._revoked)

    def _assigned(self, gained: dict[TopicPartition, Committed | None]) -> Mapping[TopicPartition, int]:
        self.gained.append(gained)
        self.owned.update(gained)
        self.on_assign(list(gained))
        return {p: offset for p, offset in self.begin.items() if p in gained}

    def _revoked(self, lost: list[TopicPartition]) -> None:
        self.on_revoke(lost)
        self.lost.append(lost)
        self.owned.difference_update(lost)

    def poll(self) -> None:
        self.records += self.consumer.poll(0.05)


def poll_until(condition: Callable[[], object], *members: Membership) -> None:
    """Let the members poll in turn until the condition holds."""
    patience = Patience()
    while not condition():
        for member in members:
            patience.check()
            member.poll()
            if condition():
                return


class Patience:
    """Fails a test that waits for what does not come, with a better word than the runner's timeout."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._timer = threading.Timer(PATIENCE, self._over.set)
        self._timer.daemon = True
        self._timer.start()

    def check(self) -> None:
        assert not self._over.is_set(), "it did not come about in time"


def read(consumer: Consumer, count: int) -> list[Record]:
    """Poll until `count` records are there."""
    patience = Patience()
    records: list[Record] = []
    while len(records) < count:
        patience.check()
        records += consumer.poll(1.0)
    return records


def reader(log: Log, topic: str, partitions: int = 1) -> Consumer:
    """A consumer of all partitions from the beginning."""
    consumer = log.consumer()
    consumer.assign({TopicPartition(topic, i): 0 for i in range(partitions)})
    return consumer


def append(log: Log, topic: str, values: Iterable[bytes], partition: int = 0) -> list[int]:
    """Append with one producer, wait for the deliveries; return the offsets."""
    deliveries, producer = Deliveries(), log.producer()
    count = 0
    for value in values:
        producer.send(topic, partition, b"key", value, deliveries.of(count))
        count += 1
    seen = deliveries.wait(count)
    producer.close()
    assert all(error is None for _, _, error in seen)
    return [offset for _, offset, _ in seen]


@contextmanager
def background(*functions: Callable[[], object]) -> Iterator[None]:
    """Run functions in threads meanwhile; wait for them at the end and raise what they raised."""
    raised: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as e:
            raised.append(e)

    threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread did not end"
    if raised:
        raise raised[0]
