"""Tasks of activities that wait for a worker that is full, slow or stuck, while another of the queue has room.

The leader does not ask why a task has not begun. Where it has been out for `AFTER_MS`, and a worker that was heard just
now has room and other partitions, the task goes to one of those (rule T3). What is emitted twice is claimed first
(`ActivityTask.claim`; workers claim what they read late), so it does not run twice. While nobody has room nothing is
appended; a task that is moved in vain waits twice as long for the next time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from odradek_schemas.records import TaskReissued

from .fold import State, keys
from .fold.deployments import build_of
from .fold.rows import ActivityRow, RunRow
from .sessions import Room

AFTER_MS = 500
INTERVAL_S = 0.2
LOOKED_AT = 1_000
"""So many tasks are looked at in one call."""


class Handover:
    """What one leader has moved. `take` is called every `INTERVAL_S` or so."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._moved: dict[bytes, int] = {}
        self.look_again_ms = 0
        """Before this there is nothing to take: no task that was out at the last look has been so for long enough."""

    def take(self, now_ms: int, room: dict[tuple[str, str], Room]) -> Iterator[TaskReissued]:
        """The records that move tasks to where there is room, no more than that."""
        if not room or now_ms <= AFTER_MS or now_ms < self.look_again_ms:
            return
        waiting = self._waiting(now_ms)
        if not waiting:
            return
        places = {whose: [_Place(free, sorted(held)) for free, held in workers] for whose, workers in room.items()}
        self._forget()
        for entry in waiting:
            key = entry[9:]
            row = self._state.get(key)
            if not isinstance(row, ActivityRow):
                continue
            times = self._moved.get(key, 0)
            if now_ms - row.task_since_ms < AFTER_MS << min(times, 10):
                continue
            build = build_of(self._state, self._state.row(keys.current(row.workflow_id), RunRow), row.task_queue)
            able = [
                place
                for place in places.get((row.task_queue, build), [])
                if place.free > 0 and (row.task_partition not in place.partitions or row.task_build_id != build)
            ]
            if able:
                self._moved[key] = times + 1
                yield self._record(row, max(able, key=lambda place: place.free).take())

    def _waiting(self, now_ms: int) -> list[bytes]:
        """What has been out for so long, the first of it."""
        entries = []
        self.look_again_ms = now_ms + AFTER_MS
        for entry, _ in islice(self._state.scan(keys.OUT), LOOKED_AT):
            since = keys.number_in(entry)
            if since >= now_ms - AFTER_MS:
                self.look_again_ms = since + AFTER_MS
                break
            entries.append(entry)
        if entries:
            self.look_again_ms = now_ms
        return entries

    def _forget(self) -> None:
        """Drop what has begun meanwhile; a bounded look at each call."""
        for key in list(self._moved)[:LOOKED_AT]:
            times = self._moved.pop(key)
            row = self._state.row(key, ActivityRow)
            if row is not None and row.state == "scheduled":
                self._moved[key] = times

    def _record(self, row: ActivityRow, target: int) -> TaskReissued:
        return TaskReissued(
            workflow_id=row.workflow_id, run_id=row.run_id, offset=row.task_offset, index=row.task_index,
            epoch=self._state.partition.epoch, seq=row.seq, attempt=row.attempt, partition=target,
        )


@dataclass(slots=True)
class _Place:
    """A worker with room."""

    free: int
    partitions: list[int]

    def take(self) -> int:
        """One more goes there: into which partition."""
        self.free -= 1
        return self.partitions[self.free % len(self.partitions)]
