"""`odradek schedule ...`: start workflows at certain times."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from .._gateway.schedules import ActionBody, BackfillBody, NewSchedule, ScheduleChange, TriggerBody
from .asking import ANSWER_SECONDS, do, print_done
from .failures import EXIT_CODES, CommandError, ExitCode, told
from .options import Address, AnswerTimeout, AsJson, Inputs, Namespace, TaskQueue, read_fields, read_inputs, read_json
from .output import compact, cut, date_and_time, plain_table, print_json, stdout

app = typer.Typer(no_args_is_help=True, epilog=EXIT_CODES, help="Start workflows at certain times.")

ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE_ID")]
Cron = Annotated[
    list[str], typer.Option("--cron", metavar="EXPRESSION", help="'minute hour day month weekday', @daily; repeatable.")
]
Interval = Annotated[
    list[str], typer.Option("--interval", metavar="EVERY[/OFFSET]", help="Such as 90s, 10m, 1h or 1d/2h; repeatable.")
]
Calendar = Annotated[
    list[str],
    typer.Option("--calendar", metavar="JSON", help="""Such as '{"hour": [9], "day_of_week": [1, 5]}'; repeatable."""),
]
Skip = Annotated[
    list[str], typer.Option("--skip", metavar="JSON", help="A calendar of times to leave out; repeatable.")
]
Zone = Annotated[str, typer.Option("--time-zone", metavar="NAME", help="Such as Europe/Berlin. Default: UTC.")]
Jitter = Annotated[str, typer.Option("--jitter", metavar="DURATION", help="Up to so much later, each time.")]
StartAt = Annotated[str, typer.Option("--start-at", metavar="TIME", help="Nothing before, such as 2026-03-01T00:00Z.")]
EndAt = Annotated[str, typer.Option("--end-at", metavar="TIME", help="Nothing after.")]
Overlap = Annotated[
    str,
    typer.Option(
        "--overlap",
        metavar="POLICY",
        help="If the one before still runs: skip, buffer_one, buffer_all, cancel_other, terminate_other or allow_all.",
    ),
]
Catchup = Annotated[
    str, typer.Option("--catchup-window", metavar="DURATION", help="Times missed are made up for, if not older.")
]
Remaining = Annotated[
    int, typer.Option("--remaining-actions", metavar="N", help="Act so often, then no more. -1: any.")
]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="For people.")]
NOTHING: list[str] = []


@app.command()
def create(
    schedule_id: ScheduleId,
    workflow_type: Annotated[str, typer.Option("--type", metavar="TYPE", help="The workflow to start.")],
    workflow_id: Annotated[
        str,
        typer.Option("--workflow-id", metavar="ID", help="What workflow IDs begin with. Default: the schedule's ID."),
    ] = "",
    input: Inputs = NOTHING,
    task_queue: TaskQueue = "default",
    cron: Cron = NOTHING,
    interval: Interval = NOTHING,
    calendar: Calendar = NOTHING,
    skip: Skip = NOTHING,
    time_zone: Zone = "",
    jitter: Jitter = "",
    start_at: StartAt = "",
    end_at: EndAt = "",
    overlap: Overlap = "skip",
    catchup_window: Catchup = "365d",
    pause_on_failure: Annotated[bool, typer.Option("--pause-on-failure", help="Pause when a workflow fails.")] = False,
    remaining_actions: Remaining = -1,
    note: Note = "",
    paused: Annotated[bool, typer.Option("--paused", help="It does nothing until it is unpaused.")] = False,
    trigger: Annotated[bool, typer.Option("--trigger-immediately", help="Also act at once.")] = False,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Make a schedule. It acts at all of its times, until it is deleted."""
    with told(as_json):
        body = read_fields(
            {
                "schedule_id": schedule_id,
                "action": _action(workflow_type, workflow_id, task_queue, input),
                "spec": _spec(cron, interval, calendar, skip, time_zone, jitter, start_at, end_at),
                "overlap": overlap,
                "catchup_window": _seconds("--catchup-window", catchup_window),
                "pause_on_failure": pause_on_failure,
                "note": note,
                "paused": paused,
                "remaining_actions": None if remaining_actions < 0 else remaining_actions,
                "trigger_immediately": trigger,
            },
            NewSchedule,
        )
    do(address, namespace, as_json, lambda service: service.schedules.create(body), timeout)
    print_done(as_json, f"Created schedule {schedule_id}", schedule_id=schedule_id)


