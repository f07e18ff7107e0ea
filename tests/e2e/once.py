"""One life of a worker with an at-most-once activity: `once.py TARGET NAMESPACE QUEUE FILE LOST_AFTER DIE_AT`.

The activity writes a line to FILE. At the moment DIE_AT of the worker's core the process kills itself (-9); a life
that does not die prints what became of the workflow. After LOST_AFTER seconds of silence the worker is declared lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from odradek import Client, Worker, WorkflowFailedError, activity, workflow
from odradek._worker.activities import Activities

MOMENTS = ("claim_sent", "claim_answered", "running", "ended", "reported")
FILE = Path(sys.argv[4]) if len(sys.argv) > 4 else Path()
DIE_AT = sys.argv[6] if len(sys.argv) > 6 else ""


def die(moment: str) -> None:
    if moment and moment == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


@activity.define(delivery="at_most_once")
def write_line() -> str:
    with FILE.open("a") as file:
        file.write("ran\n")
        file.flush()
        os.fsync(file.fileno())
    die("running")
    return "done"


@workflow.define
async def once() -> str:
    return await write_line()


def dying(method: str, before: str, after: str) -> None:
    original: Callable[..., Any] = getattr(Activities, method)

    def wrapped(self: Activities, *args: Any, **kwargs: Any) -> Any:
        die(before)
        result = original(self, *args, **kwargs)
        die(after)
        return result

    setattr(Activities, method, wrapped)


async def main(target: str, namespace: str, queue: str, lost_after: float) -> None:
    dying("on_task", "", "claim_sent")
    dying("on_claimed", "claim_answered", "")
    dying("on_ended", "ended", "reported")
    async with (
        Client(target, namespace=namespace) as client,
        Worker(client, task_queue=queue, workflows=[once], activities=[write_line], lost_after=lost_after),
    ):
        handle = await client.start(
            once, id=queue, task_queue=queue, id_conflict_policy="use_existing", id_reuse_policy="reject",
            request_id="start",
        )
        try:
            print(json.dumps(await handle.result()), flush=True)
        except WorkflowFailedError as error:
            print(json.dumps({"failed": str(error)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], float(sys.argv[5])))
