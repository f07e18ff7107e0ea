"""A confluent-kafka consumer whose blocking `poll` another thread can end.

librdkafka has no call for that. But it answers an empty commit at once, with or without a broker, by a callback on
the queue that `poll` waits for; and an exception that leaves a callback ends `poll`. No record is lost: `poll`
takes one thing at a time.

From 2.16 on, confluent-kafka lets only one caller at a time into a consumer, and others spin until it is out. Its
own asyncio client passes an identity in a context variable, so that its threads count as one caller. So do we; where
a version is met that has neither, `wake` takes effect when the current slice of `poll` ends.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition, cimpl

from .errors import wrong_setting
from .said import rdkafka_logger

_SLICE = 0.19  # above, confluent-kafka waits in pieces of 200 ms itself, and forgets exceptions in between

_identity: contextvars.ContextVar[int] | None = getattr(cimpl, "_reentry_identity_var", None)
_can_interrupt = _identity is not None or confluent_kafka.libversion()[1] < 0x02100000


class _WokenError(Exception):
    """Leaves the callback of an empty commit."""


class WakeableConsumer:
    """`on_commit(error, partitions)` is called for real commits, inside `poll`."""

    def __init__(
        self, config: Mapping[str, Any], on_commit: Callable[[KafkaError | None, list[TopicPartition]], None]
    ) -> None:
        settings = {**config, "on_commit": self._committed}
        try:
            self.consumer = Consumer(settings, logger=rdkafka_logger())
        except KafkaException as e:
            raise wrong_setting(e) from e
        self._on_commit = on_commit
        self._waiting = False
        self._woken = False
        self._context = contextvars.copy_context()
        if _identity is not None:
            self._context.run(_identity.set, id(self))

    def poll(self, timeout: float) -> Message | None:
        """The next message or error; None after `timeout` seconds, or if there is none yet at a `wake`."""
        deadline = time.monotonic() + timeout
        while True:
            self._waiting = True
            try:
                if self._woken:
                    return self._take()
                remaining = max(0.0, deadline - time.monotonic())
                message = self._context.run(self.consumer.poll, min(remaining, _SLICE))
            except _WokenError:
                return self._take()
            finally:
                self._waiting = False
            if message is not None or self._woken or time.monotonic() >= deadline:
                return message

    def _take(self) -> Message | None:
        """What is there already: one who is woken all the time must not starve."""
        self._waiting = False
        return self._context.run(self.consumer.poll, 0)

    def reset(self) -> None:
        """Forget that `wake` was called."""
        self._woken = False

    def wake(self) -> None:
        """End a waiting `poll` now, and all later ones until `reset`. From any thread."""
        if self._woken:
            return  # whoever set it has ended the wait, or is about to
        self._woken = True
        if self._waiting and _can_interrupt:
            with contextlib.suppress(RuntimeError):  # it was closed in this moment
                contextvars.copy_context().run(self._interrupt)

    def _interrupt(self) -> None:
        if _identity is not None:
            _identity.set(id(self))
        self.consumer.commit(offsets=[], asynchronous=True)

    def _committed(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._on_commit(error, partitions)
        elif self._waiting and self._woken:
            raise _WokenError