@app.command()
def update(
    schedule_id: ScheduleId,
    workflow_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Another workflow, with --input and the like as it has them.")
    ] = "",
    workflow_id: Annotated[str, typer.Option("--workflow-id", metavar="ID", help="With --type.")] = "",
    input: Inputs = NOTHING,
    task_queue: TaskQueue = "default",
    cron: Cron = NOTHING,
    interval: Interval = NOTHING,
    calendar: Calendar = NOTHING,
    skip: Skip = NOTHING,
    time_zone: Zone = "",
    jitter: Jitter = "",
    start_at: StartAt = "",
    end_at: EndAt = "",
    overlap: Overlap = "",
    catchup_window: Catchup = "",
    pause_on_failure: Annotated[bool | None, typer.Option(help="Pause when a workflow fails.")] = None,
    remaining_actions: Annotated[int | None, typer.Option(metavar="N", help="Act so often. -1: without limit.")] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="For people.")] = None,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Change what is given; the rest stays. One --cron replaces all that there were, and so on. Other times count from
    now on."""
    with told(as_json):
        change: dict[str, Any] = {}
        if workflow_type:
            change["action"] = _action(workflow_type, workflow_id, task_queue, input)
        elif input or workflow_id:
            raise CommandError(ExitCode.USAGE, "--input and --workflow-id go with --type")
        spec = _spec(cron, interval, calendar, skip, time_zone, jitter, start_at, end_at)
        given = {"spec": spec, "overlap": overlap, "pause_on_failure": pause_on_failure, "note": note}
        change |= {name: value for name, value in given.items() if value not in (None, "", {})}
        if catchup_window:
            change["catchup_window"] = _seconds("--catchup-window", catchup_window)
        if remaining_actions is not None:
            change["remaining_actions"] = None if remaining_actions < 0 else remaining_actions
        if not change:
            raise CommandError(ExitCode.USAGE, "what is to be changed?", "Give at least one option, such as --cron.")
        body = read_fields(change, ScheduleChange)
    do(address, namespace, as_json, lambda service: service.schedules.update(schedule_id, body), timeout)
    print_done(as_json, f"Updated schedule {schedule_id}", schedule_id=schedule_id)


@app.command()
def describe(
    schedule_id: ScheduleId,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Show a schedule: its times, what runs, what was done lately, and what was left out."""
    found = do(address, namespace, as_json, lambda service: service.schedules.describe(schedule_id), timeout)
    if as_json:
        print_json(found)
    else:
        _print(found)


@app.command("list")
def list_schedules(
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="How many at most.")] = 100,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Show the schedules, with what they start and when next."""
    found = do(address, namespace, as_json, lambda service: service.schedules.list(limit), timeout)
    if as_json:
        print_json({"schedules": found})
        return
    table = plain_table("Schedule", "Starts", "Next", "Running", "Note")
    for one in found:
        following = "paused" if one["paused"] else date_and_time(next(iter(one["next_action_times"]), None)) or "none"
        running = str(len(one["running_actions"]))
        table.add_row(Text(one["schedule_id"]), Text(one["action"]["workflow_type"]), following, running,
                      Text(cut(one["note"], 60)))  # fmt: skip
    stdout.print(table)


@app.command()
def pause(
    schedule_id: ScheduleId,
    note: Note = "paused",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let it do nothing until it is unpaused. What runs goes on."""
    do(address, namespace, as_json, lambda service: service.schedules.pause(schedule_id, note), timeout)
    print_done(as_json, f"Paused schedule {schedule_id}", schedule_id=schedule_id)


