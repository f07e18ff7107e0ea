"""`odradek workflow update`: a message with an answer."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
import typer

from .. import errors
from .._gateway import UpdateAnswer, UpdateRequest, WorkflowKey, WorkflowService
from .asking import ANSWER_SECONDS, do
from .failures import CommandError, ExitCode, told
from .options import (
    Address,
    AnswerTimeout,
    AsJson,
    Inputs,
    Namespace,
    RequestId,
    RunId,
    WorkflowId,
    read_fields,
    read_inputs,
)
from .output import print_json, stdout

NO_INPUT: list[str] = []
Wait = Annotated[
    str, typer.Option(metavar="FOR", help="completed: its handler is done; accepted: the workflow has taken it.")
]


def _update_request(inputs: list[str], wait: str, request_id: str, timeout: float) -> UpdateRequest:
    fields: dict[str, Any] = {
        "input": read_inputs(inputs), "wait_for": wait, "request_id": request_id, "timeout": timeout,
    }  # fmt: skip
    return read_fields(fields, UpdateRequest, "--wait is accepted or completed.")


def update(
    workflow_id: WorkflowId,
    name: Annotated[str, typer.Argument(metavar="UPDATE")],
    input: Inputs = NO_INPUT,
    wait: Wait = "completed",
    run_id: RunId = "",
    request_id: RequestId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Send an update, wait for it, and print its result. With the --request-id of an earlier one, waits for that."""
    with told(as_json):
        request = _update_request(input, wait, request_id or secrets.token_hex(12), timeout)
    key = WorkflowKey(workflow_id, run_id or None)
    again = f"odradek workflow update {workflow_id} {name} --request-id {request.request_id}"

    async def send(service: WorkflowService) -> UpdateAnswer:
        try:
            return await service.update(key, name, request)
        except errors.RequestTimeoutError as error:
            raise CommandError(ExitCode.TIMEOUT, str(error), f"To go on waiting: {again}") from error

    answer = do(address, namespace, as_json, send, timeout)
    if as_json:
        print_json({"workflow_id": workflow_id, "update": name, **msgspec.to_builtins(answer)})
    elif answer.status == "completed":
        print_json(answer.result)
    else:
        stdout.print(f"Accepted. To wait for its result: {again}", markup=False, soft_wrap=True)


def add_to(app: typer.Typer) -> None:
    """Make this a command of `odradek workflow`."""
    app.command()(update)
