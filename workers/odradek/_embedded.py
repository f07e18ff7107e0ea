"""An engine in the client's own process, for a log that is a folder, with the worker of its schedules. The one place
where both packages meet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from odradek_log import Log
from odradek_log.embedded import EmbeddedLog


@asynccontextmanager
async def engine_in_this_process(log: Log, namespace: str) -> AsyncGenerator[None]:
    """Run an engine on an embedded log; its state is kept beside the log."""
    from odradek_engine import Engine  # only here: clients of a cluster need no engine

    if not isinstance(log, EmbeddedLog):
        raise TypeError(f"an engine is started only for a log in a folder, not for {log!r}")
    from ._schedules.worker import SchedulesOnDemand  # it has clients of its own

    schedules = SchedulesOnDemand(log, namespace)
    data = log.folder / "state"
    async with Engine(log=log, namespace=namespace, data_dir=data, on_topic=schedules.noticed), schedules:
        yield
