"""Appending and reading: what every log does, on every log."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from odradek_log import LogError, Record, RecordTooLargeError, TopicPartition, TopicSpec

from .harness import (
    PATIENCE,
    Deliveries,
    EmbeddedHarness,
    Harness,
    MemoryHarness,
    Patience,
    append,
    background,
    read,
    reader,
)


def test_records_are_read_in_the_order_of_their_appends(harness: Harness) -> None:
    topic = harness.topic(3)
    producer, deliveries = harness.log.producer(), Deliveries()
    for i in range(300):
        producer.send(topic, i % 3, b"k%d" % i, b"v%d" % i, deliveries.of(i))
    deliveries.wait(300)
    records = read(reader(harness.log, topic, 3), 300)
    for partition in range(3):
        mine = [r for r in records if r.partition == partition]
        assert [r.offset for r in mine] == list(range(100))
        assert [(r.key, r.value) for r in mine] == [(b"k%d" % i, b"v%d" % i) for i in range(partition, 300, 3)]
        assert {r.topic for r in mine} == {topic}


@pytest.mark.parametrize(("key", "value"), [(b"", b"v"), (b"k", b""), (b"", b""), (bytes(range(256)), b"\x00" * 1000)])
def test_keys_and_values_are_any_bytes(harness: Harness, key: bytes, value: bytes) -> None:
    topic = harness.topic()
    producer, deliveries = harness.log.producer(), Deliveries()
    producer.send(topic, 0, key, value, deliveries.of("it"))
    assert deliveries.wait(1) == [("it", 0, None)]
    [record] = read(reader(harness.log, topic), 1)
    assert (record.key, record.value) == (key, value)


def test_callbacks_come_in_order_with_the_offset(harness: Harness) -> None:
    topic = harness.topic(2)
    producer, deliveries = harness.log.producer(), Deliveries()
    for i in range(500):
        producer.send(topic, i % 2, b"", b"", deliveries.of(i))
    seen = deliveries.wait(500)
    for partition in range(2):
        mine = [(label, offset, error) for label, offset, error in seen if label % 2 == partition]
        assert mine == [(i, i // 2, None) for i in range(partition, 500, 2)]


def test_a_callback_that_raises_or_sends_does_not_disturb_the_others(harness: Harness) -> None:
    topic = harness.topic()
    producer, deliveries = harness.log.producer(), Deliveries()

    def raises(offset: int, error: LogError | None) -> None:
        if harness.threads:
            raise RuntimeError("planted")

    def sends(offset: int, error: LogError | None) -> None:
        producer.send(topic, 0, b"", b"third", deliveries.of("third"))

    producer.send(topic, 0, b"", b"first", raises)
    producer.send(topic, 0, b"", b"second", sends)
    assert deliveries.wait(1) == [("third", 2, None)]
    assert [r.value for r in read(reader(harness.log, topic), 3)] == [b"first", b"second", b"third"]


def test_timestamps_are_the_time_of_the_append_and_never_go_back(harness: Harness) -> None:
    topic = harness.topic()
    before = time.time_ns() // 1_000_000
    for i in range(3):
        append(harness.log, topic, [b"%d" % i] * 20)
    after = time.time_ns() // 1_000_000
    stamps = [r.timestamp_ms for r in read(reader(harness.log, topic), 60)]
    assert stamps == sorted(stamps)
    if harness.threads:  # the simulated log has a clock of its own
        assert before <= stamps[0] <= stamps[-1] <= after


def test_concurrent_producers_share_a_partition(harness: Harness) -> None:
    topic = harness.topic()
    logs = [harness.log, harness.another()]
    deliveries = Deliveries()

    def produce(who: int) -> None:
        producer = logs[who % 2].producer()
        for i in range(200):
            producer.send(topic, 0, b"%d" % who, b"%d" % i, deliveries.of((who, i)))
        assert producer.flush(PATIENCE) == 0

    if harness.threads:
        with background(*(lambda who=who: produce(who) for who in range(4))):
            pass
    else:
        for who in range(4):
            produce(who)
    records = read(reader(harness.log, topic), 800)
    assert [r.offset for r in records] == list(range(800))
    for who in range(4):
        assert [r.value for r in records if r.key == b"%d" % who] == [b"%d" % i for i in range(200)]
    by_offset = {r.offset: (int(r.key), int(r.value)) for r in records}
    assert all(error is None and by_offset[offset] == label for label, offset, error in deliveries.wait(800))


def test_a_record_above_the_limit_is_refused_and_later_ones_land(harness: Harness) -> None:
    topic = harness.topic()
    limit = harness.log.max_record_bytes
    assert limit >= 900_000
    producer, deliveries = harness.log.producer(), Deliveries()
    producer.send(topic, 0, b"key", b"x" * (limit - 3), deliveries.of("at"))
    producer.send(topic, 0, b"key", b"x" * (limit - 2), deliveries.of("over"))
    producer.send(topic, 0, b"key", b"x" * limit * 3, deliveries.of("far over"))
    producer.send(topic, 0, b"key", b"small", deliveries.of("after"))
    seen = deliveries.wait(4)
    assert [label for label, _, _ in seen] == ["at", "over", "far over", "after"]
    assert [offset for _, offset, _ in seen] == [0, -1, -1, 1]
    assert [type(error) for _, _, error in seen] == [type(None), RecordTooLargeError, RecordTooLargeError, type(None)]
    assert not seen[1][2].retriable  # type: ignore[union-attr]
    assert [len(r.value) for r in read(reader(harness.log, topic), 2)] == [limit - 3, 5]


@pytest.mark.parametrize("partition", [0, 7])
def test_an_append_to_what_is_not_there_gets_an_error(harness: Harness, partition: int) -> None:
    topic = harness.topic() if partition else f"test.missing.{uuid.uuid4().hex}"
    producer, deliveries = harness.log.producer(), Deliveries()
    producer.send(topic, partition, b"", b"", deliveries.of("it"))
    [(_, offset, error)] = deliveries.wait(1)
    assert offset == -1
    assert isinstance(error, LogError)
    assert topic in str(error)


def test_flush_waits_for_all_deliveries(harness: Harness) -> None:
    topic = harness.topic()
    producer, deliveries = harness.log.producer(), Deliveries()
    for i in range(1000):
        producer.send(topic, 0, b"", b"%d" % i, deliveries.of(i))
    assert producer.flush(PATIENCE) == 0
    assert len(deliveries.seen) == 1000


def test_a_closed_producer_says_so(harness: Harness) -> None:
    topic = harness.topic()
    producer, deliveries = harness.log.producer(), Deliveries()
    for i in range(100):
        producer.send(topic, 0, b"", b"%d" % i, deliveries.of(i))
    producer.close()
    seen = deliveries.wait(100)  # each send is answered once, also those that were still out
    assert [label for label, _, _ in seen] == list(range(100))
    producer.close()
    with pytest.raises(LogError, match="closed"):
        producer.send(topic, 0, b"", b"")
    landed = harness.log.offsets(TopicPartition(topic, 0))[1]
    assert landed >= sum(error is None for _, _, error in seen)
    [offset] = append(harness.log, topic, [b"by another"])
    assert offset >= landed


# ---------------------------------------------------------------- reading


def test_poll_gives_at_most_max_records_and_loses_none(harness: Harness) -> None:
    topic = harness.topic(2)
    for partition in range(2):
        append(harness.log, topic, (b"%d" % i for i in range(25)), partition)
    consumer = reader(harness.log, topic, 2)
    batches: list[list[Record]] = []
    while sum(len(b) for b in batches) < 50:
        batches.append(consumer.poll(1.0, max_records=7))
    assert max(len(b) for b in batches) <= 7
    for partition in range(2):
        assert [r.offset for b in batches for r in b if r.partition == partition] == list(range(25))
    assert consumer.poll(0) == []


def test_a_waiting_poll_gets_the_first_record(harness: Harness) -> None:
    topic = harness.topic(8)
    consumer = reader(harness.log, topic, 8)
    assert consumer.poll(0) == []
    if not harness.threads:
        append(harness.log, topic, [b"it"], 5)
        assert [r.value for r in consumer.poll(PATIENCE)] == [b"it"]
        return
    polling = threading.Event()

    def send() -> None:
        polling.wait()
        append(harness.log, topic, [b"it"], 5)

    with background(send):
        polling.set()
        assert [r.value for r in consumer.poll(PATIENCE)] == [b"it"]


def test_wake_ends_a_waiting_poll(harness: Harness) -> None:
    topic = harness.topic()
    consumer = reader(harness.log, topic)
    consumer.poll(0.5)
    for _ in range(20):
        if harness.threads:
            polling = threading.Event()

            def wake(polling: threading.Event = polling) -> None:
                polling.wait()
                consumer.wake()

            with background(wake):
                polling.set()
                assert consumer.poll(PATIENCE) == []
        else:
            consumer.wake()
            assert consumer.poll(PATIENCE) == []


def test_wake_before_poll_ends_the_next_one_only(harness: Harness) -> None:
    topic = harness.topic()
    consumer = reader(harness.log, topic)
    consumer.wake()
    consumer.wake()
    consumer.poll(PATIENCE)
    if harness.threads:
        before = time.monotonic()
        assert consumer.poll(0.3) == []
        assert time.monotonic() - before > 0.25
    append(harness.log, topic, [b"it"])
    assert [r.value for r in consumer.poll(PATIENCE)] == [b"it"]


def test_polls_that_are_all_woken_still_take_what_is_there(harness: Harness) -> None:
    topic = harness.topic()
    consumer = reader(harness.log, topic)
    append(harness.log, topic, [b"%d" % i for i in range(100)])
    patience, records = Patience(), []
    while len(records) < 100:
        patience.check()
        consumer.wake()
        records += consumer.poll(PATIENCE, max_records=7)
    assert [r.value for r in records] == [b"%d" % i for i in range(100)]


def test_wake_loses_no_record(harness: Harness) -> None:
    topic = harness.topic(4)
    consumer = reader(harness.log, topic, 4)
    done = threading.Event()

    def disturb() -> None:
        while not done.is_set():
            consumer.wake()

    def produce() -> None:
        producer = harness.log.producer()
        for i in range(2000):
            producer.send(topic, i % 4, b"", b"%d" % i)
        assert producer.flush(PATIENCE) == 0

    if not harness.threads:
        produce()
        disturbers = []
    else:
        disturbers = [disturb, produce]
    with background(*disturbers):
        records = read(consumer, 2000)
        done.set()
    for partition in range(4):
        assert [int(r.value) for r in records if r.partition == partition] == list(range(partition, 2000, 4))


def test_assign_begins_at_the_given_offsets_and_moves(harness: Harness) -> None:
    topic = harness.topic(2)
    for partition in range(2):
        append(harness.log, topic, (b"%d" % i for i in range(10)), partition)
    consumer = harness.log.consumer()
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    consumer.assign({first: 7})
    assert [r.offset for r in read(consumer, 3)] == [7, 8, 9]
    consumer.assign({first: 10, second: 8})  # the first goes on, the second is new
    assert [(r.partition, r.offset) for r in read(consumer, 2)] == [(1, 8), (1, 9)]
    append(harness.log, topic, [b"new"], 0)
    assert [(r.partition, r.offset) for r in read(consumer, 1)] == [(0, 10)]
    consumer.assign({second: 4})  # the first is gone, the second moves back
    append(harness.log, topic, [b"unseen"], 0)
    assert [(r.partition, r.offset) for r in read(consumer, 6)] == [(1, i) for i in range(4, 10)]
    assert consumer.poll(0.3) == []


def test_a_position_outside_of_the_log_counts_as_the_earliest(harness: Harness) -> None:
    topic = harness.topic()
    append(harness.log, topic, [b"0", b"1", b"2"])
    consumer = harness.log.consumer()
    consumer.assign({TopicPartition(topic, 0): 1000})
    assert [r.offset for r in read(consumer, 3)] == [0, 1, 2]


def test_seek(harness: Harness) -> None:
    topic = harness.topic()
    append(harness.log, topic, (b"%d" % i for i in range(20)))
    consumer = reader(harness.log, topic)
    consumer.seek(TopicPartition(topic, 0), 15)
    assert [r.offset for r in read(consumer, 5)] == [15, 16, 17, 18, 19]
    assert consumer.position(TopicPartition(topic, 0)) == 20
    consumer.seek(TopicPartition(topic, 0), 2)
    assert consumer.position(TopicPartition(topic, 0)) == 2
    assert [r.offset for r in read(consumer, 18)] == list(range(2, 20))
    with pytest.raises(LogError, match="not assigned"):
        consumer.seek(TopicPartition(topic, 1), 0)


def test_a_paused_partition_gives_nothing_until_it_is_resumed(harness: Harness) -> None:
    topic = harness.topic(2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    consumer = reader(harness.log, topic, 2)
    append(harness.log, topic, [b"a"], 0)
    assert [r.value for r in read(consumer, 1)] == [b"a"]
    consumer.pause([first])
    append(harness.log, topic, [b"b", b"c"], 0)
    append(harness.log, topic, [b"d"], 1)
    assert [r.value for r in read(consumer, 1)] == [b"d"]
    consumer.seek(first, 0)  # stays paused
    assert consumer.poll(0.3) == []
    consumer.resume([first])
    assert [r.value for r in read(consumer, 3)] == [b"a", b"b", b"c"]
    consumer.pause([first, second])
    consumer.resume([second])
    append(harness.log, topic, [b"e"], 1)
    assert [r.value for r in read(consumer, 1)] == [b"e"]


def test_a_closed_consumer_says_so(harness: Harness) -> None:
    consumer = reader(harness.log, harness.topic())
    consumer.close()
    consumer.close()
    consumer.wake()
    with pytest.raises(LogError, match="closed"):
        consumer.poll(0)


# ---------------------------------------------------------------- the log


def test_offsets_cover_what_was_acknowledged(harness: Harness) -> None:
    topic = harness.topic(2)
    where = TopicPartition(topic, 1)
    assert harness.log.offsets(where) == (0, 0)
    for i in range(5):
        append(harness.log, topic, [b""] * 3, 1)
        assert harness.log.offsets(where) == (0, 3 * (i + 1))
        assert harness.another().offsets(where) == (0, 3 * (i + 1))
    with pytest.raises(LogError):
        harness.log.offsets(TopicPartition(topic, 9))


def test_end_offsets_of_many_partitions(harness: Harness) -> None:
    topic = harness.topic(4)
    for partition in range(4):
        append(harness.log, topic, [b""] * partition, partition)
    answers: list[tuple[dict[TopicPartition, int], LogError | None]] = []
    answered = threading.Semaphore(0)

    def on_result(ends: dict[TopicPartition, int], error: LogError | None) -> None:
        answers.append((ends, error))
        answered.release()

    harness.log.end_offsets([TopicPartition(topic, i) for i in range(4)], on_result)
    harness.log.end_offsets([], on_result)
    for _ in range(2):
        assert answered.acquire(timeout=PATIENCE)
    assert ({TopicPartition(topic, i): i for i in range(4)}, None) in answers
    assert ({}, None) in answers
    harness.log.end_offsets([TopicPartition(topic, 0), TopicPartition(topic, 99)], on_result)
    assert answered.acquire(timeout=PATIENCE)
    assert answers[-1][0] == {}
    assert isinstance(answers[-1][1], LogError)


def test_topics_are_created_once(harness: Harness) -> None:
    prefix = f"test.{uuid.uuid4().hex}."
    specs = [TopicSpec(prefix + name, 3, retention_ms=3_600_000, durable=False) for name in ("c", "a", "b")]
    assert harness.log.topics(prefix) == []
    assert harness.log.partitions(prefix + "a") == 0
    harness.log.create_topics(specs)
    append(harness.log, prefix + "a", [b"kept"])
    harness.log.create_topics([TopicSpec(prefix + "a", 5), TopicSpec(prefix + "d", 2)])
    assert harness.log.topics(prefix) == [prefix + name for name in "abcd"]
    assert [harness.log.partitions(prefix + name) for name in "abcd"] == [3, 3, 3, 2]
    assert [r.value for r in read(reader(harness.log, prefix + "a"), 1)] == [b"kept"]


def test_processes_that_create_the_same_topics_at_once(harness: Harness) -> None:
    logs = [harness.log, harness.another(), harness.another()]
    names = [f"test.{uuid.uuid4().hex}" for _ in range(4)]

    def create(i: int) -> None:
        logs[i].create_topics([TopicSpec(name, 2) for name in names])
        assert [logs[i].partitions(name) for name in names] == [2] * 4
        append(logs[i], names[i], [b"%d" % i], 1)

    if harness.threads:
        with background(*(lambda i=i: create(i) for i in range(3))):
            pass
    else:
        for i in range(3):
            create(i)
    for i in range(3):
        assert harness.log.offsets(TopicPartition(names[i], 1)) == (0, 1)


def test_a_log_that_is_opened_again_goes_on(harness: Harness) -> None:
    topic = harness.topic(2)
    append(harness.log, topic, (b"%d" % i for i in range(50)), 1)
    before = read(reader(harness.log, topic, 2), 50)
    log = harness.restart()
    assert log.partitions(topic) == 2
    assert log.offsets(TopicPartition(topic, 1)) == (0, 50)
    assert append(log, topic, [b"more"], 1) == [50]
    records = read(reader(log, topic, 2), 51)
    assert records[:50] == before
    assert records[50].value == b"more"
    assert records[50].timestamp_ms >= records[49].timestamp_ms


def test_records_below_an_offset_can_be_given_up(harness: Harness) -> None:
    """Breaks when more goes than was given up, offsets change, or what is left cannot be read from its beginning."""
    where = TopicPartition(harness.topic(), 0)
    producer = harness.log.producer()
    for number in range(10):
        producer.send(*where, b"", str(number).encode())
    assert producer.flush(PATIENCE) == 0
    left = harness.log.delete_before({where: 6})
    assert left == {where: harness.log.offsets(where)[0]}
    keeps_files = isinstance(harness, (EmbeddedHarness, MemoryHarness))
    assert left[where] == (0 if keeps_files else 6), "all of them; a folder only gives up whole files"
    consumer = harness.log.consumer()
    consumer.assign({where: 0})
    first = consumer.poll(PATIENCE, 1)[0]
    assert (first.offset, first.value) == (left[where], str(left[where]).encode())
    consumer.close()
    producer.send(*where, b"", b"next")
    assert producer.flush(PATIENCE) == 0
    assert harness.log.offsets(where) == (left[where], 11)
    producer.close()
