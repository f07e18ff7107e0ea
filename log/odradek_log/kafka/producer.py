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
from ..delivering import Send, report
from ..protocol import LogError, OnDelivery, TopicPartition
from .errors import failed_for_good, kafka_error, translate, wrong_setting
from .pace import Pace
from .said import rdkafka_logger

_log = logging.getLogger("odradek.log")

_POLL = 0.19  # under 200 ms confluent-kafka waits in one piece
_MOST_HELD, _MOST_HELD_BYTES = 1_000, 1_000_000  # more than that waits for no others
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

    Where many different things are appended (see `Pace`), they are held and passed on together, by that thread, as
    librdkafka cannot change its `linger.ms`. After a fatal error of librdkafka all sends, those that are out and later
    ones, are given up with an error that says so.
    """

    def __init__(
        self, config: Mapping[str, Any], servers: str, max_record_bytes: int, pace: Pace | None = None
    ) -> None:
        """Raises ValueError for settings that librdkafka does not know."""
        self._servers = servers
        self._max_record_bytes = max_record_bytes
        try:
            self._producer = Producer(dict(config), logger=rdkafka_logger())
        except KafkaException as e:
            raise wrong_setting(e) from e
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._out = 0
        self._last: dict[TopicPartition, _Send] = {}
        self._refused: deque[tuple[OnDelivery | None, LogError]] = deque()
        self._closed = False
        self._failure: LogError | None = None
        self._flushing = 0
        self._waiting = 0  # for space
        self._pace = pace or Pace()
        self._holding = False  # set by the thread alone, which passes on what is held
        self._held: deque[Send] = deque()
        self._held_bytes = 0
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
        with self._lock:
            if self._closed:
                raise refusals.producer_closed()
            self._out += 1
            self._pace.sent(key)
            while self._holding or self._held:
                if self._much_held and not self._closed and threading.current_thread() is not self._thread:
                    self._wait_for_space()
                    continue
                self._hold(Send(topic, partition, key, value, on_delivery))
                return
        send = Send(topic, partition, key, value, on_delivery)
        while not self._pass_on(send):
            if threading.current_thread() is self._thread:  # a callback: there is no space before it has returned
                self._hold(send)
                return
            self._wait_for_space()

    def _hold(self, send: Send) -> None:
        """Keep it for `_release`, and all that is sent after it. Its thread alone begins to hold."""
        with self._lock:
            self._held.append(send)
            self._held_bytes += len(send.value)
            if self._much_held:
                self._changed.notify_all()

    @property
    def _much_held(self) -> bool:
        return len(self._held) >= _MOST_HELD or self._held_bytes >= _MOST_HELD_BYTES

    def _pass_on(self, send: Send) -> bool:
        """Give it to librdkafka. False: there is no space."""
        where = TopicPartition(send.topic, send.partition)
        size = len(send.key) + len(send.value)
        if size > self._max_record_bytes:
            self._refuse(where, send.on_delivery, refusals.too_large(where, size, self._max_record_bytes))
            return True
        out = _Send(self, where, send.on_delivery)
        try:
            with self._lock:
                if self._closed:
                    self._refuse(where, send.on_delivery, refusals.producer_closed())
                else:
                    self._producer.produce(send.topic, send.value, send.key, send.partition, on_delivery=out)
                    self._last[where] = out
        except BufferError:
            return False
        except KafkaException as e:
            error = translate(kafka_error(e), f"append to {send.topic}/{send.partition}", self._servers)
            self._refuse(where, send.on_delivery, error)
        return True

    def _wait_for_space(self) -> None:
        if threading.current_thread() is self._thread:
            self._poll(0.01)  # it makes space itself
        else:
            with self._changed:
                self._waiting += 1
                self._changed.wait(0.1)
                self._waiting -= 1

    def _refuse(self, where: TopicPartition, on_delivery: OnDelivery | None, error: LogError) -> None:
        """Give up a send that never went out, after those before it in its partition."""
        with self._lock:
            last = self._last.get(where)
            if last is None:
                self._refused.append((on_delivery, error))
            else:
                last.after = [*(last.after or ()), (on_delivery, error)]

    def flush(self, timeout: float) -> int:
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._out, timeout)
            self._flushing -= 1
            return self._out

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._producer.purge()
        if threading.current_thread() is not self._thread:
            self.flush(_CLOSE_TIMEOUT)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while True:
            self._poll(0 if self._holding or self._refused else _POLL)
            self._serve_refused()
            wait = self._pace.wait(time.monotonic())
            with self._changed:
                if self._closed and not self._out:
                    return
                self._changed.wait_for(self._in_a_hurry, wait)
                self._holding = wait > 0 and not self._in_a_hurry()
            self._release()

    def _poll(self, timeout: float) -> None:
        """Call the callbacks of what was delivered. A fatal error of librdkafka is raised by its `poll`; what is out
        then is given up, as brokers that are away may never answer for it."""
        try:
            self._producer.poll(timeout)
        except KafkaException as e:
            self._failure = failed_for_good("append", kafka_error(e).str())
            _log.error("%s", self._failure)
            self._producer.purge()

    def _in_a_hurry(self) -> bool:
        """Whether the thread must not wait: somebody waits for it, or much is held."""
        return bool(self._flushing or self._waiting or self._closed or self._refused) or self._much_held

    def _release(self) -> None:
        """Pass on what is held, in its order. What is sent meanwhile is held as well, so that it stays behind."""
        while True:
            with self._lock:
                while self._held and self._pass_on(self._held[0]):
                    self._held_bytes -= len(self._held.popleft().value)
                if not self._held:
                    return
            self._wait_for_space()

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
            self._pace.acknowledged(message.latency() or 0.0)
            report(send.on_delivery, message.offset() or 0, None)
        else:
            what = f"append to {where.topic}/{where.partition}"
            report(send.on_delivery, -1, self._failure or translate(error, what, self._servers))
        with self._lock:
            if self._last.get(where) is send:
                del self._last[where]
            after = send.after
            self._done(1)
        for on_delivery, refusal in after or ():
            report(on_delivery, -1, refusal)
            self._done(1)

    def _done(self, count: int) -> None:
        with self._lock:
            self._out -= count
            if self._waiting or (self._flushing and not self._out):
                self._changed.notify_all()
