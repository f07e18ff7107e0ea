"""A producer that goes on after an error that no producer recovers from."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from . import refusals
from .delivering import Send, report
from .protocol import LogError, OnDelivery, Producer, ProducerFailedError

logger = logging.getLogger("odradek.log")


class RenewingProducer:
    """See `Producer`, but what a failed session gave up is appended again by a new one, in the order of the sends.

    The failed session may have appended it already: use it for records that may come twice. `make` gives a session.
    """

    def __init__(self, make: Callable[[], Producer]) -> None:
        self._make = make
        self._current = make()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._out = 0  # sends that the current session has not reported
        self._again: list[Send] = []  # those that it gave up because it failed
        self._closed = False

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        with self._lock:
            if self._closed:
                raise refusals.producer_closed()
            self._out += 1
            current = self._current
        self._pass_on(current, Send(topic, partition, key, value, on_delivery))

    def _pass_on(self, producer: Producer, send: Send) -> None:
        producer.send(send.topic, send.partition, send.key, send.value, partial(self._delivered, send))

    def _delivered(self, send: Send, offset: int, error: LogError | None) -> None:
        if isinstance(error, ProducerFailedError):
            self._again.append(send)
        else:
            report(send.on_delivery, offset, error)
        with self._lock:
            self._out -= 1
            if self._out:
                return
            if self._again:
                self._renew()
            self._changed.notify_all()

    def _renew(self) -> None:
        """The failed session has reported everything: what it gave up is the new one's to append."""
        failed, again, self._again = self._current, self._again, []
        try:
            if self._closed:
                raise refusals.producer_closed()
            self._current = self._make()
        except LogError as error:
            for send in again:
                report(send.on_delivery, -1, error)
            return
        logger.warning("a producer failed for good; a new one appends the %d records it had", len(again))
        self._out = len(again)
        for send in again:
            self._pass_on(self._current, send)
        failed.close()

    def flush(self, timeout: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: not self._out, timeout)
            return self._out

    def close(self) -> None:
        with self._changed:
            self._closed = True
        self._current.close()
