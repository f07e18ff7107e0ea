"""A workflow that does what its script says: how randomly generated workflows run. A script is a list of steps, each
a list of its kind and what it needs; the result tells what the code saw of each step, and every message that it got."""

from __future__ import annotations

import asyncio
from typing import Any

from odradek import (
    ActivityError,
    ActivityTimeoutError,
    ApplicationError,
    ChildWorkflowError,
    RetryPolicy,
    WorkflowAlreadyStartedError,
    WorkflowNotFoundError,
    activity,
    workflow,
)

from .journal import done_here, executed, hand_over, world_time

QUICK = RetryPolicy(initial_interval=0.2, backoff_coefficient=2, maximum_interval=2)

NOWHERE = "forbidden"
"""A task queue whose topic the log never makes."""

Step = list[Any]


# ---------------------------------------------------------------- activities


@activity.define(retry_policy=QUICK, start_to_close_timeout=30)
async def quick(token: str, failures: int) -> str:
    """Fails so often, then gives its token back."""
    if executed().attempt <= failures:
        raise ValueError(f"{token} fails")
    return token


@activity.define(retry_policy=QUICK, start_to_close_timeout=30)
def plain(token: str, failures: int) -> str:
    if executed().attempt <= failures:
        raise ValueError(f"{token} fails")
    return token


@activity.define(retry_policy=QUICK, start_to_close_timeout=30)
async def slow(token: str, failures: int) -> str:
    if executed().attempt <= failures:
        raise ValueError(f"{token} fails")
    await asyncio.sleep(3)
    return token


@activity.define(retry_policy=QUICK, start_to_close_timeout=4)
async def stuck(token: str, failures: int) -> str:
    """Attempts that never end, until they are timed out."""
    if executed().attempt <= failures:
        await asyncio.sleep(300)
    return token


@activity.define(retry_policy=QUICK, start_to_close_timeout=60, heartbeat_timeout=3)
async def beating(token: str, failures: int) -> str:
    info = executed()
    for n in range(8):
        activity.heartbeat(n)
        if info.attempt <= failures and n == 3:
            await asyncio.sleep(300)
        await asyncio.sleep(0.6)
    return token


@activity.define(retry_policy=RetryPolicy(initial_interval=0.2, maximum_attempts=2), start_to_close_timeout=30)
async def hopeless(token: str, failures: int) -> str:
    executed()
    raise ApplicationError(f"{token} never works", non_retryable=failures > 1)


@activity.define(delivery="at_most_once", start_to_close_timeout=30)
async def once(token: str, failures: int) -> str:
    executed()
    await asyncio.sleep(0.2)
    return token


@activity.define(retry_policy=QUICK, start_to_close_timeout=30)
async def local(token: str, failures: int) -> str:
    """Runs in the worker of its workflow, as part of a step: again, if the step is lost."""
    if activity.info().attempt <= failures:
        raise ValueError(f"{token} fails")
    return done_here(token)


@activity.define(retry_policy=QUICK, start_to_close_timeout=30)
async def brief(token: str, failures: int) -> str:
    """Takes a moment, and only then fails."""
    info = executed()
    await asyncio.sleep(0.7)
    if info.attempt <= failures:
        raise ValueError(f"{token} fails")
    return token


@activity.define(retry_policy=QUICK, start_to_close_timeout=10)
async def handed(token: str, failures: int) -> str:
    """Somebody outside of all workers ends its attempts, by their task tokens."""
    hand_over(token, fails=executed().attempt <= failures)
    raise activity.CompleteAsync


ACTIVITIES = [local, quick, plain, slow, stuck, beating, hopeless, once, brief, handed]
KINDS = {one.name: one for one in ACTIVITIES[1:]}


# ---------------------------------------------------------------- the workflow


