"""Which calls interceptors see, in which order, and what they can change of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from odradek import (
    ApplicationError,
    Client,
    Worker,
    WorkflowHandle,
    activity,
    workflow,
)
from odradek.errors import DefinitionError
from odradek.interceptors import (
    ActivityInterceptor,
    ClientInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    ScheduleActivityInput,
    StartWorkflowInput,
    WorkflowInterceptor,
)
from odradek.testing import Environment

from .test_interceptors import Changing, Tenants, ask_async, fails_twice


class Noting(Interceptor):
    """Writes down what passes, on its way there and back."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    def intercept_client(self, next: ClientInterceptor) -> ClientInterceptor:
        outer = self

        class Noted(ClientInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
                outer.notes.append(f"{outer.name} start")
                handle = await self.next.start_workflow(input)
                outer.notes.append(f"{outer.name} started")
                return handle

        return Noted(next)

    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        outer = self

        class Noted(WorkflowInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                outer.notes.append(f"{outer.name} run {workflow.info().workflow_id}")
                input.args = [f"{arg} {outer.name}" for arg in input.args]
                result = await self.next.execute_workflow(input)
                return f"{result} {outer.name}"

            async def execute_activity(self, input: ScheduleActivityInput) -> Any:
                outer.notes.append(f"{outer.name} call {input.activity_type}")
                return await self.next.execute_activity(input)

        return Noted(next)

    def intercept_activity(self, next: ActivityInterceptor) -> ActivityInterceptor:
        outer = self

        class Noted(ActivityInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                outer.notes.append(f"{outer.name} activity {activity.info().activity_type}")
                return await self.next.execute_activity(input)

        return Noted(next)


@activity.define
async def echo(text: str) -> str:
    return text


@workflow.define
async def passes(text: str) -> str:
    return await echo(text)


async def test_the_first_of_the_list_is_the_outermost_for_every_call() -> None:
    notes: list[str] = []
    async with Environment(
        workflows=[passes], activities=[echo], interceptors=[Noting("a", notes), Noting("b", notes)]
    ) as env:
        assert await env.client.execute(passes, "x", id="w") == "x a b b a"
    of_client = [note for note in notes if "start" in note]
    assert of_client == ["a start", "b start", "b started", "a started"]
    assert [note for note in notes if note not in of_client] == [
        "a run w", "b run w", "a call echo", "b call echo", "a activity echo", "b activity echo",
    ]  # fmt: skip


class NotingAll(ClientInterceptor):
    """Writes down every call of the client."""

    notes: list[str]


def _noting(name: str) -> Any:
    async def call(self: NotingAll, input: Any) -> Any:
        self.notes.append(name)
        return await getattr(self.next, name)(input)

    return call


CLIENT_CALLS = [name for name in vars(ClientInterceptor) if not name.startswith("_")]
for _name in CLIENT_CALLS:
    setattr(NotingAll, _name, _noting(_name))


class NotesAll(Interceptor):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def intercept_client(self, next: ClientInterceptor) -> ClientInterceptor:
        noting = NotingAll(next)
        noting.notes = self.notes
        return noting


@activity.define
async def elsewhere() -> None:
    raise activity.CompleteAsync


@workflow.define
class Told:
    def __init__(self) -> None:
        self.word = ""

    async def run(self) -> str:
        await elsewhere()
        await workflow.wait_condition(lambda: bool(self.word))
        return self.word

    @workflow.signal
    def tell(self, word: str) -> None:
        self.word = word

    @workflow.update
    def tell_now(self, word: str) -> None:
        self.word = word

    @workflow.query
    def heard(self) -> str:
        return self.word


async def test_every_call_of_a_client_passes_the_interceptors() -> None:
    all_calls = NotesAll()
    async with Environment(workflows=[Told], activities=[elsewhere], interceptors=[all_calls]) as env:
        client = env.client

        async def token() -> bytes:
            while not (pending := (await client.get("t").describe()).pending_activities) or not pending[0].started_time:
                pass
            return pending[0].task_token

        told = await client.start(Told, id="t")
        await client.heartbeat_activity(await token(), 1)
        await client.fail_activity(await token(), ApplicationError("not now"))
        await told.pause_activity("elsewhere")
        await told.pause()
        await told.unpause()
        await told.unpause_activity("elsewhere")
        await client.complete_activity(await token())
        await told.query(Told.heard)
        await told.signal(Told.tell, "a")
        assert await told.result() == "a"
        assert (await told.history())[-1].type == "WorkflowCompleted"
        again = await told.reset(1)
        await again.update(Told.tell_now, "b")
        await again.cancel()
        await (await client.start(Told, id="v")).terminate()
        await (await client.update_with_start(Told, id="u", update=Told.tell_now, update_args=["c"])).result()
    assert set(all_calls.notes) == set(CLIENT_CALLS)
    assert len([name for name in all_calls.notes if "activity" in name]) == 5


async def test_a_worker_has_those_of_its_client_and_then_its_own() -> None:
    notes: list[str] = []
    async with Environment(workflows=[fails_twice], activities=[], interceptors=[Noting("client", notes)]) as env:
        own = [Noting("worker", notes)]
        async with Worker(env.client, task_queue="own", workflows=[passes], activities=[echo], interceptors=own):
            assert await env.client.execute(passes, "x", id="w", task_queue="own") == "x client worker worker client"


# ---------------------------------------------------------------- what an interceptor may change, and get wrong


@asynccontextmanager
async def changed(change: Callable[[Any], None], *workflows: Any) -> AsyncIterator[Client]:
    async with Environment(workflows=workflows, activities=[echo, ask_async], interceptors=[Changing(change)]) as env:
        yield env.client


async def test_options_arguments_and_the_result_can_be_changed() -> None:
    def change(input: ScheduleActivityInput) -> None:
        input.options["summary"] = "seen"
        input.args = [input.args[0].upper()]

    async with changed(change, passes) as client:
        handle = await client.start(passes, "x", id="w")
        assert await handle.result() == "X"
        (scheduled,) = [e for e in await handle.history() if e.type == "ActivityScheduled"]
        assert scheduled.attributes["summary"] == "seen"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda input: input.headers.update(bad=object()), "header 'bad'"),
        (lambda input: input.options.update(timeout=1), "timeout"),
    ],
)
async def test_what_cannot_be_sent_is_a_bug_that_says_so(change: Callable[[Any], None], says: str) -> None:
    async with changed(change, passes) as client:
        handle = await client.start(passes, "x", id="w")
        while (problem := (await handle.describe()).task_failure) is None:
            await asyncio.sleep(0)
        assert says in str(problem)


class Nothing(Interceptor):
    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        return None  # type: ignore[return-value]


async def test_an_interceptor_that_is_none_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DefinitionError, match="give an instance, not the class"):
        Client("file:./x", interceptors=[Tenants])  # type: ignore[list-item]
    async with Environment(workflows=[passes], activities=[echo], interceptors=[Nothing()]) as env:
        handle = await env.client.start(passes, "x", id="w")
        while (problem := (await handle.describe()).task_failure) is None:
            await asyncio.sleep(0)
        assert "intercept_workflow gave None: return `next`" in str(problem)
