"""From records of a task topic to tasks to do: decoding, the chain check, and the offsets to commit.

Belongs to the thread that polls; only tickets are finished from elsewhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from odradek_log.protocol import Committed, TopicPartition
from odradek_log.protocol import Record as LogRecord
from odradek_schemas import DecodeError, Position, decode
from odradek_schemas.tasks import ActivityTask, QueryTask, VoidEffect, WorkflowTask

from .chain import Chain, Verdict, load_chain
from .held import HeldBytes
from .offsets import LowWaterMark, Ticket

logger = logging.getLogger("odradek.worker")

GAP_SECONDS = 60.0
"""A leader sends what failed again within seconds. A gap that is older is for ever (a topic was made anew)."""


LATE_MS = 2_000
"""An activity's task that was appended so long after it was scheduled may be a copy, emitted by a new leader when the
activity had ended already."""


class Taken(NamedTuple):
    """A task that is to be done, appended at `appended_ms`. `fresh`: that was after this worker got the partition, and
    in time."""

    task: WorkflowTask | QueryTask | ActivityTask
    ticket: Ticket
    fresh: bool
    appended_ms: int = 0


class _Assignment:
    """One partition, from its assignment to its revocation."""

    __slots__ = ("chain", "end", "expected", "gaps", "mark")

    def __init__(self, committed: Committed | None, end: int) -> None:
        loaded = load_chain(committed.metadata) if committed is not None else None
        self.chain = loaded or Chain(known=False)
        self.expected = committed.offset if committed is not None and loaded is not None else -1
        self.end = end
        self.gaps: dict[int, float] = {}
        self.mark = LowWaterMark(self.chain)


class TaskIntake:
    """The task partitions that a worker has from one consumer group.

    `end_of` gives the end of a partition when it is assigned: what lies below is older than the assignment
    (rule T4).
    """

    def __init__(
        self, end_of: Callable[[TopicPartition], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._end_of = end_of
        self._clock = clock
        self._assignments: dict[TopicPartition, _Assignment] = {}
        self.held = HeldBytes()

    @property
    def partitions(self) -> list[TopicPartition]:
        return list(self._assignments)

    @property
    def unfinished(self) -> int:
        """How many records were read and are not committable yet."""
        return sum(len(a.mark) for a in self._assignments.values())

    def assigned(self, committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int]:
        """Partitions came. All begin at the committed offset, or at the earliest (rule T3)."""
        for partition, at in committed.items():
            self._assignments[partition] = _Assignment(at, self._end_of(partition))
        return {}

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions went. Tasks of theirs in progress go on; their tickets mean nothing any more."""
        for partition in partitions:
            gone = self._assignments.pop(partition, None)
            if gone is not None:
                gone.mark.abandon()

    def receive(self, record: LogRecord) -> Taken | None:
        """The task in `record`, if it is the next link of its chain."""
        assignment = self._assignments.get(TopicPartition(record.topic, record.partition))
        if assignment is None:
            return None
        forget = self._follow(assignment, record.offset)
        try:
            task = decode(record.value)
        except DecodeError as error:
            logger.error("record %d of %s-%d skipped: %s", record.offset, record.topic, record.partition, error)
            task = None
        position = getattr(task, "position", None)
        ticket = Ticket(record.offset, forget=forget, size=len(record.value), held=self.held)
        assignment.mark.add(ticket)
        if isinstance(position, Position):
            if self._chained(assignment, record, position) is not Verdict.TAKE:
                ticket.finish()
                return None
            ticket.source, ticket.link = position.partition, (position.offset, position.index)
        if isinstance(task, WorkflowTask | QueryTask | ActivityTask):
            late = isinstance(task, ActivityTask) and record.timestamp_ms > task.scheduled_ms + LATE_MS
            return Taken(task, ticket, record.offset >= assignment.end and not late, record.timestamp_ms)
        if task is not None and not isinstance(task, VoidEffect):
            logger.error(
                "record %d of %s-%d skipped: %s is no task", record.offset, record.topic, record.partition, type(task)
            )
        ticket.finish()
        return None

    def commits(self) -> dict[TopicPartition, Committed]:
        """The offsets that have moved since the last call, with their chains."""
        found = {partition: a.mark.commit() for partition, a in self._assignments.items()}
        return {partition: at for partition, at in found.items() if at is not None}

    def _follow(self, assignment: _Assignment, offset: int) -> bool:
        """Whether the chain has to begin anew because records were skipped."""
        expected, assignment.expected = assignment.expected, offset + 1
        if expected < 0 and offset == 0:
            assignment.chain.known = True
            assignment.mark.restart(assignment.chain)
        if expected < 0 or offset == expected:
            return False
        logger.warning("records %d to %d of a task topic were skipped", expected, offset - 1)
        assignment.chain.forget()
        return True

    def _chained(self, assignment: _Assignment, record: LogRecord, position: Position) -> Verdict:
        verdict = assignment.chain.offer(position)
        if verdict is Verdict.TAKE:
            assignment.gaps.pop(position.partition, None)
        elif verdict is Verdict.GAP:
            since = assignment.gaps.setdefault(position.partition, self._clock())
            if self._clock() - since > GAP_SECONDS:
                logger.warning("tasks before %d of %s-%d are gone", record.offset, record.topic, record.partition)
                assignment.chain.advance(position.partition, (position.previous_offset, position.previous_index))
                return self._chained(assignment, record, position)
            logger.info(
                "task at %d of %s-%d ignored: its predecessor is missing and will be sent again before it",
                record.offset, record.topic, record.partition,
            )
        return verdict
