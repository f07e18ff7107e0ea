"""Activities from end to end, on both logs: completion by token, at most once, cancellation."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from odradek import ActivityNotFoundError, WorkflowFailedError, WorkflowHandle, activity, workflow
from odradek.errors import ActivityCancelRequestedError, InvalidRequestError

from ..longer import with_longer_times
from .callback import ask, ask_partner, callback_app, serve
from .once import MOMENTS
from .system import System, described

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
QUEUE = "activities"

asked: defaultdict[str, asyncio.Queue[activity.Info]] = defaultdict(asyncio.Queue)
"""The attempts of each workflow's activities."""

log: defaultdict[str, list[str]] = defaultdict(list)
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@activity.define
async def by_token() -> str:
    asked[activity.info().workflow_id].put_nowait(activity.info())
    raise activity.CompleteAsync


@activity.define
async def reluctant() -> str:
    """Takes its time to stop."""
    info = activity.info()
    asked[info.workflow_id].put_nowait(info)
    try:
        await asyncio.Event().wait()
    finally:
        await gates[info.workflow_id].wait()
        log[info.workflow_id].append("activity ended")
    return "never"


@activity.define
def beats(loop_name: str) -> str:
    """A plain function; learns by its heartbeat, or by asking, that it is to stop."""
    info = activity.info()
    turn = threading.Event()
    LOOPS[loop_name].call_soon_threadsafe(asked[info.workflow_id].put_nowait, info)
    try:
        while True:
            if loop_name == "asks" and activity.is_cancelled():
                raise asyncio.CancelledError
            if loop_name == "beats":
                activity.heartbeat("alive")
            turn.wait(0.01)
    finally:
        log[info.workflow_id].append("activity ended")


LOOPS: dict[str, asyncio.AbstractEventLoop] = {}


@workflow.define
class Caller:
    """Calls an activity by name; cancels the call when told to; says what came of it."""

    async def run(self, name: str, args: list[str], options: dict[str, Any]) -> str:
        self.call = asyncio.ensure_future(workflow.execute_activity(name, *args, **options))
        outcome: Any = (await asyncio.gather(self.call, return_exceptions=True))[0]
        log[workflow.info().workflow_id].append("workflow goes on")
        return outcome if isinstance(outcome, str) else type(outcome).__name__

    @workflow.signal
    def stop(self) -> None:
        self.call.cancel()


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def worker(system: System) -> AsyncIterator[None]:
    LOOPS.update(beats=asyncio.get_running_loop(), asks=asyncio.get_running_loop())
    activities: Any = [by_token, reluctant, beats, ask_partner]
    async with system.worker(QUEUE, workflows=[Caller, ask], activities=activities):
        yield


async def call(system: System, name: str, *args: str, **options: Any) -> tuple[WorkflowHandle[Any, Any], activity.Info]:
    """Call an activity, and wait until it runs."""
    handle = await system.client.start(Caller, name, list(args), options, id=system.name("call"), task_queue=QUEUE)
    return handle, await asked[handle.id].get()


async def until_state(handle: WorkflowHandle[Any, Any], state: str) -> Any:
    found = await described(handle, lambda d: d.pending_activities and d.pending_activities[0].state == state)
    return found.pending_activities[0]


# ---------------------------------------------------------------- completion by task token


async def test_a_token_completes_its_activity_once(system: System) -> None:
    handle, info = await call(system, "by_token")
    token = info.task_token.decode()
    await system.client.heartbeat_activity(token, "half", 50)
    await system.client.complete_activity(token, "by token")
    assert await handle.result() == "by token"
    with pytest.raises(ActivityNotFoundError, match="nothing was changed"):
        await system.client.complete_activity(token, "doubled")
    with pytest.raises(ActivityNotFoundError):
        await system.client.fail_activity(token, ValueError("late"))
    with pytest.raises(ActivityNotFoundError):
        await system.client.heartbeat_activity(token)
    for wrong in (b"not a token", "", b"\xff"):
        with pytest.raises(InvalidRequestError):
            await system.client.complete_activity(wrong)


async def test_heartbeats_by_token_keep_it_alive_and_are_shown(system: System) -> None:
    async def kept_alive(timeout: float) -> None:
        """For longer than the timeout, with never so long between two heartbeats."""
        handle, info = await call(system, "by_token", heartbeat_timeout=timeout)
        await until_state(handle, "started")
        for n in range(15):
            await asyncio.sleep(timeout / 10)
            await system.client.heartbeat_activity(info.task_token, n)
            pending = await until_state(handle, "started")
            assert (pending.attempt, pending.heartbeat_details) == (1, (n,))
        await system.client.complete_activity(info.task_token, "alive")
        assert await handle.result() == "alive"

    await with_longer_times(1.0, kept_alive)


