"""The thread that reads `events` behind this worker's appends, to learn which of its completions were accepted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from odradek_log.protocol import Consumer, Log, LogError, TopicPartition

from .acceptance import Acceptance, Fate

logger = logging.getLogger("odradek.worker")

_POLL_SECONDS = 0.5
_MAX_RECORDS = 500


class ReadBack:
    """Reads the partitions that `follow` names, each from its end on. `on_settled` gets fates, in this thread;
    `on_error` is told if the thread dies."""

    def __init__(
        self,
        log: Log,
        topic: str,
        acceptance: Acceptance,
        *,
        on_settled: Callable[[list[Fate]], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._log = log
        self._topic = topic
        self._acceptance = acceptance
        self._on_settled = on_settled
        self._on_error = on_error
        self._consumer: Consumer = log.consumer()
        self._next: dict[int, int] = {}
        self._wanted: frozenset[int] = frozenset()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="odradek-read-back", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def follow(self, partitions: frozenset[int]) -> None:
        """Read exactly these from now on. From any thread; returns at once."""
        self._wanted = partitions
        self._consumer.wake()

    def stop(self) -> None:
        """Read no more; what is open is doubtful then."""
        self._stopping = True
        self._consumer.wake()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping:
                if self._wanted != self._next.keys():
                    self._reassign(self._wanted)
                found = self._consumer.poll(_POLL_SECONDS, _MAX_RECORDS)
                for record in found:
                    self._next[record.partition] = record.offset + 1
                settled = self._acceptance.read(found) + self._acceptance.overdue()
                if settled:
                    self._on_settled(settled)
        except BaseException as error:
            logger.exception("reading back what the worker appended has ended")
            self._on_error(error)
        finally:
            self._on_settled(self._acceptance.stop())
            self._consumer.close()

    def _reassign(self, wanted: frozenset[int]) -> None:
        gone = self._next.keys() - wanted
        self._on_settled(self._acceptance.stop(gone))
        for partition in gone:
            del self._next[partition]
        for partition in sorted(wanted - self._next.keys()):
            try:
                end = self._log.offsets(TopicPartition(self._topic, partition))[1]
            except LogError as error:
                logger.warning("the end of %s-%d is not known: %s", self._topic, partition, error)
                break  # asked again after the next poll
            self._acceptance.begin(partition, end)
            self._next[partition] = end
        self._consumer.assign({TopicPartition(self._topic, p): offset for p, offset in self._next.items()})
