"""Kafka's own: partitioning, settings of topics and connections, members that are killed."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    BrokerMetadata,
    ClusterMetadata,
    ConfigResource,
    PartitionMetadata,
    ResourceType,
    TopicMetadata,
)
from odradek_log import (
    Committed,
    LogError,
    LogUnavailableError,
    RecordTooLargeError,
    TopicPartition,
    TopicSpec,
    open_log,
)
from odradek_log.kafka import KafkaLog
from odradek_log.kafka.config import parse_address, replication
from odradek_log.kafka.consumer import KafkaConsumer
from odradek_log.kafka.errors import translate
from odradek_log.kafka.log import _brokers_of
from odradek_schemas.partitioning import partition_of

from .harness import PATIENCE, Deliveries, KafkaHarness, Membership, append, background, poll_until, read, reader


@pytest.fixture
def harness(kafka_bootstrap: str) -> Iterator[KafkaHarness]:
    made = KafkaHarness(kafka_bootstrap)
    yield made
    made.close()


def name() -> str:
    return f"test.{uuid.uuid4().hex}"


# ---------------------------------------------------------------- partitions and settings


def test_partition_of_is_what_kafka_clients_choose(harness: KafkaHarness) -> None:
    topic = harness.topic(7)
    rng = random.Random(5)
    keys = [rng.randbytes(length) for length in range(1, 40) for _ in range(15)]
    producer = Producer({"bootstrap.servers": harness.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, b"", key)
    assert producer.flush(PATIENCE) == 0
    records = read(reader(harness.log, topic, 7), len(keys))
    assert sorted(r.key for r in records) == sorted(keys)
    assert [r.partition for r in records] == [partition_of(r.key, 7) for r in records]


def test_who_is_busy_fetches_seldom(harness: KafkaHarness) -> None:
    """Breaks when each record that comes while a reader is busy costs the broker a fetch of its own."""
    topic, count = harness.topic(), 100
    reports: list[str] = []
    log = KafkaLog(f"kafka://{harness.bootstrap}", {"statistics.interval.ms": 50, "stats_cb": reports.append})
    append(harness.log, topic, [b"first"])
    consumer, producer = reader(log, topic), harness.log.producer()
    assert len(read(consumer, 1)) == 1
    for _ in range(count):
        producer.send(topic, 0, b"", b"more")
        assert producer.flush(PATIENCE) == 0
    assert len(read(consumer, count)) == count
    reports.clear()
    while not reports:
        consumer.poll(1.0)
    brokers = json.loads(reports[-1])["brokers"].values()
    assert 0 < sum(broker["req"]["Fetch"] for broker in brokers) < count / 2
    for closing in (producer, consumer, log):
        closing.close()


def test_a_position_passes_the_ends_of_transactions(harness: KafkaHarness) -> None:
    """Breaks when who reads up to the end of the log waits for an offset that holds no record."""
    where = TopicPartition(harness.topic(), 0)
    producer = Producer({"bootstrap.servers": harness.bootstrap, "transactional.id": where.topic})
    producer.init_transactions(PATIENCE)
    for ending in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(where.topic, b"it")
        assert producer.flush(PATIENCE) == 0
        ending(PATIENCE)
    consumer = reader(harness.log, where.topic)
    found = []
    give_up = time.monotonic() + PATIENCE
    while consumer.position(where) < 4:
        found += consumer.poll(0.1)
        assert time.monotonic() < give_up
    assert [(r.offset, r.value) for r in found] == [(0, b"it")]
    consumer.close()


def settings_of(bootstrap: str, topic: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    [future] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in future.result(timeout=PATIENCE).items()}


def test_the_settings_of_created_topics(harness: KafkaHarness) -> None:
    kept, short = name(), name()
    harness.log.create_topics([TopicSpec(kept, 3), TopicSpec(short, 1, retention_ms=3_600_000, durable=False)])
    for topic, retention in ((kept, "-1"), (short, "3600000")):
        settings = settings_of(harness.bootstrap, topic)
        assert settings["message.timestamp.type"] == "LogAppendTime"
        assert settings["cleanup.policy"] == "delete"
        assert settings["retention.ms"] == retention
        assert settings["retention.bytes"] == "-1"
        assert settings["min.insync.replicas"] == "1"  # one broker
    metadata = AdminClient({"bootstrap.servers": harness.bootstrap}).list_topics(timeout=PATIENCE)
    assert len(metadata.topics[kept].partitions) == 3
    assert all(len(p.replicas) == 1 for p in metadata.topics[kept].partitions.values())


def test_replication_can_be_set(harness: KafkaHarness) -> None:
    topic = name()
    log = open_log(f"kafka://{harness.bootstrap}", replication_factor=1, min_insync_replicas=2)
    log.create_topics([TopicSpec(topic, 1)])
    assert settings_of(harness.bootstrap, topic)["min.insync.replicas"] == "2"
    log.close()
    log = open_log(f"kafka://{harness.bootstrap}", replication_factor=99)
    with pytest.raises(LogError, match="replication"):
        log.create_topics([TopicSpec(name(), 1)])
    log.close()


def test_replication_by_the_size_of_the_cluster() -> None:
    assert [replication(brokers, None, None) for brokers in (1, 2, 3, 9)] == [(1, 1), (2, 1), (3, 2), (3, 2)]
    assert replication(9, 5, None) == (5, 2)
    assert replication(1, None, 1) == (1, 1)
    assert replication(3, 3, 3) == (3, 3)


def test_replication_counts_brokers_that_are_away() -> None:
    """Breaks when a topic that is made while one broker of three is away is left with two copies, of which one is
    enough."""
    metadata = ClusterMetadata()
    metadata.brokers = {1: BrokerMetadata(), 3: BrokerMetadata()}
    assert _brokers_of(metadata) == 2
    topic, partition = TopicMetadata(), PartitionMetadata()
    partition.replicas = [1, 2, 3]
    topic.partitions, metadata.topics = {0: partition}, {"events": topic}
    assert _brokers_of(metadata) == 3


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.FENCED_LEADER_EPOCH,  # an engine ended for it while brokers changed their leaders
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError._NOENT,  # "no leaders found", while a broker is elected
        KafkaError.NOT_CONTROLLER,
        KafkaError.INVALID_REPLICATION_FACTOR,  # a broker is away; a task was given up for it
    ],
)
def test_what_another_leader_or_broker_mends_may_be_tried_again(code: int) -> None:
    error = translate(KafkaError(code), "offsets of a/1", "localhost:9092")
    assert isinstance(error, LogUnavailableError)
    assert error.retriable


def test_a_session_timeout_that_the_cluster_does_not_allow(harness: KafkaHarness) -> None:
    """Breaks when whoever starts an engine on a cluster with other limits is not told what to set."""
    topic = harness.topic()
    log = open_log(f"kafka://{harness.bootstrap}", session_timeout=0.5)
    consumer = log.consumer()
    consumer.subscribe(name(), [topic], lambda gained: {}, lambda lost: None)
    with pytest.raises(LogError, match=r"group\.min\.session\.timeout\.ms"):
        for _ in range(round(PATIENCE)):
            consumer.poll(1.0)
    consumer.close()
    log.close()


def test_a_larger_limit_of_records_reaches_the_topic(harness: KafkaHarness) -> None:
    topic = name()
    log = open_log(f"kafka://{harness.bootstrap}", max_record_bytes=3_000_000)
    log.create_topics([TopicSpec(topic, 1)])
    assert append(log, topic, [b"x" * 2_999_997]) == [0]
    assert len(read(reader(log, topic), 1)[0].value) == 2_999_997
    log.close()


def test_a_broker_that_takes_less_than_our_limit(harness: KafkaHarness) -> None:
    topic = harness.topic()
    log = open_log(f"kafka://{harness.bootstrap}", max_record_bytes=3_000_000)
    producer, deliveries = log.producer(), Deliveries()
    producer.send(topic, 0, b"", b"x" * 2_000_000, deliveries.of("large"))
    producer.send(topic, 0, b"", b"small", deliveries.of("small"))
    [(_, _, error), small] = deliveries.wait(2)
    assert isinstance(error, RecordTooLargeError)
    assert small == ("small", 0, None)
    log.close()


def test_addresses() -> None:
    assert parse_address("kafka://a:1") == ("a:1", {})
    assert parse_address("kafka://a,b:2,[::1],[::1]:3/") == ("a:9092,b:2,[::1]:9092,[::1]:3", {})
    assert parse_address("kafka://a?security.protocol=SSL&x=1%2B1") == (
        "a:9092",
        {"security.protocol": "SSL", "x": "1+1"},
    )
    with pytest.raises(ValueError) as caught:
        parse_address("kafka://a/b?sasl.password=secret")
    assert "secret" not in str(caught.value)
    for wrong in ("kafka://", "kafka://a,,b", "kafka://a/topic", "http://a"):
        with pytest.raises(ValueError, match="kafka://host:port"):
            parse_address(wrong)


@pytest.mark.parametrize("way", ["config", "url", "environment"])
def test_security_settings_are_passed_on(nowhere: str, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """librdkafka misses what belongs to them, so they got there."""
    url, config = f"kafka://{nowhere}", {}
    if way == "config":
        config = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
    elif way == "url":
        url += "?security.protocol=SASL_SSL&sasl.mechanism=PLAIN"
    else:
        monkeypatch.setenv("ODRADEK_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
        monkeypatch.setenv("ODRADEK_KAFKA_SASL_MECHANISM", "PLAIN")
    with pytest.raises(ValueError, match=r"sasl\.username and sasl\.password must be set"):
        KafkaLog(url, config)


def test_settings_win_in_their_order(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad value is refused unless a better place overrides it."""
    monkeypatch.setenv("ODRADEK_KAFKA_SECURITY_PROTOCOL", "NONE_OF_THEM")
    with pytest.raises(ValueError, match=r"security\.protocol"):
        KafkaLog(f"kafka://{nowhere}")
    KafkaLog(f"kafka://{nowhere}?security.protocol=PLAINTEXT").close()
    with pytest.raises(ValueError, match=r"security\.protocol"):
        KafkaLog(f"kafka://{nowhere}?security.protocol=PLAINTEXT", {"security.protocol": "NONE_OF_THEM"})


