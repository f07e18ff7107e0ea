"""`odradek workflow ...`: start workflows, send them messages, look at them, end them."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
import typer

from .. import errors
from .._gateway import Outcome, Started, StartRequest, WorkflowKey, WorkflowService
from .asking import ANSWER_SECONDS, do, print_done
from .failures import EXIT_CODES, CommandError, ExitCode, told
from .options import (
    Address,
    AnswerTimeout,
    AsJson,
    Inputs,
    Namespace,
    Reason,
    RequestId,
    RunId,
    TaskQueue,
    WorkflowId,
    read_fields,
    read_inputs,
    read_json,
)
from .output import cause_lines, print_json, stderr, stdout
from .views import print_description, print_history
from .waiting import outcome_of

app = typer.Typer(
    no_args_is_help=True, epilog=EXIT_CODES, help="Start workflows, send them messages, look at them, end them."
)

WorkflowType = Annotated[str, typer.Argument(metavar="TYPE", help="The workflow's type: its class or function name.")]
NewId = Annotated[str, typer.Option("--id", metavar="ID", help="The workflow's ID. Without it: one is made.")]
ConflictPolicy = Annotated[
    str,
    typer.Option(
        metavar="POLICY", help="If a run of this ID is open: fail, use_existing or terminate_existing."
    ),
]
ReusePolicy = Annotated[
    str, typer.Option(metavar="POLICY", help="If one has closed: allow, allow_if_failed or reject.")
]
RunTimeout = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="The workflow is ended after it. 0: none.")]
StartDelay = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long to wait before it begins.")]
Memo = Annotated[list[str], typer.Option("--memo", metavar="NAME=JSON", help="A note to keep with it; repeatable.")]
BuildId = Annotated[
    str, typer.Option(metavar="ID", help="Pin it to this build of the workers (default: it begins on the current one).")
]
EndTimeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait for its end. 0: no limit.")
]
NO_INPUT: list[str] = []


def _start_request(
    workflow_type: str,
    workflow_id: str,
    task_queue: str,
    inputs: list[str],
    conflict: str,
    reuse: str,
    timeout: float,
    delay: float,
    memo: list[str],
    request_id: str,
    build_id: str,
) -> StartRequest:
    notes: dict[str, Any] = {}
    for note in memo:
        name, _, value = note.partition("=")
        notes[name] = read_json(f"--memo {name}", value)
    fields = {
        "workflow_type": workflow_type,
        "workflow_id": workflow_id or f"{workflow_type}-{secrets.token_hex(4)}",
        "task_queue": task_queue,
        "input": read_inputs(inputs),
        "id_conflict_policy": conflict,
        "id_reuse_policy": reuse,
        "run_timeout": timeout or None,
        "start_delay": delay,
        "memo": notes,
        "request_id": request_id or None,
        "build_id": build_id or None,
    }
    policies = "fail, use_existing, terminate_existing; --id-reuse-policy: allow, allow_if_failed, reject"
    return read_fields(fields, StartRequest, f"--id-conflict-policy is one of {policies}.")


@app.command()
def start(
    workflow_type: WorkflowType,
    id: NewId = "",
    input: Inputs = NO_INPUT,
    task_queue: TaskQueue = "default",
    id_conflict_policy: ConflictPolicy = "fail",
    id_reuse_policy: ReusePolicy = "allow",
    run_timeout: RunTimeout = 0,
    start_delay: StartDelay = 0,
    memo: Memo = NO_INPUT,
    build_id: BuildId = "",
    request_id: RequestId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Start a workflow, and return at once."""
    with told(as_json):
        request = _start_request(
            workflow_type, id, task_queue, input, id_conflict_policy, id_reuse_policy, run_timeout, start_delay, memo,
            request_id, build_id,
        )  # fmt: skip
    started = do(address, namespace, as_json, lambda service: service.start(request), timeout)
    if as_json:
        print_json(_started_json(request, started))
        return
    stdout.print(f"Started {request.workflow_type} {started.workflow_id}", soft_wrap=True)
    stdout.print(f"[dim]run {started.run_id}, task queue {request.task_queue}[/]", soft_wrap=True)


def _started_json(request: StartRequest, started: Started) -> dict[str, Any]:
    return {
        "workflow_id": started.workflow_id,
        "run_id": started.run_id,
        "workflow_type": request.workflow_type,
        "task_queue": request.task_queue,
    }


@app.command()
def execute(
    workflow_type: WorkflowType,
    id: NewId = "",
    input: Inputs = NO_INPUT,
    task_queue: TaskQueue = "default",
    id_conflict_policy: ConflictPolicy = "fail",
    id_reuse_policy: ReusePolicy = "allow",
    run_timeout: RunTimeout = 0,
    start_delay: StartDelay = 0,
    memo: Memo = NO_INPUT,
    build_id: BuildId = "",
    request_id: RequestId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: EndTimeout = 0,
    as_json: AsJson = False,
) -> None:
    """Start a workflow, wait for its end, and print its result."""
    with told(as_json):
        request = _start_request(
            workflow_type, id, task_queue, input, id_conflict_policy, id_reuse_policy, run_timeout, start_delay, memo,
            request_id, build_id,
        )  # fmt: skip

    async def run(service: WorkflowService) -> Outcome:
        started = await service.start(request)
        return await outcome_of(service, WorkflowKey(started.workflow_id, started.run_id), timeout, as_json)

    _print_outcome(do(address, namespace, as_json, run), timeout, as_json)


