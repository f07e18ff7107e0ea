"""What can be asked of schedules, with JSON values in and out: by a `Client`, over HTTP, and behind HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from .. import errors
from .._client import Client
from .._schedules.action import ScheduleActionStartWorkflow
from .._schedules.handle import ScheduleHandle
from .._schedules.schedule import (
    Schedule,
    ScheduleBackfill,
    ScheduleDescription,
    SchedulePolicy,
    ScheduleState,
)
from .._schedules.spec import ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleSpec
from .._schedules.state import OverlapPolicy

T = TypeVar("T")


class ActionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The workflow to start. `workflow_id`: what its IDs begin with (default: the schedule's ID). Timeouts: seconds."""

    workflow_type: str
    workflow_id: str = ""
    task_queue: str = "default"
    input: list[Any] = []
    execution_timeout: float | None = None
    run_timeout: float | None = None
    memo: dict[str, Any] = {}
    search_attributes: dict[str, Any] = {}


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A schedule to be made. Names and defaults are those of `ScheduleSpec`, `SchedulePolicy` and `ScheduleState`."""

    schedule_id: str
    action: ActionBody
    spec: dict[str, Any] = {}
    overlap: OverlapPolicy = "skip"
    catchup_window: float = 365 * 86_400.0
    pause_on_failure: bool = False
    note: str = ""
    paused: bool = False
    remaining_actions: int | None = None
    trigger_immediately: bool = False


class ScheduleChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be another way; the rest stays. `spec`: fields of it. `action`: another one as a whole."""

    action: ActionBody | UnsetType = UNSET
    spec: dict[str, Any] | UnsetType = UNSET
    overlap: OverlapPolicy | UnsetType = UNSET
    catchup_window: float | UnsetType = UNSET
    pause_on_failure: bool | UnsetType = UNSET
    note: str | UnsetType = UNSET
    remaining_actions: int | UnsetType | None = UNSET


class PauseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    note: str = ""


class TriggerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    overlap: OverlapPolicy | None = None


class BackfillBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Times from `start_at` to `end_at`, with a time zone."""

    start_at: datetime
    end_at: datetime
    overlap: OverlapPolicy | None = None


class Schedules(msgspec.Struct, frozen=True, kw_only=True):
    """All schedules, each as it is described."""

    schedules: list[dict[str, Any]]


class ScheduleService(Protocol):
    """Operations on schedules. All raise the errors of `Client` and its schedule handles."""

    async def create(self, body: NewSchedule) -> None: ...

    async def describe(self, schedule_id: str) -> dict[str, Any]: ...

    async def list(self, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` of them, by ID."""
        ...

    async def update(self, schedule_id: str, change: ScheduleChange) -> None: ...

    async def pause(self, schedule_id: str, note: str) -> None: ...

    async def unpause(self, schedule_id: str, note: str) -> None: ...

    async def trigger(self, schedule_id: str, body: TriggerBody) -> None: ...

    async def backfill(self, schedule_id: str, body: BackfillBody) -> None: ...

    async def delete(self, schedule_id: str) -> None: ...


