"""A worker's producer, where large payloads go into a store: first they are put there, then the record is appended."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from odradek_log.delivering import Send, report
from odradek_log.protocol import LogUnavailableError, OnDelivery, Producer
from odradek_schemas import decode, encode

from .._claims import Claims, Packed
from ..errors import PayloadStoreError

logger = logging.getLogger("odradek.worker")

PAUSES = (0.2, 1.0, 3.0, 8.0, 15.0)
"""Seconds before the store is tried again; after the last one, the record is given up, and made again later."""

MAX_QUEUED_BYTES = 64 * 1024 * 1024

_KEY_BYTES = 4_000


class NotStoredError(LogUnavailableError):
    """What the record refers to could not be stored, so it was not appended."""


class StoringProducer:
    """See `odradek_log.Producer`. Order holds among the records of one topic and key, whatever is stored for them.

    `max_record_bytes`: of a value with its key.
    """

    def __init__(
        self, producer: Producer, claims: Claims, max_record_bytes: int, pauses: tuple[float, ...] = PAUSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer = producer
        self._claims = claims
        self._limit = max_record_bytes - _KEY_BYTES
        self._pauses = pauses
        self._clock = clock
        self._changed = threading.Condition()
        self._queues: dict[tuple[str, bytes], deque[Send]] = {}
        self._bytes = 0
        self._closed = threading.Event()
        self._packed: tuple[bytes, Packed, bytes] | None = None

    def fits(self, value: bytes, limit: int) -> bool:
        """Whether the log takes the encoded record, once its payloads are stored."""
        return len(value) <= limit or len(self._pack(value)[1]) <= limit

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        """Blocks only while too many bytes wait for the store, or the log."""
        queue_key = (topic, key)
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < MAX_QUEUED_BYTES or self._closed.is_set())
            queue = self._queues.get(queue_key)
            if queue is not None or len(value) > self._claims.offload_above:
                self._bytes += len(value)
                send = Send(topic, partition, key, value, on_delivery)
                if queue is not None:
                    queue.append(send)
                    return
                self._queues[queue_key] = deque([send])
        if len(value) > self._claims.offload_above:
            self._claims.submit(partial(self._work, queue_key))
        else:
            self._producer.send(topic, partition, key, value, on_delivery)

    def _work(self, queue_key: tuple[str, bytes]) -> None:
        """Send what waits of one key, in order. In a thread of its own."""
        while True:
            with self._changed:
                queue = self._queues[queue_key]
                if not queue:
                    del self._queues[queue_key]
                    self._changed.notify_all()
                    return
                send = queue[0]
            try:
                self._store_and_send(send)
            except Exception:
                logger.exception("a record for %s could not be sent", send.topic)
                report(send.on_delivery, -1, NotStoredError("a defect of the worker, see its log"))
            with self._changed:
                queue.popleft()
                self._bytes -= len(send.value)
                self._changed.notify_all()

    def _store_and_send(self, send: Send) -> None:
        value = send.value
        if len(value) > self._claims.offload_above:
            packed, value = self._pack(value)
            error = self._put(packed)
            if error is not None:
                report(send.on_delivery, -1, NotStoredError(str(error)))
                return
        self._producer.send(send.topic, send.partition, send.key, value, send.on_delivery)

    def _put(self, packed: Packed) -> PayloadStoreError | None:
        """Store what a record refers to; the error if that could not be done."""
        for pause in (*self._pauses, None):
            try:
                self._claims.put(packed.blobs)
            except PayloadStoreError as error:
                if pause is None or self._closed.wait(pause):
                    return error
                logger.warning("trying again: %s", error)
            else:
                return None
        raise AssertionError("the last pause is none")

    def _pack(self, value: bytes) -> tuple[Packed, bytes]:
        """What to store and what to append for an encoded record; that of the last one is known."""
        known = self._packed
        if known is None or known[0] is not value:
            packed = self._claims.pack(decode(value), self._limit)
            known = self._packed = (value, packed, encode(packed.record) if packed.blobs else value)
        return known[1], known[2]

    def flush(self, timeout: float) -> int:
        give_up = self._clock() + timeout
        with self._changed:
            self._changed.wait_for(lambda: not self._queues, timeout)
            waiting = sum(map(len, self._queues.values()))
        return waiting + self._producer.flush(max(0.0, give_up - self._clock()))

    def close(self) -> None:
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        self._producer.close()
