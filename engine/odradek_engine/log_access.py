"""What all partitions of an engine ask their log for: offsets, topics on first use, trimming."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from odradek_log import Log, LogError, TopicPartition, TopicSpec
from odradek_schemas import Topics

from .namespace import TASK_RETENTION_MS

logger = logging.getLogger(__name__)

ASK_AGAIN_S = 1.0


class LogAccess:
    """`stopping`: then nobody waits for the log any more. `on_topic`: called with each topic that is sent to for the
    first time. `asked(partition)`: called, from any thread, when the log has answered `find_end`."""

    def __init__(
        self,
        topics: Topics,
        stopping: threading.Event,
        on_topic: Callable[[str], object],
        asked: Callable[[int], None],
    ) -> None:
        self._topics = topics
        self._stopping = stopping
        self._on_topic = on_topic
        self._asked = asked
        self._known: set[str] = set()

    def connect(self, log: Log, partitions: int) -> None:
        self._log = log
        self._partitions = partitions

    def offsets(self, tp: TopicPartition) -> tuple[int, int]:
        """The log's own offsets; where no broker answers, we wait for one."""
        while True:
            try:
                return self._log.offsets(tp)
            except LogError as error:
                if not error.retriable or self._stopping.is_set():
                    raise
                logger.warning("waiting for the log: %s", error)
                self._stopping.wait(ASK_AGAIN_S)

    def is_gap(self, partition: int, position: int, offset: int) -> bool:
        """Whether offsets from `position` up to below that of a record of `events` were skipped that hold no records
        (those of others' transactions do not), and none is gone: the log still begins before them."""
        return position < offset and self.offsets(TopicPartition(self._topics.events, partition))[0] <= position

    def find_end(self, tp: TopicPartition, found: Callable[[int | None], None]) -> None:
        """Ask for the end of a partition; None: it could not be asked."""

        def answer(ends: dict[TopicPartition, int], error: LogError | None) -> None:
            found(None if error is not None else ends[tp])
            self._asked(tp.partition)

        self._log.end_offsets([tp], answer)

    def prepare(self, topic: str) -> None:
        """Make a topic on first use."""
        if topic not in self._known:
            durable = topic in (self._topics.events, self._topics.history, self._topics.dead_letters)
            if not durable and not self._log.partitions(topic):
                self._log.create_topics([TopicSpec(topic, self._partitions, TASK_RETENTION_MS, durable=False)])
            self._known.add(topic)
            self._on_topic(topic)

    def trim(self, partition: int, offset: int) -> None:
        """Delete the records of `events` below an offset, for good."""
        left = self._log.delete_before({TopicPartition(self._topics.events, partition): offset})
        logger.info("partition %d of %s begins at %d now", partition, self._topics.events, min(left.values()))
