"""`odradek workflow list` and `reset-batch`: what is done with many workflows."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from .._batch import ChosenRun, ResetPoint, ResetResult, in_parallel
from .._gateway import ResetBeforeRequest, WorkflowKey, WorkflowService
from .._listing import ListedWorkflow, Selection
from .asking import ANSWER_SECONDS, do
from .failures import CommandError, ExitCode, told
from .operations import Reapply
from .options import Address, AnswerTimeout, AsJson, Namespace, Reason, read_fields
from .output import date_and_time, plain_table, print_json, stderr, stdout

_SHOWN = 1_000
_CONCURRENCY = 10

WorkflowType = Annotated[str, typer.Option("--type", metavar="TYPE", help="Only workflows of this type.")]
Status = Annotated[
    str, typer.Option(metavar="STATUS", help="running, completed, failed, cancelled, terminated, timed_out; all.")
]
_STATUSES = ("running", "completed", "failed", "cancelled", "terminated", "timed_out", "continued_as_new", "all")


def _selection(workflow_type: str, status: str, stuck: bool = False) -> Selection:
    if status not in _STATUSES:
        raise CommandError(ExitCode.USAGE, f"--status {status}: use one of {', '.join(_STATUSES)}")
    return Selection(workflow_type=workflow_type, status="" if status == "all" else status, stuck=stuck)


async def _listed(service: WorkflowService, selection: Selection) -> AsyncIterator[ListedWorkflow]:
    cursor = ""
    while True:
        page = await service.list(selection, cursor)
        for workflow in page.workflows:
            yield workflow
        cursor = page.cursor
        if not cursor:
            return


def list_workflows(
    workflow_type: WorkflowType = "",
    status: Status = "running",
    stuck: Annotated[bool, typer.Option("--stuck", help="Only what cannot advance, or is paused.")] = False,
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="At most so many.")] = _SHOWN,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """List workflows by type and status; all that are kept are looked at."""
    with told(as_json):
        selection = _selection(workflow_type, status, stuck)

    async def some(service: WorkflowService) -> list[ListedWorkflow]:
        found: list[ListedWorkflow] = []
        async for workflow in _listed(service, selection):
            found.append(workflow)
            if len(found) > limit:
                break
        return found

    found = do(address, namespace, as_json, some, timeout)
    more, found = len(found) > limit, found[:limit]
    if as_json:
        print_json({"workflows": msgspec.to_builtins(found), "more": more})
        return
    table = plain_table("Workflow", "Type", "Status", "Started", "Events", "What holds it up")
    for workflow in found:
        started = date_and_time(workflow.start_time.isoformat()) if workflow.start_time else ""
        why = "paused" if workflow.paused else workflow.task_failure.partition("\n")[0]
        shown = workflow.status.replace("_", " ")
        events = str(workflow.history_length)
        table.add_row(Text(workflow.id), Text(workflow.workflow_type), shown, started, events, Text(why))
    stdout.print(table)
    if more:
        stdout.print(f"There are more than {limit}: --limit shows them.")


def reset_batch(
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="Names the batch: repeated under it, no workflow is reset twice.")
    ],
    ids_from: Annotated[
        str, typer.Option(metavar="FILE", help="IDs, one a line, or ID, tab and run ID; -: what comes in.")
    ] = "",
    workflow_type: WorkflowType = "",
    status: Status = "running",
    event_id: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Undo this event's decision.")] = None,
    last_task: Annotated[bool, typer.Option("--last-task", help="Undo the last decision.")] = False,
    activity: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Undo the first that schedules this activity, or child.")
    ] = None,
    build_id: Annotated[str | None, typer.Option(metavar="BUILD", help="Undo from the first by this build.")] = None,
    patch: Annotated[str | None, typer.Option(metavar="ID", help="Undo from the first with this patch.")] = None,
    reason: Reason = "",
    reapply: Reapply = "signals",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Reset many workflows to before a bad step. Ends with 1 if one of them failed; the others are done."""
    with told(as_json):
        selection = _selection(workflow_type, status)
        runs = _runs(ids_from) if ids_from else None
        point = {
            "event_id": event_id, "last_task": last_task, "activity": activity, "build_id": build_id, "patch": patch,
        }  # fmt: skip
        ResetPoint(**point)  # type: ignore[arg-type]  # each as it is declared
        options = {"request_id": request_id, "reason": reason, "reapply": reapply, "dry_run": dry_run}
        request = read_fields({**point, **options}, ResetBeforeRequest)

    async def run(service: WorkflowService) -> dict[str, int]:
        async def chosen() -> AsyncIterator[ChosenRun]:
            if runs is not None:
                for run in runs:
                    yield run
            else:
                async for found in _listed(service, selection):
                    yield found.id, ""

        counts: dict[str, int] = {}

        def one(run: ChosenRun) -> Awaitable[ResetResult]:
            return service.reset_before(WorkflowKey(*run), request)

        async for result in in_parallel(chosen(), one, _CONCURRENCY):
            counts[result.status] = counts.get(result.status, 0) + 1
            _tell(result, as_json)
        return counts

    counts = do(address, namespace, as_json, run, timeout)
    if not as_json:
        shown = ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in sorted(counts.items()))
        stderr.print(f"{sum(counts.values()):,} workflows: {shown}" if counts else "No workflow matches.")
    if counts.get("failed"):
        raise typer.Exit(ExitCode.FAILED)


def _runs(source: str) -> list[ChosenRun]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(ExitCode.USAGE, f"--ids-from {source}: {error}") from None
    parts = (line.partition("\t") for line in map(str.strip, text.splitlines()) if line)
    return [(workflow_id.strip(), run_id.strip()) for workflow_id, _, run_id in parts]


def _tell(result: ResetResult, as_json: bool) -> None:
    """One line for each workflow, as it is done: in JSON, too."""
    if as_json:
        print_json(msgspec.to_builtins(result))
        return
    said = {
        "reset": f"reset to event {result.event_id}, goes on as run {result.run_id}",
        "would_reset": f"would be reset to event {result.event_id}",
        "already_reset": f"is reset already, to event {result.event_id}",
        "nothing_to_undo": "has no such step",
        "failed": f"failed: {result.error}",
    }[result.status]
    stdout.print(f"{result.workflow_id}  {said}", markup=False, soft_wrap=True)


def add_to(app: typer.Typer) -> None:
    """Make these commands of `odradek workflow`."""
    app.command("list")(list_workflows)
    app.command("reset-batch")(reset_batch)
