"""Kafka's brokers are away: none is there, or one is killed, stands still or is busy."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import pytest
from odradek_log import (
    LogError,
    LogUnavailableError,
    TopicPartition,
    TopicSpec,
    open_log,
)
from odradek_log.kafka import KafkaLog
from odradek_log.kafka.producer import KafkaProducer

from ..kafka.broker import Broker
from .harness import PATIENCE, Deliveries, Membership, append, background, poll_until, read, reader


def test_without_a_broker_calls_give_up_and_say_what_to_do(nowhere: str) -> None:
    log = open_log(f"kafka://{nowhere}", request_timeout=0.5)
    for call in (
        lambda: log.create_topics([TopicSpec("t", 1)]),
        lambda: log.partitions("t"),
        lambda: log.topics(""),
        lambda: log.offsets(TopicPartition("t", 0)),
    ):
        with pytest.raises(LogUnavailableError, match=f"{nowhere}.*start one") as caught:
            call()
        assert caught.value.retriable
    answers: list[LogError | None] = []
    answered = threading.Event()

    def on_result(ends: dict[TopicPartition, int], error: LogError | None) -> None:
        answers.append(error)
        answered.set()

    log.end_offsets([TopicPartition("t", 0)], on_result)
    assert answered.wait(PATIENCE)
    assert isinstance(answers[0], LogUnavailableError)
    log.close()


def test_without_a_broker_poll_gives_nothing_and_can_be_woken(nowhere: str) -> None:
    log = open_log(f"kafka://{nowhere}")
    for consumer in (reader(log, "t"), Membership(log, "g", ["t"]).consumer):
        assert consumer.poll(0.3) == []
        with background(consumer.wake):
            assert consumer.poll(PATIENCE) == []
        consumer.close()
    log.close()


def test_close_ends_sends_that_no_broker_took(nowhere: str) -> None:
    log = open_log(f"kafka://{nowhere}")
    producer, deliveries = log.producer(), Deliveries()
    for i in range(10):
        producer.send("t", 0, b"", b"", deliveries.of(i))
    assert producer.flush(0.2) == 10
    producer.close()
    assert [label for label, _, _ in deliveries.wait(10)] == list(range(10))
    assert all(offset == -1 and "closed" in str(error) for _, offset, error in deliveries.seen)
    log.close()


def test_close_lets_go_whoever_waits_for_room(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a worker whose brokers are away cannot end, because one of its threads waits for ever to append."""
    full = threading.Event()
    wait_for_space = KafkaProducer._wait_for_space

    def waits(producer: KafkaProducer) -> None:
        full.set()
        wait_for_space(producer)

    monkeypatch.setattr(KafkaProducer, "_wait_for_space", waits)
    log = open_log(f"kafka://{nowhere}?queue.buffering.max.messages=3")
    producer, deliveries = log.producer(), Deliveries()

    def send_too_many() -> None:
        for i in range(5):
            with contextlib.suppress(LogError):
                producer.send("t", 0, b"", b"", deliveries.of(i))

    with background(send_too_many):
        assert full.wait(PATIENCE)
        producer.close()
    assert {label for label, _, _ in deliveries.wait(4)} == {0, 1, 2, 3}, "the next one was refused at once"
    assert all(error is not None for _, _, error in deliveries.seen)
    log.close()


@pytest.fixture(scope="module")
def broker(broker_from_jars: None) -> Iterator[Broker]:
    """One that may be killed and paused."""
    with Broker() as started:
        yield started


def test_a_broker_that_dies_and_comes_back_loses_nothing(broker: Broker) -> None:
    """Sends wait as long as it takes, in order and without duplicates; readers and groups go on."""
    log = open_log(f"kafka://{broker.bootstrap}", session_timeout=2.0)
    log.create_topics([TopicSpec("t", 2)])
    producer, deliveries = log.producer(), Deliveries()
    consumer, member = reader(log, "t", 2), Membership(log, "g", ["t"])
    poll_until(lambda: len(member.owned) == 2, member)
    stop = threading.Event()
    sent = [0]

    def produce() -> None:
        while not stop.is_set():
            producer.send("t", sent[0] % 2, b"", b"%d" % sent[0], deliveries.of(sent[0]))
            sent[0] += 1
            time.sleep(0.003)  # a steady stream, not a flood

    with background(produce):
        deliveries.wait(200)
        broker.kill()
        delivered = len(deliveries.seen)
        consumer.poll(0.5)  # what was fetched before, or nothing: no error
        broker.start()
        deliveries.wait(delivered + 200)
        stop.set()
    assert producer.flush(PATIENCE) == 0
    seen = deliveries.wait(sent[0])
    assert all(error is None for _, _, error in seen)
    records = read(reader(log, "t", 2), sent[0])
    for partition in range(2):
        mine = [int(r.value) for r in records if r.partition == partition]
        assert mine == list(range(partition, sent[0], 2))
    expected = set(range(sent[0]))  # some of them twice if the group takes its partitions away meanwhile
    poll_until(lambda: {int(r.value) for r in member.records} >= expected, member)
    assert {int(r.value) for r in member.records} == expected
    member.consumer.close()
    log.close()


def test_a_paused_broker_only_delays(broker: Broker) -> None:
    log = open_log(f"kafka://{broker.bootstrap}")
    log.create_topics([TopicSpec("delayed", 1)])
    producer, deliveries = log.producer(), Deliveries()
    append(log, "delayed", [b"before"])
    broker.pause()
    for i in range(100):
        producer.send("delayed", 0, b"", b"%d" % i, deliveries.of(i))
    assert producer.flush(0.5) == 100
    broker.resume()
    assert [(label, offset) for label, offset, _ in deliveries.wait(100)] == [(i, i + 1) for i in range(100)]
    log.close()


def test_what_comes_while_a_broker_is_busy_waits_to_go_together(broker: Broker) -> None:
    reports: list[str] = []
    log = KafkaLog(f"kafka://{broker.bootstrap}", {"statistics.interval.ms": 20, "stats_cb": reports.append})
    log.create_topics([TopicSpec("busy", 10)])
    producer, deliveries = log.producer(), Deliveries()
    append(log, "busy", [b"before"])
    producer.send("busy", 0, b"", b"first", deliveries.of(0))
    deliveries.wait(1)
    broker.pause()
    try:
        for partition in range(10):
            producer.send("busy", partition, b"", b"more", deliveries.of(1))
        before, asked = 1, list[int]()  # "first" was one
        give_up = time.monotonic() + PATIENCE
        while sum(count > before for count in asked) < 5 and time.monotonic() < give_up:
            seen = [json.loads(reports.pop(0)) for _ in range(len(reports))]
            waiting = [one for one in seen if one["msg_cnt"] == 10]
            asked += [sum(b["req"].get("Produce", 0) for b in one["brokers"].values()) for one in waiting]
            producer.flush(0.05)
    finally:
        broker.resume()
    assert asked, "no report came of the ten that wait"
    assert max(asked) == before + 2, "the other partitions' wait for an answer"
    assert all(error is None for _, _, error in deliveries.wait(11))
    log.close()
