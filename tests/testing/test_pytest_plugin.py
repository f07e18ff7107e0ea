"""The pytest plugin, as a project that uses Odradek finds it: in pytest's strict mode, without any setting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEFINITIONS = """
import asyncio
from unittest.mock import AsyncMock
import pytest
from odradek import activity, workflow
from odradek.testing import Environment, NewEnvironment

@activity.define
async def compose(name: str) -> str:
    raise RuntimeError("not in a test")

@workflow.define
async def greet(name: str) -> str:
    await asyncio.sleep(30 * 24 * 3600)
    return await compose(name)

opened: list[Environment] = []
"""

WITH_FIXTURES = """
@pytest.fixture
def odradek_workflows():
    return [greet]

@pytest.fixture
def composer():
    return AsyncMock(return_value="Hello")

@pytest.fixture
def odradek_activities(composer):
    return {compose: composer}

@pytest.mark.asyncio
async def test_ready_made(odradek_env: Environment, composer: AsyncMock) -> None:
    assert await odradek_env.client.execute(greet, "Ada", id="g") == "Hello"
    composer.assert_awaited_once_with("Ada")

@pytest.mark.asyncio
async def test_two_of_its_own(new_odradek_env: NewEnvironment) -> None:
    for name in ("Ada", "Bob"):
        env = await new_odradek_env(workflows=[greet], activities=[compose.with_fn(lambda name: f"Hello, {name}")])
        opened.append(env)
        assert await env.client.execute(greet, name, id="g") == f"Hello, {name}"

@pytest.mark.asyncio
async def test_they_are_closed_at_the_end() -> None:
    for env in opened:
        with pytest.raises(Exception, match="not open"):
            await env.client.start(greet, "Cy", id="c")
    assert len(opened) == 2
"""

WITHOUT = """
@pytest.mark.asyncio
async def test_nothing_given(odradek_env: Environment) -> None: ...
"""


def run_pytest(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_greeting.py").write_text(DEFINITIONS + tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)


def test_the_fixtures_are_there(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, WITH_FIXTURES)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, WITHOUT)
    assert done.returncode == 1
    assert "define a fixture `odradek_workflows`" in done.stdout, done.stdout
