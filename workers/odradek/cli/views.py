"""Descriptions and histories, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .output import cause_lines, clock, compact, cut, date_and_time, duration, failure_line, moment, plain_table, stdout

_VALUE_LIMIT = 80
_STATUS_STYLES = {
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "timed_out": "red",
    "terminated": "yellow",
    "cancelled": "yellow",
}

# ---------------------------------------------------------------- describe


def print_description(found: Mapping[str, Any]) -> None:
    """How a run stands, and what holds it up."""
    status = found["status"]
    lines: list[tuple[str, str | Text]] = [
        ("Workflow", Text(found["workflow_id"], "bold")),
        ("Run", found["run_id"]),
        ("Type", found["workflow_type"]),
        ("Task queue", f"{found['task_queue']} ({_count(found['workers'], 'worker')})"),
        ("Status", Text(status.replace("_", " "), _STATUS_STYLES.get(status, ""))),
        ("Started", f"{date_and_time(found['start_time'])}{' by ' * bool(found['started_by'])}{found['started_by']}"),
    ]
    if found["paused"]:
        lines.append(("Paused", Text(_pause(found), "yellow")))
    if found["close_time"]:
        lines.append(("Closed", f"{date_and_time(found['close_time'])}, after {_elapsed(found)}"))
    lines.append(("History", f"{_count(found['history_length'], 'event')}, {found['history_size']:,} bytes"))
    if found["parent_id"]:
        lines.append(("Parent", f"{found['parent_id']} (run {found['parent_run_id']})"))
    if found["memo"]:
        lines.append(("Memo", compact(found["memo"])))
    for name, value in lines:
        stdout.print(Text(f"{name:<11}", "dim"), value, soft_wrap=True)
    _print_activities(found["pending_activities"])
    _print_timers(found["pending_timers"])
    _print_children(found["pending_children"])
    _print_updates(found["pending_updates"])
    _print_local_activities(found["pending_local_activities"])
    if status == "running":
        _print_task_failure(found["task_failure"])
    failing = found["task_failure"] is not None
    for warning in found["warnings"]:
        if not (failing and "code cannot advance" in warning):  # shown above, with its traceback
            stdout.print(Text(f"\nWarning: {warning}", "yellow"), soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _elapsed(found: Mapping[str, Any]) -> str:
    start, close = moment(found["start_time"]), moment(found["close_time"])
    return duration((close - start).total_seconds()) if start and close else "?"


def _print_activities(pending: list[dict[str, Any]]) -> None:
    if not pending:
        return
    table = _table("Pending activities", "Number", "Activity", "Task queue", "State", "Attempt", "Next retry")
    for activity in pending:
        limit = activity["maximum_attempts"]
        retry = activity["next_retry_in"]
        table.add_row(
            str(activity["seq"]),
            Text(activity["activity_type"]),
            Text(activity["task_queue"]),
            _state(activity),
            f"{activity['attempt']} of {limit}" if limit else str(activity["attempt"]),
            f"in {duration(retry)}" if retry is not None else "",
        )
    stdout.print()
    stdout.print(table)
    for activity in pending:
        if activity["paused"]:
            text = f"{activity['activity_type']} (number {activity['seq']}) is paused {_pause(activity)}"
            stdout.print(Text(text, "yellow"), soft_wrap=True)
        if activity["last_failure"]:
            text = f"Last failure of {activity['activity_type']}: {failure_line(activity['last_failure'])}"
            stdout.print(Text(text, "red"), soft_wrap=True)


def _state(activity: Mapping[str, Any]) -> str:
    state: str = activity["state"].replace("_", " ")
    return f"{state}, then paused" if activity["paused"] and activity["state"] != "paused" else state


def _pause(paused: Mapping[str, Any]) -> str:
    """Since when, by whom and why a workflow or an activity is paused."""
    since, by, why = date_and_time(paused["paused_time"]), paused["paused_by"], paused["pause_reason"]
    return f"since {since}{' by ' * bool(by)}{by}{': ' * bool(why)}{why}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print_timers(pending: list[dict[str, Any]]) -> None:
    if not pending:
        return
    table = _table("Pending timers", "Number", "Fires at", "In", "Summary")
    for timer in pending:
        left = duration(timer["due_in"]) if timer["due_in"] is not None else ""
        table.add_row(str(timer["seq"]), date_and_time(timer["due_time"]), left, Text(timer["summary"]))
    stdout.print()
    stdout.print(table)


def _print_children(pending: list[dict[str, Any]]) -> None:
    if not pending:
        return
    table = _table("Pending children", "Workflow", "Type", "State", "When this one closes")
    for child in pending:
        policy = child["parent_close_policy"].replace("_", " ")
        state = child["state"].replace("_", " ")
        table.add_row(Text(child["workflow_id"]), Text(child["workflow_type"]), state, policy)
    stdout.print()
    stdout.print(table)


def _print_updates(pending: list[dict[str, Any]]) -> None:
    if not pending:
        return
    table = _table("Pending updates", "Update", "ID", "State", "Asked at", "By")
    for update in pending:
        asked = date_and_time(update["asked_time"])
        table.add_row(Text(update["name"]), Text(update["id"]), update["state"], asked, Text(update["identity"]))
    stdout.print()
    stdout.print(table)


def _print_local_activities(pending: list[dict[str, Any]]) -> None:
    if not pending:
        return
    table = _table("Local activities under way", "Number", "Activity", "At the latest since")
    for one in pending:
        table.add_row(str(one["seq"]), Text(one["activity_type"]), date_and_time(one["since"]))
    stdout.print()
    stdout.print(table)


def _print_task_failure(failure: Mapping[str, Any] | None) -> None:
    """A defect in the workflow's code: the workflow stays open, and goes on with a fixed deployment."""
    if failure is None:
        return
    titles = {"bug": "an error in its code", "blocked": "its code blocks", "unknown_type": "no code for its type"}
    titles["non_determinism"] = "its code has changed"
    title, then = titles.get(failure["cause"], failure["cause"]), " Deploy a fix, and it goes on from here."
    if failure["failure"].get("type") == "HistoryTooLarge":
        title, then = "its history is too large for its workers", ""
    retry = failure["retry_in"]
    again = f"; tried again in {duration(retry)}" if retry is not None else ""
    stdout.print(Text(f"\nThe workflow cannot go on: {title}{again}.{then}", "red"))
    trace = failure["failure"].get("stack_trace", "").rstrip()
    if trace:
        stdout.print(Text(trace, "dim"), soft_wrap=True)
    for line in cause_lines(failure["failure"]):
        stdout.print(Text(line), soft_wrap=True)
    if not trace and failure["failure"].get("type") in ("DefinitionError", "PayloadError"):
        stdout.print("If it was started with the wrong input: terminate it, and start it again.")


