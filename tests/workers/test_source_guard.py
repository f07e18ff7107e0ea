"""What a workflow's source is warned of when it is registered, and what not."""

from __future__ import annotations

import datetime as dt
import os
import pathlib
import random
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
import warnings
from datetime import datetime
from pathlib import Path
from random import randint
from typing import Any

import aiohttp
import pytest
from odradek import DeterminismWarning, activity, workflow
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
        ("open", "an activity"),
    ],
)
def test_a_call_that_is_not_deterministic_is_named_with_what_to_use(path: str, instead: str) -> None:
    found = [text for text in warnings_of(Wrong) if f"calls {path} (" in text]
    assert len(found) == 1
    assert f"use {instead}" in found[0]
    assert "test_source_guard.py:" in found[0]


@workflow.define
async def all_that_is_wrong(path: str) -> None:
    import urllib.request
    from os import listdir

    time.time_ns()
    time.monotonic()
    time.perf_counter()
    time.sleep(1)  # noqa: ASYNC251
    datetime.utcnow()
    datetime.today()
    uuid.uuid1()
    secrets.token_hex()
    random.shuffle([])
    os.urandom(8)
    os.getenv("HOME")
    os.environ.get("HOME")
    threading.Thread(target=print).start()
    threading.Lock()
    subprocess.run(["true"], check=False)  # noqa: ASYNC221
    socket.create_connection(("localhost", 9))
    urllib.request.urlopen("http://localhost")  # noqa: ASYNC210
    aiohttp.ClientSession()
    Path(path).read_text()  # noqa: ASYNC240
    pathlib.Path(path).write_bytes(b"")  # noqa: ASYNC240
    os.path.exists(path)  # noqa: ASYNC240
    listdir(path)
    shutil.rmtree(path)
    tempfile.mkdtemp()
    input("?")  # noqa: ASYNC250


WRONG = {
    "time.time_ns": "workflow.time()",
    "time.monotonic": "workflow.time()",
    "time.perf_counter": "workflow.time()",
    "time.sleep": "await asyncio.sleep(...), which is a durable timer",
    "datetime.datetime.utcnow": "workflow.now()",
    "datetime.datetime.today": "workflow.now()",
    "uuid.uuid1": "workflow.uuid4()",
    "secrets.token_hex": "workflow.random()",
    "random.shuffle": "workflow.random()",
    "os.urandom": "workflow.random().randbytes(...)",
    "os.getenv": "an argument of the workflow, or an activity",
    "os.environ.get": "an argument of the workflow, or an activity",
    **dict.fromkeys(
        (
            "threading.Thread", "threading.Lock", "subprocess.run", "socket.create_connection",
            "urllib.request.urlopen", "aiohttp.ClientSession", "pathlib.Path.read_text",
            "pathlib.Path.write_bytes", "os.path.exists", "os.listdir", "shutil.rmtree", "tempfile.mkdtemp", "input",
        ),
        "an activity",
    ),
}  # fmt: skip


def test_every_family_of_calls_is_known_with_what_to_use() -> None:
    found = {}
    for text in warnings_of(all_that_is_wrong):
        said = re.match(r"workflow all_that_is_wrong calls (\S+) \(.*\), which .*: use (.*)\. If that", text)
        assert said is not None, text
        found[said[1]] = said[2]
    assert found == WRONG


def test_a_function_workflow_is_looked_at_too() -> None:
    assert len(warnings_of(wrong_function)) == 1


@workflow.define
async def with_side_effect() -> float:
    return await workflow.side_effect(lambda: time.time() + random.random())


def test_a_side_effect_raises_no_alarm() -> None:
    assert warnings_of(with_side_effect) == []


def test_activities_and_allowed_lines_raise_no_alarm() -> None:
    assert warnings_of(Right) == []