@app.command()
def unpause(
    schedule_id: ScheduleId,
    note: Note = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let it go on. Times that passed meanwhile are left out: `backfill` makes up for them."""
    do(address, namespace, as_json, lambda service: service.schedules.unpause(schedule_id, note), timeout)
    print_done(as_json, f"Unpaused schedule {schedule_id}", schedule_id=schedule_id)


@app.command()
def trigger(
    schedule_id: ScheduleId,
    overlap: Overlap = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let it act now, also while it is paused."""
    with told(as_json):
        body = read_fields({"overlap": overlap or None}, TriggerBody)
    do(address, namespace, as_json, lambda service: service.schedules.trigger(schedule_id, body), timeout)
    print_done(as_json, f"Triggered schedule {schedule_id}", schedule_id=schedule_id)


@app.command()
def backfill(
    schedule_id: ScheduleId,
    start_at: Annotated[str, typer.Option("--start-at", metavar="TIME", help="Such as 2026-03-01T00:00Z; included.")],
    end_at: Annotated[str, typer.Option("--end-at", metavar="TIME", help="Included.")],
    overlap: Overlap = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let it act at times gone by, but for those that it has acted on."""
    with told(as_json):
        times = {"start_at": _time("--start-at", start_at), "end_at": _time("--end-at", end_at)}
        body = read_fields({**times, "overlap": overlap or None}, BackfillBody)
    do(address, namespace, as_json, lambda service: service.schedules.backfill(schedule_id, body), timeout)
    print_done(as_json, f"Backfilling schedule {schedule_id}", schedule_id=schedule_id)


@app.command()
def delete(
    schedule_id: ScheduleId,
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """End a schedule. The workflows that it has started go on."""
    do(address, namespace, as_json, lambda service: service.schedules.delete(schedule_id), timeout)
    print_done(as_json, f"Deleted schedule {schedule_id}", schedule_id=schedule_id)


# ---------------------------------------------------------------- what is given


def _action(workflow_type: str, workflow_id: str, task_queue: str, inputs: list[str]) -> dict[str, Any]:
    body = ActionBody(
        workflow_type=workflow_type, workflow_id=workflow_id, task_queue=task_queue, input=read_inputs(inputs)
    )
    plain: dict[str, Any] = msgspec.to_builtins(body)
    return plain


def _spec(
    cron: list[str], interval: list[str], calendar: list[str], skip: list[str], zone: str, jitter: str, start: str,
    end: str,
) -> dict[str, Any]:  # fmt: skip
    """The fields of a spec that are given."""
    given: dict[str, Any] = {
        "cron_expressions": cron,
        "intervals": [_interval(text) for text in interval],
        "calendars": [read_json("--calendar", text) for text in calendar],
        "skip": [read_json("--skip", text) for text in skip],
        "time_zone_name": zone,
        "jitter": _seconds("--jitter", jitter) if jitter else None,
        "start_at": _time("--start-at", start) if start else None,
        "end_at": _time("--end-at", end) if end else None,
    }
    return {name: value for name, value in given.items() if value not in (None, "", [])}


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _seconds(option: str, text: str) -> float:
    """`90`, `90s`, `1h30m`. Raises CommandError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhdw]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CommandError(ExitCode.USAGE, f"{option} {text}: a duration is such as 90s, 10m, 1h30m or 7d")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)


def _interval(text: str) -> dict[str, float]:
    every, _, offset = text.partition("/")
    return {"every": _seconds("--interval", every), "offset": _seconds("--interval", offset) if offset else 0.0}


def _time(option: str, text: str) -> str:
    """ISO 8601, as JSON has it. Raises CommandError for what is none, or has no time zone."""
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        raise CommandError(
            ExitCode.USAGE, f"{option} {text}: a time is such as 2026-03-01T09:00Z or 2026-03-01T10:00+01:00"
        )
    return at.isoformat()


# ---------------------------------------------------------------- what is shown


def _print(found: dict[str, Any]) -> None:
    action = found["action"]
    state = f"paused: {found['note']}" if found["paused"] else f"active{': ' * bool(found['note'])}{found['note']}"
    given = ", ".join(compact(value, 40) for value in action["input"] or [])
    counts = [
        f"{found['num_actions']} started",
        *(f"{found[name]} {what}" for name, what in _COUNTS.items() if found[name]),
    ]
    lines = [
        ("Schedule", f"{found['schedule_id']} ({state})"),
        ("Starts", f"{action['workflow_type']}({given}) on task queue {action['task_queue']}"),
        ("Times", compact(found["spec"], 200)),
        ("Overlap", found["overlap"]),
        ("Next", ", ".join(date_and_time(at) for at in found["next_action_times"][:5]) or "none"),
        ("So far", ", ".join(counts)),
    ]
    for name, value in lines:
        stdout.print(Text.assemble((f"{name:<10}", "dim"), value), soft_wrap=True)
    if not found["recent_actions"]:
        return
    table = plain_table()
    ids = max(len(taken["workflow_id"]) for taken in found["recent_actions"])
    for name in ("Time", "Started", "Workflow", "Status"):
        table.add_column(name, min_width=ids if name == "Workflow" else None)  # whole, to be copied
    for taken in found["recent_actions"]:
        said = f"{taken['status']}{': ' * bool(taken['message'])}{cut(taken['message'], 80)}"
        by = " (manual)" if taken["manual"] else ""
        nominal, started = date_and_time(taken["nominal_time"]), date_and_time(taken["start_time"])
        table.add_row(nominal, started, Text(taken["workflow_id"]), Text(said + by))
    stdout.print(table)


_COUNTS = {
    "num_actions_skipped_overlap": "left out because one ran",
    "num_actions_missed_catchup_window": "missed",
    "num_actions_dropped_from_buffer": "dropped",
    "buffered": "waiting",
    "pending_backfills": "backfills under way",
}
