"""What a processor appends to its own partition of `events`, besides effects."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from odradek_log import LogError, Producer, ProducerFailedError, TopicPartition
from odradek_schemas import encode
from odradek_schemas.common import Record

from .silence import Silence

logger = logging.getLogger(__name__)


class Appender:
    """Of the partition `here`. `append` and `serve_failures` belong to one thread; outcomes come from any."""

    def __init__(self, here: TopicPartition, producer: Producer, silence: Silence) -> None:
        self.producer_failed = False
        """Whether the producer is of no more use: `use` another."""
        self._silence = silence
        self._here = here
        self._producer = producer
        self._failures: deque[Callable[[], None]] = deque()

    def use(self, producer: Producer) -> None:
        self._producer = producer
        self.producer_failed = False

    def append(self, record: Record, failed: Callable[[], None] | None = None) -> None:
        """Append a record; `failed` is called, by `serve_failures`, if it did not get there."""
        name = type(record).__name__

        def delivered(offset: int, error: LogError | None) -> None:
            self._silence.reported += 1
            if error is not None:
                logger.warning("could not append %s to partition %d: %s", name, self._here.partition, error)
                self.answered(offset, error)
                if failed is not None:
                    self._failures.append(failed)

        self._silence.sent += 1
        self._producer.send(self._here.topic, self._here.partition, b"", encode(record), delivered)

    def answered(self, offset: int, error: LogError | None) -> None:
        """The outcome of an answer. Whoever asked asks again; but when all that is sent are answers, only they tell of
        a producer's end."""
        if isinstance(error, ProducerFailedError):
            self.producer_failed = True

    def serve_failures(self) -> None:
        while self._failures:
            self._failures.popleft()()
