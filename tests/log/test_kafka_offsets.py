"""What brokers say of offsets while their leaders change: such an answer is asked for again, and never believed."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from odradek_log import LogError, LogUnavailableError, TopicPartition
from odradek_log.kafka.offsets import OffsetListing

from .harness import PATIENCE

HERE = TopicPartition("t", 0)
NONE = -1001
"""librdkafka's word for no offset. A broker gave it without an error when it had been restarted."""


class Admin:
    """Answers each question with the next of these offsets."""

    def __init__(self, *offsets: int) -> None:
        self._offsets = list(offsets)

    def list_offsets(self, asked: dict[Any, Any], **_: Any) -> dict[Any, Future[Any]]:
        answers: dict[Any, Future[Any]] = {}
        for where in asked:
            answers[where] = Future()
            answers[where].set_result(SimpleNamespace(offset=self._offsets.pop(0)))
        return answers


def ask(*offsets: int, timeout: float) -> tuple[dict[TopicPartition, int], LogError | None]:
    answered, told = threading.Event(), []

    def on_result(ends: dict[TopicPartition, int], error: LogError | None) -> None:
        told.append((ends, error))
        answered.set()

    admin: Any = Admin(*offsets)
    spec: Any = None
    OffsetListing(admin, [HERE], spec, on_result, timeout, "kafka:9092").ask()
    assert answered.wait(PATIENCE)
    [answer] = told
    return answer


def test_no_offset_is_no_end_of_a_log() -> None:
    """Breaks when an engine takes its state for that of another log, and discards it: "the log ends at -1001"."""
    assert ask(NONE, NONE, 224, timeout=PATIENCE) == ({HERE: 224}, None)


def test_who_hears_of_no_offset_in_time_is_told_so() -> None:
    ends, error = ask(NONE, timeout=0.0)
    assert ends == {}
    with pytest.raises(LogUnavailableError, match="offsets of t/0"):
        raise error or AssertionError
