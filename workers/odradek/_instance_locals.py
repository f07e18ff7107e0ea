"""What one running workflow has its worker do on the spot: local activities, and side effects.

Each is numbered like an activity and told as a command; its result is fed as a local result, live and on replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from odradek_schemas import commands, common, history
from odradek_schemas.common import Payload

from . import _failures
from ._instance_core import InstanceCore
from ._interceptors import ScheduleActivityInput
from ._options import activity_timeouts_ms, retry_policy_record
from .errors import DefinitionError

_DEFAULT_POLICY = common.RetryPolicy()


@dataclass(frozen=True, slots=True, eq=False)
class LocalCall:
    """A call that waits for its result. `fn`: of a side effect. Timeouts of 0 are none; all are milliseconds."""

    seq: int
    future: asyncio.Future[Any]
    activity_type: str = ""
    result_type: Any = None
    fn: Callable[[], Any] | None = None
    input: Sequence[Payload] = ()
    headers: Mapping[str, Payload] = field(default_factory=dict)
    retry_policy: common.RetryPolicy = _DEFAULT_POLICY
    start_to_close_ms: int = 0
    schedule_to_close_ms: int = 0


class InstanceLocals:
    """`open`: the calls without a result, by number, in the order of the code."""

    def __init__(self, core: InstanceCore) -> None:
        self._core = core
        self.open: dict[int, LocalCall] = {}

    async def execute(self, asked: ScheduleActivityInput, headers: dict[str, Payload]) -> Any:
        """Have an activity run by this worker, and wait for its result."""
        name, options = asked.activity_type, asked.options
        _check_options(name, options)
        core = self._core
        timeouts = activity_timeouts_ms(options)
        input = core.converter.to_payloads(asked.args)
        core.emit(commands.StartLocalActivity(seq=core.seq + 1, activity_type=name))
        call = LocalCall(
            seq=core.next_seq(),
            future=core.loop.create_future(),
            activity_type=name,
            result_type=asked.result_type,
            input=input,
            headers=headers,
            retry_policy=retry_policy_record(options.get("retry_policy")) or _DEFAULT_POLICY,
            start_to_close_ms=timeouts["start_to_close_timeout_ms"],
            schedule_to_close_ms=timeouts["schedule_to_close_timeout_ms"],
        )
        return await self._result(call)

    async def side_effect(self, fn: Callable[[], Any]) -> Any:
        """Have a function called once, and wait for what it returned."""
        core = self._core
        core.emit(commands.RecordSideEffect(seq=core.seq + 1))
        return await self._result(LocalCall(seq=core.next_seq(), future=core.loop.create_future(), fn=fn))

    async def _result(self, call: LocalCall) -> Any:
        self.open[call.seq] = call
        try:
            return await call.future
        finally:
            self.open.pop(call.seq, None)

    # ------------------------------------------------------------ events

    def on_completed(self, event: history.LocalActivityCompleted | history.SideEffectRecorded) -> None:
        call = self.open.pop(event.seq, None)
        if call is None:  # cancelled by the code (rule W9)
            return
        result = None
        try:
            if event.result is not None:
                self._core.count((event.result,))
                result = self._core.converter.from_payload(event.result, call.result_type or Any)
        except Exception as error:
            call.future.set_exception(error)
        else:
            call.future.set_result(result)

    def on_failed(self, event: history.LocalActivityFailed) -> None:
        call = self.open.pop(event.seq, None)
        if call is None:
            return
        failure, converter = event.failure, self._core.converter
        if failure.kind == "timeout":
            limit = call.start_to_close_ms if failure.timeout_type == "start_to_close" else call.schedule_to_close_ms
            error: Exception = _failures.activity_timeout_error(
                converter, activity_type=event.activity_type, timeout_type=failure.timeout_type, timeout_ms=limit,
                attempt=event.attempt, last_failure=failure.cause,
            )
        else:
            error = _failures.activity_error(
                failure, converter, activity_type=event.activity_type, attempt=event.attempt
            )
        call.future.set_exception(error)


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    if options.get("delivery") == "at_most_once":
        raise DefinitionError(
            f"activity {name}: a local activity cannot be at_most_once, its worker may die before it is recorded; "
            "call the activity itself"
        )
    if options.get("cancellation_type") == "wait":
        raise DefinitionError(
            f"activity {name}: the cancellation of a local activity is not waited for; use cancellation_type='try'"
        )
