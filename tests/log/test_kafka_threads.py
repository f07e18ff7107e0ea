"""Kafka's client calls us in threads of its own and of ours: what may happen there without an end of the process."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from odradek_log import LogError, TopicPartition, TopicSpec, open_log
from odradek_log.kafka import KafkaLog

from .harness import PATIENCE, KafkaHarness

CLOSES = """
import sys, threading
from odradek_log import TopicPartition, open_log

def last_seen(log):
    told, closed, left = threading.Event(), threading.Event(), []
    def on_result(ends, error):
        left.append(threading.current_thread())
        told.set()
        closed.wait()
    log.end_offsets([TopicPartition(sys.argv[2], int(sys.argv[3]))], on_result)
    told.wait()
    log.close()
    return closed, left

closed, left = last_seen(open_log(f"kafka://{sys.argv[1]}", request_timeout=0.1))
closed.set()
left[0].join()
print("lives")
"""


@pytest.mark.parametrize("partition", [0, 99], ids=["an-answer", "an-error"])
def test_a_log_may_be_closed_while_it_tells_offsets(kafka_bootstrap: str, partition: int) -> None:
    """Breaks when who is told is the last to hold the client, in librdkafka's own thread: it aborts the process."""
    harness = KafkaHarness(kafka_bootstrap)
    arguments = [kafka_bootstrap, harness.topic(), str(partition)]
    ended = subprocess.run([sys.executable, "-c", CLOSES, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (0, "lives\n"), ended.stderr
    harness.close()


def test_a_closed_log_is_not_asked_for_offsets(kafka_bootstrap: str) -> None:
    log = open_log(f"kafka://{kafka_bootstrap}")
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.end_offsets([TopicPartition("t", 0)], lambda ends, error: None)


def test_a_callback_that_sends_does_not_wait_for_room(kafka_bootstrap: str) -> None:
    """Breaks when it does: there is no room before the callback has returned, and nothing is appended any more. What it
    sends stays in its order."""
    log = open_log(f"kafka://{kafka_bootstrap}", config={"queue.buffering.max.messages": 5})
    assert isinstance(log, KafkaLog)
    topic = KafkaHarness(kafka_bootstrap).topic()
    log.create_topics([TopicSpec(topic, 1)])
    producer, done = log.producer(), threading.Event()
    sent: list[int] = []
    landed: dict[int, int] = {}

    def send(count: int) -> None:
        for _ in range(count):
            number = len(sent)
            sent.append(number)
            producer.send(topic, 0, b"", b"", lambda offset, error, number=number: told(number, offset))

    def told(number: int, offset: int) -> None:
        landed[number] = offset
        if len(sent) < 200:
            send(3)
        if len(landed) == len(sent):
            done.set()

    send(1)
    assert done.wait(PATIENCE)
    assert list(landed.values()) == list(range(len(sent)))
    assert list(landed) == list(range(len(sent)))
    log.close()
