"""Histories that are being fetched are bounded in bytes, all together; each comes whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from odradek._worker.bounded_history import PAGE_BYTES, BoundedHistory, HistoryTooLargeError, in_memory
from odradek._worker.history import History, HistoryFetch
from odradek_schemas import encode
from odradek_schemas.common import Payload
from odradek_schemas.history import HistoryEvent, SignalReceived
from odradek_schemas.replies import HistoryPage


def event(number: int, size: int) -> bytes:
    signal = SignalReceived(signal="s", input=[Payload(metadata={}, data=bytes(size))])
    return encode(HistoryEvent(event_id=number, time_ms=0, attributes=signal))


LARGE = PAGE_BYTES - 1_000
EVENT = in_memory(len(event(1, LARGE)), 1)
"""What a page of one such event counts as."""


class Pages:
    """A source of histories whose pages are one large event each; `answer` lets one page come, in any order."""

    def __init__(self, lengths: dict[str, int], seed: int) -> None:
        self.lengths = lengths
        self.random = random.Random(seed)
        self.asked: list[tuple[str, int, Callable[[Any], None]]] = []
        self.tells_size = False

    def fetch(self, workflow_id: str, run_id: str, barrier: int, from_event_id: int, on_page: Any) -> None:
        self.asked.append((workflow_id, from_event_id, on_page))

    def answer(self, error: Exception | None = None, base: str = "b", *, first: bool = False) -> None:
        workflow_id, number, on_page = self.asked.pop(0 if first else self.random.randrange(len(self.asked)))
        last = number >= self.lengths[workflow_id]
        on_page(error or HistoryPage(
            client_id="c", request_id="r", found=True, status="running", base=base, consumed_through=0,
            events=[event(number, LARGE)], next_event_id=0 if last else number + 1,
            **self.told(workflow_id),
        ))  # fmt: skip

    def told(self, workflow_id: str) -> dict[str, int]:
        if not self.tells_size:
            return {}
        last = self.lengths[workflow_id]
        return {"last_event_id": last, "history_size": last * len(event(1, LARGE))}


class Fetches:
    """`many` fetches of histories of up to nine pages, through a bound of `most` bytes."""

    def __init__(self, many: int, most: int, seed: int = 1) -> None:
        chance = random.Random(seed)
        self.pages = Pages({f"w{n}": chance.randint(1, 9) for n in range(many)}, seed)
        self.bounded = BoundedHistory(self.pages, most)
        self.came: dict[str, Any] = {}
        for workflow_id in self.pages.lengths:
            HistoryFetch(self.bounded, workflow_id, "r", 0, lambda h, w=workflow_id: self.came.setdefault(w, h)).start()

    def whole(self, workflow_id: str) -> bool:
        history = self.came[workflow_id]
        numbers = [e.event_id for e in history.events] if isinstance(history, History) else []
        return numbers == list(range(1, self.pages.lengths[workflow_id] + 1))


@pytest.mark.parametrize("seed", range(20))
def test_all_histories_come_whole_and_few_bytes_wait(seed: int) -> None:
    """Breaks when each task of a worker that begins may fetch at once: a thousand histories would lie in memory."""
    most = 4 * PAGE_BYTES
    fetches = Fetches(30, most, seed)
    while fetches.pages.asked:
        assert fetches.bounded.held <= most + 9 * PAGE_BYTES, "the oldest is whole, whatever the others have"
        assert len(fetches.pages.asked) <= 5
        fetches.pages.answer()
    assert len(fetches.came) == 30
    assert all(map(fetches.whole, fetches.came))
    assert fetches.bounded.held == 0


def test_one_that_is_longer_than_the_bound_comes_nevertheless() -> None:
    fetches = Fetches(2, 1)
    while fetches.pages.asked:
        assert len(fetches.pages.asked) == 1
        fetches.pages.answer()
    assert all(map(fetches.whole, fetches.came))


@pytest.mark.parametrize(("told", "pages"), [(True, 1), (False, 4)])
def test_one_that_is_longer_than_a_worker_may_hold_is_refused(told: bool, pages: int) -> None:
    """By its first page if that says how long it is; its bytes count for what refers to a payload store."""
    source = Pages({"w": 9, "v": 2}, seed=1)
    source.tells_size = told
    bounded = BoundedHistory(source, longest=3 * EVENT)
    came: dict[str, Any] = {}
    for workflow_id in source.lengths:
        HistoryFetch(bounded, workflow_id, "r", 0, partial(came.setdefault, workflow_id)).start()
    asked = 0
    while source.asked:
        asked += source.asked[0][0] == "w"
        source.answer(first=True)
    assert isinstance(came["w"], HistoryTooLargeError)
    assert came["w"].size == (9 * EVENT if told else 4 * EVENT)
    assert isinstance(came["v"], History)
    assert (asked, bounded.held) == (pages, 0)


def test_a_fetch_that_fails_gives_its_room_back() -> None:
    """Breaks when what a failed fetch had counts for ever: the worker would fetch nothing any more."""
    fetches = Fetches(12, 2 * PAGE_BYTES)
    for number in range(200):
        if fetches.pages.asked:
            fetches.pages.answer(error=OSError("away") if number % 3 == 2 else None)
    assert len(fetches.came) == 12
    assert fetches.bounded.held == 0


def test_a_fetch_that_begins_again_is_counted_once() -> None:
    """The run advanced between two pages, so that the first ones are of no use (W11)."""
    fetches = Fetches(1, 10 * PAGE_BYTES)
    fetches.pages.lengths["w0"] = 3
    fetches.pages.answer(base="one")
    fetches.pages.answer(base="two")  # begins again
    assert fetches.bounded.held == PAGE_BYTES
    for _ in range(3):
        fetches.pages.answer(base="two")
    assert fetches.whole("w0")
    assert fetches.bounded.held == 0
