"""Coroutines that wait until a function of the workflow's state is true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ._loop import WorkflowLoop
from .errors import WorkflowTaskError


class Conditions:
    """The conditions of one workflow, checked whenever its code has run until nothing was ready.

    Those that wait are looked at in the order in which they began to wait. One that is true runs before the next
    is looked at, so that each finds its condition as it was checked.
    """

    def __init__(self, loop: WorkflowLoop, max_rounds: int) -> None:
        self._loop = loop
        self._max_rounds = max_rounds
        self._waiting: dict[asyncio.Future[Any], Callable[[], Any]] = {}

    async def wait(self, fn: Callable[[], Any]) -> Any:
        """Wait until `fn()` is truthy; gives what it returned. What it raises is raised here."""
        value = fn()
        if value:
            return value
        future = self._loop.create_future()
        self._waiting[future] = fn
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    def run(self, halted: Callable[[], bool]) -> None:
        """Run the loop, and those whose condition is true, until nothing is ready and none is true.

        Raises WorkflowTaskError (cause "blocked") if they wake one another for ever.
        """
        self._loop.run_ready()
        left = self._max_rounds
        while self._waiting and self._wake(halted):
            left -= 1
            if left <= 0:
                raise WorkflowTaskError(
                    f"conditions of wait_condition() woke one another {self._max_rounds} times over one event, and are "
                    "not done; change what they wait for, so that each is false again after the wait",
                    cause="blocked",
                )

    def _wake(self, halted: Callable[[], bool]) -> bool:
        """Look at each condition once; whether one was true."""
        woken = False
        for future, fn in list(self._waiting.items()):
            if halted():
                return False
            if future.done():
                continue
            try:
                value = fn()
            except Exception as error:
                future.set_exception(error)
            else:
                if not value:
                    continue
                future.set_result(value)
            woken = True
            self._loop.run_ready()
        return woken
