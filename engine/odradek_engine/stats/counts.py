"""The counting itself: a pure fold of one partition of `history`, exact although batches may come again."""

from __future__ import annotations

import msgspec
from odradek_schemas import DecodeError, Record, decode, history
from odradek_schemas.common import Position
from odradek_schemas.tasks import HistoryBatch, VoidEffect

START = (-1, 0)
"""Before the first effect of a chain."""
_FIELDS = {
    history.WorkflowStarted: "started",
    history.WorkflowReset: "started",  # a new run whose first events are those of another
    history.WorkflowCompleted: "completed",
    history.WorkflowFailed: "failed",
    history.WorkflowCancelled: "cancelled",
    history.WorkflowTerminated: "terminated",
    history.WorkflowTimedOut: "timed_out",
    history.WorkflowContinuedAsNew: "continued_as_new",
}


class StatsError(Exception):
    """The counts cannot be kept or read; the message says what to do."""


class TypeCounts(msgspec.Struct, array_like=True):
    """How many runs of one workflow type began, and how they ended. The rest is open."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    terminated: int = 0
    timed_out: int = 0

    @property
    def open(self) -> int:
        """Runs that have not ended."""
        return self.started - self.completed - self.failed - self.cancelled - self.terminated - self.timed_out

    def add(self, other: TypeCounts) -> None:
        """Add another partition's counts."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class PartitionCounts(msgspec.Struct):
    """The counts of one partition of `history`, with the position that they stand for.

    It is one row of the table, so counts and position change together or not at all. Whatever older row
    comes back after a crash is right for its own `next_offset`: reading goes on there.

    `last`: by source partition, the (offset, index) of the last batch taken. `cut`: the beginning of the topic
    was gone when it was read, so that a chain may begin anywhere.
    """

    next_offset: int = 0
    last: dict[int, tuple[int, int]] = {}
    types: dict[str, TypeCounts] = {}
    cut: bool = False

    def begin_at(self, offset: int) -> None:
        """Go on at `offset`, because what is before it was deleted from the topic."""
        self.next_offset, self.last, self.cut = offset, {}, True

    def read(self, offset: int, value: bytes) -> None:
        """Count the record at `offset`, if it is new. What is no batch is passed over: anyone may write there."""
        self.next_offset = offset + 1
        try:
            record = decode(value)
        except DecodeError:
            return
        if not isinstance(record, (HistoryBatch, VoidEffect)) or not self._is_next(record.position):
            return
        if isinstance(record, HistoryBatch):
            self._count(record)
        self.last[record.position.partition] = (record.position.offset, record.position.index)

    def _is_next(self, position: Position) -> bool:
        """Rule E1: not one that was taken, and not one before whose predecessor another is still missing."""
        last = self.last.get(position.partition)
        if last is None and self.cut:
            return True
        before = (position.previous_offset, position.previous_index)
        return before <= (last or START) < (position.offset, position.index)

    def _count(self, batch: HistoryBatch) -> None:
        for encoded in batch.events:
            event: Record | None
            try:
                event = decode(encoded)
            except DecodeError:  # an event that a newer version wrote
                continue
            field = _FIELDS.get(type(event.attributes)) if isinstance(event, history.HistoryEvent) else None
            if field is not None:
                counts = self.types.setdefault(batch.workflow_type, TypeCounts())
                setattr(counts, field, getattr(counts, field) + 1)


encode_row = msgspec.json.Encoder().encode
decode_row = msgspec.json.Decoder(PartitionCounts).decode
