"""The truth about one partition: its log, folded from zero, and what every record must and must not do."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from odradek_engine.fold import Folded, State, events, fold, keys
from odradek_engine.fold.invariants import problems
from odradek_engine.fold.rows import SessionRow
from odradek_log import Record, TopicPartition
from odradek_schemas import DecodeError, Topics, history, records
from odradek_schemas.common import Position

from .disk import SortedStorage
from .identity import changed, moved, not_before, void
from .pieced import Pieces
from .stdlib import decoded

EARLY_MS = 1_000
"""How much earlier than due a timer may fire, or a timeout strike, in fold time (rule C1)."""

_NO_CHANGE = (events.RecordFolded, events.RowExpired, events.RecordHeld)
"""What the fold does with a record that it does not take, or not yet."""

RunKey = tuple[str, str]

_OF_A_RUN = (
    records.TimerFired,
    records.ActivityCompleted,
    records.ActivityFailed,
    records.ActivityCancelled,
    records.ActivityTimedOut,
)
"""Records that end something of the run that they name, and of no other (rule R1)."""


class AuditedLog(Protocol):
    """A log with all its records. `landed`: when each came to be there, in true seconds."""

    records: dict[TopicPartition, list[Record]]
    landed: dict[TopicPartition, list[float]]
    markers: dict[TopicPartition, set[int]]


class Entry(NamedTuple):
    """An event of a run, and the record that made it."""

    event: history.HistoryEvent
    offset: int
    timestamp_ms: int


_NO_CHANGE = (events.RecordFolded, events.RecordHeld, events.RowExpired)
"""What comes of a record that is not taken, or not yet."""


@dataclass
class Run:
    """The history of a run as the auditors have it. `bases`: of its completions, by base."""

    workflow_id: str
    run_id: str
    partition: int
    entries: list[Entry] = field(default_factory=list)
    tip: str = ""
    ended: dict[int, str] = field(default_factory=dict)
    scheduled: dict[int, str] = field(default_factory=dict)
    timers: dict[int, int] = field(default_factory=dict)
    was_reset: bool = False
    is_copied: bool = False
    """These events are those of the run before, which a reset has given to this one."""


class Golden:
    """One partition, folded from zero."""

    def __init__(self, log: AuditedLog, topics: Topics, partition: int, wrong: list[str]) -> None:
        self.partition = partition
        self.storage = SortedStorage()
        self.state = State(self.storage, partition)
        self.totals: dict[int, int] = {}
        """What the rows of the state add up to, by position."""
        self.runs: dict[RunKey, Run] = {}
        self.effects: dict[TopicPartition, list[tuple[Position, bytes]]] = defaultdict(list)
        self.thorough = False
        """Look at the whole state after each record, not only now and then."""
        self.kinds: Counter[str] = Counter()
        """How many records of each kind there were, and commands."""
        self.completed: dict[tuple[str, int], float] = {}
        """When the result of a run's activity came to be in the log, by run ID and number, in true seconds."""
        self._log = log.records[TopicPartition(topics.events, partition)]
        self._markers = log.markers[TopicPartition(topics.events, partition)]
        self._landed = log.landed[TopicPartition(topics.events, partition)]
        self._topics = topics
        self._wrong = wrong
        self._completions: set[str] = set()
        self._pieces = Pieces()
        self.switched: dict[int, float] = {}
        """When the log was switched to a fold version, in true seconds."""
        self._time_ms = 0

    def follow(self, end: int) -> None:
        """Fold up to an offset."""
        while (position := self._next()) < end:
            record = self._log[position]
            before, reason, due = self._before(record), self._void(record), self._due(record)
            folded = fold(self.state, self._topics, record.offset, record.timestamp_ms, record.key, record.value)
            self.state.flush()
            self.totals[self.state.partition.position] = self.storage.total
            self._count(folded.record)
            self._pieces.add(folded.record)
            self._check_record(folded, *before)
            if reason and changed(folded):
                self._wrong.append(f"{folded.record} changed something, although {reason}")
            if moved(folded) and self.state.partition.time_ms < due - EARLY_MS:
                self._wrong.append(f"{folded.record} came {due - self.state.partition.time_ms} ms early, and was taken")
            if self.thorough and any(not isinstance(event, events.RecordFolded) for event in folded.events):
                self._wrong += [f"partition {self.partition} after {folded.record}: {p}" for p in problems(self.state)]
            for event in folded.events:
                if type(event) is events.Appended:
                    self._appended(event, record.offset, record.timestamp_ms, folded.record)
            for effect in folded.effects:
                where = TopicPartition(effect.topic, effect.partition)
                body: Any = decoded(effect.value)
                self.effects[where].append((body.position, effect.value))

    def _next(self) -> int:
        """Where the next record is, or would be."""
        position = self.state.partition.position
        while position in self._markers:
            position += 1
        return position

    def _count(self, record: Any) -> None:
        self.kinds[type(record).__name__] += 1
        if isinstance(record, records.ForwardedRecord):
            with suppress(DecodeError):
                self._count(decoded(record.value))
        elif isinstance(record, records.WorkflowTaskCompleted):
            self.kinds.update(type(command).__name__ for command in record.commands)

    # ------------------------------------------------------------ what a record may do

    def _before(self, record: Record) -> tuple[int, set[int]]:
        """The epoch, and the open activities of which this record has results, before it is folded."""
        epoch = self.state.partition.epoch
        if self.state.partition.waiting:
            return epoch, set()
        try:
            body = decoded(record.value)
        except ValueError:
            return epoch, set()
        if isinstance(body, records.ActivityCompleted):
            results: list[Any] = [body]
        elif isinstance(body, records.WorkflowTaskCompleted):
            results = [r for r in body.local_results if getattr(r, "failure", None) is None]
        else:
            return epoch, set()
        run = self.state.get(keys.current(body.workflow_id))
        if run is None or not run.is_open or run.run_id != body.run_id:
            return epoch, set()
        rows = [(r, self.state.get(keys.activity(body.workflow_id, body.run_id, r.seq))) for r in results if r.seq >= 0]
        return epoch, {r.seq for r, row in rows if row is not None and row.scheduled_by == r.scheduled_by}

    def _void(self, record: Record) -> str:
        """Why a record must not change anything; empty if it may."""
        if self.state.partition.waiting:
            return ""
        try:
            return void(self.state, decoded(record.value))
        except ValueError:
            return ""

    def _due(self, record: Record) -> int:
        """The time of a record that must not be taken before it."""
        if self.state.partition.waiting:
            return 0
        try:
            return not_before(self.state, decoded(record.value))
        except ValueError:
            return 0

    def _check_record(self, folded: Folded, epoch: int, results: set[int]) -> None:
        body: Any = folded.record
        changes = [e for e in folded.events if not isinstance(e, _NO_CHANGE)]
        if getattr(body, "epoch", epoch) != epoch and changes:
            self._wrong.append(f"{body} was taken, although it is of an older leader than {epoch}")
        self._check_version()
        if self.state.partition.time_ms < self._time_ms:
            self._wrong.append(f"the time of partition {self.partition} goes back at {body}")
        self._time_ms = self.state.partition.time_ms
        over: set[str] = set()  # later on: a reading of the clock lets many records go, one after another
        for event in reversed(changes):
            if isinstance(event, events.SessionOver):
                over.add(event.session)
            elif isinstance(event, events.ActivityTaken) and not self._was_live(event.session, over):
                self._wrong.append(f"{event} by a session that is over (record {body})")
            if isinstance(event, events.Appended) and isinstance(body, _OF_A_RUN) and event.run_id != body.run_id:
                self._wrong.append(f"{body} changed run {event.run_id}")
        ended = [e.attributes for e in changes if isinstance(e, events.Appended)]
        taken = {e.seq for e in ended if isinstance(e, history.ActivityCompleted)}
        put_off = self.state.partition.waiting  # until the leader has written its clock (C1)
        if results - taken and not put_off and not any(isinstance(e, history.CLOSES) for e in ended):
            self._wrong.append(f"{body} has results of open activities that were not taken: {results - taken}")

    def _check_version(self) -> None:
        """The fold version of the log never goes down (V1)."""
        version = self.state.partition.version
        if version < max(self.switched, default=0):
            self._wrong.append(f"partition {self.partition} goes back to fold version {version}")
        elif version:
            self.switched.setdefault(version, self._landed[self.state.partition.position - 1])

    def _was_live(self, session: str, over: set[str]) -> bool:
        """Before those sessions ended; what nobody has taken needs none."""
        row = self.state.row(keys.session(session), SessionRow)
        return not session or session in over or (row is not None and not row.ended_ms)

    # ------------------------------------------------------------ what a history must be, event by event

    def _appended(self, appended: events.Appended, offset: int, timestamp_ms: int, record: Any) -> None:
        key = (appended.workflow_id, appended.run_id)
        run = self.runs.get(key)
        if run is None:
            run = self.runs[key] = Run(*key, self.partition, tip=appended.run_id)
        event = decoded(appended.encoded)
        assert isinstance(event, history.HistoryEvent)
        run.entries.append(Entry(event, offset, timestamp_ms))
        if event.event_id != len(run.entries):
            self._wrong.append(f"{key} has event {event.event_id} as its number {len(run.entries)}")
        if len(run.entries) > 1 and event.time_ms < run.entries[-2].event.time_ms:
            self._wrong.append(f"{key}: the time goes back at event {event.event_id}")
        if isinstance(event.attributes, history.WorkflowTaskCompleted) and not run.is_copied:
            self._wrong += [wrong] if (wrong := self._pieces.problem(event.attributes.id, record)) else []
        self._check(run, event, offset, self.state.partition.time_ms)

    def _check(self, run: Run, event: history.HistoryEvent, offset: int, now_ms: int) -> None:
        what = event.attributes
        name = f"event {event.event_id} of {run.workflow_id} ({run.run_id})"
        if isinstance(what, history.WorkflowStarted):
            run.was_reset = run.is_copied = bool(what.seed)
        elif isinstance(what, history.WorkflowReset):
            run.is_copied, run.tip = False, run.run_id
        elif isinstance(what, history.WorkflowTaskCompleted):
            if what.base != run.tip and not run.is_copied:
                self._wrong.append(f"{name}: a completion on {what.base}, the last one was {run.tip}")
            if what.id in self._completions and not run.is_copied:
                self._wrong.append(f"{name}: a second completion with the ID {what.id}")
            self._completions.add(what.id)
            run.tip = what.id
        elif isinstance(what, history.ActivityScheduled):
            run.scheduled[what.seq] = what.scheduled_by
        elif isinstance(what, (history.ActivityCompleted, history.ActivityFailed, history.ActivityTimedOut)):
            if what.seq in run.ended:
                self._wrong.append(f"{name}: activity {what.seq} ended before, by {run.ended[what.seq]}")
            run.ended[what.seq] = type(what).__name__
            if isinstance(what, history.ActivityCompleted):
                self.completed.setdefault((run.run_id, what.seq), self._landed[offset])
        elif isinstance(what, history.TimerStarted):
            run.timers[what.seq] = what.due_ms
        elif isinstance(what, history.TimerFired):
            due = run.timers.pop(what.seq, None)
            if due is None:
                self._wrong.append(f"{name}: timer {what.seq} was not there to fire")
            elif now_ms < due - EARLY_MS or event.time_ms < due:
                self._wrong.append(f"{name}: timer {what.seq} fired {due - now_ms} ms early")
