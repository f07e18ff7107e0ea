"""In which order the code of a workflow is fed: inputs and updates, then what ran on this worker (rules W2, W10)."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Sequence

from odradek_schemas import history
from odradek_schemas.history import HistoryEvent
from odradek_schemas.records import LocalResult
from odradek_schemas.tasks import PendingUpdate

from ..errors import DefinitionError
from .ports import RunningWorkflow


def feed_until_end(
    running: RunningWorkflow, events: Sequence[HistoryEvent], updates: Sequence[PendingUpdate] = ()
) -> None:
    """Feed events and updates in the order of the log, none after the one at which the coroutine ends (rule W2)."""
    waiting = deque(updates)
    for event in events:
        while waiting and waiting[0].after_event_id < event.event_id:
            running.offer(waiting.popleft())
            if running.ended:
                return
        running.feed(event)
        if running.ended:
            return
    while waiting and not running.ended:
        running.offer(waiting.popleft())


def run_side_effects(running: RunningWorkflow, results: list[LocalResult], now_ms: Callable[[], int]) -> None:
    """Call the functions that the code wants called, until there are none, and feed what they return."""
    while running.locals and not running.ended:
        call = next((call for call in running.locals.values() if call.fn is not None), None)
        if call is None or call.fn is None:
            return
        value = call.fn()
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise DefinitionError("side_effect takes a plain function; what is awaited is an activity")
        result = running.to_payload(value)
        time_ms = max(running.time_ms, now_ms())
        results.append(
            LocalResult(seq=call.seq, scheduled_by="", time_ms=time_ms, result=result, kind="side_effect")
        )
        running.feed_local(history.SideEffectRecorded(seq=call.seq, result=result), time_ms)


def is_at_work(running: RunningWorkflow) -> bool:
    """Whether local activities are to end before the task is answered."""
    return bool(running.locals) and not running.ended
