"""Folds records in memory, and checks after every single one that the fold is sound.

`Partition` is one partition of the log with short builders for records. After each record: applying the step's events
to the state as it was gives the state as it is, all invariants hold, and nothing was taken for a defect. `finish`
folds the whole log again, in three other ways, and compares.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from odradek_engine.fold import Effect, Folded, MemoryStorage, State, evolve, fold, keys, load
from odradek_engine.fold.invariants import problems
from odradek_engine.fold.rows import ActivityRow, PartitionRow, RunRow, TimerRow
from odradek_engine.store import RocksStorage
from odradek_schemas import Topics, commands, decode, encode, history, records, replies, tasks
from odradek_schemas.common import Failure, Payload, Record, Request, RetryPolicy

T0 = 1_700_000_000_000
"""The time of the first record, in ms."""

YEAR_MS = 365 * 24 * 3600 * 1000
TOPICS = Topics("test")
R = TypeVar("R", bound=Record)


class Entry(NamedTuple):
    """A record as it lies in the log."""

    timestamp_ms: int
    key: bytes
    value: bytes


def fold_all(log: list[Entry], partition: int = 0) -> dict[bytes, bytes]:
    """The state that a log gives, folded in one go."""
    state = State(MemoryStorage(), partition)
    for offset, entry in enumerate(log):
        fold(state, TOPICS, offset, *entry)
    return state.dump()


def fold_with_reloads(log: list[Entry], partition: int = 0) -> dict[bytes, bytes]:
    """The same with a flush and a new, cold state after every record."""
    storage = MemoryStorage()
    for offset, entry in enumerate(log):
        state = State(storage, partition, cache_rows=1)
        fold(state, TOPICS, offset, *entry)
        state.flush()
    return State(storage, partition).dump()


def fold_on_disk(log: list[Entry], partition: int = 0, reopen_at: int = 0) -> dict[bytes, bytes]:
    """The same on RocksDB, which is closed and opened once on the way."""
    with tempfile.TemporaryDirectory() as folder:
        storage = RocksStorage(Path(folder) / "state")
        state = State(storage, partition, cache_rows=2)
        for offset, entry in enumerate(log):
            fold(state, TOPICS, offset, *entry)
            if offset % 3 == 0:
                state.flush()
            if offset == reopen_at:
                state.flush()
                storage.close()
                storage = RocksStorage(Path(folder) / "state")
                state = State(storage, partition, cache_rows=2)
        state.flush()
        dump = state.dump()
        storage.close()
        return dump


def failure(message: str = "failed", **fields: Any) -> Failure:
    return Failure(message=message, **fields)


def payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


def request(request_id: str, deadline_ms: int = 0, reply_partition: int = 0) -> Request:
    return Request(request_id=request_id, client_id="client", reply_partition=reply_partition, deadline_ms=deadline_ms)


def act(seq: int, name: str = "work", **fields: Any) -> commands.ScheduleActivity:
    return commands.ScheduleActivity(seq=seq, activity_type=name, **fields)


def sleep(seq: int, ms: int) -> commands.StartTimer:
    return commands.StartTimer(seq=seq, duration_ms=ms)


def local(seq: int, scheduled_by: str, time_ms: int = T0, **fields: Any) -> records.LocalResult:
    return records.LocalResult(seq=seq, scheduled_by=scheduled_by, time_ms=time_ms, **fields)


ONCE = RetryPolicy(maximum_attempts=1)
DONE = commands.CompleteWorkflow()


class Partition:
    """One partition of `events`, folded record by record. `now` is the log's clock, in ms.

    Builders append one record and return what folding it gave. Where a builder takes an attempt, the current one
    is the default.
    """

    def __init__(self, number: int = 0, partitions: int = 1) -> None:
        self.state = State(MemoryStorage(), number)
        self.number = number
        self.partitions = partitions
        self.now = T0
        self.log: list[Entry] = []
        self.effects: list[tuple[str, int, Any]] = []
        self.emitted: list[Effect] = []
        self._before: dict[bytes, bytes] = {}
        self._ids = 0
        self._nonces = 0

    # ------------------------------------------------------------ folding

    def append(self, record: Record | bytes, at: int | None = None, key: bytes = b"") -> Folded:
        """Fold one record, stamped `at` (default: `now`), and check the state that comes of it."""
        value = record if isinstance(record, bytes) else encode(record)
        entry = Entry(self.now if at is None else at, key, value)
        self.log.append(entry)
        folded = fold(self.state, TOPICS, len(self.log) - 1, *entry)
        self._check(folded)
        self.effects += [(e.topic, e.partition, decode(e.value)) for e in folded.effects]
        self.emitted += folded.effects
        return folded

    def _check(self, folded: Folded) -> None:
        evolved = load(self._before, self.number)
        for event in folded.events:
            evolve(evolved, event)
        dump = self.state.dump()
        assert evolved.dump() == dump, "the events do not tell the whole change"
        assert problems(self.state) == []
        defects = [b.reason for b in bodies(folded) if isinstance(b, tasks.DeadLetter) and "defect" in b.reason]
        assert defects == []
        self._before = dump

    def finish(self) -> None:
        """Fold the whole log again, in other ways, and compare with the state as it stands."""
        dump = self.state.dump()
        assert fold_all(self.log, self.number) == dump
        assert fold_with_reloads(self.log, self.number) == dump
        assert fold_on_disk(self.log, self.number, len(self.log) // 2) == dump

    def changes(self, record: Record | bytes, at: int | None = None) -> set[bytes]:
        """Fold one record, and give the keys of the rows that it changed, but for the partition's own."""
        before = self.state.dump()
        self.append(record, at)
        after = self.state.dump()
        return {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)} - {keys.PARTITION}

    # ------------------------------------------------------------ looking

    @property
    def row(self) -> PartitionRow:
        return self.state.partition

    def run(self, workflow_id: str = "w") -> RunRow:
        run = self.state.row(keys.current(workflow_id), RunRow)
        assert run is not None
        return run

    def activity(self, seq: int = 1, workflow_id: str = "w") -> ActivityRow | None:
        return self.state.row(keys.activity(workflow_id, self.run(workflow_id).run_id, seq), ActivityRow)

    def open_activity(self, seq: int = 1, workflow_id: str = "w") -> ActivityRow:
        row = self.activity(seq, workflow_id)
        assert row is not None
        return row

    def timer(self, seq: int = 1, workflow_id: str = "w") -> TimerRow | None:
        return self.state.row(keys.timer(workflow_id, self.run(workflow_id).run_id, seq), TimerRow)

    def events(self, workflow_id: str = "w", run_id: str = "") -> list[history.HistoryEvent]:
        """A run's history; of the newest run by default."""
        prefix = keys.of_run(keys.EVENT, workflow_id, run_id or self.run(workflow_id).run_id)
        found = [decode(encoded) for _, encoded in self.state.scan(prefix)]
        assert all(isinstance(e, history.HistoryEvent) for e in found)
        return found  # type: ignore[return-value]  # just checked

    def happened(self, workflow_id: str = "w") -> list[str]:
        """The kinds of the newest run's events, in order."""
        return [type(e.attributes).__name__ for e in self.events(workflow_id)]

    def made_since(self, offset: int) -> list[Effect]:
        """The effects of the records from `offset` on."""
        return [effect for effect in self.emitted if effect.offset >= offset]

    def made(self, kind: type[R]) -> list[R]:
        """All effects of one kind so far."""
        return [body for _, _, body in self.effects if isinstance(body, kind)]

    # ------------------------------------------------------------ the engine's records

    def wait(self, ms: int) -> None:
        """Time goes by, and the leader writes its clock."""
        self.now += max(0, ms)
        self.append(records.ClockRead(clock_ms=self.now, epoch=self.row.epoch))

    def lead(self, member: str = "engine", clock_ms: int | None = None, **fields: Any) -> Folded:
        """A new epoch."""
        self._nonces += 1
        fields = {"nonce": f"n{self._nonces}", "partitions": self.partitions, **fields}
        return self.append(
            records.LeaderElected(member=member, clock_ms=self.now if clock_ms is None else clock_ms, **fields)
        )

    def fire(self, seq: int = 1, workflow_id: str = "w", **fields: Any) -> Folded:
        at = fields.pop("at", None)
        fields = {"run_id": self.run(workflow_id).run_id, "epoch": self.row.epoch, **fields}
        return self.append(records.TimerFired(workflow_id=workflow_id, seq=seq, **fields), at)

    def lost(self, session: str = "W1", **fields: Any) -> Folded:
        return self.append(records.WorkerLost(**{"session": session, "epoch": self.row.epoch, **fields}))

    def retry_due(self, seq: int = 1) -> Folded:
        """The leader's record at the end of a backoff; the clock goes there."""
        row = self.open_activity(seq)
        self.wait(row.next_retry_ms - self.now)
        return self.append(
            records.ActivityRetryDue(
                workflow_id=row.workflow_id,
                run_id=row.run_id,
                seq=seq,
                scheduled_by=row.scheduled_by,
                attempt=row.attempt,
                epoch=self.row.epoch,
            )
        )

    def timed_out(self, kind: str, seq: int = 1, **fields: Any) -> Folded:
        row = self.open_activity(seq)
        fields = {"attempt": row.attempt, "epoch": self.row.epoch, **fields}
        return self.append(
            records.ActivityTimedOut(
                workflow_id=row.workflow_id,
                run_id=row.run_id,
                seq=seq,
                scheduled_by=row.scheduled_by,
                timeout_type=kind,
                **fields,
            )
        )

    def task_due(self, workflow_id: str = "w") -> Folded:
        """The leader's record at the end of a workflow task's backoff; the clock goes there."""
        run = self.run(workflow_id)
        self.wait(run.task_retry_ms - self.now)
        return self.append(
            records.WorkflowTaskDue(
                workflow_id=workflow_id,
                run_id=run.run_id,
                base=run.base,
                attempt=run.task_attempt,
                epoch=self.row.epoch,
            )
        )

    # ------------------------------------------------------------ clients' records

    def start(self, workflow_id: str = "w", **fields: Any) -> RunRow:
        """Start a workflow; return its run."""
        fields = {"workflow_type": "Order", "task_queue": "orders", **fields}
        self.append(records.StartWorkflow(workflow_id=workflow_id, **fields))
        return self.run(workflow_id)

    def signal(self, name: str = "poke", workflow_id: str = "w", **fields: Any) -> Folded:
        return self.append(records.SignalWorkflow(workflow_id=workflow_id, signal=name, **fields))

    # ------------------------------------------------------------ workers' records

    def alive(self, session: str = "W1", **fields: Any) -> Folded:
        return self.append(
            records.WorkerAlive(**{"session": session, "client_id": session, "reply_partition": 0, **fields})
        )

    def advance(self, *asked: commands.Command, workflow_id: str = "w", **fields: Any) -> str:
        """A completed workflow task, on the present base and having read everything by default; return its ID."""
        run = self.run(workflow_id)
        self._ids += 1
        fields = {
            "run_id": run.run_id,
            "id": f"c{self._ids}",
            "base": run.base,
            "consumed_through": run.last_event_id,
            "session": "W1",
            **fields,
        }
        self.append(records.WorkflowTaskCompleted(workflow_id=workflow_id, commands=list(asked), **fields))
        completion_id: str = fields["id"]
        return completion_id

    def _identity(self, seq: int, workflow_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        row = self.activity(seq, workflow_id)
        if row is not None:
            fields = {"attempt": row.attempt, "scheduled_by": row.scheduled_by, **fields}
        return {"workflow_id": workflow_id, "run_id": self.run(workflow_id).run_id, "seq": seq, "session": "W1",
                **fields}

    def begin(self, seq: int = 1, workflow_id: str = "w", **fields: Any) -> Folded:
        return self.append(records.ActivityStarted(**self._identity(seq, workflow_id, fields)))

    def succeed(self, seq: int = 1, workflow_id: str = "w", **fields: Any) -> Folded:
        return self.append(records.ActivityCompleted(**self._identity(seq, workflow_id, fields)))

    def fail(self, seq: int = 1, workflow_id: str = "w", **fields: Any) -> Folded:
        fields = {"failure": failure(), **fields}
        return self.append(records.ActivityFailed(**self._identity(seq, workflow_id, fields)))

    def hand_back(self, seq: int = 1, workflow_id: str = "w", **fields: Any) -> Folded:
        return self.append(records.ActivityHandedBack(**self._identity(seq, workflow_id, fields)))


def bodies(folded: Folded) -> list[Record]:
    """The effects of one step, decoded."""
    return [decode(e.value) for e in folded.effects]


def of_kind(folded: Folded, kind: type[R]) -> list[R]:
    return [body for body in bodies(folded) if isinstance(body, kind)]


def outcomes(folded: Folded) -> list[str]:
    """The outcomes of the replies that a step made."""
    return [reply.outcome for reply in of_kind(folded, replies.RequestReply)]


def reasons(folded: Folded) -> list[str]:
    """Why a step made dead letters."""
    return [letter.reason for letter in of_kind(folded, tasks.DeadLetter)]
