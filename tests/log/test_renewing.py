"""The producer that goes on where another would have failed for good."""

from __future__ import annotations

import pytest
from odradek_log import LogError, RecordTooLargeError, TopicPartition
from odradek_log.renewing import RenewingProducer
from odradek_log.simulated import SimulatedLog

from .harness import Deliveries
from .test_simulated import make

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def without_repeats(log: SimulatedLog, where: TopicPartition) -> list[int]:
    return list(dict.fromkeys(int(record.value) for record in log.records[where]))


@pytest.mark.parametrize("seed", range(50))
def test_what_a_failed_session_gave_up_is_appended_again_in_order(seed: int) -> None:
    log = make(seed)
    process = log.process("p")
    producer, deliveries = RenewingProducer(process.producer), Deliveries()
    for i in range(40):
        producer.send("t", i % 2, b"", b"%d" % i, deliveries.of(i))
        for _ in range(log.rng.randrange(4)):
            log.step()
        if i % 10 == seed % 10:
            process.fail_producers()
    log.run()
    assert all(error is None for _, _, error in deliveries.seen)
    for where in (A, B):
        mine = [label for label, _, _ in deliveries.seen if label % 2 == where.partition]
        assert mine == without_repeats(log, where) == list(range(where.partition, 40, 2))
    assert producer.flush(1.0) == 0


def test_other_errors_are_the_caller_s() -> None:
    log = make(1)
    process = log.process("p")
    producer, deliveries = RenewingProducer(process.producer), Deliveries()
    producer.send("t", 0, b"", b"x" * (log.max_record_bytes + 1), deliveries.of("large"))
    producer.send("t", 0, b"", b"1", deliveries.of("it"))
    process.fail_producers()
    log.run()
    (large, it) = deliveries.seen
    assert isinstance(large[2], RecordTooLargeError)
    assert it == ("it", len(log.records[A]) - 1, None)


def test_after_the_end_nothing_is_appended_again() -> None:
    log = make(1)
    process = log.process("p")
    producer, deliveries = RenewingProducer(process.producer), Deliveries()
    producer.send("t", 0, b"", b"1", deliveries.of(1))
    producer.close()
    process.fail_producers()
    log.run()
    assert [offset for _, offset, _ in deliveries.seen] == [-1]
    assert len(log.records[A]) <= 1
    with pytest.raises(LogError, match="closed"):
        producer.send("t", 0, b"", b"2")


def test_a_callback_that_raises_takes_nothing_with_it() -> None:
    log = make(1)
    process = log.process("p")
    producer, deliveries = RenewingProducer(process.producer), Deliveries()

    def fails(offset: int, error: LogError | None) -> None:
        raise RuntimeError("a mistake of the caller's")

    producer.send("t", 0, b"", b"1", fails)
    process.fail_producers()
    producer.send("t", 0, b"", b"2", deliveries.of(2))
    log.run()
    assert [error for _, _, error in deliveries.seen] == [None]
    assert producer.flush(1.0) == 0
