"""`odradek deployment ...`: which build of the workers' code is current, and which are still needed."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import typer
from rich.text import Text

from .._gateway import WorkflowService
from .asking import do
from .failures import EXIT_CODES, CommandError, ExitCode
from .options import Address, AnswerTimeout, AsJson, Namespace, TaskQueue
from .output import compact, plain_table, print_json, stdout

app = typer.Typer(
    no_args_is_help=True, epilog=EXIT_CODES, help="Old and new builds of workers side by side: see and change them."
)

_ANSWER_SECONDS = 10.0
_POLL_SECONDS = 1.0
_NONE = "(no build)"

BuildId = Annotated[str, typer.Argument(metavar="BUILD", help="A build ID, as workers have it in --build-id.")]


@app.command("list")
def list_builds(
    task_queue: TaskQueue = "default",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = _ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Show the builds of a task queue: live workers, and how many open workflows still need each."""
    found = do(address, namespace, as_json, lambda service: service.builds(task_queue), timeout)
    if as_json:
        print_json(found)
        return
    table = plain_table("Build", "Current", "Workers", "Open workflows that need it")
    for build in found["builds"]:
        current = "current" if build["current"] else ""
        table.add_row(Text(build["build_id"] or _NONE), current, str(build["workers"]), _needed(build))
    stdout.print(table)
    for build in found["builds"]:
        if not build["workers"] and (build["open_workflows"] or (build["current"] and build["build_id"])):
            name = build["build_id"] or _NONE
            stdout.print(Text(f"Warning: no worker of build {name} polls task queue {task_queue}", "yellow"))


@app.command()
def set_current(
    build: Annotated[str, typer.Argument(metavar="BUILD", help='A build ID; "" for workers without one.')],
    task_queue: TaskQueue = "default",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = _ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Make a build current: new workflows go to its workers, and others that are not pinned do with their next task."""
    do(address, namespace, as_json, lambda service: service.set_current_build(task_queue, build or None), timeout)
    if as_json:
        print_json({"task_queue": task_queue, "current": build or None})
    else:
        stdout.print(f"Current on task queue {task_queue}: {build or _NONE}", markup=False, soft_wrap=True)


@app.command()
def drain(
    build: BuildId,
    task_queue: TaskQueue = "default",
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for the last one to end. 0: only look.")
    ] = 0,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = _ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Wait until no open workflow needs a build: then its workers can be stopped. Exit code 5: some still do."""

    async def watch(service: WorkflowService) -> dict[str, Any]:
        give_up = time.monotonic() + wait
        while True:
            found = _of(build, await service.builds(task_queue))
            if found["current"]:
                raise CommandError(
                    ExitCode.REFUSED,
                    f"build {build} is current on task queue {task_queue}: new workflows begin on it",
                    "Make another build current first, with `odradek deployment set-current`.",
                )
            left = give_up - time.monotonic()
            if not found["open_workflows"] or left <= 0:
                return found
            await asyncio.sleep(min(_POLL_SECONDS, left))

    found = do(address, namespace, as_json, watch, timeout)
    drained = not found["open_workflows"]
    if as_json:
        print_json({"task_queue": task_queue, **found, "drained": drained})
    elif drained:
        stdout.print(f"No open workflow needs build {build} any more.", markup=False, soft_wrap=True)
    else:
        stdout.print(f"Build {build} is still needed by {_needed(found)}", markup=False, soft_wrap=True)
    if not drained:
        raise typer.Exit(ExitCode.TIMEOUT)


def _of(build: str, found: dict[str, Any]) -> dict[str, Any]:
    """That build among those of the queue; one that nobody knows of is needed by nothing."""
    nothing = {"build_id": build, "current": False, "workers": 0, "open_workflows": 0, "workflow_ids": []}
    return next((one for one in found["builds"] if one["build_id"] == build), nothing)


def _needed(build: dict[str, Any]) -> str:
    """`3: order-1, order-2, order-3`."""
    ids, count = build["workflow_ids"], build["open_workflows"]
    if not count:
        return "0"
    shown = ", ".join(compact(one, 60).strip('"') for one in ids[:5])
    return f"{count:,}: {shown}{', ...' * (count > 5)}"
