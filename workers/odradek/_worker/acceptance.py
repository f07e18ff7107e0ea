"""What became of this worker's own completions, read back from `events` (rule W4).

A completion counts as accepted once it has been read back and nothing lies between its base and it that may have
made it void: another completion, a close, a terminate, an unknown record. Any doubt is a no: then the worker gives
its eager activities back, and the engine has them run.

An append that is acknowledged counts as read back where all before it has been: what it is, this worker knows, and
another reader could see nothing else there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from odradek_log.protocol import Record as LogRecord
from odradek_schemas import DecodeError, class_of, decode, records

_MAX_REMEMBERED = 100_000
"""Workflows of one partition whose last advance is known; of those forgotten nothing is known any more."""

_HARMLESS = frozenset({
    records.SignalWorkflow, records.UpdateWorkflow, records.UpdatesRejected, records.CancelWorkflow,
    records.WorkerAlive, records.ActivityStarted,
    records.ActivityHandedBack, records.ActivityRetryDue, records.WorkflowTaskDue, records.WorkflowTaskFailed,
    records.TaskReissued, records.LeaderElected, records.ClockRead, records.EffectsEmitted, records.TimerFired,
    records.ChildStarted, records.ChildStartFailed, records.ChildClosed, records.ExternalAnswered,
})
"""What neither closes a run, nor advances it, nor ends an activity."""

_ENDING = frozenset({
    records.ActivityCompleted, records.ActivityFailed, records.ActivityCancelled, records.ActivityTimedOut,
    records.CompleteActivity, records.FailActivity,
})
"""What may end an activity: a local result of the same one makes its completion void (rule W6)."""


class Fate:
    """What became of one completion: open, accepted or doubtful. Or, with `offset`, of what a task at that offset
    shows to have been accepted before it.

    `after`: the completion that it builds on. `local_since`: the offset at which the oldest activity of its local
    results was scheduled, -1 for none. `attempts`: those that wait for it.
    """

    __slots__ = ("after", "attempts", "id", "local_since", "offset", "partition", "since", "state", "workflow_id")

    def __init__(self, workflow_id: str, partition: int, id: str = "", after: Fate | None = None) -> None:
        self.workflow_id = workflow_id
        self.partition = partition
        self.id = id
        self.after = after
        self.state = "open"
        self.offset = -1
        self.local_since = -1
        self.since = 0.0
        self.attempts: list[Any] = []


class _Partition:
    """What is known of one partition: everything from `floor` on, up to `next`. `read`: how far the reader has come;
    what is known beyond are appends of ours. `own`: those that are acknowledged, while not all before them is known."""

    __slots__ = ("advanced", "ended", "floor", "next", "own", "read")

    def __init__(self, offset: int) -> None:
        self.floor = self.next = self.read = offset
        self.own: dict[int, Fate] = {}
        self.advanced: OrderedDict[bytes, int] = OrderedDict()
        self.ended: OrderedDict[bytes, int] = OrderedDict()

    def note(self, where: OrderedDict[bytes, int], workflow: bytes, offset: int) -> None:
        where[workflow] = offset
        where.move_to_end(workflow)
        if len(where) > _MAX_REMEMBERED:
            self.floor = max(self.floor, where.popitem(last=False)[1] + 1)


class Acceptance:
    """Follows the partitions that are read, and settles the fate of completions. Safe from any thread.

    `overdue_after`: seconds after which a completion that was not read back is given up as doubtful.
    """

    def __init__(self, clock: Callable[[], float], overdue_after: float) -> None:
        self._clock = clock
        self._overdue_after = overdue_after
        self._lock = threading.Lock()
        self._partitions: dict[int, _Partition] = {}
        self._open: OrderedDict[bytes, Fate] = OrderedDict()

    def begin(self, partition: int, offset: int) -> None:
        """This partition is read from `offset` on."""
        with self._lock:
            self._partitions[partition] = _Partition(offset)

    def stop(self, partitions: Iterable[int] | None = None) -> list[Fate]:
        """These partitions (None: all) are read no more; returns what is doubtful because of it."""
        with self._lock:
            gone = set(self._partitions if partitions is None else partitions)
            for partition in gone:
                self._partitions.pop(partition, None)
            return self._doubt([f for f in self._open.values() if partitions is None or f.partition in gone])

    def shown(self, workflow_id: str, partition: int, offset: int) -> Fate:
        """A task that the engine emitted at `offset`: the run was open then, at the task's base."""
        fate = Fate(workflow_id, partition)
        fate.state, fate.offset = "accepted", offset
        return fate

    def hopeful(self, fate: Fate) -> bool:
        """Whether this completion may turn out to be accepted, as far as one can see before it is appended."""
        with self._lock:
            read, after = self._partitions.get(fate.partition), fate.after
            if read is None or after is None:
                return False
            return after.state == "open" or self._undisturbed(read, after)

    def expect(self, fate: Fate) -> None:
        """This completion is about to be appended."""
        fate.since = self._clock()
        with self._lock:
            self._open[fate.id.encode()] = fate

    def lost(self, fate: Fate) -> list[Fate]:
        """Its append was given up: it may have landed, or not."""
        with self._lock:
            return self._doubt([fate] if self._open.get(fate.id.encode()) is fate else [])

    def acknowledged(self, fate: Fate, offset: int) -> list[Fate]:
        """Its append is durable, at `offset`; returns the fates that this settles. The others wait for the reader."""
        with self._lock:
            settled: list[Fate] = []
            read = self._partitions.get(fate.partition)
            if read is not None and offset >= read.next:
                read.own[offset] = fate
                self._take_own(read, settled)
            return settled

    def read(self, found: Iterable[LogRecord]) -> list[Fate]:
        """Records that were read, in order; returns the fates that they settle."""
        with self._lock:
            settled: list[Fate] = []
            for record in found:
                read = self._partitions.get(record.partition)
                if read is None:
                    continue
                known = read.read <= record.offset < read.next
                read.read = record.offset + 1
                if known:
                    continue
                if record.offset != read.next:
                    read.floor = record.offset  # something was skipped
                    read.own.clear()
                read.own.pop(record.offset, None)
                read.next = record.offset + 1
                try:
                    self._take(read, record.offset, record.value, settled)
                except IndexError:  # bytes that end too early
                    read.floor = record.offset + 1
                self._take_own(read, settled)
            return settled

    def overdue(self) -> list[Fate]:
        """Fates that have been open for too long; they are doubtful now."""
        limit = self._clock() - self._overdue_after
        with self._lock:
            late = []
            for fate in self._open.values():
                if fate.since > limit:
                    break
                late.append(fate)
            return self._doubt(late)

    # ------------------------------------------------------------ under the lock

    def _take_own(self, read: _Partition, settled: list[Fate]) -> None:
        """Go on with appends of ours that come next."""
        while (fate := read.own.pop(read.next, None)) is not None:
            self._take_completion(read, read.next, fate.workflow_id.encode(), fate.id.encode(), settled)
            read.next += 1

    def _take_completion(
        self, read: _Partition, offset: int, workflow: bytes, id: bytes, settled: list[Fate]
    ) -> None:
        fate = self._open.pop(id, None)
        if fate is not None:
            fate.offset = offset
            fate.state = "accepted" if self._accepted(read, fate) else "doubtful"
            fate.after = None  # chains are long
            settled.append(fate)
        read.note(read.advanced, workflow, offset)

    def _take(self, read: _Partition, offset: int, value: bytes, settled: list[Fate]) -> None:
        kind = class_of(value)
        if kind in _HARMLESS:
            return
        if kind is records.ForwardedRecord:
            self._take_forwarded(read, offset, value, settled)
        elif kind is records.WorkflowTaskCompleted:
            workflow, at = _text(value, 10)
            _, at = _text(value, at)
            self._take_completion(read, offset, workflow, _text(value, at)[0], settled)
        elif kind is records.CompletionPiece:
            self._take_piece(read, offset, value, settled)
        elif kind is not None and kind.__struct_fields__[0] == "workflow_id":
            workflow = _text(value, 10)[0]
            read.note(read.ended if kind in _ENDING else read.advanced, workflow, offset)
        else:  # by hand, unknown, or about a worker session: it may concern anything
            read.floor = offset + 1

    def _take_piece(self, read: _Partition, offset: int, value: bytes, settled: list[Fate]) -> None:
        """With its last piece, a completion may have taken effect; in doubt all the same, as other pieces may be of
        another one."""
        workflow, at = _text(value, 10)
        _, at = _text(value, at)
        id, _ = _text(value, at)
        read.note(read.advanced, workflow, offset)
        fate = self._open.get(id)
        if fate is None:
            return
        try:
            piece = decode(value)
        except DecodeError:
            return
        if isinstance(piece, records.CompletionPiece) and piece.index == piece.count - 1:
            settled.extend(self._doubt([fate]))

    def _take_forwarded(self, read: _Partition, offset: int, value: bytes, settled: list[Fate]) -> None:
        try:
            forwarded = decode(value)
        except DecodeError:
            read.floor = offset + 1
            return
        inner = getattr(forwarded, "value", b"")
        if class_of(inner) in (records.ForwardedRecord, records.WorkflowTaskCompleted):
            read.floor = offset + 1
        else:
            self._take(read, offset, inner, settled)

    def _accepted(self, read: _Partition, fate: Fate) -> bool:
        after = fate.after
        if after is None or after.state != "accepted" or not self._undisturbed(read, after):
            return False
        return fate.local_since < 0 or read.ended.get(fate.workflow_id.encode(), -1) <= fate.local_since

    def _undisturbed(self, read: _Partition, after: Fate) -> bool:
        """Whether all since `after` has been read, and nothing of it advanced or closed the run."""
        if after.state != "accepted" or after.offset + 1 < read.floor:
            return False
        return read.advanced.get(after.workflow_id.encode(), -1) <= after.offset

    def _doubt(self, fates: list[Fate]) -> list[Fate]:
        for fate in fates:
            del self._open[fate.id.encode()]
            fate.state = "doubtful"
            fate.after = None
        return fates


def _text(value: bytes, at: int) -> tuple[bytes, int]:
    """The Avro string at `at`, as bytes, and where it ends."""
    shift = length = 0
    while True:
        byte = value[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    end = at + (length >> 1)
    return value[at:end], end
