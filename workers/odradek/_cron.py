"""Cron schedules of workflows: when the next run begins. Workers work it out: the fold knows no time zones."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError
from odradek_schemas.commands import Command, CompleteWorkflow, ContinueAsNewWorkflow, FailWorkflow

_NAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE = "CRON_TZ="


def next_time(schedule: str, after: float) -> float:
    """The first time of a schedule later than `after`; both in seconds since the Unix epoch.

    Five fields or one of the names (`@daily` and so on), in UTC, or after `CRON_TZ=Europe/Berlin ` in another zone.
    Raises ValueError for what is no schedule, and for one that never comes.
    """
    text = schedule.strip()
    zone: tzinfo = UTC
    if text.startswith(_ZONE):
        name, _, text = text.removeprefix(_ZONE).partition(" ")
        zone = _zone(name)
    text = _NAMES.get(text.strip(), text.strip())
    if len(text.split()) != 5:
        raise ValueError(f"cron_schedule {schedule!r}: use five fields, 'minute hour day month weekday', or @daily")
    try:
        for found in CronSim(text.upper(), datetime.fromtimestamp(after, zone)):
            if found.timestamp() > after:  # of two hours of one name it begins with the first, even from in the second
                return found.timestamp()
    except CronSimError as error:
        raise ValueError(f"cron_schedule {schedule!r}: {error}") from None
    raise ValueError(f"cron_schedule {schedule!r} never comes")


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"cron_schedule: there is no time zone {name!r}; use a name such as Europe/Berlin") from None


def begin_at(schedule: str, now: float) -> Command:
    """For a run of a cron workflow that does not know its time: begin again at it."""
    return ContinueAsNewWorkflow(initiator="cron", begin_ms=_milliseconds(next_time(schedule, now)))


def with_next_time(command: Command, schedule: str | None, now: float) -> Command:
    """A command that closes a run; with the time of the next one, if the workflow has a schedule."""
    if not schedule or not isinstance(command, CompleteWorkflow | FailWorkflow):
        return command
    try:
        return msgspec.structs.replace(command, next_cron_ms=_milliseconds(next_time(schedule, now)))
    except ValueError:
        return command  # the run was refused for its schedule: this is the command that says so


def _milliseconds(at: float) -> int:
    return round(at * 1000)
