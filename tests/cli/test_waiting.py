"""Commands that wait for a workflow's end say what holds it up, on stderr."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from odradek import Client, errors
from odradek._gateway import Outcome, WorkflowKey
from odradek.cli import waiting

from .running import ODRADEK, SECONDS, environment, odradek_here

KEY = WorkflowKey("order-1", None)
NO_WORKER = "no worker polls task queue 'orders': start one, or check the name of the queue"


class Service:
    """A workflow that ends when it has been looked at so often as there are answers."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self._answers = list(answers)
        self._ended = asyncio.Event()

    async def describe(self, key: WorkflowKey) -> dict[str, Any]:
        answer = self._answers.pop(0)
        if not self._answers:
            self._ended.set()
        if isinstance(answer, Exception):
            raise answer
        return {"warnings": answer}

    async def result(self, key: WorkflowKey, timeout: float | None) -> Outcome:
        await self._ended.wait()
        return Outcome(workflow_id=key.workflow_id, run_id=None, status="completed", result=7)


async def wait_for_end(*answers: list[str] | Exception, as_json: bool = False) -> None:
    service: Any = Service(*answers)
    assert (await waiting.outcome_of(service, KEY, 0, as_json)).result == 7


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_LOOK_S", 0.01)


@pytest.mark.usefixtures("soon")
async def test_each_warning_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    await wait_for_end([NO_WORKER], [NO_WORKER], [NO_WORKER, "the workflow is paused"], [])
    assert capsys.readouterr() == (
        "", f"Workflow order-1 waits: {NO_WORKER}\nWorkflow order-1 waits: the workflow is paused\n"
    )  # fmt: skip


@pytest.mark.usefixtures("soon")
async def test_programs_get_warnings_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    await wait_for_end([NO_WORKER, "another"], [], as_json=True)
    out, err = capsys.readouterr()
    found = [json.loads(line)["warning"] for line in err.splitlines()]
    assert (out, [one["message"] for one in found]) == ("", [NO_WORKER, "another"])
    assert {one["workflow_id"] for one in found} == {"order-1"}


@pytest.mark.usefixtures("soon")
async def test_an_engine_that_does_not_answer_ends_no_wait(capsys: pytest.CaptureFixture[str]) -> None:
    await wait_for_end(errors.RequestTimeoutError("no engine"), [NO_WORKER], [])
    assert capsys.readouterr().err == f"Workflow order-1 waits: {NO_WORKER}\n"


@contextmanager
def executing(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`odradek workflow execute`, with stdout and stderr apart."""
    with subprocess.Popen(
        [ODRADEK, "workflow", "execute", *arguments], env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], said: str) -> None:
    """Read its stderr up to a line with that in it."""
    assert process.stderr is not None
    watch, lines = threading.Timer(SECONDS, process.kill), [""]
    watch.start()
    while said not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], f"{said!r} is not among {lines}"
    watch.cancel()


async def make_namespace(address: str) -> None:
    async with Client(address):
        pass


def test_a_type_or_a_queue_that_no_worker_has_is_said_by_itself(server: str, tmp_path: Path) -> None:
    """Breaks when who mistypes a type, or has no worker, waits without a word; or finds one beside the result."""
    folder = f"file:{tmp_path / 'data'}"
    asyncio.run(make_namespace(folder))
    with (
        executing("nowhere", "--id", "waits-1", "--address", server) as unknown,
        executing("echo", "--task-queue", "orders", "--id", "waits-2", "--address", folder) as alone,
    ):
        wait_for(unknown, "no workflow type 'nowhere' on this worker (it has: ")
        wait_for(alone, f"Workflow waits-2 waits: {NO_WORKER}\n")
        odradek_here("workflow", "terminate", "waits-1", "--reason", "mistyped", address=server)
        out, err = unknown.communicate()
        assert (out, "mistyped" in err, unknown.returncode) == ("", True, 1)
        alone.terminate()
        assert alone.communicate()[0] == ""
