"""Workflows and activities of the end-to-end tests."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from odradek import ActivityError, ActivityTimeoutError, ApplicationError, RetryPolicy, activity, workflow

calls: defaultdict[str, list[activity.Info]] = defaultdict(list)
"""What each workflow's activities were told, in the order of their executions."""

gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
"""Activities of a workflow wait here until the test lets them go."""

QUICK = RetryPolicy(initial_interval=0.05, backoff_coefficient=1)


def called() -> activity.Info:
    info = activity.info()
    calls[info.workflow_id].append(info)
    return info


def attempts(error: BaseException) -> int:
    """How often the activity was tried that the error came from."""
    return error.__cause__.attempt if isinstance(error.__cause__, ActivityError) else 0


@dataclass
class Item:
    name: str
    cents: int


class OutOfStock(ApplicationError, non_retryable=True):
    """Raised in an activity, caught as itself in the workflow."""


@activity.define(retry_policy=QUICK)
async def price(item: Item) -> int:
    called()
    if item.name == "gone":
        raise OutOfStock("nothing left", item.cents)
    return item.cents


@activity.define(retry_policy=QUICK)
def price_in_thread(item: Item) -> int:
    called()
    return item.cents * 2


@activity.define(retry_policy=QUICK)
async def flaky(failures: int) -> int:
    info = called()
    if info.attempt <= failures:
        raise ValueError(f"attempt {info.attempt}")
    return info.attempt


@activity.define(retry_policy=RetryPolicy(initial_interval=0.05, maximum_attempts=3))
async def hopeless() -> None:
    called()
    raise RuntimeError("never")


@activity.define(retry_policy=RetryPolicy(initial_interval=0.05, maximum_attempts=2), start_to_close_timeout=0.3)
async def too_slow() -> None:
    called()
    await asyncio.sleep(60)


@activity.define(retry_policy=RetryPolicy(initial_interval=0.05, maximum_attempts=2))
async def silent_after_beat() -> list[int]:
    info = called()
    if info.attempt == 2:
        return list(info.heartbeat_details)
    activity.heartbeat(40, 2)
    await asyncio.sleep(60)
    return []


@activity.define(heartbeat_timeout=30)
async def waits_for_cancel() -> None:
    gates[f"{called().workflow_id} has begun"].set()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        gates[activity.info().workflow_id].set()
        raise


@activity.define
def waits_for_gate() -> str:
    info = called()
    gates[info.workflow_id].wait(30)
    return info.idempotency_key


@activity.define(schedule_to_start_timeout=0.5, task_queue="nobody")
async def nobody_polls_this() -> None: ...


@activity.define(
    schedule_to_close_timeout=60,
    retry_policy=RetryPolicy(initial_interval=0.05, backoff_coefficient=2_400, maximum_interval=3_600),
)
async def fails_for_too_long() -> None:
    """The pause before the third attempt is longer than there is time."""
    called()
    raise RuntimeError("again")


@workflow.define
class Buy:
    """Two activities of either kind, an error caught as itself, and a signal with its arguments."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.go = False

    async def run(self, item: Item) -> dict[str, int]:
        try:
            first = await price(item)
        except OutOfStock as error:
            return {"attempt": attempts(error), **{str(d): 0 for d in error.details}}
        second = await price_in_thread(item)
        await workflow.wait_condition(lambda: self.go)
        return {"first": first, "second": second, "notes": len(self.notes)}

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.signal
    def finish(self) -> None:
        self.go = True

    @workflow.query
    def heard(self) -> list[str]:
        return self.notes


@workflow.define
async def retried(failures: int) -> int:
    return await flaky(failures)


@workflow.define
async def runs_out_of_attempts() -> None:
    await hopeless()


@workflow.define
async def reports_timeout(which: str) -> str:
    chosen = {
        "start_to_close": too_slow, "schedule_to_start": nobody_polls_this, "schedule_to_close": fails_for_too_long,
    }[which]
    try:
        await chosen()
    except ActivityTimeoutError as error:
        return f"{error.timeout_type} {error.attempt}"
    except ActivityError as error:
        return f"failed {error.type}"
    except RuntimeError as error:
        return f"failed {type(error).__name__} {attempts(error) > 1}"
    return "no timeout"


@workflow.define
async def heartbeats(timeout: float) -> list[int]:
    return await silent_after_beat.with_options(heartbeat_timeout=timeout)()


@workflow.define
class CancelsItsActivity:
    """Once it is told that the activity has begun."""

    def __init__(self) -> None:
        self.begun = False

    async def run(self) -> str:
        call = asyncio.ensure_future(waits_for_cancel())
        await workflow.wait_condition(lambda: self.begun)
        try:
            async with asyncio.timeout(0.1):
                await call
        except TimeoutError:
            return "timed out"
        return "done"

    @workflow.signal
    def has_begun(self) -> None:
        self.begun = True


@workflow.define
async def waits_long() -> str:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.shield(price(Item("clean-up", 1)))
        raise
    return "slept"


@workflow.define
async def holds_activity() -> str:
    return await waits_for_gate()


@workflow.define
async def sleeps(seconds: float) -> float:
    before = workflow.now()
    await asyncio.sleep(seconds)
    return (workflow.now() - before) / timedelta(seconds=1)


@workflow.define
async def many_at_once(count: int) -> int:
    return sum(await asyncio.gather(*[price(Item("x", n)) for n in range(count)]))


broken = True
"""Whether the code of `has_a_bug` is still the old one."""


@workflow.define
async def has_a_bug(number: int) -> int:
    await price(Item("x", number))
    if broken:
        raise KeyError("a typo")
    return number


WORKFLOWS = [
    Buy, retried, runs_out_of_attempts, reports_timeout, heartbeats, CancelsItsActivity, waits_long,
    holds_activity, sleeps, many_at_once, has_a_bug,
]
ACTIVITIES = [
    price, price_in_thread, flaky, hopeless, too_slow, silent_after_beat, waits_for_cancel, waits_for_gate,
    fails_for_too_long,
]
