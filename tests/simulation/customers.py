"""What clients do with scripted workflows: start them, send them messages, meddle with some, check their results."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from odradek import (
    Client,
    RetryPolicy,
    UpdateFailedError,
    UpdateRejectedError,
    WorkflowFailedError,
    WorkflowHandle,
    WorkflowNotFoundError,
)
from odradek.errors import ActivityNotFoundError, InvalidRequestError, QueryRejectedError, WorkflowClosedError

from .journal import Acknowledged, Journal, Told
from .programs import QUEUE, insist
from .scripted import Scripted, Step
from .scripts import Mix, Writer, misfit_script, sent_to_peers

MEDDLING = {"none": 4.0, "pause": 1, "reset": 1, "cancel": 1, "terminate": 1, "timeout": 1}
"""What may befall a workflow from outside, and how often."""

ALL_MEDDLING = {**MEDDLING, "look": 1.0, "batch": 0.5}
"""With what the seeds of former days do not know."""

RESETS = ("reset", "batch")


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What clients like to do: weights of meddling, how many messages they send to a workflow, how long they wait
    between them and before they meddle (s), how long starts are delayed (s), where resets go to (0: the beginning);
    kinds of messages, and with which they start workflows; whether they ask workflows often."""

    meddling: Mapping[str, float] = field(default_factory=lambda: MEDDLING)
    messages: tuple[int, int] = (0, 5)
    pauses: tuple[float, ...] = (0.0, 0.1, 2.0, 8.0)
    delays: tuple[float, ...] = (0.0, 0.0, 3.0)
    depths: tuple[float, ...] = (0.0, 0.3, 0.6, 1.0)
    kinds: tuple[str, ...] = ("signal", "signal", "slow", "update", "refused")
    with_start: tuple[str, ...] = ("signal",)
    curious: bool = False


@dataclass
class Task:
    """One workflow from its start to its end. `messages`: what it is sent (signal, slow, update, refused), and a token.

    `done`: how many of the messages were acknowledged; a client that begins again goes on there. `depth`: where a reset
    goes to (0: the beginning, 1: the end).
    """

    workflow_id: str
    script: list[Step]
    messages: list[tuple[str, str]]
    meddling: str
    delay: float
    attempts: int
    with_start: bool
    pauses: list[float] = field(default_factory=list)
    depth: float = 0.0
    curious: bool = False
    started: bool = False
    meddled: bool = False
    done: int = 0
    result: dict[str, Any] | None = None
    outcome: str = ""

    @property
    def strict(self) -> bool:
        """Whether the result must be what the script says."""
        return self.meddling in ("none", "pause", "look")


def tasks(rng: Random, count: int, mix: Mix, habits: Habits) -> list[Task]:
    ids = [f"w{n}" for n in range(count)]
    return [_task(rng, workflow_id, ids, mix, habits) for workflow_id in ids]


def _task(rng: Random, workflow_id: str, ids: list[str], mix: Mix, habits: Habits) -> Task:
    meddling = rng.choices(list(habits.meddling), list(habits.meddling.values()))[0]
    choice = ("signal", "slow") if meddling in RESETS else habits.kinds
    kinds = [rng.choice(choice) for _ in range(rng.randint(*habits.messages))]
    marks = {"refused": "bad", "failing": "fail"}
    messages = [(kind, f"{workflow_id}.m{n}{marks.get(kind, '')}") for n, kind in enumerate(kinds)]
    heard = sum(kind != "refused" for kind in kinds)
    script = Writer(rng, workflow_id, ids, mix).script(heard)
    goes_on = any(step[0] == "again" for step in script)
    if meddling == "batch" and goes_on:
        meddling = "look"  # a run is named there, and what came for those that follow it is not given again
    attempts = rng.choice((0, 0, 0, 0, 2))
    if attempts and not goes_on and not heard:
        script = [["die", attempts], *script]
    else:
        attempts = 0
    return Task(
        workflow_id, script, messages, meddling, rng.choice(habits.delays), attempts,
        rng.random() < 0.2 and bool(kinds) and kinds[0] in habits.with_start,
        [rng.choice(habits.pauses) for _ in range(8)],
        rng.choice(habits.depths) if meddling == "reset" else 0.0, habits.curious,
    )  # fmt: skip


async def run(client: Client, journal: Journal, task: Task) -> None:
    """Begin a task, or go on with it."""
    await asyncio.sleep(task.pauses[0])
    if not task.started:
        await _start(client, journal, task)
    handle = client.get(task.workflow_id, Scripted)
    async with asyncio.TaskGroup() as group:
        group.create_task(_talk(handle, journal, task))
        group.create_task(_meddle(client, handle, journal, task))
    await _end(handle, journal, task)


