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
from .errors import kafka_error, translate

OnOffsets: TypeAlias = Callable[[dict[TopicPartition, int], LogError | None], None]

_ASK_AGAIN_AFTER = 0.05
# A new leader, or a partition that was just made, is known to all brokers a moment later.
_ASK_AGAIN = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._NOENT,  # "no leaders found"
}


class OffsetListing:
    """One question about many partitions; `on_result` gets all answers together, or an error, once."""

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
        self._deadline = time.monotonic() + timeout
        self._lock = threading.Lock()
        self._offsets: dict[TopicPartition, int] = {}
        self._to_ask = set(partitions)
        self._missing = 0
        self._error: KafkaError | None = None
        self._subject = ""

    def ask(self) -> None:
        asked, self._to_ask = self._to_ask, set()
        self._missing, self._error = len(asked), None
        futures = self._admin.list_offsets(
            {Position(*partition): self._spec for partition in asked},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=max(0.1, self._deadline - time.monotonic()),
        )
        for where, future in futures.items():
            self._expect(TopicPartition(where.topic, where.partition), future)

    def _expect(self, partition: TopicPartition, future: Future[Any]) -> None:
        future.add_done_callback(lambda done: self._collect(partition, done))

    def _collect(self, partition: TopicPartition, future: Future[Any]) -> None:
        with self._lock:
            try:
                offset = future.result().offset
                if offset < 0:  # librdkafka's word for none, and no error, from a broker whose leaders change
                    raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
                self._offsets[partition] = offset
            except KafkaException as e:
                self._to_ask.add(partition)
                self._error = kafka_error(e)
                self._subject = f"offsets of {partition.topic}/{partition.partition}"
            self._missing -= 1
            if self._missing:
                return
        self._conclude()

    def _conclude(self) -> None:
        error = self._error
        if error is None:
            self._on_result(self._offsets, None)
        elif error.code() in _ASK_AGAIN and time.monotonic() < self._deadline:
            again = threading.Timer(_ASK_AGAIN_AFTER, self.ask)
            again.daemon = True
            again.start()
        else:
            self._on_result({}, translate(error, self._subject, self._servers))
