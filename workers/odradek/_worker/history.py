"""Fetching the whole history of a run, page by page (rule W11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from odradek_schemas import decode
from odradek_schemas.history import INPUTS, HistoryEvent, WorkflowTaskCompleted
from odradek_schemas.replies import HistoryPage

from .ports import HistorySource


@dataclass(frozen=True, slots=True)
class History:
    """All events of a run as of one moment, with the base and the position of reading that belong to them."""

    base: str
    consumed_through: int
    open: bool
    events: list[HistoryEvent]

    def unread(self) -> list[HistoryEvent]:
        """The inputs that no completed task has consumed."""
        return unread_inputs(self.events, self.consumed_through)


OnHistory: TypeAlias = Callable[[History | Exception | None], None]


def decode_events(values: list[bytes]) -> list[HistoryEvent]:
    """History events from their bytes. Raises DecodeError."""
    events = [decode(value) for value in values]
    for event in events:
        if not isinstance(event, HistoryEvent):
            raise TypeError(f"{type(event).__name__} where a history event belongs")
    return events  # type: ignore[return-value]


def unread_inputs(events: list[HistoryEvent], consumed_through: int) -> list[HistoryEvent]:
    """The inputs after `consumed_through` that were not fed as local results before they had an ID."""
    local: set[int] = set()
    for event in events:
        if isinstance(event.attributes, WorkflowTaskCompleted):
            local.update(event.attributes.local_events)
    return [
        e for e in events
        if e.event_id > consumed_through and isinstance(e.attributes, INPUTS) and e.event_id not in local
    ]


class HistoryFetch:
    """One fetch of a run's whole history, not below `barrier`. `on_history` gets it, None if there is no such run,
    or an error.

    Pages show one state only while their base is the same; if the run advances in between, the fetch begins again.
    """

    def __init__(
        self, source: HistorySource, workflow_id: str, run_id: str, barrier: int, on_history: OnHistory
    ) -> None:
        self._source = source
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._barrier = barrier
        self._on_history = on_history
        self._first: HistoryPage | None = None
        self._events: list[HistoryEvent] = []

    def start(self) -> None:
        self._ask(1)

    def _ask(self, from_event_id: int) -> None:
        self._source.fetch(self._workflow_id, self._run_id, self._barrier, from_event_id, self._on_page)

    def _on_page(self, page: HistoryPage | Exception) -> None:
        if isinstance(page, Exception):
            self._on_history(page)
            return
        if not page.found:
            self._on_history(None)
            return
        if self._first is not None and not _same_state(self._first, page):
            self._first = None
            self._events = []
            self._ask(1)
            return
        self._first = self._first or page
        try:
            self._events.extend(decode_events(page.events))
        except (ValueError, TypeError) as error:
            self._on_history(error)
            return
        if page.next_event_id:
            self._ask(page.next_event_id)
            return
        self._on_history(History(page.base, page.consumed_through, page.status == "running", self._events))


def _same_state(first: HistoryPage, page: HistoryPage) -> bool:
    return (first.base, first.consumed_through, first.status) == (page.base, page.consumed_through, page.status)
