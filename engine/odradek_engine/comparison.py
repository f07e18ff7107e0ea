"""Whether a log is the one that a stored state was folded from (rule L3).

The last record that was folded is read again first, and held against its hash in the state.
"""

from __future__ import annotations

import zlib

from odradek_log import Record, TopicPartition

from .fold import State


class StaleStateError(Exception):
    """The stored state does not belong to this log (rule L3)."""


class Comparison:
    """Of the partition `here`. `check_at`: the offset of the record that is to be compared; below 0: it was."""

    def __init__(self, here: TopicPartition, state: State) -> None:
        self._here = here
        self._state = state
        self.check_at = state.partition.position - 1

    def begin(self) -> int:
        """The log is read from here: the last folded record on, then what follows."""
        self.check_at = self._state.partition.position - 1
        return max(0, self.check_at)

    def check(self, record: Record) -> None:
        """A record that was folded already: is it what was folded? Raises StaleStateError."""
        if record.offset != self.check_at:
            return
        if zlib.crc32(record.value) != self._state.partition.checksum:
            raise self._another_log("the record")
        self.check_at = -1

    def doubts(self, offset: int) -> bool:
        """Whether the log's own offsets have to be looked at, before the record at `offset` is: the one to compare did
        not come, or the log has gone back."""
        return self.check_at < offset if self.check_at >= 0 else offset < self._state.partition.position

    def settle(self, first: int, end: int) -> None:
        """The log has the records from `first` up to below `end`. Raises StaleStateError."""
        if self.check_at >= 0:
            self._unchecked(first)
        else:
            self._look_back(end)

    def _unchecked(self, first: int) -> None:
        """The record to compare did not come. If the log should have it still, it is another one; else it was trimmed,
        and there is nothing to compare."""
        if first <= self.check_at:
            raise self._another_log("what is")
        self.check_at = -1

    def _look_back(self, end: int) -> None:
        """The log gives what was folded already: its last records may be lost, though it had acknowledged them. If it
        does not end before the state does, the record that the state ends with is compared again."""
        position = self._state.partition.position
        if end < position:
            raise StaleStateError(
                f"{self._here.topic} partition {self._here.partition}: the state ends at offset {position}, the log at "
                f"{end} by now. It has lost records that it had acknowledged: see what became of its brokers, and "
                "whether unclean.leader.election.enable is off"
            )
        self.check_at = position - 1

    def _another_log(self, what: str) -> StaleStateError:
        return StaleStateError(
            f"{self._here.topic} partition {self._here.partition}: {what} at offset {self.check_at} is not what the "
            "stored state was made of"
        )