async def end_what_is_handed(client: Client, journal: Journal, tasks: Sequence[Task]) -> None:
    """End the attempts of activities that were given to us, as they come; a client that begins again tries all."""
    done = 0
    while any("'handed'" in str(task.script) for task in tasks):
        for token, result, fails in journal.handed[done:]:
            with suppress(ActivityNotFoundError):  # it has ended before
                if fails:
                    error = ValueError(f"{result} fails outside")
                    await insist(lambda t=token, e=error: client.fail_activity(t, e))  # type: ignore[misc]
                else:
                    await insist(lambda t=token, r=result: client.complete_activity(t, r))  # type: ignore[misc]
            done += 1
        await asyncio.sleep(0.7)


async def _start(client: Client, journal: Journal, task: Task) -> None:
    options: dict[str, Any] = {
        "id": task.workflow_id,
        "task_queue": QUEUE,
        "request_id": f"start-{task.workflow_id}",
        "start_delay": task.delay,
    }
    if task.attempts:
        options["retry_policy"] = RetryPolicy(initial_interval=0.5, maximum_attempts=task.attempts + 1)
    if task.meddling == "timeout":
        options["execution_timeout"] = 12
    arguments: tuple[Any, ...] = (task.script, [], [], [])
    if task.with_start and task.messages[0][0] == "update":
        token = task.messages[0][1]
        options["id_conflict_policy"] = "use_existing"
        try:
            await insist(
                lambda: client.update_with_start(
                    Scripted, *arguments, **options, update=Scripted.ask, update_args=[token]
                )
            )
            journal.acknowledged.append(Acknowledged("update", task.workflow_id, token, "client"))
        except WorkflowClosedError:  # started, but it ended before it answered
            if task.strict:
                raise
        task.done = 1
    elif task.with_start:
        token = task.messages[0][1]
        await insist(
            lambda: client.signal_with_start(Scripted, *arguments, **options, signal=Scripted.poke, signal_args=[token])
        )
        journal.acknowledged.append(Acknowledged("signal", task.workflow_id, token, "client"))
        task.done = 1
    else:
        await insist(lambda: client.start(Scripted, *arguments, **options))
    journal.acknowledged.append(Acknowledged("start", task.workflow_id, f"start-{task.workflow_id}", "client"))
    task.started = True


async def _talk(handle: WorkflowHandle[Scripted, Any], journal: Journal, task: Task) -> None:
    """Send the messages one after the other."""
    for number, (kind, token) in enumerate(task.messages):
        if number < task.done:
            continue
        await asyncio.sleep(task.pauses[1 + number])
        if task.curious:
            await _check_heard(handle, journal, task)
        mine = handle.with_options(request_id=f"message-{token}")
        try:
            answer = await _send(mine, kind, token)
        except WorkflowNotFoundError:
            if task.strict and kind != "refused":
                journal.wrong.append(f"{token} was refused by {task.workflow_id}, which waits for it")
            return
        if kind != "refused":
            heard = "signal" if kind in ("signal", "slow") else "update"
            journal.acknowledged.append(Acknowledged(heard, task.workflow_id, token, "client"))
        if answer is not None:
            journal.told.append(Told("update", task.workflow_id, f"message-{token}", answer))
        task.done = number + 1
        if kind == "signal":
            await _check_heard(handle, journal, task)


async def _check_heard(handle: WorkflowHandle[Scripted, Any], journal: Journal, task: Task) -> None:
    """A query knows of all that was acknowledged before it; an update that came with the start may be accepted only."""
    first = 1 if task.with_start and task.messages[0][0] == "update" else 0
    sent = [token for kind, token in task.messages[first : task.done] if kind in ("signal", "update")]
    if task.strict and sent:
        try:
            heard = await insist(lambda: handle.query(Scripted.heard))
        except QueryRejectedError:
            if "'trip'" in str(task.script):
                return  # its code has a bug just now
            raise
        for token in set(sent) - set(heard):
            journal.wrong.append(f"a query of {task.workflow_id} does not know of {token}, acknowledged before")


async def _send(mine: WorkflowHandle[Scripted, Any], kind: str, token: str) -> int | None:
    """Send a message; the answer, if it has one."""
    if kind == "signal":
        await insist(lambda: mine.signal(Scripted.poke, token))
    elif kind == "slow":
        await insist(lambda: mine.signal(Scripted.poke_slowly, token))
    elif kind == "accepted":
        update = await insist(lambda: mine.start_update(Scripted.ask, token))
        return await insist(update.result)
    else:
        try:
            return await insist(lambda: mine.update(Scripted.ask, token))
        except (UpdateRejectedError, UpdateFailedError) as error:
            if kind != ("refused" if isinstance(error, UpdateRejectedError) else "failing"):
                raise
    return None


