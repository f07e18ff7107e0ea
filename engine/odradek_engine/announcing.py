"""An engine tells the others that it lives, through `ephemeral`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from odradek_log import LogError, Producer, ProducerFailedError
from odradek_schemas import encode
from odradek_schemas.ephemeral import EngineAlive


class Announcer:
    """Sends announcements of `member` to `topic`."""

    def __init__(self, member: str, topic: str, producer: Producer) -> None:
        self._key = member.encode()
        self._topic = topic
        self._producer = producer
        self.producer_failed = False
        """Whether the producer is of no more use: when all that is sent are announcements, only they tell."""

    def use(self, producer: Producer) -> None:
        self._producer = producer
        self.producer_failed = False

    def send(self, record: EngineAlive, partitions: Iterable[int]) -> None:
        value = encode(record)
        sent = partial(self._sent, self._producer)
        for partition in partitions:
            self._producer.send(self._topic, partition, self._key, value, sent)

    def _sent(self, producer: Producer, offset: int, error: LogError | None) -> None:
        if isinstance(error, ProducerFailedError) and producer is self._producer:
            self.producer_failed = True
