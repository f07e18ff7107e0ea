"""The message of a NonDeterminismError: what history holds beside what the code now asks, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from odradek_schemas import history
from odradek_schemas.history import CommandSummary, HistoryEvent

from ._context import WorkflowInfo
from ._instance_patches import MARK

_ROWS_BEFORE, _ROWS_AFTER = 3, 8
_SEEN_SHOWN = 6
_NAMES = ("signal", "update", "activity_type", "workflow_type")
_RECORDED: dict[type, str] = {
    history.ActivityScheduled: "ScheduleActivity",
    history.ActivityCancelRequested: "CancelActivity",
    history.TimerStarted: "StartTimer",
    history.TimerCancelled: "CancelTimer",
    history.ChildWorkflowInitiated: "StartChildWorkflow",
    history.ChildWorkflowCancelRequested: "CancelChildWorkflow",
    history.ExternalSignalRequested: "SignalExternalWorkflow",
    history.ExternalCancelRequested: "CancelExternalWorkflow",
    history.UpdateCompleted: "CompleteUpdate",
    history.WorkflowCompleted: "CompleteWorkflow",
    history.WorkflowFailed: "FailWorkflow",
    history.WorkflowCancelled: "CancelledWorkflow",
    history.WorkflowContinuedAsNew: "ContinueAsNewWorkflow",
    history.SearchAttributesUpserted: "UpsertSearchAttributes",
}
_CLOSING = ("CompleteWorkflow", "FailWorkflow", "CancelledWorkflow", "ContinueAsNewWorkflow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A completed task that came out differently. `unfed`: what it saw, and the code did not because it had ended."""

    info: WorkflowInfo
    task: HistoryEvent
    seen: Sequence[HistoryEvent]
    unfed: Sequence[HistoryEvent]
    held: Sequence[CommandSummary]
    asked: Sequence[CommandSummary]
    events: Sequence[HistoryEvent]


def difference(replayed: Replayed) -> str:
    """Where it differs, side by side, with event IDs, the usual causes and the next step."""
    about = replayed.info
    lines = [
        f"workflow {about.workflow_type} ({about.workflow_id}, run {about.run_id}): the code does not ask for what it "
        "asked when this history was written.",
        "",
        f"At the task completed in event {replayed.task.event_id}, {_seen(replayed.seen)}:",
        "",
        *_table(replayed),
        "",
    ]
    if replayed.unfed:
        first = replayed.unfed[0]
        lines += [
            f"The code ended before it saw event {first.event_id} ({describe(first)}), which it waited for then.",
            "",
        ]
    return "\n".join([*lines, *_hints(replayed)])


def describe(event: HistoryEvent) -> str:
    """An event in a few words."""
    attributes = event.attributes
    name = next(filter(None, (getattr(attributes, field, "") for field in _NAMES)), "")
    seq = getattr(attributes, "seq", 0)
    return " ".join(filter(None, [type(attributes).__name__, name, f"#{seq}" if seq else ""]))


def _seen(seen: Sequence[HistoryEvent]) -> str:
    if not seen:
        return "which saw nothing new"
    shown = [f"{event.event_id} {describe(event)}" for event in seen[-_SEEN_SHOWN:]]
    left_out = len(seen) - len(shown)
    return f"after event{'s' * (len(seen) > 1)} {f'({left_out} more), ' * bool(left_out)}{', '.join(shown)}"


def _table(replayed: Replayed) -> Iterator[str]:
    held, asked = replayed.held, replayed.asked
    places = _event_ids(replayed)
    rows: list[tuple[str, str, str]] = []
    for summary, other in zip_longest(held, asked):
        place = places.get((summary.kind, summary.seq)) if summary is not None else None
        left = f"{_show(summary)}{f'  (event {place})' * bool(place)}"
        rows.append((" " if summary == other else ">", left, _show(other)))
    first = next((index for index, row in enumerate(rows) if row[0] == ">"), len(rows))
    start, end = max(0, first - _ROWS_BEFORE), first + _ROWS_AFTER
    shown = rows[start:end]
    width = max([len("history holds"), *[len(left) for _, left, _ in shown]])
    yield f"      {'history holds':{width}}   the code now asks"
    if start:
        yield f"      ({start} alike)"
    for index, (mark, left, right) in enumerate(shown, start + 1):
        yield f"{mark} {index:3} {left:{width}}   {right}".rstrip()
    if len(rows) > end:
        yield f"      ({len(rows) - end} more)"


def _show(summary: CommandSummary | None) -> str:
    if summary is None:
        return "-"
    return " ".join(filter(None, [summary.kind, summary.name, f"#{summary.seq}" if summary.seq else ""]))


def _event_ids(replayed: Replayed) -> dict[tuple[str, int], int]:
    """The events that the commands of the task became."""
    found: dict[tuple[str, int], int] = {}
    for event in replayed.events:
        kind = _RECORDED.get(type(event.attributes))
        if kind is not None and event.event_id > replayed.task.event_id:
            found.setdefault((kind, getattr(event.attributes, "seq", 0)), event.event_id)
    return found


def _hints(replayed: Replayed) -> Iterator[str]:
    held = [(summary.kind, summary.name) for summary in replayed.held]
    asked = [(summary.kind, summary.name) for summary in replayed.asked]
    gone = [name for kind, name in held if kind == MARK and (kind, name) not in asked]
    if gone:
        yield f"This run has the change {gone[0]!r}, and the code does not ask for it here any more. Put back"
        yield f"workflow.patched({gone[0]!r}). Once no run without the change is open, put"
        yield f"workflow.deprecate_patch({gone[0]!r}) in its place; take that out when those runs have ended as well."
    elif sorted(held) == sorted(asked):
        yield "The same commands in another order: does the code go through a set, or a dict filled in another order?"
    elif any(kind in _CLOSING for kind, _ in asked) and not any(kind in _CLOSING for kind, _ in held):
        yield "The code now ends here: was a wait taken out, or a check or exception put in?"
    elif _is_within(held, asked):
        yield "The code now asks for more: was a step put in before a place that this workflow had passed?"
    elif _is_within(asked, held):
        yield "The code now asks for less: was a step taken out, or does it wait for something else first?"
    yield "Usual causes: the workflow's code was changed while this run was open, or it depends on what is not the same"
    yield "on every replay: the clock, random, uuid, the environment, files, module state, the order of a set."
    yield "To go on: deploy the code that this run was started with. Then put the change behind workflow.patched(...),"
    yield "or give the changed workflow another name (workflow.define(name=...)). In workflows use workflow.now(),"
    yield "random() and uuid4(), for the rest activities."


def _is_within(few: Sequence[object], many: Iterable[object]) -> bool:
    """Whether `few` is in `many`, in this order, with others between."""
    rest = iter(many)
    return all(one in rest for one in few)