async def _reset_in_a_batch(client: Client, task: Task) -> None:
    async for _ in client.reset_batch([task.workflow_id], last_task=True, request_id=f"batch-{task.workflow_id}"):
        pass


async def _look(handle: WorkflowHandle[Scripted, Any], journal: Journal, task: Task) -> None:
    """Look at it again and again: what was there once stays."""
    run_id, known = "", 0
    for pause in task.pauses:
        await asyncio.sleep(pause)
        seen = await insist(handle.describe)
        events = await insist(handle.history)
        less = seen.run_id == run_id and len(events) < known
        if less and (await insist(handle.describe)).run_id == run_id:  # else they may be those of the next run
            journal.wrong.append(f"the history of {task.workflow_id} has shrunk from {known} to {len(events)}")
        run_id, known = seen.run_id, len(events)
        if seen.status != "running":
            return


async def _meddle(client: Client, handle: WorkflowHandle[Scripted, Any], journal: Journal, task: Task) -> None:
    if task.meddled or task.meddling in ("none", "timeout"):
        return
    await asyncio.sleep(task.pauses[6])
    mine = handle.with_options(request_id=f"meddle-{task.workflow_id}")
    try:
        if task.meddling == "pause":
            await insist(lambda: mine.pause("to see"))
            journal.told.append(Told("pause", task.workflow_id, f"meddle-{task.workflow_id}"))
            await asyncio.sleep(task.pauses[7])
            again = handle.with_options(request_id=f"unpause-{task.workflow_id}")
            await insist(lambda: again.unpause())
            journal.told.append(Told("unpause", task.workflow_id, f"unpause-{task.workflow_id}"))
        elif task.meddling == "reset":
            await _reset(handle, mine, task.depth)
            journal.told.append(Told("reset", task.workflow_id, "to look again"))
        elif task.meddling == "batch":
            await insist(lambda: _reset_in_a_batch(client, task))
        elif task.meddling == "look":
            await _look(handle, journal, task)
        elif task.meddling == "cancel":
            await insist(lambda: mine.cancel("enough"))
            journal.told.append(Told("cancel", task.workflow_id, f"meddle-{task.workflow_id}"))
        else:
            await insist(lambda: mine.terminate("enough"))
            journal.told.append(Told("terminate", task.workflow_id, "enough"))
    except WorkflowNotFoundError:
        pass  # it has ended before
    task.meddled = True


async def _reset(handle: WorkflowHandle[Scripted, Any], mine: WorkflowHandle[Scripted, Any], depth: float) -> None:
    """Undo a part of the run; all of it, if it has gone on as another meanwhile."""
    try:
        events = await insist(handle.history)
        await insist(lambda: mine.reset(max(1, round(depth * len(events))), reason="to look again"))
    except InvalidRequestError:
        again = mine.with_options(request_id=f"reset-to-1-{handle.id}")
        await insist(lambda: again.reset(1, reason="to look again"))


async def _end(handle: WorkflowHandle[Scripted, Any], journal: Journal, task: Task) -> None:
    try:
        task.result = await insist(handle.result)
        task.outcome = "completed"
        journal.told.append(Told("result", task.workflow_id, value=task.result))
    except WorkflowFailedError as error:
        task.outcome = type(error.__cause__).__name__
    journal.results[task.workflow_id] = task.outcome


def check(done: list[Task], journal: Journal) -> list[str]:
    """What is wrong about how the tasks have ended: by their scripts and by their messages. Notes the messages that
    workflows say were delivered to others."""
    wrong: list[str] = []
    again = {task.workflow_id for task in done if task.meddling in RESETS}  # these say what they have said before
    for task in done:
        if task.result is None:
            if task.strict:
                wrong.append(f"{task.workflow_id} ended as {task.outcome}")
            continue
        if task.strict and (problem := misfit_script(task.script, task.result["seen"])):
            wrong.append(f"{task.workflow_id}: {problem}")
            continue
        heard = [token for kind, token in task.messages if kind != "refused"]
        if sorted(task.result["pokes"]) != sorted(heard):
            wrong.append(f"{task.workflow_id} was sent {heard}, and heard {task.result['pokes']}")
        peers = [token for token in task.result["peers"] if token.split("#")[0].split("-")[0] not in again]
        if len(set(peers)) != len(peers):
            wrong.append(f"{task.workflow_id} heard a peer twice: {peers}")
        if task.meddling not in RESETS:
            for receiver, tokens in sent_to_peers(task.script, task.result["seen"]).items():
                journal.acknowledged += [Acknowledged("peer", receiver, token, task.workflow_id) for token in tokens]
    return wrong
