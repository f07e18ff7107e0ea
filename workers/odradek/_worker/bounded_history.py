"""Histories that are being fetched are held in memory until they are whole; together, and each, they are bounded in
bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from odradek_schemas.replies import HistoryPage

from .ports import HistorySource, OnPage

DEFAULT_MAX_HISTORY_BYTES = 256 * 1024 * 1024
MAX_FETCHED_BYTES = 32 * 1024 * 1024
PAGE_BYTES = 100_000
"""A page that is asked for counts as so many until it comes. It may have five times as many; but those of a partition
without an engine, which do not come for a while, are not to hold up all others."""


EVENT_BYTES = 700
"""What an event takes in memory besides its bytes, measured with activities that return small numbers."""


def in_memory(size: int, events: int) -> int:
    """About so many bytes take so many events, decoded, of `size` bytes together."""
    return size + EVENT_BYTES * events


class HistoryTooLargeError(Exception):
    """A history is longer than this worker is to hold. `size`: its bytes in memory, as far as they are known."""

    def __init__(self, workflow_id: str, size: int, longest: int) -> None:
        super().__init__(
            f"the history of workflow {workflow_id} takes {size:,} bytes of memory; this worker replays up to "
            f"{longest:,} (Worker(max_history_bytes=...), odradek worker --max-history MIB). Give workers of its task "
            "queue more, or reset it to an earlier event; code that continues as new when "
            "workflow.info().continue_as_new_suggested never gets there"
        )
        self.size = size


class BoundedHistory:
    """The pages of `source`, to one core: those that would make it more than `most` bytes of histories that are not
    whole are asked for later. The fetch that began first is never held up, so it goes on however long its history is,
    but one of more than `longest` bytes fails with HistoryTooLargeError. Both are bytes of memory (`in_memory`).

    What a fetch has is counted until it asks for nothing more: then it has ended, and done what it was for.
    """

    def __init__(
        self, source: HistorySource, most: int = MAX_FETCHED_BYTES, longest: int = DEFAULT_MAX_HISTORY_BYTES
    ) -> None:
        self._source = source
        self._most = most
        self._longest = longest
        self._fetched: dict[OnPage, int] = {}
        """The bytes of each fetch that has not ended, in the order in which they began; known by whom they tell."""
        self._asked: set[OnPage] = set()
        self._later: dict[OnPage, Callable[[], None]] = {}
        self._bytes = 0

    @property
    def held(self) -> int:
        """The bytes that were fetched, and what pages on their way count as."""
        return self._bytes + len(self._asked) * PAGE_BYTES

    def fetch(self, workflow_id: str, run_id: str, barrier: int, from_event_id: int, on_page: OnPage) -> None:
        """Ask for the page from `from_event_id` on; from 1 on, a fetch begins, or begins again."""
        if from_event_id == 1:
            self._bytes -= self._fetched.get(on_page, 0)
            self._fetched[on_page] = 0
        self._later[on_page] = partial(
            self._source.fetch, workflow_id, run_id, barrier, from_event_id, partial(self._take, on_page, workflow_id)
        )
        self._go_on()

    def _go_on(self) -> None:
        while (fetch := self._next()) is not None:
            self._asked.add(fetch)
            self._later.pop(fetch)()

    def _next(self) -> OnPage | None:
        first = next(iter(self._fetched), None)
        if first in self._later:
            return first
        return next(iter(self._later), None) if self.held + PAGE_BYTES <= self._most else None

    def _take(self, on_page: OnPage, workflow_id: str, page: HistoryPage | Exception) -> None:
        self._asked.discard(on_page)
        if isinstance(page, HistoryPage):
            size = in_memory(sum(map(len, page.events)), len(page.events))
            self._fetched[on_page] += size
            self._bytes += size
            told = in_memory(page.history_size, page.last_event_id)  # without what comes from a payload store
            whole = max(self._fetched[on_page], told)
            if whole > self._longest:
                page = HistoryTooLargeError(workflow_id, whole, self._longest)
        try:
            on_page(page)
        finally:
            if on_page not in self._asked and on_page not in self._later:
                self._bytes -= self._fetched.pop(on_page)
            self._go_on()
