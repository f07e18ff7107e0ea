"""`odradek workflow reset|pause|unpause`: what people do to a workflow besides asking it to end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .._gateway import ResetRequest, WorkflowKey
from .asking import ANSWER_SECONDS, do, print_done
from .failures import told
from .options import Address, AnswerTimeout, AsJson, Namespace, Reason, RequestId, RunId, WorkflowId, read_fields

EventId = Annotated[
    int,
    typer.Option(
        metavar="NUMBER", min=1, help="Undo the last decision of the code at or before this event; 1: all of them."
    ),
]
Reapply = Annotated[
    str, typer.Option(metavar="WHAT", help="Of what came later, what the new run gets too: signals, or none.")
]
BuildId = Annotated[
    str, typer.Option(metavar="ID", help="Pin the new run to this build of the workers (default: the current one).")
]


def _reset_request(event_id: int, reason: str, reapply: str, request_id: str, build_id: str) -> ResetRequest:
    fields: dict[str, Any] = {
        "event_id": event_id, "reason": reason, "reapply": reapply, "request_id": request_id or None,
        "build_id": build_id or None,
    }  # fmt: skip
    return read_fields(fields, ResetRequest, "--reapply is signals or none.")


def reset(
    workflow_id: WorkflowId,
    event_id: EventId,
    reason: Reason = "",
    reapply: Reapply = "signals",
    run_id: RunId = "",
    build_id: BuildId = "",
    request_id: RequestId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Begin a new run from a part of the history; `odradek workflow show` lists the events. Ends the open run."""
    with told(as_json):
        request = _reset_request(event_id, reason, reapply, request_id, build_id)
    key = WorkflowKey(workflow_id, run_id or None)
    started = do(address, namespace, as_json, lambda service: service.reset(key, request), timeout)
    text = f"Reset {workflow_id} to event {event_id}: it goes on as run {started.run_id}"
    print_done(as_json, text, workflow_id=workflow_id, run_id=started.run_id, event_id=event_id)


def pause(
    workflow_id: WorkflowId,
    reason: Reason = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let a workflow's code stand still. What comes for it is kept; activities that run go on."""
    key = WorkflowKey(workflow_id, run_id or None)
    do(address, namespace, as_json, lambda service: service.pause(key, reason), timeout)
    text = f"Paused {workflow_id}. To let it go on: odradek workflow unpause {workflow_id}"
    print_done(as_json, text, workflow_id=workflow_id, requested="pause")


def unpause(
    workflow_id: WorkflowId,
    reason: Reason = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let a paused workflow's code go on, with all that came meanwhile."""
    key = WorkflowKey(workflow_id, run_id or None)
    do(address, namespace, as_json, lambda service: service.unpause(key, reason), timeout)
    print_done(as_json, f"Unpaused {workflow_id}", workflow_id=workflow_id, requested="unpause")


def add_to(app: typer.Typer) -> None:
    """Make these commands of `odradek workflow`."""
    for command in (reset, pause, unpause):
        app.command()(command)
