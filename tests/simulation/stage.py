"""What plays need: a play is a small program with workflows, activities, and clients that know how it must end.

A client may crash at any moment, and goes on in its next life: `Stage` keeps what was done, as a customer's own
database would.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from odradek import Client, DataConverter, WorkflowFailedError, WorkflowHandle, WorkflowNotFoundError
from odradek._activity import Activity

from .hub import Hub
from .journal import Acknowledged, Journal, executed
from .programs import insist


@dataclass
class Stage:
    """Where one play is given. name: of the play, and of its task queue. rng: begins anew with each of its clients.
    memory: what was done, and survives them."""

    name: str
    seed: str
    journal: Journal
    hub: Hub
    client: Any = None
    rng: Random = field(default_factory=Random)
    memory: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    lives: int = 0
    """How many clients there were: what one of them had under way may land after what the next one does."""

    def begin(self, client: Client) -> None:
        """A client begins, or the next one."""
        self.client = client
        self.rng = Random(self.seed)
        self.lives += 1

    async def once(self, key: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Call until there is an answer, and not again in a later life; what it gave, if it can be kept."""
        if key not in self.memory:
            self.memory[key] = await insist(call)
        return self.memory[key]

    async def start(self, workflow: Any, *args: Any, id: str, **options: Any) -> WorkflowHandle[Any, Any]:
        """Start a workflow, whose start is then expected in its history."""
        request_id = f"start-{id}"
        options = {"task_queue": self.name, "id": id, "request_id": request_id, **options}
        await insist(lambda: self.client.start(workflow, *args, **options))
        self.acknowledged("start", id, request_id)
        target = (id,) if isinstance(workflow, str) else (id, workflow)
        handle: WorkflowHandle[Any, Any] = self.client.get(*target)
        return handle

    async def signal(self, handle: WorkflowHandle[Any, Any], key: str, signal: Any, *args: Any) -> bool:
        """Send a signal, once for each key; False if the workflow has ended."""
        request_id = f"signal-{handle.id}-{key}"
        if request_id not in self.memory:
            try:
                await insist(lambda: handle.with_options(request_id=request_id).signal(signal, *args))
            except WorkflowNotFoundError:
                self.memory[request_id] = False
            else:
                self.memory[request_id] = True
                self.acknowledged("signal", handle.id, request_id)
        return bool(self.memory[request_id])

    async def result(self, handle: WorkflowHandle[Any, Any]) -> Any:
        """How a workflow has ended: its result, or the name of its error."""
        try:
            result = await insist(handle.result)
        except WorkflowFailedError as error:
            result = type(error.cause).__name__
        self.journal.results[handle.id] = str(result)
        return result

    def acknowledged(self, kind: str, workflow_id: str, token: str) -> None:
        told = Acknowledged(kind, workflow_id, token, self.name)
        if told not in self.journal.acknowledged:
            self.journal.acknowledged.append(told)

    def expect(self, what: str, found: Any, *allowed: Any) -> None:
        """Say what is wrong unless `found` is one of these."""
        if found not in allowed:
            self.journal.wrong.append(f"{what} is {found!r}, not {' or '.join(map(repr, allowed))}")


Hire = tuple[list[Any], list[Any], dict[str, Any]]
"""Workflows, activities and further options of a worker."""


@dataclass(frozen=True, kw_only=True)
class Play:
    """One kind of program. hire: the workers that a machine has for it (the machine's name, the time in s). act: what
    its clients do, and again from the start if they crash. replayed: with which code histories are replayed."""

    name: str
    hire: Callable[[str, float], Sequence[Hire]]
    act: Callable[[Stage], Awaitable[None]]
    replayed: list[Any]
    converter: Callable[[], DataConverter] | None = None
    deployments: Sequence[float] = ()
    """When workers are started anew (s): they may have other code then."""


def noted(*activities: Any) -> list[Any]:
    """The same activities, which note when they run."""
    return [_noted(one) for one in activities]


def _noted(one: Activity[..., Any]) -> Activity[..., Any]:
    body = one.fn
    if inspect.iscoroutinefunction(body):

        async def runs(*args: Any, **kwargs: Any) -> Any:
            executed()
            return await body(*args, **kwargs)

        return one.with_fn(runs)

    def calls(*args: Any, **kwargs: Any) -> Any:
        executed()
        return body(*args, **kwargs)

    return one.with_fn(calls)


def always(workflows: list[Any], activities: list[Any], **options: Any) -> Callable[[str, float], Sequence[Hire]]:
    """The same worker on each machine at all times."""
    return lambda machine, at: [(workflows, activities, options)]