async def test_a_failure_by_token_is_retried_with_the_same_token(system: System) -> None:
    handle, info = await call(system, "by_token", schedule_to_close_timeout=60)
    await system.client.fail_activity(info.task_token, ValueError("try again"))
    again = await asked[handle.id].get()
    assert (again.attempt, again.task_token) == (2, info.task_token)
    await system.client.complete_activity(again.task_token, "second")
    assert await handle.result() == "second"


async def test_a_token_s_holder_learns_that_the_workflow_has_cancelled_it(system: System) -> None:
    handle, info = await call(system, "by_token", cancellation_type="wait")
    await until_state(handle, "started")
    await handle.signal(Caller.stop)
    await until_state(handle, "cancel_requested")
    with pytest.raises(ActivityCancelRequestedError):
        await system.client.heartbeat_activity(info.task_token)
    await system.client.fail_activity(info.task_token, asyncio.CancelledError())
    assert await handle.result() == "CancelledError"


async def test_an_http_callback_completes_the_activity_and_no_other(system: System) -> None:
    questions: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def partner(request: web.Request) -> web.Response:
        questions.put_nowait(await request.json())
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/", partner)])
    (partner_runner, partner_url), (runner, url) = await serve(app), await serve(callback_app(system.client))
    try:
        await _ask_and_answer(system, QUEUE, partner_url, url, questions)
    finally:
        await runner.cleanup()
        await partner_runner.cleanup()


async def _ask_and_answer(
    system: System, queue: str, partner: str, callback: str, questions: asyncio.Queue[dict[str, str]]
) -> None:
    async def answer(token: str, text: str) -> int:
        async with http.post(f"{callback}/answers/{token}", json={"answer": text}) as response:
            return response.status

    async def start(question: str, **timeouts: float) -> WorkflowHandle[Any, Any]:
        return await system.client.start(ask, partner, question, timeouts, id=system.name("ask"), task_queue=queue)

    async def asked(question: str) -> str:
        while (came := await asyncio.wait_for(questions.get(), 60))["question"] != question:
            pass
        return came["token"]

    async def too_late() -> str:
        """The token of an activity that has ended without an answer. On a busy machine it may end before it begins:
        then there is no token, and the next one gets more time."""
        for seconds in (0.5, 2, 8, 32):
            late = await start("soon?", schedule_to_close_timeout=seconds)
            with pytest.raises(WorkflowFailedError):
                await late.result()
            if not questions.empty():
                return await asked("soon?")
        pytest.fail("no activity begins within 32 s")

    async with aiohttp.ClientSession() as http:
        handle = await start("may I?")
        token = await asked("may I?")
        assert await answer(token, "yes") == 200
        assert await handle.result() == "yes"
        assert await answer(token, "no") == 410, "doubled"
        late_token = await too_late()
        other = await start("and now?")
        other_token = await asked("and now?")
        assert await answer(late_token, "too late") == 410
        assert await answer("nonsense", "x") == 400
        assert await answer(other_token, "in time") == 200
        assert await other.result() == "in time", "the late answer completed nothing else"


@pytest.mark.timeout(120)
async def test_worker_and_callback_server_are_processes_of_their_own(system: System) -> None:
    """On the embedded log there is one process: the test before this one is its case."""
    if not system.target.startswith("kafka:"):
        return
    questions: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def partner(request: web.Request) -> web.Response:
        questions.put_nowait(await request.json())
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/", partner)])
    runner, partner_url = await serve(app)
    queue = system.name("callback")
    script = str(Path(__file__).parent / "callback.py")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, script, role, system.target, system.namespace, queue, stdout=asyncio.subprocess.PIPE
        )
        for role in ("worker", "server")
    ]
    try:
        lines = [(await process.stdout.readline()).decode().strip() for process in processes if process.stdout]
        await _ask_and_answer(system, queue, partner_url, lines[1], questions)
    finally:
        for process in processes:
            process.kill()
            await process.wait()
        await runner.cleanup()


# ---------------------------------------------------------------- T8: at most once

PATIENT = 60.0
"""Nobody declares lost who stands still for less, in seconds."""