# ---------------------------------------------------------------- show


def print_history(workflow_id: str, events: list[dict[str, Any]], full: bool) -> None:
    """The events of a run as a table. Details are shortened unless `full`."""
    first = moment(events[0]["time"]) if events else None
    table = plain_table()
    table.add_column("ID", justify="right", no_wrap=True)
    table.add_column("Time", no_wrap=True)
    table.add_column("Event", no_wrap=True)
    table.add_column("Details", overflow="fold")
    names = _names_of_steps(events)
    limit = 0 if full else _VALUE_LIMIT
    for event in events:
        kind, attributes = event["type"], event["attributes"]
        at = moment(event["time"])
        details = _details(kind, attributes, _Context(names, limit, at.timestamp() * 1000 if at else 0))
        table.add_row(str(event["id"]), clock(event["time"]), Text(kind, _style(kind)), Text(details))
    day = f", {first:%Y-%m-%d}" if first else ""
    stdout.print(f"[bold]{workflow_id}[/]{day}", soft_wrap=True)
    stdout.print(table)


def _style(kind: str) -> str:
    if kind.endswith(("Failed", "TimedOut")):
        return "red"
    if kind.endswith("Completed") and kind != "WorkflowTaskCompleted":
        return "green"
    if kind.endswith(("Cancelled", "CancelRequested", "Terminated")):
        return "yellow"
    return "dim" if kind == "WorkflowTaskCompleted" else ""


