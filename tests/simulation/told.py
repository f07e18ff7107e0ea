"""What was told, against the histories: clients of results, answers and commands; workflows of each other; the public
stream of all events; people of what nobody read.

These look at how things ended, and at histories as they are, with no part of the fold.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from odradek_log import TopicPartition
from odradek_schemas import Payload, Topics, history, tasks

from .golden import Golden, Run
from .journal import Journal
from .stdlib import decoded

_CHILD_ENDS: dict[type, type] = {
    history.ChildWorkflowCompleted: history.WorkflowCompleted,
    history.ChildWorkflowFailed: history.WorkflowFailed,
    history.ChildWorkflowCancelled: history.WorkflowCancelled,
    history.ChildWorkflowTerminated: history.WorkflowTerminated,
    history.ChildWorkflowTimedOut: history.WorkflowTimedOut,
}
_COMMANDS: dict[str, type] = {
    "cancel": history.WorkflowCancelRequested,
    "terminate": history.WorkflowTerminated,
    "pause": history.WorkflowPaused,
    "unpause": history.WorkflowUnpaused,
    "reset": history.WorkflowReset,
}
"""What is in the history of a workflow once a client was told that this was done."""


def misfits(golden: Sequence[Golden], journal: Journal, topics: Topics) -> Iterator[str]:
    """All that does not fit, in words. At the end of a run, when all has come to rest."""
    runs = [run for one in golden for run in one.runs.values()]
    for one in golden:
        yield from _published(one, topics)
        yield from _unread(one, topics)
    yield from _children(runs)
    yield from _messages(runs)
    yield from _told(runs, journal)
    if journal.calm and not any(run.was_reset for run in runs):
        for token, count in journal.done_here.items():
            if count > 1:
                yield f"{token} was done {count} times by its workflow"


def _attributes(run: Run) -> list[Any]:
    return [entry.event.attributes for entry in run.entries]


# ---------------------------------------------------------------- the public stream, and people


def _published(golden: Golden, topics: Topics) -> Iterator[str]:
    """The stream of all events has each event of each run once, in order; of a run that a reset began, its own ones."""
    stream: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for _, value in golden.effects[TopicPartition(topics.history, golden.partition)]:
        batch = decoded(value)
        assert isinstance(batch, tasks.HistoryBatch)
        stream[batch.workflow_id, batch.run_id] += batch.events
    for key, run in golden.runs.items():
        events = [decoded(event) for event in stream[key]]
        own = [entry.event for entry in run.entries]
        while run.was_reset and own and not isinstance(own[0].attributes, history.WorkflowReset):
            del own[0]
        if events != own:
            yield f"the public stream has {len(events)} events of {key}, its history {len(own)}"


def _unread(golden: Golden, topics: Topics) -> Iterator[str]:
    """A run that ends says which input it never read; signals among it that nobody else gets are dead letters."""
    letters = Counter(
        letter.value for where, made in golden.effects.items() if where.topic == topics.dead_letters
        for _, value in made if isinstance(letter := decoded(value), tasks.DeadLetter)
    )  # fmt: skip
    for run in golden.runs.values():
        closing: Any = run.entries[-1].event.attributes
        if not isinstance(closing, history.CLOSES):
            continue
        completed = [a for a in _attributes(run) if isinstance(a, history.WorkflowTaskCompleted)]
        through = max((one.consumed_through for one in completed), default=0)
        local = {number for one in completed for number in one.local_events}
        inputs = [e.event for e in run.entries if isinstance(e.event.attributes, history.INPUTS)]
        unread = [event for event in inputs if event.event_id > through and event.event_id not in local]
        if [event.event_id for event in unread] != closing.unread:
            numbers = [event.event_id for event in unread]
            yield f"{run.workflow_id} ({run.run_id}) ended without reading {numbers}, and says {closing.unread}"
        if getattr(closing, "new_run_id", ""):
            continue
        for event in unread:
            if isinstance(event.attributes, history.SignalReceived) and event not in map(_event, letters):
                yield f"nobody was told that {run.workflow_id} ended without reading {event}"


def _event(value: bytes) -> Any:
    try:
        return decoded(value)
    except ValueError:
        return None


# ---------------------------------------------------------------- workflows, of each other


def _children(runs: Sequence[Run]) -> Iterator[str]:
    """Each child was begun once, by the command that asked for it; it is heard of once, and as it was."""
    by_id = {(run.workflow_id, run.run_id): run for run in runs}
    was_reset = {run.workflow_id for run in runs if run.was_reset}
    begun: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for run in runs:
        started: Any = run.entries[0].event.attributes
        if started.parent is not None and not started.continued_from_run_id and not started.seed:
            begun[started.parent.workflow_id, started.parent.run_id, started.parent.seq].append(run.run_id)
    for (workflow_id, run_id, seq), children in begun.items():
        if len(children) > 1:
            yield f"the command {seq} of {workflow_id} ({run_id}) has begun {len(children)} children"
    for run in runs:
        if run.workflow_id in was_reset:
            continue
        ends: Counter[int] = Counter()
        for heard in _attributes(run):
            known = begun.get((run.workflow_id, run.run_id, getattr(heard, "seq", 0)), [])
            if isinstance(heard, history.ChildWorkflowStarted) and heard.run_id not in known:
                yield f"{run.workflow_id} heard of {heard}, and it has begun {known}"
            if type(heard) not in _CHILD_ENDS or heard.workflow_id in was_reset:
                continue
            ends[heard.seq] += 1
            child = by_id.get((heard.workflow_id, heard.run_id))
            last: Any = child.entries[-1].event.attributes if child is not None else None
            same = all(
                getattr(heard, name) == getattr(last, name, None)
                for name in ("result", "failure", "timeout_type") if hasattr(heard, name)
            )  # fmt: skip
            if type(last) is not _CHILD_ENDS[type(heard)] or not same:
                yield f"{run.workflow_id} heard {heard} of a child that ended with {last}"
        if again := [seq for seq, count in ends.items() if count > 1]:
            yield f"{run.workflow_id} ({run.run_id}) heard more than once that its children {again} ended"


def _messages(runs: Sequence[Run]) -> Iterator[str]:
    """Each signal from a workflow to another is there once if its sender was told so, and once at most if it was not
    told yet when it ended."""
    was_reset = {run.workflow_id for run in runs if run.was_reset}
    sent: Counter[tuple[Any, ...]] = Counter()
    unsure: Counter[tuple[Any, ...]] = Counter()
    doubtful: set[tuple[Any, ...]] = set()
    for run in runs:
        asked: dict[int, tuple[Any, ...]] = {}
        for attributes in _attributes(run):
            if isinstance(attributes, history.ExternalSignalRequested):
                asked[attributes.seq] = _message(attributes.workflow_id, attributes.signal, attributes.input)
                if run.workflow_id in was_reset:
                    doubtful.add(asked[attributes.seq])
            elif isinstance(attributes, history.ExternalSignalDelivered):
                sent[asked.pop(attributes.seq)] += 1
            elif isinstance(attributes, history.ExternalSignalFailed):
                asked.pop(attributes.seq)
        unsure.update(asked.values())
    heard = _heard(runs)
    for message in {*sent, *unsure}:
        if message[0] in was_reset or message in doubtful:
            continue  # a reset says again what was said, and hears again what was heard
        low, high = sent[message], sent[message] + unsure[message]
        if not low <= heard[message] <= high:
            yield f"{message} was sent {low} times, {high} at most, and is there {heard[message]} times"


def _heard(runs: Sequence[Run]) -> Counter[tuple[Any, ...]]:
    """The signals that no client has sent, each once, however often runs have handed it to the next one."""
    heard: Counter[tuple[Any, ...]] = Counter()
    for run in runs:
        handed_on = _handed_on(run)
        for event in (entry.event for entry in run.entries):
            what = event.attributes
            if isinstance(what, history.SignalReceived) and not what.request_id and event.event_id not in handed_on:
                heard[_message(run.workflow_id, what.signal, what.input)] += 1
    return heard


def _handed_on(run: Run) -> set[int]:
    """The events that a run has not read, and that are in the one that follows it."""
    closing: Any = run.entries[-1].event.attributes
    return set(closing.unread) if getattr(closing, "new_run_id", "") else set()


def _message(workflow_id: str, signal: str, payloads: Sequence[Payload]) -> tuple[Any, ...]:
    return (workflow_id, signal, *(payload.data for payload in payloads))


# ---------------------------------------------------------------- clients


def _told(runs: Sequence[Run], journal: Journal) -> Iterator[str]:
    """Results and answers are those of history; what was said to be done is there, once."""
    by_workflow: dict[str, list[Any]] = defaultdict(list)
    was_reset = {run.workflow_id for run in runs if run.was_reset}
    for run in runs:
        handed_on = _handed_on(run)
        by_workflow[run.workflow_id] += [e.event.attributes for e in run.entries if e.event.event_id not in handed_on]
    for told in journal.told:
        there = by_workflow[told.workflow_id]
        if told.kind in _COMMANDS:
            found = [one for one in there if type(one) is _COMMANDS[told.kind] and told.token in _names(one)]
            if not found or (len(found) > 1 and told.workflow_id not in was_reset):
                yield f"{told} is {len(found)} times in history"
        elif told.kind == "update":
            answers = [one for one in there if isinstance(one, history.UpdateCompleted) and one.update_id == told.token]
            if not answers or not all(_is(one.result, told.value) for one in answers):
                yield f"{told}, and in history is {answers}"
        elif not any(isinstance(one, history.WorkflowCompleted) and _is(one.result, told.value) for one in there):
            yield f"{told}, and no run has ended so"


def _names(one: Any) -> tuple[str, str]:
    """What a client's command can be known by: its request, or its reason."""
    return getattr(one, "request_id", ""), one.reason


def _is(payload: Payload | None, value: object) -> bool:
    return payload is not None and bool(json.loads(payload.data) == value)


__all__ = ["misfits"]
