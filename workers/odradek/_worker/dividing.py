"""A worker's producer that sends a completion above the log's limit for a record in pieces (`CompletionPiece`)."""

from __future__ import annotations

import threading

from odradek_log.delivering import report
from odradek_log.protocol import LogError, OnDelivery, Producer
from odradek_schemas import class_of, decode, encode
from odradek_schemas.records import (
    MAX_COMPLETION_BYTES,
    MAX_COMPLETION_PIECES,
    CompletionPiece,
    WorkflowTaskCompleted,
)

_FIELDS_BYTES = 100
"""What a piece takes besides its texts and its part of the completion, at most."""


def most_bytes(value: bytes, limit: int) -> int:
    """How large this encoded record may be, where the log takes `limit` bytes: completions may be divided."""
    if len(value) <= limit or class_of(value) is not WorkflowTaskCompleted:
        return limit
    return max(limit, min(MAX_COMPLETION_BYTES, MAX_COMPLETION_PIECES * _piece_bytes(_whole(value), limit)))


def divide(value: bytes, limit: int) -> list[bytes]:
    """An encoded WorkflowTaskCompleted as encoded pieces of at most `limit` bytes."""
    whole = _whole(value)
    size = _piece_bytes(whole, limit)
    count = -(-len(value) // size)
    return [
        encode(CompletionPiece(
            workflow_id=whole.workflow_id, run_id=whole.run_id, id=whole.id, base=whole.base,
            index=index, count=count, piece=value[index * size : (index + 1) * size],
        ))
        for index in range(count)
    ]


def _whole(value: bytes) -> WorkflowTaskCompleted:
    whole = decode(value)
    assert isinstance(whole, WorkflowTaskCompleted), "no other record is divided"
    return whole


def _piece_bytes(whole: WorkflowTaskCompleted, limit: int) -> int:
    texts = sum(len(text.encode()) for text in (whole.workflow_id, whole.run_id, whole.id, whole.base))
    return max(1, limit - texts - _FIELDS_BYTES)


class DividingProducer:
    """See `odradek_log.Producer`. `max_record_bytes`: of a value with its key."""

    def __init__(self, producer: Producer, max_record_bytes: int) -> None:
        self._producer = producer
        self._max_record_bytes = max_record_bytes

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        limit = self._max_record_bytes - 4 * len(key)
        if len(value) <= limit or class_of(value) is not WorkflowTaskCompleted:
            self._producer.send(topic, partition, key, value, on_delivery)
            return
        pieces = divide(value, limit)
        delivery = _Delivery(len(pieces), on_delivery)
        for piece in pieces:
            self._producer.send(topic, partition, key, piece, delivery.settle)

    def flush(self, timeout: float) -> int:
        return self._producer.flush(timeout)

    def close(self) -> None:
        self._producer.close()


class _Delivery:
    """What became of pieces: reported once, when all are settled; with the last offset, or the first error."""

    def __init__(self, count: int, on_delivery: OnDelivery | None) -> None:
        self._lock = threading.Lock()
        self._left = count
        self._offset = -1
        self._error: LogError | None = None
        self._on_delivery = on_delivery

    def settle(self, offset: int, error: LogError | None) -> None:
        with self._lock:
            self._left -= 1
            self._offset = max(self._offset, offset)
            self._error = self._error or error
            left = self._left
        if not left:
            report(self._on_delivery, -1 if self._error else self._offset, self._error)
