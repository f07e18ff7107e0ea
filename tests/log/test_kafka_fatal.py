"""What librdkafka calls fatal: brokers that have lost records, say, no longer know where a producer was.

It has a way to bring one about, which Python does not show; the rest is the real thing.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from confluent_kafka import KafkaError
from odradek_log import Producer, ProducerFailedError, open_log
from odradek_log.kafka import KafkaLog
from odradek_log.kafka.errors import translate
from odradek_log.kafka.producer import KafkaProducer
from odradek_log.renewing import RenewingProducer

from ..kafka.broker import free_port
from .harness import PATIENCE, Deliveries, KafkaHarness, read, reader

OBJECT_HEAD = 2 * ctypes.sizeof(ctypes.c_void_p)
"""Before librdkafka's handle in confluent-kafka's objects."""


def fail(producer: KafkaProducer) -> None:
    """As if a broker had answered that a record is not the next one of this producer."""
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "librdkafka" in line}
    library = ctypes.CDLL(sorted(loaded)[0])
    handle = ctypes.c_void_p.from_address(id(producer._producer) + OBJECT_HEAD)
    library.rd_kafka_test_fatal_error(handle, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, b"out of step")


def test_all_that_is_out_when_a_producer_fails_for_good_is_given_up() -> None:
    """Breaks when its thread ends with the error: nobody ever hears of the appends, and a process waits for ever."""
    log = open_log(f"kafka://127.0.0.1:{free_port()}")
    assert isinstance(log, KafkaLog)
    producer, deliveries = log.producer(), Deliveries()
    for number in range(3):
        producer.send("t", 0, b"", b"", deliveries.of(number))
    fail(producer)
    deliveries.wait(3)
    producer.send("t", 0, b"", b"", deliveries.of(3))
    assert [label for label, _, _ in deliveries.wait(4)] == [0, 1, 2, 3]
    assert all(offset == -1 and isinstance(error, ProducerFailedError) for _, offset, error in deliveries.seen)
    assert producer.flush(PATIENCE) == 0
    log.close()


def test_what_a_failed_producer_had_is_appended_by_another(kafka_bootstrap: str) -> None:
    harness = KafkaHarness(kafka_bootstrap)
    topic, made, deliveries = harness.topic(), [], Deliveries()

    def make() -> Producer:
        made.append(harness.log.producer())
        return made[-1]

    producer = RenewingProducer(make)
    producer.send(topic, 0, b"", b"before", deliveries.of("before"))
    deliveries.wait(1)
    fail(made[0])
    producer.send(topic, 0, b"", b"after", deliveries.of("after"))
    assert deliveries.wait(2) == [("before", 0, None), ("after", 1, None)]
    assert [record.value for record in read(reader(harness.log, topic, 1), 2)] == [b"before", b"after"]
    producer.close()
    harness.close()


def test_a_producer_that_is_out_of_step_has_failed() -> None:
    """Breaks when an engine takes it for what is wrong with one effect, and gives that effect up."""
    error = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)  # type: ignore[call-arg]
    assert isinstance(translate(error, "append", "kafka:9092"), ProducerFailedError)