@app.command()
def result(
    workflow_id: WorkflowId,
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: EndTimeout = 0,
    as_json: AsJson = False,
) -> None:
    """Wait for a workflow's end, and print its result."""
    key = WorkflowKey(workflow_id, run_id or None)
    outcome = do(address, namespace, as_json, lambda service: outcome_of(service, key, timeout, as_json))
    _print_outcome(outcome, timeout, as_json)


def _print_outcome(outcome: Outcome, timeout: float, as_json: bool) -> None:
    """The result, or why there is none; and the exit code that says it."""
    if as_json:
        print_json(msgspec.to_builtins(outcome))
    elif outcome.status == "completed":
        print_json(outcome.result)
    elif outcome.status == "running":
        stderr.print(f"Workflow {outcome.workflow_id} has not ended within {timeout:g} s.", soft_wrap=True)
        stderr.print(f"See what it waits for: odradek workflow describe {outcome.workflow_id}", soft_wrap=True)
    else:
        stderr.print(outcome.message, markup=False, soft_wrap=True)
        for line in cause_lines((outcome.failure or {}).get("cause")):
            stderr.print(f"  caused by {line}", markup=False, soft_wrap=True)
    codes = {"completed": ExitCode.OK, "running": ExitCode.TIMEOUT}
    raise typer.Exit(codes.get(outcome.status, ExitCode.FAILED))


@app.command()
def signal(
    workflow_id: WorkflowId,
    name: Annotated[str, typer.Argument(metavar="SIGNAL")],
    input: Inputs = NO_INPUT,
    run_id: RunId = "",
    request_id: RequestId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Send a signal. Returns when it is durable and the engine has taken it."""
    with told(as_json):
        args = read_inputs(input)
    key = WorkflowKey(workflow_id, run_id or None)
    do(address, namespace, as_json, lambda s: s.signal(key, name, args, request_id or None), timeout)
    print_done(as_json, f"Signalled {name} to {workflow_id}", workflow_id=workflow_id, signal=name)


@app.command()
def query(
    workflow_id: WorkflowId,
    name: Annotated[str, typer.Argument(metavar="QUERY")],
    input: Inputs = NO_INPUT,
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Ask a workflow something, also after its end, and print the answer."""
    with told(as_json):
        args = read_inputs(input)
    key = WorkflowKey(workflow_id, run_id or None)

    async def ask(service: WorkflowService) -> Any:
        try:
            return await service.query(key, name, args, timeout)
        except errors.RequestTimeoutError as error:
            raise await _why_no_answer(service, key, name, timeout, error) from error

    answer = do(address, namespace, as_json, ask, timeout)
    print_json({"workflow_id": workflow_id, "query": name, "result": answer} if as_json else answer)


async def _why_no_answer(
    service: WorkflowService, key: WorkflowKey, name: str, timeout: float, error: Exception
) -> Exception:
    """A query that nobody answered: what the engine knows about it; `error`, if there is no engine."""
    try:
        warnings: list[str] = (await service.describe(key))["warnings"]
    except errors.OdradekError:
        return error
    message = f"no worker answered query {name!r} of workflow {key.workflow_id!r} within {timeout:g} s"
    return CommandError(ExitCode.UNAVAILABLE, message, "\n".join(warnings))


@app.command()
def describe(
    workflow_id: WorkflowId,
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Show how a workflow stands: status, pending activities and timers, and what holds it up."""
    key = WorkflowKey(workflow_id, run_id or None)
    found = do(address, namespace, as_json, lambda service: service.describe(key), timeout)
    if as_json:
        print_json(found)
    else:
        print_description(found)


@app.command()
def show(
    workflow_id: WorkflowId,
    run_id: RunId = "",
    full: Annotated[bool, typer.Option("--full", help="Do not shorten values.")] = False,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Show a workflow's history: every event so far."""
    key = WorkflowKey(workflow_id, run_id or None)
    events = do(address, namespace, as_json, lambda service: service.history(key), timeout)
    if as_json:
        print_json({"workflow_id": workflow_id, "events": events})
    else:
        print_history(workflow_id, events, full)


@app.command()
def cancel(
    workflow_id: WorkflowId,
    reason: Reason = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Ask a workflow to cancel: its code may clean up."""
    key = WorkflowKey(workflow_id, run_id or None)
    do(address, namespace, as_json, lambda service: service.cancel(key, reason), timeout)
    print_done(as_json, f"Asked {workflow_id} to cancel", workflow_id=workflow_id, requested="cancel")


@app.command()
def terminate(
    workflow_id: WorkflowId,
    reason: Reason = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """End a workflow at once; its code is not asked."""
    key = WorkflowKey(workflow_id, run_id or None)
    do(address, namespace, as_json, lambda service: service.terminate(key, reason), timeout)
    print_done(as_json, f"Terminated {workflow_id}", workflow_id=workflow_id, requested="terminate")
