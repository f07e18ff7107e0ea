"""The activities that one running workflow waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from odradek_schemas import commands, history
from odradek_schemas.common import Payload

from . import _failures
from ._instance_core import InstanceCore
from ._interceptors import ScheduleActivityInput
from ._options import activity_timeouts_ms, retry_policy_record


class _OpenActivity(NamedTuple):
    future: asyncio.Future[Any]
    activity_type: str
    result_type: Any


class InstanceActivities:
    """`default_queue`: the task queue of activities that name none."""

    def __init__(self, core: InstanceCore, default_queue: str) -> None:
        self._core = core
        self._default_queue = default_queue
        self._open: dict[int, _OpenActivity] = {}

    async def execute(self, call: ScheduleActivityInput, headers: dict[str, Payload]) -> Any:
        """Schedule an activity and wait for its result."""
        seq = self._schedule(call, call.options, headers)
        how = call.options.get("cancellation_type", "try")
        requested = False
        while True:
            future = self._core.loop.create_future()
            self._open[seq] = _OpenActivity(future, call.activity_type, call.result_type)
            try:
                return await future
            except asyncio.CancelledError:
                if self._open.pop(seq, None) is None:
                    if how == "wait" and not future.cancelled():
                        return future.result()  # it ended before the code could be told of its own cancellation
                    raise
                if how != "abandon" and not requested:
                    self._core.emit(commands.CancelActivity(seq=seq))
                requested = True
                if how != "wait":
                    raise

    def _schedule(self, call: ScheduleActivityInput, options: Mapping[str, Any], headers: dict[str, Payload]) -> int:
        core = self._core
        timeouts = activity_timeouts_ms(options)
        command = commands.ScheduleActivity(
            seq=core.seq + 1,
            activity_type=call.activity_type,
            task_queue=options.get("task_queue") or self._default_queue,
            input=core.converter.to_payloads(call.args),
            headers=headers,
            retry_policy=retry_policy_record(options.get("retry_policy")),
            delivery=options.get("delivery", "at_least_once"),
            cancellation_type=options.get("cancellation_type", "try"),
            on_exhausted=options.get("on_exhausted", "fail"),
            summary=options.get("summary", ""),
            start_to_close_timeout_ms=timeouts["start_to_close_timeout_ms"],
            schedule_to_start_timeout_ms=timeouts["schedule_to_start_timeout_ms"],
            schedule_to_close_timeout_ms=timeouts["schedule_to_close_timeout_ms"],
            heartbeat_timeout_ms=timeouts["heartbeat_timeout_ms"],
        )
        core.emit(command)
        return core.next_seq()

    def awaits(self, seq: int) -> bool:
        return seq in self._open

    # ------------------------------------------------------------ events

    def on_completed(self, event: history.ActivityCompleted) -> None:
        activity = self._open.pop(event.seq, None)
        if activity is None:  # cancelled by the code (rule W9)
            return
        result = None
        try:
            if event.result is not None:
                self._core.count((event.result,))
                result = self._core.converter.from_payload(event.result, activity.result_type)
        except Exception as error:
            activity.future.set_exception(error)
        else:
            activity.future.set_result(result)

    def on_failed(self, event: history.ActivityFailed) -> None:
        activity = self._open.pop(event.seq, None)
        if activity is None:
            return
        activity.future.set_exception(
            _failures.activity_error(
                event.failure, self._core.converter, activity_type=activity.activity_type, attempt=event.attempt
            )
        )

    def on_timed_out(self, event: history.ActivityTimedOut) -> None:
        activity = self._open.pop(event.seq, None)
        if activity is None:
            return
        activity.future.set_exception(
            _failures.activity_timeout_error(
                self._core.converter,
                activity_type=activity.activity_type,
                timeout_type=event.timeout_type,
                timeout_ms=event.timeout_ms,
                attempt=event.attempt,
                last_failure=event.last_failure,
                heartbeat_details=event.heartbeat_details,
            )
        )

    def on_cancelled(self, event: history.ActivityCancelled) -> None:
        activity = self._open.pop(event.seq, None)
        if activity is not None:
            activity.future.cancel(f"activity {activity.activity_type} was cancelled")
