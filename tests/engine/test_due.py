"""The timer service: what it looks at is bounded, however much is due at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from odradek_engine import due
from odradek_engine.due import REPEAT_MS, DueRecords
from odradek_engine.fold import MemoryStorage, State, keys
from odradek_engine.fold.rows import RunRow, TimerRow
from odradek_schemas import records

NOW = 1_000_000


class Counted(State):
    """Counts what is looked at."""

    looked_at = 0

    def scan(self, prefix: bytes, start: bytes | None = None, end: bytes | None = None) -> Iterator[tuple[bytes, Any]]:
        for entry in super().scan(prefix, start, end):
            self.looked_at += 1
            yield entry


def timers(state: State, count: int, at: int = NOW - 5) -> None:
    for seq in range(1, count + 1):
        put(state, seq, at)
    state.commit()


def put(state: State, seq: int, at: int) -> None:
    row = TimerRow(workflow_id="w", run_id="r", seq=seq, due_ms=at, started_event_id=1)
    state.put(keys.timer("w", "r", seq), row)
    state.commit()


def fired(service: DueRecords, now_ms: int = NOW) -> list[int]:
    return [record.seq for record in service.take(now_ms) if isinstance(record, records.TimerFired)]


def served(state: State) -> DueRecords:
    return DueRecords(state, lambda row: (0, []), 30_000)


def test_many_timers_due_at_once_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when each batch looks at all that is due: with 100,000 timers, at ten million entries."""
    monkeypatch.setattr(due, "BATCH", 50)
    state = Counted(MemoryStorage())
    timers(state, 2_000)
    state.flush()
    service, given, calls = served(state), list[int](), 0
    while service.next_ms() <= NOW:
        before, calls = state.looked_at, calls + 1
        given += fired(service)
        assert state.looked_at - before <= 50
    assert given == list(range(1, 2_001)), "each once, in order"
    assert calls <= 2_000 / 50 + 1
    assert fired(service, NOW + 10) == []
    assert fired(service, NOW + REPEAT_MS) == list(range(1, 51)), "what is not folded by then is said again (R2)"


def test_what_is_remembered_of_timers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when all of a million timers that are due at once are kept in memory until the last one has fired; or when
    those that are more than are remembered never fire."""
    monkeypatch.setattr(due, "BATCH", 50)
    monkeypatch.setattr(due, "MOST", 200)
    state = State(MemoryStorage())
    timers(state, 1_000)
    service, given = served(state), list[int]()
    while service.next_ms() <= NOW:
        given += fired(service)
        assert max(len(service._seen), len(service._not_before)) <= 200
    assert given == list(range(1, 1_001)), "each once, in order"
    again = fired(service, NOW + REPEAT_MS)
    assert again == list(range(1, 51)), "nothing was folded: it begins anew"


def test_what_is_new_before_the_place_reached_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "BATCH", 3)
    state = State(MemoryStorage())
    timers(state, 7)
    service = served(state)
    assert fired(service) == [1, 2, 3]
    put(state, 100, NOW - 9)
    given: list[int] = []
    while service.next_ms() <= NOW:
        given += fired(service)
    assert sorted(given) == [4, 5, 6, 7, 100]


def test_what_was_folded_meanwhile_is_gone_and_the_next_time_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "BATCH", 3)
    state = State(MemoryStorage())
    timers(state, 5)
    put(state, 50, NOW + 70)
    service = served(state)
    given: list[int] = []
    while service.next_ms() <= NOW:
        given += fired(service)
        for seq in given:
            state.delete(keys.timer("w", "r", seq))
        state.commit()
    assert given == [1, 2, 3, 4, 5]
    assert service.next_ms() <= NOW + 70
    assert fired(service, NOW + 70) == [50]


def test_a_page_of_tasks_that_are_out_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "BATCH", 10)
    state = Counted(MemoryStorage())
    for n in range(100):
        state.put(keys.current(f"w{n}"), _out(f"w{n}"))
    state.commit()
    state.flush()
    assert len(list(served(state).reissues(NOW))) == 10
    assert state.looked_at == 10


def _out(workflow_id: str) -> Any:
    return RunRow(
        workflow_id=workflow_id, run_id="r", first_run_id="r", workflow_type="W", task_queue="q", base="r",
        task_offset=1, task_since_ms=5,
    )  # fmt: skip
