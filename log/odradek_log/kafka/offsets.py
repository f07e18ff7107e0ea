"""Asking brokers for the first or next offsets of partitions, without blocking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeAlias

from confluent_kafka import IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from ..protocol import LogError, TopicPartition
from .errors import kafka_error, passes, translate, unavailable

OnOffsets: TypeAlias = Callable[[dict[TopicPartition, int], LogError | None], None]

LEADER_CHANGE_S = 20.0
"""How long we ask for a partition's leader. By default Kafka takes 9 s to see that a broker is gone, and some more if
that was the controller. Workers that end wait for as long, at most."""

_QUESTION_S = 1.0  # the n-th question has n times as long: a leader that is gone never answers, a busy one in the end
_ASK_AGAIN_AFTER = 0.05
_LONGEST_PAUSE = 1.0
_UNKNOWN = KafkaError.UNKNOWN_TOPIC_OR_PART  # one that was just made is known to all brokers a moment later
# librdkafka's answer for a leader that is gone or stands still is an offset of -1001, and no error.
_SILENT = KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "its leader does not answer")


class OffsetListing:
    """One question about many partitions; `on_result` gets all answers together, or an error, once.

    It gives up when no broker was there for `timeout` seconds, or some leader gave no offset for LEADER_CHANGE_S.
    """

    def __init__(
        self,
        admin: AdminClient,
        partitions: Iterable[TopicPartition],
        spec: OffsetSpec,
        on_result: OnOffsets,
        timeout: float,
        servers: str,
    ) -> None:
        self._admin = admin
        self._spec = spec
        self._on_result = on_result
        self._servers = servers
        self._timeout = timeout
        self._began = self._there = time.monotonic()
        self._lock = threading.Lock()
        self._offsets: dict[TopicPartition, int] = {}
        self._to_ask = set(partitions)
        self._questions = 0
        self._missing = 0
        self._error: KafkaError | None = None
        self._subject = ""

    def ask(self) -> None:
        asked, self._to_ask = self._to_ask, set()
        self._missing, self._error = len(asked), None
        self._questions += 1
        futures = self._admin.list_offsets(
            {Position(*partition): self._spec for partition in asked},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=self._patience(),
        )
        for where, future in futures.items():
            self._expect(TopicPartition(where.topic, where.partition), future)

    def _expect(self, partition: TopicPartition, future: Future[Any]) -> None:
        future.add_done_callback(lambda done: self._collect(partition, done))

    def _collect(self, partition: TopicPartition, future: Future[Any]) -> None:
        with self._lock:
            try:
                offset = future.result().offset
                if offset < 0:
                    raise KafkaException(_SILENT)
                self._offsets[partition] = offset
            except KafkaException as e:
                self._to_ask.add(partition)
                if self._error is None or _may_pass(self._error):
                    self._error = kafka_error(e)
                    self._subject = f"offsets of {partition.topic}/{partition.partition}"
            self._missing -= 1
            if self._missing:
                return
        self._conclude()

    def _conclude(self) -> None:
        if self._error is None:
            self._on_result(self._offsets, None)
        elif not _may_pass(self._error):
            self._on_result({}, translate(self._error, self._subject, self._servers))
        else:
            pause = min(self._questions * _ASK_AGAIN_AFTER, _LONGEST_PAUSE)
            again = threading.Timer(pause, self._ask_again, [self._error])
            again.daemon = True
            again.start()

    def _ask_again(self, error: KafkaError) -> None:
        """Of those who lead now, if there is time. By itself librdkafka keeps to the leaders it knows for a while."""
        silence = None
        try:
            self._admin.list_topics(timeout=self._patience())
        except KafkaException as e:
            silence = kafka_error(e)
        if silence is None or silence.code() == KafkaError._TIMED_OUT:  # one is there; perhaps it alone stands still
            self._there = time.monotonic()
        if self._left(error) > 0:
            self.ask()
        elif silence is None:
            self._on_result({}, translate(error, self._subject, self._servers))
        else:
            self._on_result({}, unavailable(self._subject, self._servers, silence.str()))

    def _left(self, error: KafkaError | None) -> float:
        """Seconds until we give up."""
        unknown = error is not None and error.code() == _UNKNOWN
        give_up = self._began + (self._timeout if unknown else max(self._timeout, LEADER_CHANGE_S))
        return min(self._there + self._timeout, give_up) - time.monotonic()

    def _patience(self) -> float:
        """Seconds for the next answer."""
        return max(0.1, min(self._questions * _QUESTION_S, self._left(self._error)))


def _may_pass(error: KafkaError) -> bool:
    return passes(error) or error.code() == _UNKNOWN
