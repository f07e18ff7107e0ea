"""Plays about what the examples leave out: policies for IDs, cron, activities that wait for a person, code with a bug,
builds of workers, a rolling upgrade, schedules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from odradek import (
    RetryPolicy,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    SchedulePolicy,
    ScheduleSpec,
    WorkflowAlreadyStartedError,
    WorkflowNotFoundError,
    activity,
    workflow,
)
from odradek._schedules.opaque import OpaqueConverter
from odradek._schedules.state import TASK_QUEUE as SCHEDULES
from odradek._schedules.system import ScheduleWorkflow

from examples.rolling_upgrade import activities as payment_activities
from examples.rolling_upgrade import v1, v2

from .journal import executed, world_time
from .programs import insist
from .stage import Hire, Play, Stage, always, noted

TERMINATED = "WorkflowTerminatedError"


@workflow.define
class Waiting:
    """Waits to be let go."""

    def __init__(self) -> None:
        self.may_go = False

    async def run(self, name: str) -> str:
        await workflow.wait_condition(lambda: self.may_go)
        return name

    @workflow.signal
    def go(self) -> None:
        self.may_go = True


# ---------------------------------------------------------------- policies


async def _policies(stage: Stage) -> None:
    """One ID, and all that may be wished for when there is a workflow of it."""
    first = await _begin(stage, "first")
    stage.expect("a second start", await _begin(stage, "second"), "refused")
    stage.expect("to use the open one", await _begin(stage, "third", id_conflict_policy="use_existing"), first)
    fourth = await _begin(stage, "fourth", id_conflict_policy="terminate_existing")
    if fourth == first:
        stage.expect("to terminate the open one", fourth, "another run")
    handle = stage.client.get(stage.name, Waiting)
    await stage.signal(handle, "go", Waiting.go)
    stage.expect(stage.name, await stage.once("the fourth's", lambda: stage.result(handle)), "fourth")
    stage.expect("to begin again", await _begin(stage, "fifth", id_reuse_policy="reject"), "refused")
    stage.expect("after success", await _begin(stage, "sixth", id_reuse_policy="allow_if_failed"), "refused")
    await _begin(stage, "seventh")
    again = stage.client.get(stage.name, Waiting)
    await stage.once("end", lambda: again.with_options(request_id=f"end-{stage.name}").terminate("enough"))
    await _begin(stage, "eighth", id_reuse_policy="allow_if_failed")
    await stage.signal(stage.client.get(stage.name, Waiting), "end", Waiting.go)
    stage.expect(stage.name, await stage.result(stage.client.get(stage.name, Waiting)), "eighth")


async def _begin(stage: Stage, key: str, **options: Any) -> str:
    """Ask for a start; the run, or refused."""
    request_id = f"start-{stage.name}-{key}"

    async def start() -> str:
        try:
            handle = await stage.client.start(
                Waiting, key, id=stage.name, task_queue=stage.name, request_id=request_id, **options
            )
        except WorkflowAlreadyStartedError:
            return "refused"
        return str(handle.run_id)

    run_id = str(await stage.once(request_id, start))
    if run_id != "refused" and options.get("id_conflict_policy") != "use_existing":
        stage.acknowledged("start", stage.name, request_id)
    return run_id


# ---------------------------------------------------------------- cron


@workflow.define
async def each_minute(name: str) -> str:
    await asyncio.sleep(0.5)
    return name


async def _cron(stage: Stage) -> None:
    handle = await stage.start(each_minute, "tick", id=stage.name, cron_schedule="* * * * *")
    runs = stage.memory.setdefault("runs", set())  # a former life may have ended it
    while len(runs) < 3:
        runs.add((await insist(handle.describe)).run_id)
        await asyncio.sleep(7)
    await stage.once("end", lambda: handle.with_options(request_id=f"end-{stage.name}").terminate("enough"))
    stage.expect(stage.name, await stage.result(handle), TERMINATED)


# ---------------------------------------------------------------- activities that wait for a person

TWICE = RetryPolicy(initial_interval=0.2, maximum_attempts=2)


@activity.define(retry_policy=TWICE, on_exhausted="pause", start_to_close_timeout=30)
async def helped(token: str) -> str:
    """Works only when somebody has had a look."""
    if executed().attempt <= 2:
        raise ValueError("not without help")
    return token


@activity.define(retry_policy=RetryPolicy(initial_interval=5, maximum_interval=5), start_to_close_timeout=30)
async def slow_to_try(token: str) -> str:
    if executed().attempt <= 2:
        raise ValueError("later")
    return token


@workflow.define
async def patient(name: str) -> list[str]:
    return list(await asyncio.gather(helped(f"{name}-1"), slow_to_try(f"{name}-2")))


async def _patience(stage: Stage) -> None:
    handle = await stage.start(patient, stage.name, id=stage.name)
    ending = asyncio.create_task(stage.result(handle))
    changes = 0
    while not ending.done():
        changes += 1
        for kind in ("helped", "slow_to_try"):
            mine = handle.with_options(request_id=f"{stage.name}-{kind}-{changes}-{stage.rng.random()}")
            with suppress(WorkflowNotFoundError):  # it is not waiting, or has ended
                await insist(lambda m=mine, k=kind: _help(stage, m, k))  # type: ignore[misc]
        await asyncio.sleep(1)
    stage.expect(stage.name, await ending, [f"{stage.name}-1", f"{stage.name}-2"])


async def _help(stage: Stage, handle: Any, kind: str) -> None:
    if kind == "helped":
        seen = await handle.describe()
        if any(one.activity_type == "helped" and one.paused for one in seen.pending_activities):
            await handle.retry_activity("helped")
    elif stage.rng.random() < 0.5:
        await handle.update_activity_options("slow_to_try", retry_policy=RetryPolicy(initial_interval=0.5))
    elif stage.rng.random() < 0.5:
        await handle.pause_activity("slow_to_try", reason="to see")
        await stage.client.get(stage.name, patient).unpause_activity("slow_to_try")
    else:
        await handle.unpause_activity("slow_to_try")


# ---------------------------------------------------------------- code with a bug

REPAIRED_S = 14.0
"""When the bug is gone, from all machines at once."""


@activity.define(start_to_close_timeout=30)
async def before_the_bug() -> int:
    executed()
    return 1


@workflow.define
async def buggy(name: str) -> str:
    found = await before_the_bug()
    if world_time() < REPAIRED_S:
        raise ValueError(f"a bug: {found}")
    return name


async def _buggy(stage: Stage) -> None:
    handle = await stage.start(buggy, stage.name, id=stage.name)
    stage.expect(stage.name, await stage.result(handle), stage.name)


# ---------------------------------------------------------------- builds and upgrades


def _of_build(build: str) -> Any:
    class Built:
        """Says which build it began on, and which it ended on."""

        def __init__(self) -> None:
            self.may_go = False

        async def run(self, pause: float) -> list[str]:
            began = await workflow.side_effect(lambda: build)
            await asyncio.sleep(pause)
            await workflow.wait_condition(lambda: self.may_go)
            return [began, await workflow.side_effect(lambda: build)]

        @workflow.signal
        def go(self) -> None:
            self.may_go = True

    return workflow.define(name="Built")(Built)


BUILDS = {build: _of_build(build) for build in ("one", "two")}


def _builds(versioning: str) -> Any:
    def hire(machine: str, at: float) -> Sequence[Hire]:
        return [([code], [], {"build_id": build, "versioning": versioning}) for build, code in BUILDS.items()]

    return hire


async def _built(stage: Stage, follows: bool) -> None:
    """Workflows of two builds; what is pinned ends where it began, what follows ends on the newer one, unless a worker
    of the older one takes up a task again that it was given before."""
    await stage.once("one", lambda: stage.client.set_current_build(stage.name, "one"))
    old = [await stage.start("Built", 0.5, id=f"{stage.name}-{n}") for n in range(2)]
    for number, handle in enumerate(old):
        while (await insist(handle.describe)).history_length < 4:  # it has begun
            await asyncio.sleep(0.5)
        stage.memory[f"began {number}"] = True
    await stage.once("two", lambda: stage.client.set_current_build(stage.name, "two"))
    new = [await stage.start("Built", 0.5, id=f"{stage.name}-{n + 2}") for n in range(2)]
    for handle in (*old, *new):
        await stage.signal(handle, "go", "go")
    late = [["one", "one"], ["one", "two"], ["two", "one"], ["two", "two"]] if stage.lives > 1 else []
    ends = [["one", "two"], ["one", "one"]] if follows else [["one", "one"]]
    for handle in old:
        stage.expect(handle.id, await stage.result(handle), *ends, *late)
    for handle in new:
        stage.expect(handle.id, await stage.result(handle), ["two", "two"], *late)
    found = await insist(lambda: stage.client.builds(stage.name))
    stage.expect(f"workflows that need builds of {stage.name}", sum(one.open_workflows for one in found.builds), 0)


async def _pinned(stage: Stage) -> None:
    await _built(stage, follows=False)


async def _follows(stage: Stage) -> None:
    await _built(stage, follows=True)


UPGRADE_S = 9.0


def _payments(machine: str, at: float) -> Sequence[Hire]:
    """The machines begin with the old code, and are upgraded one after the other."""
    code = v1.Payment if at < UPGRADE_S else v2.Payment
    parts = payment_activities
    return [([code], noted(parts.charge, parts.check_for_fraud, parts.send_receipt), {})]


async def _upgrade(stage: Stage) -> None:
    payments = []
    for number in range(3):
        payments.append(await stage.start(v1.Payment, 1299, id=f"{stage.name}-{number}"))
        await asyncio.sleep(max(0.0, 4.0 * (number + 1) - stage.hub.now))
    for payment in payments:
        await stage.signal(payment, "arrived", v1.Payment.arrived)
        done = ["charged 12.99", "receipt sent"]
        stage.expect(payment.id, await stage.result(payment), done, ["checked", *done])


# ---------------------------------------------------------------- schedules


@activity.define(start_to_close_timeout=30)
async def note_tick(at: str) -> str:
    executed()
    return at


@workflow.define
async def tick(name: str) -> str:
    return await note_tick(name)


def _scheduling(machine: str, at: float) -> Sequence[Hire]:
    """Beside the worker of its actions, each machine has one for the schedules themselves."""
    schedules: dict[str, Any] = {"task_queue": SCHEDULES, "converter": OpaqueConverter}
    return [([tick], [note_tick], {}), ([ScheduleWorkflow], [], schedules)]


async def _schedule(stage: Stage) -> None:
    """Four times, each of which starts one workflow, whatever befalls meanwhile; and one more by hand."""
    action = ScheduleActionStartWorkflow(tick, "tack", id=stage.name, task_queue=stage.name)
    schedule = Schedule(
        action=action,
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=3))]),
        policy=SchedulePolicy(overlap="allow_all"),
    )
    create = stage.client.create_schedule
    await stage.once("create", lambda: create(stage.name, schedule, request_id=f"create-{stage.name}"))
    handle = stage.client.get_schedule(stage.name)
    seen = await insist(handle.describe)
    while seen.num_actions < 4:
        await asyncio.sleep(2)
        seen = await insist(handle.describe)
    interrupted = stage.rng.random() < 0.5
    if interrupted:  # times that come meanwhile are left out
        await insist(handle.pause)
        await insist(handle.unpause)
    await insist(lambda: handle.pause(note="that was all"))
    seen = await insist(handle.describe)
    while seen.running_actions:
        await asyncio.sleep(1)
        seen = await insist(handle.describe)
    times = [one.nominal_time for one in seen.recent_actions]
    stage.expect(f"{stage.name}: times that came twice", len(times) - len(set(times)), 0)
    gaps = {(b - a).total_seconds() for a, b in zip(sorted(times), sorted(times)[1:], strict=False)}
    if not gaps <= {3.0} and not interrupted:
        stage.expect(f"{stage.name}: seconds between times", gaps, {3.0})
    statuses = {one.status for one in seen.recent_actions}
    stage.expect(f"{stage.name}: statuses", statuses, {"completed"})
    await stage.once("delete", handle.delete)


def _play(name: str, act: Any, workflows: list[Any], activities: list[Any], **options: Any) -> Play:
    hire = options.pop("hire", None) or always(workflows, activities)
    return Play(name=name, hire=hire, act=act, replayed=workflows, **options)


TRIALS = [
    _play("policies", _policies, [Waiting], []),
    _play("cron", _cron, [each_minute], []),
    _play("patience", _patience, [patient], [helped, slow_to_try]),
    _play("buggy", _buggy, [buggy], [before_the_bug]),
    _play("pinned", _pinned, [], [], hire=_builds("pinned")),
    _play("follows", _follows, [], [], hire=_builds("auto_upgrade")),
    _play("upgrade", _upgrade, [v2.Payment], [], hire=_payments, deployments=(UPGRADE_S,)),
    _play("schedule", _schedule, [tick], [], hire=_scheduling),
]
