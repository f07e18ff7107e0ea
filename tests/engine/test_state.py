"""The rows of a state beside a plain map of them: cached or not, over steps that are taken back, writes and reopenings,
with the index entries that follow from them."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from odradek_engine.fold import MemoryStorage, State, keys
from odradek_engine.fold.rows import PartitionRow, TimerRow
from odradek_engine.fold.state import MAX_CACHED_ROW_BYTES

TIMERS = [keys.timer("w", "run", seq) for seq in range(2)]
EVENTS = [keys.event("w", "run", number) for number in range(2)]
LARGE = "x" * MAX_CACHED_ROW_BYTES


def timer(key: bytes, due_ms: int, summary: str) -> TimerRow:
    return TimerRow("w", "run", TIMERS.index(key), due_ms, 1, summary)


class States(RuleBasedStateMachine):
    """Each step sets and deletes rows; then it lasts, or is taken back."""

    @initialize(cache_rows=st.integers(0, 3))
    def begin(self, cache_rows: int) -> None:
        self.cache_rows = cache_rows
        self.storage = MemoryStorage()
        self.state = State(self.storage, 0, cache_rows)
        self.position = 0
        self.kept: dict[bytes, Any] = {}
        """What lasts."""
        self.now = dict(self.kept)
        """The same, as of this step."""

    def set(self, key: bytes, row: Any, is_new: bool) -> None:
        if is_new and key not in self.now:
            self.state.put_new(key, row)
        else:
            self.state.put(key, row)
        self.now[key] = row

    @rule(key=st.sampled_from(TIMERS), due_ms=st.integers(1, 3), large=st.booleans(), new=st.booleans())
    def set_timer(self, key: bytes, due_ms: int, large: bool, new: bool) -> None:
        self.set(key, timer(key, due_ms, LARGE if large else ""), new)

    @rule(key=st.sampled_from(EVENTS), value=st.sampled_from([b"a", b"b"]), new=st.booleans())
    def set_event(self, key: bytes, value: bytes, new: bool) -> None:
        self.set(key, value, new)

    @rule(key=st.sampled_from(TIMERS + EVENTS))
    def delete(self, key: bytes) -> None:
        self.state.delete(key)
        self.now.pop(key, None)

    @rule(key=st.sampled_from(TIMERS + EVENTS))
    def get(self, key: bytes) -> None:
        assert self.state.get(key) == self.now.get(key)

    @rule(kept=st.integers(0, 2), then=st.integers(0, 2))
    def end_step(self, kept: int, then: int) -> None:
        """Keep what the step did, or take it back; then go on, write the state, or write it and open it again."""
        if kept:
            self.position += 1
            self.state.put_partition(PartitionRow(partition=0, position=self.position))
            self.state.commit()
            self.kept = dict(self.now)
        else:
            self.state.rollback()
            self.now = dict(self.kept)
        assert self.state.partition.position == self.position
        assert self.state.unflushed <= self.state.unflushed_at_most <= 2 * (len(TIMERS) * 4 + len(EVENTS) + 1)
        if then:
            self.state.flush()
            assert self.state.unflushed_at_most == 0
            assert State(self.storage).dump() == self.state.dump()
        if then == 2:
            self.state = State(self.storage, 0, self.cache_rows)

    @invariant()
    def all_is_there_in_order(self) -> None:
        for table in (keys.TIMER, keys.EVENT):
            expected = sorted((key, row) for key, row in self.now.items() if key[:1] == table)
            assert list(self.state.scan(table)) == expected
        due = {keys.due(row.due_ms, b"F", key) for key, row in self.now.items() if key in TIMERS}
        assert [key for key, _ in self.state.scan(keys.DUE)] == sorted(due)


TestStates = States.TestCase
TestStates.settings = settings(max_examples=500, deadline=None)
