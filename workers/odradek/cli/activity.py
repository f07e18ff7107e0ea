"""`odradek activity ...`: pending activities, paused, retried and changed by people, or ended by their task token."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from .._gateway import ActivityChange, ActivityCompletion, ActivityFailure, WorkflowKey
from .asking import ANSWER_SECONDS, do, print_done
from .failures import EXIT_CODES, CommandError, ExitCode, told
from .options import (
    Address,
    AnswerTimeout,
    AsJson,
    Namespace,
    Reason,
    RunId,
    WorkflowId,
    read_inputs,
    read_json,
)

app = typer.Typer(
    no_args_is_help=True, epilog=EXIT_CODES, help="Pause, retry and change pending activities; end them by task token."
)

Activity = Annotated[
    str, typer.Argument(metavar="ACTIVITY", help="Its type (then all that are pending of it), or its number.")
]
Token = Annotated[
    str, typer.Argument(metavar="TASK_TOKEN", help="As `odradek workflow describe --json` shows it.")
]
Seconds = Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="0: none.")]
NO_VALUES: list[str] = []
_DONE = {
    "pause": "Paused {}. To let it go on: odradek activity unpause {}",
    "unpause": "Unpaused {}",
    "retry": "Retrying {} now",
    "update": "Changed {}",
}


def _change(
    workflow_id: str,
    run_id: str,
    activity: str,
    action: Literal["pause", "unpause", "retry", "update"],
    reason: str,
    asking: tuple[str, str, float, bool],
    options: dict[str, Any] | None = None,
) -> None:
    address, namespace, timeout, as_json = asking
    which = int(activity) if activity.isdecimal() else activity
    change = ActivityChange(activity=which, action=action, reason=reason, options=options or {})
    key = WorkflowKey(workflow_id, run_id or None)
    do(address, namespace, as_json, lambda service: service.change_activity(key, change), timeout)
    text = _DONE[action].format(f"activity {activity} of {workflow_id}", f"{workflow_id} {activity}")
    print_done(as_json, text, workflow_id=workflow_id, activity=which, requested=action)


@app.command()
def pause(
    workflow_id: WorkflowId,
    activity: Activity,
    reason: Reason = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """No further attempt of a pending activity; one that runs may end."""
    _change(workflow_id, run_id, activity, "pause", reason, (address, namespace, timeout, as_json))


@app.command()
def unpause(
    workflow_id: WorkflowId,
    activity: Activity,
    reason: Reason = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let a paused activity go on: its next attempt begins at once."""
    _change(workflow_id, run_id, activity, "unpause", reason, (address, namespace, timeout, as_json))


@app.command()
def retry(
    workflow_id: WorkflowId,
    activity: Activity,
    reason: Reason = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Begin the next attempt now, without waiting for its backoff or for the end of its pause."""
    _change(workflow_id, run_id, activity, "retry", reason, (address, namespace, timeout, as_json))


@app.command()
def update(
    workflow_id: WorkflowId,
    activity: Activity,
    task_queue: Annotated[str, typer.Option("--task-queue", "-q", metavar="NAME", help="Deliver it there.")] = "",
    start_to_close_timeout: Seconds = None,
    schedule_to_start_timeout: Seconds = None,
    schedule_to_close_timeout: Seconds = None,
    heartbeat_timeout: Seconds = None,
    retry_policy: Annotated[
        str, typer.Option(metavar="JSON", help='As of RetryPolicy: \'{"maximum_attempts": 3}\', or @file.')
    ] = "",
    reason: Reason = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Change options of a pending activity; they hold for what no worker has begun yet."""
    timeouts = {
        "start_to_close_timeout": start_to_close_timeout,
        "schedule_to_start_timeout": schedule_to_start_timeout,
        "schedule_to_close_timeout": schedule_to_close_timeout,
        "heartbeat_timeout": heartbeat_timeout,
    }
    options: dict[str, Any] = {name: seconds for name, seconds in timeouts.items() if seconds is not None}
    with told(as_json):
        if task_queue:
            options["task_queue"] = task_queue
        if retry_policy:
            options["retry_policy"] = read_json("--retry-policy", retry_policy)
        if not options:
            raise CommandError(ExitCode.USAGE, "nothing to change", "Give an option, such as --task-queue NAME.")
    _change(workflow_id, run_id, activity, "update", reason, (address, namespace, timeout, as_json), options)


@app.command()
def complete(
    task_token: Token,
    result: Annotated[str, typer.Option(metavar="JSON", help="Its result, or @file. Without it: null.")] = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Complete an activity, whichever attempt is open."""
    with told(as_json):
        value = read_json("--result", result) if result else None
    completion = ActivityCompletion(task_token=task_token, result=value)
    do(address, namespace, as_json, lambda service: service.complete_activity(completion), timeout)
    print_done(as_json, "Completed the activity", task_token=task_token, requested="complete")


@app.command()
def fail(
    task_token: Token,
    message: Annotated[str, typer.Option(metavar="TEXT", help="What went wrong.")],
    type: Annotated[str, typer.Option(metavar="NAME", help="The error's type.")] = "",
    non_retryable: Annotated[bool, typer.Option("--non-retryable", help="No other attempt.")] = False,
    detail: Annotated[list[str], typer.Option(metavar="JSON", help="A detail; repeatable.")] = NO_VALUES,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Fail the current attempt of an activity; its retry policy decides what follows."""
    with told(as_json):
        details = read_inputs(detail)
    failure = ActivityFailure(
        task_token=task_token, message=message, type=type, non_retryable=non_retryable, details=details
    )
    do(address, namespace, as_json, lambda service: service.fail_activity(failure), timeout)
    print_done(as_json, "Failed the attempt of the activity", task_token=task_token, requested="fail")