class ClientSchedules:
    """The operations, done by an open client. `timeout`: seconds to wait for an engine's answer."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    def _handle(self, schedule_id: str) -> ScheduleHandle:
        return self._client.get_schedule(schedule_id).with_options(timeout=self._timeout)

    async def create(self, body: NewSchedule) -> None:
        with _checked():
            schedule = Schedule(
                action=_action(body.action),
                spec=_spec(body.spec),
                policy=SchedulePolicy(
                    overlap=body.overlap, catchup_window=body.catchup_window, pause_on_failure=body.pause_on_failure
                ),
                state=ScheduleState(note=body.note, paused=body.paused, remaining_actions=body.remaining_actions),
            )
        await self._client.create_schedule(body.schedule_id, schedule, trigger_immediately=body.trigger_immediately)

    async def describe(self, schedule_id: str) -> dict[str, Any]:
        return plain(await self._handle(schedule_id).describe())

    async def list(self, limit: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async for one in self._client.list_schedules():
            if len(found) == limit:
                break
            found.append(plain(one))
        return sorted(found, key=lambda one: str(one["schedule_id"]))

    async def update(self, schedule_id: str, change: ScheduleChange) -> None:
        def updated(found: ScheduleDescription) -> Schedule:
            with _checked():
                return _changed(found.schedule, change)

        await self._handle(schedule_id).update(updated)

    async def pause(self, schedule_id: str, note: str) -> None:
        await self._handle(schedule_id).pause(note=note)

    async def unpause(self, schedule_id: str, note: str) -> None:
        await self._handle(schedule_id).unpause(note=note)

    async def trigger(self, schedule_id: str, body: TriggerBody) -> None:
        await self._handle(schedule_id).trigger(overlap=body.overlap)

    async def backfill(self, schedule_id: str, body: BackfillBody) -> None:
        with _checked():
            backfill = ScheduleBackfill(start_at=body.start_at, end_at=body.end_at, overlap=body.overlap)
        await self._handle(schedule_id).backfill(backfill)

    async def delete(self, schedule_id: str) -> None:
        await self._handle(schedule_id).delete()


class HttpSchedules:
    """The operations, asked of a server. `call(method, path, type, body)` asks it; `path` begins with /schedules."""

    def __init__(
        self,
        call: Callable[[str, str, Any, msgspec.Struct | None], Awaitable[Any]],
        quoted: Callable[[str], str],
    ) -> None:
        self._call = call
        self._quoted = quoted

    async def _do(self, schedule_id: str, operation: str, body: msgspec.Struct) -> None:
        await self._call("POST", f"/schedules/{self._quoted(schedule_id)}/{operation}", dict[str, Any], body)

    async def create(self, body: NewSchedule) -> None:
        await self._call("POST", "/schedules", dict[str, Any], body)

    async def describe(self, schedule_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("GET", f"/schedules/{self._quoted(schedule_id)}", dict[str, Any], None)
        return found

    async def list(self, limit: int) -> list[dict[str, Any]]:
        answer: Schedules = await self._call("GET", f"/schedules?limit={limit}", Schedules, None)
        return answer.schedules

    async def update(self, schedule_id: str, change: ScheduleChange) -> None:
        await self._do(schedule_id, "update", change)

    async def pause(self, schedule_id: str, note: str) -> None:
        await self._do(schedule_id, "pause", PauseBody(note=note))

    async def unpause(self, schedule_id: str, note: str) -> None:
        await self._do(schedule_id, "unpause", PauseBody(note=note))

    async def trigger(self, schedule_id: str, body: TriggerBody) -> None:
        await self._do(schedule_id, "trigger", body)

    async def backfill(self, schedule_id: str, body: BackfillBody) -> None:
        await self._do(schedule_id, "backfill", body)

    async def delete(self, schedule_id: str) -> None:
        await self._call("DELETE", f"/schedules/{self._quoted(schedule_id)}", dict[str, Any], None)


async def do_operation(
    service: ScheduleService, schedule_id: str, operation: str, body: Callable[[Any], Awaitable[Any]]
) -> None:
    """What the server is asked to do with a schedule. `body(type)` reads what came with it. Raises InvalidRequestError
    for what is no operation."""
    if operation == "update":
        await service.update(schedule_id, await body(ScheduleChange))
    elif operation == "pause":
        await service.pause(schedule_id, (await body(PauseBody)).note)
    elif operation == "unpause":
        await service.unpause(schedule_id, (await body(PauseBody)).note)
    elif operation == "trigger":
        await service.trigger(schedule_id, await body(TriggerBody))
    elif operation == "backfill":
        await service.backfill(schedule_id, await body(BackfillBody))
    else:
        raise errors.InvalidRequestError(
            f"{operation!r} is nothing that can be done with a schedule: update, pause, unpause, trigger, backfill"
        )


@contextmanager
def _checked() -> Iterator[None]:
    """What makes no sense is the asker's mistake."""
    try:
        yield
    except errors.DefinitionError:
        raise
    except ValueError as error:
        raise errors.InvalidRequestError(str(error)) from error


def _spec(given: dict[str, Any]) -> ScheduleSpec:
    """Raises ValueError for what is none, also for names that there are not."""
    _check_names(given, ScheduleSpec)
    for name, kind in (("calendars", ScheduleCalendarSpec), ("skip", ScheduleCalendarSpec),
                       ("intervals", ScheduleIntervalSpec)):  # fmt: skip
        parts = given.get(name)
        for part in parts if isinstance(parts, (list, tuple)) else ():  # what is no list is refused below
            _check_names(part, kind)
    return msgspec.convert(given, ScheduleSpec)


def _check_names(given: Any, kind: Any) -> None:
    known = set(kind.__dataclass_fields__)
    unknown = sorted(set(given) - known) if isinstance(given, dict) else []
    if unknown:
        raise ValueError(f"{kind.__name__} has no {unknown[0]!r}; it has {', '.join(sorted(known))}")


def _action(body: ActionBody) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow(
        body.workflow_type,
        *body.input,
        id=body.workflow_id,
        task_queue=body.task_queue,
        execution_timeout=body.execution_timeout,
        run_timeout=body.run_timeout,
        memo=body.memo,
        search_attributes=body.search_attributes,
    )


def _changed(schedule: Schedule, change: ScheduleChange) -> Schedule:
    spec, policy, state = schedule.spec, schedule.policy, schedule.state
    if change.spec is not UNSET:
        spec = _spec({**msgspec.to_builtins(spec), **change.spec})
    policy = replace(policy, **_given(change, "overlap", "catchup_window", "pause_on_failure"))
    state = replace(state, **_given(change, "note", "remaining_actions"))
    action = schedule.action if change.action is UNSET else _action(change.action)
    return Schedule(action=action, spec=spec, policy=policy, state=state)


def _given(change: ScheduleChange, *names: str) -> dict[str, Any]:
    return {name: getattr(change, name) for name in names if getattr(change, name) is not UNSET}


def plain(found: ScheduleDescription) -> dict[str, Any]:
    """A description as JSON values; what is by default is left out of the spec."""
    schedule = found.schedule
    action = schedule.action
    try:
        arguments: list[Any] | None = list(action.args)
    except errors.PayloadError:
        arguments = None  # written with a codec that is not here
    spec = {name: value for name, value in msgspec.to_builtins(schedule.spec).items() if value not in (None, [], ())}
    shown = {
        "schedule_id": found.id,
        "action": {"workflow_type": action.workflow, **action.options, "input": arguments},
        "spec": spec,
        "overlap": schedule.policy.overlap,
        "catchup_window": _seconds(schedule.policy.catchup_window),
        "pause_on_failure": schedule.policy.pause_on_failure,
        "note": schedule.state.note,
        "paused": schedule.state.paused,
        "remaining_actions": schedule.state.remaining_actions,
    }
    facts = {n: getattr(found, n) for n in ScheduleDescription.__dataclass_fields__ if n not in ("id", "schedule")}
    result: dict[str, Any] = msgspec.to_builtins({**shown, **facts})
    return result


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value