def _names_of_steps(events: list[dict[str, Any]]) -> dict[int, str]:
    """The names of activities, children and messages by the number of their step."""
    fields = {
        "ActivityScheduled": "activity_type",
        "ChildWorkflowInitiated": "workflow_type",
        "ExternalSignalRequested": "signal",
        "ExternalCancelRequested": "workflow_id",
    }
    steps = ((event["attributes"], fields[event["type"]]) for event in events if event["type"] in fields)
    return {attributes["seq"]: attributes[field] for attributes, field in steps}


@dataclass(frozen=True)
class _Context:
    """What the details of an event are told with: the names of steps, how long a value may be, and the event's time."""

    names: Mapping[int, str]
    limit: int
    time_ms: float

    def name(self, attributes: Mapping[str, Any]) -> str:
        return self.names.get(attributes["seq"], "?")

    def short(self, text: str) -> str:
        return cut(text, self.limit)

    def value(self, value: Any) -> str:
        return compact(value, self.limit)


_Describe = Callable[[Mapping[str, Any], _Context], str]


def _details(kind: str, attributes: Mapping[str, Any], context: _Context) -> str:
    """What is worth knowing of an event."""
    describe = _DESCRIBE.get(kind)
    if describe is None:
        return compact({n: v for n, v in attributes.items() if v not in (None, "", [], {}, 0)}, context.limit)
    return describe(attributes, context)


def _call(name: str, input: list[Any], context: _Context) -> str:
    return f"{name}({context.short(', '.join(compact(value) for value in input))})"


def _attempt(attributes: Mapping[str, Any]) -> str:
    return f" (attempt {attributes['attempt']})" if attributes.get("attempt", 1) > 1 else ""


def _started(a: Mapping[str, Any], c: _Context) -> str:
    return f"{_call(a['workflow_type'], a['input'], c)} on task queue {a['task_queue']}{_by(a)}"


def _signal(a: Mapping[str, Any], c: _Context) -> str:
    return f"{_call(a['signal'], a['input'], c)}{_by(a)}"


def _by(a: Mapping[str, Any]) -> str:
    return f", by {a['identity']}" if a.get("identity") else ""


def _task(a: Mapping[str, Any], c: _Context) -> str:
    commands = ", ".join(f"{c['kind']}{' ' * bool(c['name'])}{c['name']}" for c in a["commands"])
    return f"read up to event {a['consumed_through']}{'; ' * bool(commands)}{commands}"


def _scheduled(a: Mapping[str, Any], c: _Context) -> str:
    return f"{_call(a['activity_type'], a['input'], c)} on task queue {a['task_queue']}"


def _completed(a: Mapping[str, Any], c: _Context) -> str:
    result = f" → {c.value(a['result'])}" if a["result"] is not None else ""
    return f"{c.name(a)}{result}{_attempt(a)}"


def _failed(a: Mapping[str, Any], c: _Context) -> str:
    return f"{c.name(a)}: {c.short(failure_line(a['failure']))}{_attempt(a)}"


def _timed_out(a: Mapping[str, Any], c: _Context) -> str:
    last = f"; before: {c.short(failure_line(a['last_failure']))}" if a["last_failure"] else ""
    over = f"{a['timeout_type']} after {duration(a['timeout_ms'] / 1000)}"
    return f"{c.name(a)}: {over}{_attempt(a)}{last}"


