"""Workflows with children and messages between workflows, for tests that kill the engines that carry those."""

from __future__ import annotations

import asyncio

from odradek import ApplicationError, ChildWorkflowError, workflow

FAMILY_QUEUE = "families"
COLLECTOR = "collector"
SIGNALS = 4


@workflow.define(name="families.child")
class Child:
    """Returns all that it heard."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    async def run(self, fails: bool) -> list[int]:
        await workflow.wait_condition(lambda: len(self.heard) >= SIGNALS)
        if fails:
            raise ApplicationError("as asked", self.heard)
        return self.heard

    @workflow.signal
    def hear(self, number: int) -> None:
        self.heard.append(number)


@workflow.define(name="families.parent")
async def parent(number: int) -> list[list[int]]:
    """Three children that hear the same numbers, one of which fails; says to the collector that it is through."""
    name = workflow.info().workflow_id
    children = [await workflow.start_child(Child, n == 2, id=f"{name}-child-{n}") for n in range(3)]
    for heard in range(SIGNALS):
        await asyncio.gather(*(child.signal(Child.hear, heard) for child in children))
    results = []
    for child in children:
        try:
            results.append(await child)
        except ChildWorkflowError as error:
            cause = error.__cause__
            results.append([-1, *cause.details[0]] if isinstance(cause, ApplicationError) else [])
    await workflow.external(COLLECTOR, Collector).signal(Collector.through, number)
    return results


EXPECTED = [list(range(SIGNALS)), list(range(SIGNALS)), [-1, *range(SIGNALS)]]


@workflow.define(name="families.collector")
class Collector:
    """Keeps the number of every parent that is through."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.complete = False

    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: self.complete)
        return self.numbers

    @workflow.signal
    def through(self, number: int) -> None:
        self.numbers.append(number)

    @workflow.signal
    def end(self) -> None:
        self.complete = True


FAMILY_WORKFLOWS = [parent, Child, Collector]
