"""What goes on in each partition while faults happen: read from the public history as it comes."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from itertools import pairwise

from odradek_log import Record, TopicPartition, open_log
from odradek_schemas import Topics, decode
from odradek_schemas.history import HistoryEvent
from odradek_schemas.tasks import HistoryBatch

from .stalls import Happened, Stall, stalls


class Watch:
    """`progress`: by partition, when (Unix time, s) the log took a batch of history in which a workflow has advanced.
    That takes a broker, an engine and a worker. `happened`: all events, in the order of the log.
    """

    def __init__(self, target: str, namespace: str, partitions: int) -> None:
        self.progress: list[list[float]] = [[] for _ in range(partitions)]
        self.happened: list[list[Happened]] = [[] for _ in range(partitions)]
        self._changed = threading.Condition()
        self._log = open_log(target)
        self._topic = Topics(namespace).history
        self._stopping = False
        self._thread = threading.Thread(target=self._read, name="watch", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        consumer = self._log.consumer()
        consumer.assign({TopicPartition(self._topic, p): 0 for p in range(len(self.progress))})
        while not self._stopping:
            found = [(record.partition, _events(record)) for record in consumer.poll(0.5)]
            with self._changed:
                for partition, events in found:
                    self.happened[partition] += events
                    if any(one.advances for one in events):
                        self.progress[partition].append(events[0].at)
                self._changed.notify_all()
        consumer.close()

    def wait(self, since: float, patience: float) -> list[int]:
        """Wait until workflows have advanced in every partition after `since`; return where they have not."""
        with self._changed:
            self._changed.wait_for(lambda: not self._behind(since), patience)
            return self._behind(since)

    def _behind(self, since: float) -> list[int]:
        return [p for p, times in enumerate(self.progress) if not times or times[-1] <= since]

    def recovery(self, at: float, partitions: list[int] | None = None) -> float:
        """Seconds from a fault until the last of the partitions went on: the end of the silence that followed it."""
        chosen = range(len(self.progress)) if partitions is None else partitions
        return max((self._recovery(self.progress[p], at) for p in chosen), default=0.0)

    @staticmethod
    def _recovery(times: list[float], at: float) -> float:
        first = max(0, bisect_left(times, at) - 1)
        gaps = [(after - before, after) for before, after in pairwise(times[first:]) if before <= at + SETTLE_S]
        return max(gaps, default=(0.0, at))[1] - at

    def longest_silence(self) -> float:
        """The longest time, in seconds, for which a partition did not go on, whether it had anything to do or not."""
        return max((b - a for times in self.progress for a, b in pairwise(times)), default=0.0)

    def stalls(self, until: float) -> list[Stall]:
        """Each time up to `until` for which a partition did not go on that had something to do."""
        return [stall for p, happened in enumerate(self.happened) for stall in stalls(p, happened, until)]

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        self._log.close()


SETTLE_S = 3.0
"""What is under way goes on for a moment: the silence that a fault brings about begins within so long."""


def _events(record: Record) -> list[Happened]:
    batch = decode(record.value)
    if not isinstance(batch, HistoryBatch):
        return []
    events = [event for value in batch.events if isinstance(event := decode(value), HistoryEvent)]
    return [Happened(record.timestamp_ms / 1000, batch.workflow_id, batch.run_id, event) for event in events]


def now() -> float:
    return time.time()
