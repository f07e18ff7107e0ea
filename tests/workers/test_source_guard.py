"""What a workflow's source is warned of when it is registered, and what not."""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid
import warnings
from datetime import datetime
from random import randint
from typing import Any

import pytest
from odradek import activity, workflow
from odradek._source_guard import DeterminismWarning
from odradek._worker.registry import workflow_definitions


def helper() -> float:
    return time.time()


@activity.define
async def fine_activity() -> float:
    return time.time() + random.random()


@workflow.define
class Wrong:
    async def run(self) -> str:
        return f"{datetime.now()} {dt.date.today()} {uuid.uuid4()} {randint(1, 2)} {helper()}"

    @workflow.signal
    def look(self) -> None:
        open("/etc/hostname").close()


@workflow.define
async def wrong_function() -> float:
    return random.random()


@workflow.define
class Right:
    async def run(self) -> float:
        await fine_activity()
        time = workflow.time()
        allowed = random.random()  # deterministic
        return time + allowed + workflow.random().random() + random.Random(1).random()


def warnings_of(registered: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        workflow_definitions([registered])
    assert all(w.category is DeterminismWarning for w in caught)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("datetime.datetime.now", r"workflow.now()"),
        ("datetime.date.today", "workflow.now().date()"),
        ("uuid.uuid4", "workflow.uuid4()"),
        ("random.Random.randint", "workflow.random()"),
        ("time.time", "workflow.time()"),
        ("open", "put it into an activity"),
    ],
)
def test_a_call_that_is_not_deterministic_is_named_with_what_to_use(path: str, instead: str) -> None:
    found = [text for text in warnings_of(Wrong) if f"calls {path} (" in text]
    assert len(found) == 1
    assert f"use {instead}" in found[0]
    assert "test_source_guard.py:" in found[0]


def test_a_function_workflow_is_looked_at_too() -> None:
    assert len(warnings_of(wrong_function)) == 1


def test_activities_and_allowed_lines_raise_no_alarm() -> None:
    assert warnings_of(Right) == []
