"""How appends to Kafka wait for others: only where many different things are appended, and never out of order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from odradek_log import LogError, RecordTooLargeError
from odradek_log.kafka.config import COMMON, PRODUCER
from odradek_log.kafka.pace import LATELY, LONGEST, ROUND_TRIPS, WINDOW, Pace
from odradek_log.kafka.producer import KafkaProducer

from ..kafka.broker import free_port
from .harness import PATIENCE, Deliveries, KafkaHarness, read, reader


class _Waits(Pace):
    """Appends wait, whatever comes; `holding` is set once the producer knows it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.holding = 0, threading.Event()

    def wait(self, now: float) -> float:
        self.asked += 1
        if self.asked > 1:
            self.holding.set()
        return LONGEST


class _Holding:
    """A producer that holds what it is given."""

    def __init__(self, bootstrap: str) -> None:
        self.requests: dict[str, int] = {}
        self.counted = threading.Event()
        pace = _Waits()
        settings = {"bootstrap.servers": bootstrap, "statistics.interval.ms": 20, "stats_cb": self._count}
        self.producer = KafkaProducer({**COMMON, **PRODUCER, **settings}, bootstrap, 1_000, pace)
        assert pace.holding.wait(PATIENCE)

    def _count(self, statistics: str) -> None:
        brokers = json.loads(statistics)["brokers"].values()
        self.requests = {"Produce": sum(one["req"].get("Produce", 0) for one in brokers)}
        self.counted.set()

    def produce_requests(self) -> int:
        for _ in range(2):  # the next count may have been made before
            self.counted.clear()
            assert self.counted.wait(PATIENCE)
        return self.requests["Produce"]


@pytest.fixture
def harness(kafka_bootstrap: str) -> Iterator[KafkaHarness]:
    made = KafkaHarness(kafka_bootstrap)
    yield made
    made.close()


def wait_after(keys: list[bytes], windows: int = 1) -> float:
    pace = Pace()
    now = 100.0
    pace.wait(now)
    for _ in range(windows):
        for key in keys:
            pace.sent(key)
        now += WINDOW
        wait = pace.wait(now)
    return wait


def numbered(count: int) -> list[bytes]:
    return [b"%d" % i for i in range(count)]


def test_steps_of_few_workflows_never_wait() -> None:
    assert wait_after([]) == 0
    assert wait_after([b"workflow"] * 1_000, windows=3) == 0
    assert wait_after(numbered(10) * 100) == 0, "each goes on when its step is done, however many these are"


def test_workflows_that_one_caller_starts_one_after_another_never_wait() -> None:
    one_each_five_ms = [key for number in numbered(50) for key in (number, b"its caller", b"")]
    assert wait_after(one_each_five_ms) == 0


def test_where_many_workflows_go_on_appends_wait_but_never_for_longer_than_they_may() -> None:
    some, many = wait_after(numbered(80)), wait_after(numbered(500))
    assert 0 < some < many == LONGEST


def test_where_acknowledgements_take_long_fewer_keys_a_second_are_as_many() -> None:
    """Breaks when a machine without time left sends one by one because all goes slower."""
    waits = []
    for round_trip in (0.0005, 0.01):
        pace = Pace()
        now = 100.0
        pace.wait(now)
        for key in numbered(400):
            pace.acknowledged(round_trip)
            pace.sent(key)
            now += 0.008  # 31 in a window
            wait = pace.wait(now)
        waits.append(wait)
    assert waits == [0, LONGEST]


@pytest.mark.parametrize("round_trip", [0.0003, 0.001, 0.003, 0.01, 0.1, 1.0])
def test_one_workflow_after_another_never_waits_however_long_acknowledgements_take(round_trip: float) -> None:
    pace = Pace()
    now = 100.0
    pace.wait(now)
    for key in numbered(1_000):
        for _ in range(2):  # a start and a completion, at the least
            pace.acknowledged(round_trip)
            pace.sent(key)
            now += round_trip + 0.002
            assert pace.wait(now) == 0


def test_a_rush_that_is_over_is_forgotten() -> None:
    pace = Pace()
    pace.wait(1.0)
    for key in numbered(500):
        pace.sent(key)
    assert pace.wait(2.0) == 0, "that was in a second"
    assert pace.wait(2.0 + WINDOW) == 0


@pytest.mark.parametrize("round_trip", [0.0005, 0.005, 0.02])
def test_who_is_left_alone_after_a_rush_soon_waits_no_more(round_trip: float) -> None:
    """Breaks when the first workflow after many waits at each step, for as long as a window is, or two."""
    pace = Pace()
    now = 100.0
    pace.wait(now)
    while pace.wait(now) < LONGEST:
        for key in numbered(5):
            pace.sent(key + b"%f" % now)
            pace.acknowledged(round_trip)
        now += 0.005
    over = now
    window = max(WINDOW, ROUND_TRIPS * round_trip)
    while pace.wait(now):
        pace.sent(b"alone")
        now += LONGEST
    assert now - over <= 2 * window / LATELY + 2 * LONGEST
    for key in numbered(500):  # one after another, with acknowledgements as quick as they are then
        for _ in range(2):
            pace.acknowledged(0.0005)
            pace.sent(key)
            now += 0.005
            assert pace.wait(now) == 0


def test_what_is_held_goes_in_few_requests_and_in_order(harness: KafkaHarness) -> None:
    topic = harness.topic()
    holding, deliveries = _Holding(harness.bootstrap), Deliveries()
    holding.producer.send(topic, 0, b"", b"100")
    assert holding.producer.flush(PATIENCE) == 0
    before, began = holding.produce_requests(), time.monotonic()
    for i in range(100):
        holding.producer.send(topic, 0, b"%d" % i, b"x" * 1_000 if i == 50 else b"%d" % i, deliveries.of(i))
        time.sleep(0.0005)  # each could go on its own, as they come
    slots = (time.monotonic() - began) / LONGEST
    seen = deliveries.wait(100)
    assert [label for label, _, _ in seen] == list(range(100))
    assert isinstance(seen[50][2], RecordTooLargeError)
    sent = [100, *(i for i in range(100) if i != 50)]
    assert [int(r.value) for r in read(reader(harness.log, topic), 100)] == sent
    assert holding.produce_requests() - before <= 3 * (slots + 1), "some fifty, without"
    holding.producer.close()


def test_a_flush_does_not_wait_for_what_is_held(harness: KafkaHarness) -> None:
    topic = harness.topic()
    holding, deliveries = _Holding(harness.bootstrap), Deliveries()
    for i in range(5_000):  # more than is held
        holding.producer.send(topic, 0, b"%d" % i, b"%d" % i, deliveries.of(i))
    assert holding.producer.flush(PATIENCE) == 0
    assert [(label, offset) for label, offset, _ in deliveries.seen] == [(i, i) for i in range(5_000)]
    holding.producer.close()


def test_close_ends_what_is_held_and_what_is_out() -> None:
    holding, deliveries = _Holding(f"127.0.0.1:{free_port()}"), Deliveries()
    for i in range(3_000):
        holding.producer.send("t", i % 2, b"%d" % i, b"", deliveries.of(i))
    holding.producer.close()
    seen = deliveries.wait(3_000)
    assert all(isinstance(error, LogError) and "closed" in str(error) for _, _, error in seen)
    for partition in range(2):
        mine = [label for label, _, _ in seen if label % 2 == partition]
        assert mine == sorted(mine)
    with pytest.raises(LogError, match="closed"):
        holding.producer.send("t", 0, b"", b"")
