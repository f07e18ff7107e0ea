"""Tests whose subject is a short real time: the machine may stand still for longer than that just then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

FACTOR, TIMES = 4, 3


async def with_longer_times(seconds: float, attempt: Callable[[float], Awaitable[None]]) -> None:
    """Call `attempt` with `seconds`, and, if it raises, with longer ones. What is wrong fails with all of them; the
    last error is raised."""
    for time in range(TIMES):
        try:
            await attempt(seconds * FACTOR**time)
        except Exception as error:
            if time + 1 == TIMES:
                raise
            print(f"not with {seconds * FACTOR**time:g} s: {error!r}")
        else:
            return
