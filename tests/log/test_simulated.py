"""The simulated log's own: what it can do to those who use it, and that a seed says all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from odradek_log import Committed, LogError, ProducerFailedError, TopicPartition, TopicSpec
from odradek_log.simulated import SimulatedLog

from .harness import Deliveries, Membership

_T = TypeVar("_T")

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
SEEDS = range(60)


def make(seed: int) -> SimulatedLog:
    log = SimulatedLog(seed)
    log.create_topics([TopicSpec("t", 2)])
    return log


def values(log: SimulatedLog, where: TopicPartition) -> list[bytes]:
    return [r.value for r in log.records[where]]


def outcomes(play: Callable[[int], _T]) -> set[_T]:
    """What a play comes to under many seeds."""
    return {play(seed) for seed in SEEDS}


def test_a_seed_says_everything() -> None:
    def play(seed: int) -> str:
        log, told = make(seed), []
        log.faults.repeat = 0.2
        for who in range(3):
            process = log.process(str(who))
            producer, deliveries = process.producer(), Deliveries()
            for i in range(20):
                producer.send("t", i % 2, b"%d" % who, b"%d" % i, deliveries.of(i))
            for _ in range(25):
                log.step()
            if who == 1:
                process.crash()
            told.append(deliveries)
        log.run()
        consumer = log.consumer()
        consumer.assign({A: 0, B: 0})
        reads = [consumer.poll(0) for _ in range(5)]
        return repr((log.records, [d.seen for d in told], reads))

    assert play(3) == play(3)
    assert len(outcomes(play)) == len(SEEDS)


def test_partitions_may_overtake_each_other_but_no_partition_itself() -> None:
    def play(seed: int) -> str:
        log = make(seed)
        producer, deliveries = log.producer(), Deliveries()
        for i in range(6):
            producer.send("t", i % 2, b"", b"%d" % i, deliveries.of(i))
        assert log.records[A] == log.records[B] == []
        log.run()
        assert values(log, A) == [b"0", b"2", b"4"]
        assert values(log, B) == [b"1", b"3", b"5"]
        order = "".join(str(label) for label, _, _ in deliveries.seen)
        assert [c for c in order if c in "024"] == ["0", "2", "4"]
        return order

    orders = outcomes(play)
    assert len(orders) > 10


def test_an_append_may_land_long_before_it_is_acknowledged() -> None:
    def play(seed: int) -> bool:
        log = make(seed)
        deliveries = Deliveries()
        log.producer().send("t", 0, b"", b"it", deliveries.of("it"))
        log.step()
        return values(log, A) == [b"it"] and deliveries.seen == []

    assert True in outcomes(play)


def test_a_crash_lands_a_part_and_tells_nobody() -> None:
    def play(seed: int) -> tuple[int, int]:
        log = make(seed)
        process = log.process("p")
        producer, deliveries = process.producer(), Deliveries()
        for i in range(5):
            producer.send("t", 0, b"", b"%d" % i, deliveries.of(i))
        for _ in range(seed % 5):
            log.step()
        told = len(deliveries.seen)
        process.crash()
        log.run()
        assert values(log, A) == [b"%d" % i for i in range(len(log.records[A]))]  # the first ones, in order
        assert len(deliveries.seen) == told <= len(log.records[A])
        return told, len(log.records[A])

    results = outcomes(play)
    assert {(0, 0), (0, 5)} <= results
    assert any(told < landed for told, landed in results)


def test_closing_a_producer_leaves_open_what_lands() -> None:
    def play(seed: int) -> int:
        log = make(seed)
        producer, deliveries = log.producer(), Deliveries()
        for i in range(3):
            producer.send("t", 0, b"", b"%d" % i, deliveries.of(i))
        producer.close()
        assert [(label, offset) for label, offset, _ in deliveries.seen] == [(0, -1), (1, -1), (2, -1)]
        with pytest.raises(LogError, match="closed"):
            producer.send("t", 0, b"", b"")
        log.run()
        return len(log.records[A])

    assert outcomes(play) == {0, 1, 2, 3}


def test_a_fatal_error_gives_up_all_sends_of_the_session() -> None:
    def play(seed: int) -> int:
        log = make(seed)
        process = log.process("p")
        producer, deliveries = process.producer(), Deliveries()
        producer.send("t", 0, b"", b"0", deliveries.of(0))
        producer.send("t", 0, b"", b"1", deliveries.of(1))
        process.fail_producers()
        producer.send("t", 0, b"", b"2", deliveries.of(2))
        log.run()
        assert [label for label, _, _ in deliveries.seen] == [0, 1, 2]
        assert all(offset == -1 and isinstance(e, ProducerFailedError) for _, offset, e in deliveries.seen)
        return len(log.records[A])

    assert outcomes(play) == {0, 1, 2}  # never the one after the error


def test_a_paused_process_hears_of_nothing_until_it_goes_on() -> None:
    log = make(1)
    process = log.process("zombie")
    producer, deliveries = process.producer(), Deliveries()
    producer.send("t", 0, b"", b"it", deliveries.of("it"))
    process.pause()
    ends: list[dict[TopicPartition, int]] = []
    process.end_offsets([A], lambda e, _: ends.append(e))
    log.run()
    assert values(log, A) == [b"it"]
    assert (deliveries.seen, ends) == ([], [])
    process.pause(False)
    log.run()
    assert (deliveries.seen, ends) == ([("it", 0, None)], [{A: 1}])


def test_what_a_stalled_process_sent_lands_later() -> None:
    log = make(1)
    process = log.process("far")
    process.stall()
    process.producer().send("t", 0, b"", b"late")
    log.producer().send("t", 0, b"", b"first")
    log.run()
    assert values(log, A) == [b"first"]
    process.stall(False)
    log.run()
    assert values(log, A) == [b"first", b"late"]


def test_appends_may_be_repeated() -> None:
    log = make(1)
    log.faults.repeat = 1.0
    deliveries = Deliveries()
    log.producer().send("t", 0, b"", b"it", deliveries.of("it"))
    log.run()
    assert values(log, A) == [b"it", b"it"]
    assert deliveries.seen == [("it", 0, None)]


def test_each_partition_has_a_clock() -> None:
    log = make(1)
    log.set_skew(B, -500)
    for partition in (0, 1):
        log.producer().send("t", partition, b"", b"")
    log.run()
    log.now_ms += 100
    log.set_skew(A, -1_000)
    log.producer().send("t", 0, b"", b"")
    log.run()
    start = 1_700_000_000_000
    assert [r.timestamp_ms for r in log.records[A]] == [start, start - 900]
    assert [r.timestamp_ms for r in log.records[B]] == [start - 500]
    own = SimulatedLog(clock=lambda: 42)
    own.create_topics([TopicSpec("t", 1)])
    assert own.append(A, b"", b"") == 0
    assert own.records[A][0].timestamp_ms == 42


def test_a_consumer_gets_what_has_reached_it() -> None:
    def play(seed: int) -> int:
        log = make(seed)
        for i in range(4):
            log.append(A, b"", b"%d" % i)
        consumer = log.consumer()
        consumer.assign({A: 0})
        first = consumer.poll(0)
        rest = [r for _ in range(50) for r in consumer.poll(0)]
        assert [r.offset for r in first + rest] == [0, 1, 2, 3]
        return len(first)

    assert outcomes(play) == {0, 1, 2, 3, 4}


def test_expired_records_are_jumped_over() -> None:
    log = SimulatedLog(auto=True)
    log.create_topics([TopicSpec("t", 1)])
    for i in range(10):
        log.append(A, b"", b"%d" % i)
    consumer = log.consumer()
    consumer.assign({A: 2})
    log.expire(A, 7)
    assert log.offsets(A) == (7, 10)
    assert [r.offset for r in consumer.poll(0)] == [7, 8, 9]


def test_groups_are_rebalanced_and_members_expelled() -> None:
    log = make(5)
    here, there = log.process("here"), log.process("there")
    one, two = Membership(here, "g", ["t"]), Membership(there, "g", ["t"])
    for _ in range(4):
        one.poll()
        two.poll()
    assert [len(one.owned), len(two.owned)] == [1, 1]
    moved = False
    for _ in range(30):
        log.rebalance("g")
        for _ in range(3):
            one.poll()
            two.poll()
        assert one.owned | two.owned == {A, B}
        assert not one.owned & two.owned
        moved |= len(one.owned) == 2
    assert moved
    there.expel()  # it is paused, say, and knows nothing of this
    for _ in range(3):
        one.poll()
    assert one.owned == {A, B}
    before = set(two.owned)
    two.consumer.commit({p: Committed(1, "zombie") for p in (A, B)})
    log.run()
    assert log.group("g").committed == {}
    for _ in range(3):
        two.poll()
        one.poll()
    assert not before or two.lost
    assert len(two.owned) == 1


def test_commits_take_their_time_and_may_be_lost() -> None:
    def play(seed: int) -> int:
        log = make(seed)
        process = log.process("p")
        member = Membership(process, "g", ["t"])
        member.poll()
        for offset in (1, 2, 3):
            member.consumer.commit({A: Committed(offset)})
        assert log.group("g").committed == {}
        process.crash()
        log.run()
        return log.group("g").committed.get(A, Committed(0)).offset

    assert outcomes(play) == {0, 1, 2, 3}


def test_members_may_skip_and_positions_be_forgotten() -> None:
    log = make(1)
    member = Membership(log, "g", ["t"])
    member.poll()
    for i in range(5):
        log.append(A, b"", b"%d" % i)
    log.skip(A)
    for _ in range(10):
        member.poll()
    assert member.records == []
    assert log.group("g").committed[A] == Committed(5)
    log.forget_commits("g")
    member.consumer.close()
    again = Membership(log, "g", ["t"])
    for _ in range(20):
        again.poll()
    assert [r.offset for r in again.records] == [0, 1, 2, 3, 4]


def test_run_says_when_something_sends_without_end() -> None:
    log = make(1)
    producer = log.producer()

    def again(offset: int, error: LogError | None) -> None:
        producer.send("t", 0, b"", b"", again)

    again(0, None)
    with pytest.raises(AssertionError, match="without end"):
        log.run(limit=500)
