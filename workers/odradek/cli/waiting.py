"""Waiting for a workflow's end: what holds it up is said on stderr meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

from .. import errors
from .._gateway import Outcome, WorkflowKey, WorkflowService
from .output import stderr

FIRST_LOOK_S, LONGEST_PAUSE_S = 5.0, 60.0


async def outcome_of(service: WorkflowService, key: WorkflowKey, timeout: float, as_json: bool) -> Outcome:
    """The workflow's end. While it does not come, stderr shows the warnings of `describe`, each once: that no worker
    polls its task queue, say, or that none there knows its type. `timeout` in seconds; 0: no limit."""
    watching = asyncio.create_task(_say_what_holds_it_up(service, key, as_json))
    try:
        return await service.result(key, timeout or None)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _say_what_holds_it_up(service: WorkflowService, key: WorkflowKey, as_json: bool) -> None:
    said: set[str] = set()
    pause = FIRST_LOOK_S
    while True:
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
        try:
            warnings: list[str] = (await service.describe(key))["warnings"]
        except errors.OdradekError:
            continue  # who waits for the result hears of it, if it lasts
        for warning in warnings:
            if warning not in said:
                said.add(warning)
                _say(key.workflow_id, warning, as_json)


def _say(workflow_id: str, warning: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"warning": {"workflow_id": workflow_id, "message": warning}}), file=sys.stderr, flush=True)
    else:
        stderr.print(f"Workflow {workflow_id} waits: {warning}", markup=False, soft_wrap=True)