@workflow.define
class Scripted:
    def __init__(self) -> None:
        self.pokes: list[str] = []
        self.peers: list[str] = []

    async def run(self, script: list[Any], seen: list[Any], pokes: list[str], peers: list[str]) -> dict[str, Any]:
        self.pokes = pokes + self.pokes
        self.peers = peers + self.peers
        for number, step in enumerate(script):
            if step[0] == "again":
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(Scripted, script[number + 1 :], seen, self.pokes, self.peers)
            if step[0] == "die" and workflow.info().attempt <= step[1]:
                raise ApplicationError("this attempt of the workflow dies")
            seen.append(await self.do(step))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return {"seen": seen, "pokes": self.pokes, "peers": self.peers}

    # ------------------------------------------------------------ messages

    @workflow.signal
    def poke(self, token: str) -> None:
        self.pokes.append(token)

    @workflow.signal
    async def poke_slowly(self, token: str) -> None:
        await asyncio.sleep(0.3)
        self.pokes.append(token)

    @workflow.signal
    def from_peer(self, token: str) -> None:
        self.peers.append(token)

    @workflow.update
    async def ask(self, token: str) -> int:
        if len(token) % 2:
            await asyncio.sleep(0.1)
        self.pokes.append(token)
        if "fail" in token:
            raise ApplicationError(f"{token} was heard, and no more")
        return len(self.pokes)

    @ask.validator
    def _check_ask(self, token: str) -> None:
        if "bad" in token:
            raise ValueError("no bad tokens")

    @workflow.query
    def heard(self) -> list[str]:
        return self.pokes

    # ------------------------------------------------------------ steps

    async def do(self, step: Step) -> Any:
        return await getattr(self, f"do_{step[0]}")(*step[1:])

    async def do_act(self, kind: str, token: str, failures: int) -> str:
        try:
            return await KINDS[kind](token, failures)
        except (ApplicationError, ActivityError, ActivityTimeoutError) as error:
            return f"failed {token}: {type(error).__name__}"

    async def do_local(self, token: str, failures: int) -> str:
        return await workflow.execute_local_activity(local, token, failures)

    async def do_side(self, token: str) -> str:
        return await workflow.side_effect(lambda: done_here(token))

    async def do_sleep(self, seconds: float) -> str:
        before = workflow.time()
        await asyncio.sleep(seconds)
        return "slept" if workflow.time() >= before + seconds - 0.002 else f"slept {workflow.time() - before} s only"

    async def do_par(self, steps: list[Step]) -> list[Any]:
        return list(await asyncio.gather(*(self.do(step) for step in steps)))

    async def do_limit(self, seconds: float, step: Step) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await self.do(step)
        except TimeoutError:
            return "over"

    async def do_wait(self, count: int) -> str:
        await workflow.wait_condition(lambda: len(self.pokes) >= count)
        return "waited"

    async def do_child(self, child_id: str, script: list[Step], mode: str) -> Any:
        policy: Any = "abandon" if mode == "abandon" else "terminate"
        try:
            child = await workflow.start_child(Scripted, script, [], [], [], id=child_id, parent_close_policy=policy)
        except WorkflowAlreadyStartedError:
            return "a child of that ID is there"
        try:
            if mode == "abandon":
                return "abandoned"
            if mode == "poke":
                for number in range(2):
                    await child.signal(Scripted.poke, f"{child_id}.{number}")
            if mode == "cancel":
                await child.cancel()
            return await child
        except (ChildWorkflowError, WorkflowNotFoundError) as error:
            return f"no result: {type(error).__name__}"

    async def do_peer(self, workflow_id: str, token: str) -> str:
        try:
            await workflow.external(workflow_id, Scripted).signal(Scripted.from_peer, token)
        except WorkflowNotFoundError:
            return "gone"
        return f"sent {token}"

    async def do_nowhere(self, token: str) -> str:
        try:
            return await quick.with_options(task_queue=NOWHERE)(token, 0)
        except ActivityError:
            return "nowhere"

    async def do_patch(self, name: str) -> str:
        return "new" if workflow.patched(name) else "old"

    async def do_random(self) -> str:
        return f"{workflow.uuid4()} {workflow.random().random()} {workflow.now().isoformat()}"

    async def do_attribute(self, value: str) -> str:
        workflow.upsert_search_attributes({"value": value})
        return value

    async def do_stop(self, kind: str, token: str, after: float, cancellation: Any) -> str:
        """Begin an activity, and cancel it a little later."""
        call = asyncio.create_task(KINDS[kind].with_options(cancellation_type=cancellation)(token, 0))
        await asyncio.sleep(after)
        call.cancel()
        try:
            return await call
        except (asyncio.CancelledError, ActivityTimeoutError):  # one that was cancelled is not tried again
            return "stopped"

    async def do_unpatch(self, name: str) -> str:
        workflow.deprecate_patch(name)
        return "new"

    async def do_fail(self, token: str) -> str:
        raise ApplicationError(f"{token}: this workflow fails", non_retryable=True)

    async def do_outside(self, child_id: str) -> Any:
        """A child that nobody owns is cancelled by its ID, as if it were anybody's."""
        try:
            await workflow.start_child(
                Scripted, [["sleep", 60.0]], [], [], [], id=child_id, parent_close_policy="abandon"
            )
            await workflow.external(child_id, Scripted).cancel("it was asked for")
        except (WorkflowAlreadyStartedError, WorkflowNotFoundError) as error:
            return type(error).__name__
        return "cancelled"

    async def do_clash(self, child_id: str) -> str:
        """Two children of one ID: the second cannot begin while the first is there."""
        script = [["sleep", 5.0]]
        children = [
            workflow.start_child(Scripted, script, [], [], [], id=child_id, parent_close_policy="request_cancel")
            for _ in range(2)
        ]
        begun = await asyncio.gather(*children, return_exceptions=True)
        refused = [one for one in begun if isinstance(one, WorkflowAlreadyStartedError)]
        return f"{len(refused)} refused"

    async def do_forget(self, value: str) -> str:
        workflow.upsert_search_attributes({"value": None, "other": value})
        return value

    async def do_trip(self, until: float) -> str:
        """A bug, until everybody has code without it."""
        if world_time() < until:
            raise ValueError("a bug")
        return "repaired"

    async def do_die(self, attempts: int) -> str:
        return f"attempt {workflow.info().attempt}"
