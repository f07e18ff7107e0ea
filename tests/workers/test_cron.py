"""Cron schedules: when they come, and what a running workflow does with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from odradek import ApplicationError, workflow
from odradek._cron import next_time
from odradek._options import check_start_options
from odradek.errors import DefinitionError
from odradek_schemas import commands

from .engine_model import START_MS, EngineModel


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("0 * * * *", "2026-03-01T10:00", "2026-03-01T11:00"),
        ("@daily", "2026-03-01T10:00", "2026-03-02T00:00"),
        ("*/15 9-17 * * mon-fri", "2026-03-06T17:45", "2026-03-09T09:00"),
        ("0 0 29 2 *", "2026-03-01T00:00", "2028-02-29T00:00"),
        ("CRON_TZ=Europe/Berlin 0 9 * * *", "2026-01-10T00:00", "2026-01-10T08:00"),
        ("CRON_TZ=Europe/Berlin 0 9 * * *", "2026-07-10T00:00", "2026-07-10T07:00"),
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00", "2026-03-29T01:00"),  # 2:30 does not exist that day
    ],
)
def test_when_a_schedule_comes(schedule: str, after: str, expected: str) -> None:
    assert next_time(schedule, at(after)) == at(expected)


@pytest.mark.parametrize(
    "schedule", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "CRON_TZ=Nowhere/At 0 0 * * *", "@never"]
)
def test_what_is_no_schedule_is_refused_before_it_is_sent(schedule: str) -> None:
    with pytest.raises(DefinitionError, match="cron_schedule"):
        check_start_options({"id": "x", "cron_schedule": schedule}, "workflow x")


def test_a_schedule_and_a_start_delay_contradict_each_other() -> None:
    with pytest.raises(DefinitionError, match="leave out start_delay"):
        check_start_options({"id": "x", "cron_schedule": "@daily", "start_delay": 5}, "workflow x")


@workflow.define
async def tick(fail: bool) -> float:
    if fail:
        raise ApplicationError("no")
    return workflow.time()


def begun(*args: Any, **started: Any) -> EngineModel:
    engine = EngineModel(tick, *args)
    event = engine.events[0]
    engine.events[0] = msgspec.structs.replace(event, attributes=msgspec.structs.replace(event.attributes, **started))
    return engine


def test_a_run_that_does_not_know_its_time_asks_for_it_and_runs_no_code() -> None:
    (command,) = begun(False, cron_schedule="@hourly", cron_pending=True).advance()
    expected = round(next_time("@hourly", START_MS / 1000) * 1000)
    assert command == commands.ContinueAsNewWorkflow(initiator="cron", begin_ms=expected)


@pytest.mark.parametrize("fail", [False, True])
def test_the_next_time_is_counted_from_when_the_run_began_not_from_when_it_was_made(fail: bool) -> None:
    """A run that waited for its time and ends at once: the next time is another one."""
    begins = round(next_time("@hourly", START_MS / 1000) * 1000)
    (command,) = begun(fail, cron_schedule="@hourly", start_delay_ms=begins - START_MS).advance()
    assert isinstance(command, commands.FailWorkflow if fail else commands.CompleteWorkflow)
    assert command.next_cron_ms == begins + 3_600_000


def test_a_schedule_that_only_the_worker_finds_wrong_fails_the_workflow() -> None:
    (command,) = begun(False, cron_schedule="every day", cron_pending=True).advance()
    assert isinstance(command, commands.FailWorkflow)
    assert (command.failure.type, command.failure.non_retryable) == ("InvalidCronSchedule", True)
