"""A producer session on Kafka."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from .. import refusals
from ..delivering import report
from ..protocol import LogError, OnDelivery, TopicPartition
from .errors import kafka_error, translate, wrong_setting

_POLL = 0.19  # under 200 ms confluent-kafka waits in one piece
_TOGETHER, _MANY = 0.002, 8  # where many sends are out, one wake-up of the thread serves several deliveries
_CLOSE_TIMEOUT = 5.0


class _Send:
    """One append that is out; librdkafka calls it with the outcome."""

    __slots__ = ("after", "on_delivery", "producer", "where")

    def __init__(self, producer: KafkaProducer, where: TopicPartition, on_delivery: OnDelivery | None) -> None:
        self.producer = producer
        self.where = where
        self.on_delivery = on_delivery
        self.after: list[tuple[OnDelivery | None, LogError]] | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self.producer._delivered(self, error, message)


class KafkaProducer:
    """See `odradek_log.Producer`. A thread of its own calls the delivery callbacks.

    After a fatal error of librdkafka all sends, those that are out and later ones, are given up with an
    error that says so.
    """

    def __init__(self, config: Mapping[str, Any], servers: str, max_record_bytes: int) -> None:
        """Raises ValueError for settings that librdkafka does not know."""
        self._servers = servers
        self._max_record_bytes = max_record_bytes
        try:
            self._producer = Producer(dict(config), logger=logging.getLogger("odradek.log.kafka"))
        except KafkaException as e:
            raise wrong_setting(e) from e
        self._changed = threading.Condition()
        self._out = 0
        self._last: dict[TopicPartition, _Send] = {}
        self._refused: deque[tuple[OnDelivery | None, LogError]] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="odradek-kafka-producer", daemon=True)
        self._thread.start()
        threading.Thread(target=self._hasten, name="odradek-kafka-first-contact", daemon=True).start()

    def _hasten(self) -> None:
        """Make the session's first append ten times faster (0.05 s).

        librdkafka asks the first connection for its producer ID, drops that connection for one to the same broker
        under its real name, and then waits half a second, or for the next metadata, to ask again.
        """
        with contextlib.suppress(KafkaException):
            for _ in range(2):
                self._producer.list_topics(timeout=2.0)

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        where = TopicPartition(topic, partition)
        if len(key) + len(value) > self._max_record_bytes:
            self._begin()
            error = refusals.too_large(TopicPartition(topic, partition), len(key) + len(value), self._max_record_bytes)
            self._refuse(where, on_delivery, error)
            return
        self._begin()
        send = _Send(self, where, on_delivery)
        while True:
            try:
                with self._changed:
                    if self._closed:
                        self._refused.append((on_delivery, refusals.producer_closed()))
                        return
                    self._producer.produce(topic, value, key, partition, on_delivery=send)
                    self._last[where] = send
                return
            except BufferError:
                self._wait_for_space()
            except KafkaException as e:
                error_of_send = translate(kafka_error(e), f"append to {topic}/{partition}", self._servers)
                self._refuse(where, on_delivery, error_of_send)
                return

    def _begin(self) -> None:
        with self._changed:
            if self._closed:
                raise refusals.producer_closed()
            self._out += 1

    def _wait_for_space(self) -> None:
        if threading.current_thread() is self._thread:
            self._producer.poll(0.01)  # a callback that sends must not wait for itself
        else:
            with self._changed:
                self._changed.wait(0.1)

    def _refuse(self, where: TopicPartition, on_delivery: OnDelivery | None, error: LogError) -> None:
        """Give up a send that never went out, after those before it in its partition."""
        with self._changed:
            last = self._last.get(where)
            if last is None:
                self._refused.append((on_delivery, error))
            else:
                last.after = [*(last.after or ()), (on_delivery, error)]

    def flush(self, timeout: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: not self._out, timeout)
            return self._out

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
        self._producer.purge()
        if threading.current_thread() is not self._thread:
            self.flush(_CLOSE_TIMEOUT)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while True:
            if self._producer.poll(_POLL) and self._out > _MANY:
                time.sleep(_TOGETHER)
            self._serve_refused()
            with self._changed:
                if self._closed and not self._out:
                    return

    def _serve_refused(self) -> None:
        while self._refused:
            on_delivery, error = self._refused.popleft()
            report(on_delivery, -1, error)
            self._done(1)

    def _delivered(self, send: _Send, error: KafkaError | None, message: Message) -> None:
        if self._refused:
            self._serve_refused()
        where = send.where
        if error is None:
            report(send.on_delivery, message.offset() or 0, None)
        else:
            what = f"append to {where.topic}/{where.partition}"
            report(send.on_delivery, -1, translate(error, what, self._servers))
        with self._changed:
            if self._last.get(where) is send:
                del self._last[where]
            after = send.after or ()
        for on_delivery, refusal in after:
            report(on_delivery, -1, refusal)
        self._done(1 + len(after))

    def _done(self, count: int) -> None:
        with self._changed:
            self._out -= count
            self._changed.notify_all()
