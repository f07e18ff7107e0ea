"""Batches of `history` as an engine emits them, and a topic to put them into."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from odradek_log import Log, LogError
from odradek_schemas import Failure, Position, Topics, encode
from odradek_schemas.history import (
    Attributes,
    HistoryEvent,
    TimerStarted,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from odradek_schemas.tasks import HistoryBatch

OUTCOMES: dict[str, Attributes] = {
    "started": WorkflowStarted(workflow_type="", task_queue="q"),
    "completed": WorkflowCompleted(),
    "failed": WorkflowFailed(failure=Failure(message="no")),
    "timer": TimerStarted(seq=1, due_ms=0),
}


class Source:
    """One partition of `events`, whose effects are the batches of the same partition of `history`."""

    def __init__(self, partition: int = 0) -> None:
        self.partition = partition
        self._last = (-1, 0)
        self._offset = 0

    def batch(self, workflow_type: str, *outcomes: str, index: int = 0) -> bytes:
        """The next batch; with `index` more than 0 an effect of the same record as the one before."""
        if index == 0:
            self._offset += 3  # most records have no effect on history
        before, self._last = self._last, (self._offset, index)
        return encode(
            HistoryBatch(
                position=Position(
                    partition=self.partition,
                    offset=self._offset,
                    index=index,
                    previous_offset=before[0],
                    previous_index=before[1],
                ),
                workflow_id="w",
                run_id="r",
                workflow_type=workflow_type,
                task_queue="q",
                events=[
                    encode(HistoryEvent(event_id=i, time_ms=0, attributes=OUTCOMES[outcome]))
                    for i, outcome in enumerate(outcomes, 1)
                ],
            )
        )


def append(log: Log, topics: Topics, partition: int, batches: Iterable[bytes]) -> None:
    """Append to a partition of `history`, and wait until all is durable."""
    failures: list[LogError] = []
    done = threading.Semaphore(0)

    def delivered(_: int, error: LogError | None) -> None:
        if error is not None:
            failures.append(error)
        done.release()

    producer = log.producer()
    count = 0
    for batch in batches:
        producer.send(topics.history, partition, b"w", batch, delivered)
        count += 1
    for _ in range(count):
        assert done.acquire(timeout=30)
    producer.close()
    assert not failures