def _of_activity(a: Mapping[str, Any], c: _Context) -> str:
    return c.name(a)


def _child_initiated(a: Mapping[str, Any], c: _Context) -> str:
    return f"{_call(a['workflow_type'], a['input'], c)} as {a['workflow_id']}"


def _child(a: Mapping[str, Any], c: _Context) -> str:
    said = a.get("reason") or a.get("timeout_type") or a.get("message") or ""
    return f"{c.name(a)}{': ' * bool(said)}{c.short(said)}"


def _signal_requested(a: Mapping[str, Any], c: _Context) -> str:
    return f"{_call(a['signal'], a['input'], c)} to {a['workflow_id']}"


def _timer_started(a: Mapping[str, Any], c: _Context) -> str:
    return f"{_timer(a, c)}, to fire in {duration((a['due_ms'] - c.time_ms) / 1000)}"


def _timer(a: Mapping[str, Any], c: _Context) -> str:
    summary = f": {a['summary']}" if a.get("summary") else ""
    return f"timer {a['seq']}{summary}"


def _result(a: Mapping[str, Any], c: _Context) -> str:
    return f"→ {c.value(a['result'])}{_unread(a)}"


def _failure(a: Mapping[str, Any], c: _Context) -> str:
    return " ← ".join(c.short(line) for line in cause_lines(a["failure"])) + _unread(a)


def _reason(a: Mapping[str, Any], c: _Context) -> str:
    said = f"{c.short(a.get('reason') or a.get('timeout_type') or '')}{_by(a)}"
    return f"{said.removeprefix(', ')}{_unread(a)}"


def _unread(a: Mapping[str, Any]) -> str:
    unread = a.get("unread")
    return f" (never read: events {', '.join(map(str, unread))})" if unread else ""


def _by_somebody(a: Mapping[str, Any], c: _Context) -> str:
    by, why = a["identity"], c.short(a["reason"])
    return f"{'by ' * bool(by)}{by}{': ' * bool(by and why)}{why}"


def _reset(a: Mapping[str, Any], c: _Context) -> str:
    said = _by_somebody(a, c)
    return f"run {a['run_id']} to event {a['event_id']}{'; ' * bool(said)}{said}"


_DESCRIBE: dict[str, _Describe] = {
    "WorkflowPaused": _by_somebody,
    "WorkflowUnpaused": _by_somebody,
    "WorkflowReset": _reset,
    "WorkflowStarted": _started,
    "SignalReceived": _signal,
    "WorkflowCancelRequested": _reason,
    "WorkflowTaskCompleted": _task,
    "ActivityScheduled": _scheduled,
    "ActivityCompleted": _completed,
    "ActivityFailed": _failed,
    "ActivityTimedOut": _timed_out,
    "ActivityCancelRequested": _of_activity,
    "ActivityCancelled": _of_activity,
    "TimerStarted": _timer_started,
    "TimerFired": _timer,
    "TimerCancelled": _timer,
    "ChildWorkflowInitiated": _child_initiated,
    "ChildWorkflowStarted": _child,
    "ChildWorkflowStartFailed": _child,
    "ChildWorkflowCompleted": _completed,
    "ChildWorkflowFailed": _failed,
    "ChildWorkflowCancelled": _child,
    "ChildWorkflowTerminated": _child,
    "ChildWorkflowTimedOut": _child,
    "ChildWorkflowCancelRequested": _child,
    "ExternalSignalRequested": _signal_requested,
    "ExternalSignalDelivered": _child,
    "ExternalSignalFailed": _child,
    "ExternalCancelRequested": _child,
    "ExternalCancelDelivered": _child,
    "ExternalCancelFailed": _child,
    "WorkflowCompleted": _result,
    "WorkflowFailed": _failure,
    "WorkflowCancelled": _failure,
    "WorkflowTerminated": _reason,
    "WorkflowTimedOut": _reason,
}