def test_settings_of_producers_and_consumers_are_passed_on(nowhere: str) -> None:
    """Each of these is wrong only together with what such a client has to have."""
    log = KafkaLog(f"kafka://{nowhere}", {"max.in.flight": 10})
    with pytest.raises(ValueError, match=r"max\.in\.flight"):
        log.producer()
    log = KafkaLog(f"kafka://{nowhere}", {"session.timeout.ms": 20_000, "max.poll.interval.ms": 10_000})
    with pytest.raises(ValueError, match=r"max\.poll\.interval\.ms"):
        log.consumer().poll(0)


def test_a_client_speaks_tls_when_told_to() -> None:
    """The first bytes that arrive at the "broker" are a TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        log = KafkaLog(f"kafka://127.0.0.1:{port}?security.protocol=SSL", request_timeout=1.0)
        seen: list[bytes] = []

        def accept() -> None:
            connection, _ = server.accept()
            seen.append(connection.recv(3))
            connection.close()

        with background(accept), pytest.raises(LogUnavailableError):
            log.topics("")
        assert seen[0][:2] == b"\x16\x03"
        log.close()


# ---------------------------------------------------------------- groups


MEMBER = """
import sys
from odradek_log import open_log
consumer = open_log(sys.argv[1], session_timeout=6.0).consumer()
consumer.subscribe(sys.argv[2], [sys.argv[3]], lambda gained: print(len(gained), flush=True) or {}, lambda lost: None)
while True:
    consumer.poll(1.0)
