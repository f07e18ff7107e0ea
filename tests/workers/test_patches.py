"""A change of workflow code behind `patched`: old runs go on as they began, new ones have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odradek import workflow
from odradek._context import activate
from odradek._replay import replay
from odradek.errors import DefinitionError, NonDeterminismError, WorkflowTaskError
from odradek_schemas import commands

from .engine_model import EngineModel, new_instance

pytestmark = pytest.mark.filterwarnings("error")


def step(name: str) -> Any:
    return workflow.execute_activity(name)


def flow(body: Callable[[], Any]) -> Any:
    """A workflow named Flow whose `run` is `body`."""

    @workflow.define(name="Flow")
    class Flow:
        async def run(self) -> Any:
            return await body()

        @workflow.query
        def ask(self) -> bool:
            return workflow.patched("asked")

    return Flow


async def unchanged() -> None:
    await step("first")
    await step("old")


async def changed() -> None:
    await step("first")
    await step("new" if workflow.patched("c") else "old")
    await step("last new" if workflow.patched("c") else "last old")


async def deprecated() -> None:
    workflow.deprecate_patch("c")
    await step("first")
    await step("new")
    await step("last new")


async def settled() -> None:
    await step("first")
    await step("new")
    await step("last new")


def ran(engine: EngineModel) -> list[str]:
    """The activities that the run asked for, in order."""
    return [c.activity_type for batch in engine.batches for c in batch if isinstance(c, commands.ScheduleActivity)]


def deploy(engine: EngineModel, body: Callable[[], Any]) -> None:
    """Another version of the code takes the run over, by replay."""
    engine.instance = new_instance(flow(body))
    replay(engine.instance, engine.events)


def one_step(engine: EngineModel) -> None:
    """Complete what is open, and have the code react."""
    for seq in list(engine.activities):
        engine.complete(seq)
    engine.advance()


def begun(body: Callable[[], Any], steps: int) -> EngineModel:
    engine = EngineModel(flow(body))
    engine.advance()
    for _ in range(steps):
        one_step(engine)
    return engine


def finished(engine: EngineModel) -> list[str]:
    while engine.closed_by is None:
        one_step(engine)
    return ran(engine)


def test_a_run_that_is_past_the_change_keeps_the_old_branch_for_all_calls_with_the_id() -> None:
    engine = begun(unchanged, 1)
    deploy(engine, changed)
    assert finished(engine) == ["first", "old", "last old"]


def test_a_run_that_has_not_come_to_the_change_gets_it_and_keeps_it() -> None:
    engine = begun(unchanged, 0)
    deploy(engine, changed)
    one_step(engine)
    deploy(engine, changed)
    assert finished(engine) == ["first", "new", "last new"]
    marks = [c for batch in engine.batches for c in batch if isinstance(c, commands.MarkPatch)]
    assert marks == [commands.MarkPatch(patch_id="c")], "said once"
    deploy(engine, changed)


def test_deprecated_code_takes_over_runs_with_the_mark_and_marks_its_own() -> None:
    engine = begun(changed, 1)
    deploy(engine, deprecated)
    assert finished(engine) == ["first", "new", "last new"]
    own = begun(deprecated, 1)
    assert commands.DeprecatePatch(patch_id="c") in own.batches[0]
    deploy(own, changed)
    own = begun(deprecated, 1)
    deploy(own, settled)
    assert finished(own) == ["first", "new", "last new"]


def test_going_back_from_deprecated_code_needs_no_second_mark() -> None:
    engine = begun(deprecated, 0)
    deploy(engine, changed)
    one_step(engine)
    deploy(engine, changed)
    assert finished(engine) == ["first", "new", "last new"]
    assert [type(c).__name__ for batch in engine.batches for c in batch if hasattr(c, "patch_id")] == ["DeprecatePatch"]


def test_code_that_forgets_a_marked_change_is_told_what_to_do() -> None:
    engine = begun(changed, 1)
    with pytest.raises(NonDeterminismError) as raised:
        deploy(engine, settled)
    assert "MarkPatch c" in str(raised.value)
    assert "workflow.deprecate_patch('c')" in str(raised.value)


def test_going_back_to_the_code_before_the_change_is_told_too() -> None:
    engine = begun(changed, 1)
    with pytest.raises(NonDeterminismError, match=r"This run has the change 'c'"):
        deploy(engine, unchanged)


def test_a_mark_of_a_later_task_does_not_count_for_an_earlier_call() -> None:
    async def earlier() -> None:
        await step("really new" if workflow.patched("c") else "first")
        await step("new" if workflow.patched("c") else "old")

    engine = begun(changed, 1)
    with pytest.raises(NonDeterminismError, match="MarkPatch c"):
        deploy(engine, earlier)


def test_a_query_may_not_decide_on_a_change() -> None:
    engine = begun(unchanged, 0)
    with pytest.raises(WorkflowTaskError, match="a query only reads"):
        engine.instance.query("ask", [])


@pytest.mark.parametrize("wrong", ["", "a\0b", "x" * 1001, 7])
def test_a_change_needs_a_usable_name(wrong: Any) -> None:
    with activate(new_instance(flow(unchanged))):
        for call in (workflow.patched, workflow.deprecate_patch):
            with pytest.raises(DefinitionError, match="a change is named by"):
                call(wrong)


# ---------------------------------------------------------------- random code, random histories

Slot = tuple[str, int]
"""The change of one place of the code ("": none), and how many activities it runs at once."""

slots = st.lists(st.tuples(st.sampled_from(["", "", "a", "b", "c"]), st.integers(1, 3)), min_size=1, max_size=8)


def version(places: list[Slot], number: int) -> Callable[[], Any]:
    """1: before the changes. 2: with them, behind `patched`. 3: they are deprecated. 4: nothing tells of them."""

    async def body() -> None:
        for index, (change, width) in enumerate(places):
            new = bool(change) and number > 1
            if new and number == 2:
                new = workflow.patched(change)
            elif new and number == 3:
                workflow.deprecate_patch(change)
            names = [f"{'new' if new else 'old'} {index}.{n}" for n in range(width)]
            await asyncio.gather(*(step(name) for name in names))

    return body


def expected(places: list[Slot], first: int, passed: int) -> list[str]:
    """A run under version `first` that passed that many places before the next version took over."""
    names = []
    for index, (change, width) in enumerate(places):
        earliest = next(at for at, (other, _) in enumerate(places) if other == change)
        new = bool(change) and (first > 1 or earliest >= passed)
        names += [f"{'new' if new else 'old'} {index}.{n}" for n in range(width)]
    return names


@settings(deadline=None)  # four workers a run
@given(slots, st.sampled_from([1, 2, 3]), st.data())
def test_runs_go_on_with_the_branches_that_they_began_with(places: list[Slot], first: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(1, len(places)))
    engine = begun(version(places, first), passed - 1)
    deploy(engine, version(places, first + 1))
    while engine.closed_by is None:
        one_step(engine)
        if engine.closed_by is None and data.draw(st.booleans(), "another worker takes over"):
            deploy(engine, version(places, first + 1))
    assert ran(engine) == expected(places, first, passed)
    deploy(engine, version(places, first + 1))


@given(slots, st.data())
def test_taking_a_change_out_too_early_is_always_seen(places: list[Slot], data: st.DataObject) -> None:
    passed = data.draw(st.integers(1, len(places)))
    assume(any(change for change, _ in places[:passed]))
    engine = begun(version(places, 2), passed - 1)
    with pytest.raises(NonDeterminismError, match="This run has the change"):
        deploy(engine, version(places, 4))