async def _life(
    target: str, namespace: str, queue: str, file: Path, lost_after: float, die_at: str = ""
) -> tuple[int, str]:
    script, arguments = str(Path(__file__).parent / "once.py"), [target, namespace, queue, str(file), str(lost_after)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, *arguments, die_at, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, output.decode()


@pytest.mark.timeout(240)
async def test_t8_an_at_most_once_activity_never_runs_twice_though_its_worker_is_killed(
    system: System, tmp_path: Path
) -> None:
    """Breaks when the code runs before its claim is known to be the first, or is delivered again after a start."""
    ran: list[int] = []

    async def killed(moment: str, lost_after: float) -> None:
        """`lost_after`: after so long the killed worker is declared lost; who stands still for so long before, too."""
        queue = system.name(f"once-{moment}")
        file = tmp_path / queue
        file.touch()
        target = system.target if system.target.startswith("kafka:") else f"file:{tmp_path / 'log' / queue}"
        code, _ = await _life(target, system.namespace, queue, file, lost_after, moment)
        assert code == -signal.SIGKILL, moment
        code, output = await _life(target, system.namespace, queue, file, PATIENT)
        assert code == 0
        runs, outcome = len(file.read_text().splitlines()), json.loads(output)
        ran.append(runs)
        if outcome == "done":
            assert runs == 1, moment
        else:
            assert "may or may not have run" in outcome["failed"], moment
            assert runs == (0 if moment in ("claim_sent", "claim_answered") else 1), moment
        assert outcome != "done" or moment in ("claim_sent", "reported"), moment

    async with asyncio.TaskGroup() as group:
        for moment in MOMENTS:
            group.create_task(with_longer_times(2, partial(killed, moment)))
    assert max(ran) <= 1, "however long it took"


# ---------------------------------------------------------------- cancellation


@pytest.mark.parametrize("name", ["beats", "asks"])
async def test_wait_goes_on_after_a_thread_has_stopped(system: System, name: str) -> None:
    handle, _ = await call(system, "beats", name, cancellation_type="wait")
    await handle.signal(Caller.stop)
    assert await handle.result() == "CancelledError"
    assert log[handle.id] == ["activity ended", "workflow goes on"]


async def test_wait_shows_the_request_and_goes_on_after_the_end(system: System) -> None:
    handle, _ = await call(system, "reluctant", cancellation_type="wait")
    await until_state(handle, "started")
    await handle.signal(Caller.stop)
    await until_state(handle, "cancel_requested")
    gates[handle.id].set()
    assert await handle.result() == "CancelledError"
    assert log[handle.id] == ["activity ended", "workflow goes on"]


async def test_try_goes_on_at_once(system: System) -> None:
    handle, _ = await call(system, "reluctant")
    await handle.signal(Caller.stop)
    assert await handle.result() == "CancelledError"
    assert log[handle.id] == ["workflow goes on"]
    gates[handle.id].set()


async def test_abandon_goes_on_at_once_and_asks_for_nothing(system: System) -> None:
    handle, info = await call(system, "by_token", cancellation_type="abandon")
    await handle.signal(Caller.stop)
    assert await handle.result() == "CancelledError"
    kinds = [event.type for event in await handle.history()]
    assert "ActivityCancelRequested" not in kinds
    with pytest.raises(ActivityNotFoundError):
        await system.client.complete_activity(info.task_token, "late")


# ---------------------------------------------------------------- a worker that is full


@activity.define
async def blocks() -> str:
    asked[activity.info().workflow_id].put_nowait(activity.info())
    await gates["blocks"].wait()
    return "unblocked"


@activity.define
async def counts() -> str:
    log["counts"].append(activity.info().workflow_id)
    return "counted"


async def test_t3_what_a_full_worker_holds_back_goes_to_one_with_room_and_runs_once(system: System) -> None:
    """One of three workers is full for as long as the test likes; nobody declares it lost."""
    queue = system.name("full")
    gates["blocks"].clear()
    log["counts"].clear()
    options: dict[str, Any] = {"activities": [blocks, counts], "lost_after": 600}

    async def counted(number: int) -> None:
        ids = [system.name("counted") for _ in range(number)]
        on: dict[str, Any] = {"task_queue": queue}
        handles = [await system.client.start(Caller, "counts", [], on, id=id, task_queue=QUEUE) for id in ids]
        assert [await handle.result() for handle in handles] == ["counted"] * number
        assert sorted(log["counts"]) == sorted({*log["counts"]}), "none ran twice"

    async with system.worker(queue, max_concurrent_activities=1, **options):
        full, _ = await call(system, "blocks", task_queue=queue)
        async with system.worker(queue, **options), system.worker(queue, **options):
            await counted(16)
            gates["blocks"].set()
            assert await full.result() == "unblocked"
            await counted(16)