"""


def test_a_killed_member_loses_its_partitions(harness: KafkaHarness) -> None:
    topic, group = harness.topic(4), name()
    arguments = [f"kafka://{harness.bootstrap}", group, topic]
    killed = subprocess.Popen([sys.executable, "-c", MEMBER, *arguments], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "4\n"
    survivor = Membership(harness.log, group, [topic])
    poll_until(lambda: len(survivor.owned) == 2, survivor)
    killed.kill()
    killed.communicate()
    poll_until(lambda: len(survivor.owned) == 4, survivor)
    survivor.consumer.close()


def test_members_that_come_and_go_lose_no_record(harness: KafkaHarness) -> None:
    """Each record is read once: a position that is committed on leaving is where the next owner goes on."""
    topic, group = harness.topic(8), name()
    producer = harness.log.producer()
    members = [joined(harness, group, topic)]
    left: list[Membership] = []
    for round_ in range(4):
        for i in range(400):
            producer.send(topic, i % 8, b"", b"%d" % (round_ * 400 + i))
        assert producer.flush(PATIENCE) == 0
        if round_ % 2 == 0:
            members.append(joined(harness, group, topic))
        poll_until(lambda: sum(len(m.records) for m in members + left) >= (round_ + 1) * 400, *members)  # noqa: B023
        if round_ % 2 == 1:
            # As one thread polls all, nobody leaves while the others have to join anew.
            poll_until(lambda: sum(len(m.owned) for m in members) == 8 and all(m.owned for m in members), *members)
            left.append(members.pop(0))
            left[-1].consumer.close()
            poll_until(lambda: sum(len(m.owned) for m in members) == 8, *members)
    records = [(r.partition, r.offset) for m in members + left for r in m.records]
    assert len(set(records)) == len(records) == 1_600
    for member in members:
        member.consumer.close()


def test_partitions_may_be_taken_before_they_have_begun(
    harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when a member ends that is given partitions and loses them while the broker, which is busy, has not said
    yet where they begin: librdkafka refuses to take what it has not got, inside a callback."""
    topic, group = harness.topic(2), name()
    append(harness.log, topic, [b"0"], 0)
    append(harness.log, topic, [b"1"], 1)
    first = Membership(harness.another(), group, [topic])
    consumer = first.consumer
    assert isinstance(consumer, KafkaConsumer)
    with monkeypatch.context() as patch:
        patch.setattr(consumer, "_take_arriving", lambda timeout: None)
        poll_until(lambda: len(consumer._arriving) == 2, first)
        second = Membership(harness.another(), group, [topic])
        poll_until(lambda: len(second.owned) == 1 and len(consumer._arriving) == 1, first, second)
    poll_until(lambda: len(first.records) == len(second.records) == 1, first, second)
    assert {r.value for r in first.records + second.records} == {b"0", b"1"}
    first.consumer.close()
    second.consumer.close()


def joined(harness: KafkaHarness, group: str, topic: str) -> Membership:
    """A member that commits what it has read when it loses a partition."""
    member = Membership(harness.another(), group, [topic])

    def commit(lost: list[TopicPartition]) -> None:
        ends = {p: [r.offset + 1 for r in member.records if r.partition == p.partition] for p in lost}
        member.consumer.commit({p: Committed(max(offsets)) for p, offsets in ends.items() if offsets})

    member.on_revoke = commit
    return member
