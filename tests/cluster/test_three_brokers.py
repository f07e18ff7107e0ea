"""Three brokers: topics have three copies, and no single broker, killed or stopped, loses or doubles an append."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from odradek_log import TopicPartition, TopicSpec, open_log

from ..kafka.cluster import Cluster
from ..log.harness import PATIENCE, Deliveries, background, read, reader


@pytest.mark.timeout(420)
def test_any_one_of_three_brokers_may_die_or_stand_still() -> None:
    """Breaks when topics are made with fewer copies, or acks of one broker are enough."""
    with Cluster() as cluster:
        log = open_log(f"kafka://{cluster.bootstrap}", request_timeout=60.0)
        log.create_topics([TopicSpec("t", 3)])
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        assert {len(p.replicas) for p in admin.list_topics("t", timeout=30).topics["t"].partitions.values()} == {3}
        [found] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, "t")]).values()
        assert found.result()["min.insync.replicas"].value == "2"

        producer, deliveries, stop, sent = log.producer(), Deliveries(), threading.Event(), [0]

        def produce() -> None:
            while not stop.wait(0.001):  # a steady stream, not a flood
                producer.send("t", sent[0] % 3, b"", b"%d" % sent[0], deliveries.of(sent[0]))
                sent[0] += 1

        with background(produce):
            for number, broker in enumerate(cluster.brokers):
                deliveries.wait(len(deliveries.seen) + 200)
                broker.kill() if number % 2 else broker.pause()
                for partition in range(3):  # breaks when who asks while leaders change waits for the one that is gone
                    assert log.offsets(TopicPartition("t", partition))[1] > 0
                deliveries.wait(len(deliveries.seen) + 300)  # the other two go on
                broker.start() if number % 2 else broker.resume()
                cluster.wait_in_sync()
            stop.set()
        assert producer.flush(PATIENCE) == 0
        assert all(error is None for _, _, error in deliveries.wait(sent[0]))
        records = read(reader(log, "t", 3), sent[0])
        for partition in range(3):
            mine = [int(record.value) for record in records if record.partition == partition]
            assert mine == list(range(partition, sent[0], 3))
        log.close()
