"""Everything that a worker appends goes through one producer, so that its records keep their order per partition."""

from __future__ import annotations

import logging

from odradek_log.protocol import LogError, OnDelivery, Producer
from odradek_schemas import Topics, partition_of

from .dividing import most_bytes
from .storing import StoringProducer

logger = logging.getLogger("odradek.worker")

OVERHEAD_BYTES = 256
"""Bytes that a log may add to a record's key and value."""


class Outlet:
    """Appends by topic; a record's partition is that of its workflow, or the one that it names."""

    def __init__(self, producer: Producer, topics: Topics, partitions: int, max_record_bytes: int) -> None:
        self._producer = producer
        self._topics = topics
        self._partitions = partitions
        self._limit = max_record_bytes - OVERHEAD_BYTES

    def fits(self, key: str, value: bytes) -> bool:
        """Whether the log takes the record: with a payload store, once its payloads are in there; a completion, in
        pieces."""
        limit = most_bytes(value, self._limit - 4 * len(key.encode()))
        if len(value) <= limit:
            return True
        return isinstance(self._producer, StoringProducer) and self._producer.fits(value, limit)

    def partition(self, workflow_id: str) -> int:
        return partition_of(workflow_id.encode(), self._partitions)

    def event(self, workflow_id: str, value: bytes, on_delivery: OnDelivery) -> None:
        key = workflow_id.encode()
        self._producer.send(self._topics.events, partition_of(key, self._partitions), key, value, on_delivery)

    def ephemeral(self, workflow_id: str, value: bytes) -> None:
        key = workflow_id.encode()
        self._producer.send(self._topics.ephemeral, partition_of(key, self._partitions), key, value, _log_error)

    def reply(self, partition: int, client_id: str, value: bytes) -> None:
        if partition >= 0:
            self._producer.send(self._topics.replies, partition, client_id.encode(), value, _log_error)


def _log_error(offset: int, error: LogError | None) -> None:
    """What goes this way is asked for again, or sent again, by the other side."""
    if error is not None:
        logger.error("a heartbeat or an answer to a client was not appended: %s", error)
