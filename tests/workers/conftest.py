"""Fixtures: a real log with an engine that answers as told, and clients on them; or with a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from odradek import Client, DataConverter
from odradek._calls import Pauses
from odradek._connection import Connection
from odradek._requests import WorkflowRequests
from odradek_log.embedded import EmbeddedLog

from .client_fakes import FakeEngine
from .worker_bench import World

SOON = Pauses(requests=(0.02,), reads=(0.02,), waits=(0.02,))


@pytest.fixture
def client_log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "log", fsync=False)
    yield log
    log.close()


@pytest.fixture
def fake_engine(client_log: EmbeddedLog) -> Iterator[FakeEngine]:
    engine = FakeEngine(client_log)
    yield engine
    engine.close()


@pytest.fixture
async def client(client_log: EmbeddedLog, fake_engine: FakeEngine) -> AsyncIterator[Client]:
    async with Client(client_log) as client:
        yield client


@pytest.fixture
async def impatient(client_log: EmbeddedLog, fake_engine: FakeEngine) -> AsyncIterator[WorkflowRequests]:
    """Requests that are repeated after 20 ms."""
    connection = await asyncio.to_thread(Connection, client_log, "default", DataConverter(), pauses=SOON)
    yield WorkflowRequests(connection, timeout=30)
    await asyncio.to_thread(connection.close)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as world:
        yield world
