"""verify_determinism: what differs in a fresh interpreter is found."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from odradek import ApplicationError, NonDeterminismError, WorkflowHandle, activity, workflow
from odradek.errors import DefinitionError
from odradek.testing import Environment, verify_determinism

runs = 0
"""The state of a module, which a workflow must not depend on."""


@activity.define
async def visit(place: str) -> str:
    return place


@activity.define
async def rest() -> None: ...


@workflow.define
class Journey:
    def __init__(self) -> None:
        self.places: list[str] = []

    async def run(self, rounds: int) -> int:
        await workflow.wait_condition(lambda: len(self.places) >= 2)
        await asyncio.gather(*[visit(place) for place in self.places])
        await asyncio.sleep(3600)
        if rounds > 1:
            workflow.continue_as_new(Journey, rounds - 1)
        return len(self.places)

    @workflow.signal
    def go(self, place: str) -> None:
        self.places.append(place)


@workflow.define
async def through_a_set() -> None:
    for name in {f"queue-{number}" for number in range(20)}:
        if name < "queue-2":
            await rest()
        else:
            await visit(name)


@workflow.define
async def by_state_of_the_module() -> None:
    global runs
    runs += 1
    await asyncio.sleep(60)
    await (visit("first") if runs > 2 else rest())


@workflow.define
async def fails() -> None:
    await rest()
    raise ApplicationError("as it likes")


ACTIVITIES: list[activity.Activity[..., Any]] = [visit, rest]


async def test_a_workflow_that_does_the_same_again_passes_with_all_its_runs() -> None:
    async def two_rounds(env: Environment, journey: WorkflowHandle[Any, Any]) -> None:
        latest = env.client.get(journey.id, Journey)
        for _ in range(2):
            await latest.signal(Journey.go, "Prague")
            await latest.signal(Journey.go, "Vienna")
            await env.sleep(7200)

    await verify_determinism(Journey, 2, activities=ACTIVITIES, scenario=two_rounds, interpreters=2)


async def test_the_order_of_a_set_is_found() -> None:
    with pytest.raises(NonDeterminismError) as raised:
        await verify_determinism(through_a_set, activities=ACTIVITIES, interpreters=2)
    said = str(raised.value)
    assert "in a fresh interpreter, with PYTHONHASHSEED=" in said
    assert "history holds" in said
    assert "the code now asks" in said
    assert "ScheduleActivity rest" in said
    assert "ScheduleActivity visit" in said


async def test_the_state_of_a_module_is_found() -> None:
    global runs
    runs = 7
    with pytest.raises(NonDeterminismError, match="ScheduleActivity visit"):
        await verify_determinism(by_state_of_the_module, activities=ACTIVITIES, interpreters=1)


async def test_a_workflow_may_fail_as_it_likes() -> None:
    await verify_determinism(fails, activities=ACTIVITIES, interpreters=1)


async def test_what_no_other_process_can_import_is_told() -> None:
    @workflow.define
    async def inside() -> None: ...

    with pytest.raises(DefinitionError, match="at the top of a module"):
        await verify_determinism(inside)


PROGRAM = """
import asyncio
from odradek import workflow
from odradek.testing import verify_determinism

@workflow.define
async def nap() -> None:
    await asyncio.sleep(1)

if __name__ == "__main__":
    asyncio.run(verify_determinism(nap))
    print("the same")
"""


def run(program: Path, code: str) -> subprocess.CompletedProcess[str]:
    program.write_text(code)
    return subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, timeout=100)


def test_in_a_program_of_its_own(tmp_path: Path) -> None:
    done = run(tmp_path / "program.py", PROGRAM)
    assert done.stdout == "the same\n", done.stderr


def test_a_program_without_a_guard_is_told_and_does_not_begin_processes_without_end(tmp_path: Path) -> None:
    done = run(tmp_path / "program.py", PROGRAM.replace('if __name__ == "__main__":', "if True:"))
    assert done.returncode == 1
    assert "call it under" in done.stderr
