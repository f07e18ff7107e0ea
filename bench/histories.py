"""Makes logs of many events fast: scripted workers and clients around the real fold, in rounds.

Each workflow in flight appends its next record; the round is read back and folded, as a leader would; what was folded
tells the scripts how to go on. What lands in the log is what a real cluster leaves there: requests with deadlines,
tasks answered, activities by tasks and eagerly, signals, timers, and the marks of emitted effects.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import count, cycle, islice
from pathlib import Path
from typing import NamedTuple

import msgspec
from odradek_engine.engine import ensure_topics
from odradek_engine.fold import State, fold, keys
from odradek_engine.fold.rows import RunRow
from odradek_engine.store import RocksStorage
from odradek_engine.whole_partitions import read_partition
from odradek_log import Log, LogError, TopicPartition
from odradek_schemas import Topics, commands, encode, partition_of, records
from odradek_schemas.common import Payload, Record, Request

IN_FLIGHT = 100
"""Workflows at a time, in each partition."""

SESSION = "bench-worker-1"
_DEADLINE_MS = 60_000
_FLUSH_ROWS = 2_000


def _payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


INPUT = _payload('{"order": 4711, "customer": "c-20931", "lines": [["bread", 2], ["olives", 1]], "to": "Main St 5"}')
RESULT = _payload('{"status": "ok", "reference": "5e1f7f0c-11d3"}')


class Made(NamedTuple):
    """What a log holds now: `records` of `events`, and the history `events` that folding them gives."""

    records: int
    events: int
    workflows: int


class Script:
    """One workflow: the records that its client and worker append."""

    def __init__(self, workflow_id: str, now_ms: Callable[[], int]) -> None:
        self.id = workflow_id
        self.run: RunRow | None = None
        self._now_ms = now_ms
        self._completions = 0

    def _request(self) -> Request:
        return Request(
            request_id=f"{self.id}-{self._completions}-request",
            client_id="bench-client",
            reply_partition=0,
            deadline_ms=self._now_ms() + _DEADLINE_MS,
        )

    def start(self, kind: str) -> records.StartWorkflow:
        return records.StartWorkflow(
            workflow_id=self.id, workflow_type=kind, task_queue="bench", input=[INPUT], request=self._request()
        )

    def signal(self) -> records.SignalWorkflow:
        return records.SignalWorkflow(workflow_id=self.id, signal="approved", input=[RESULT], request=self._request())

    def completed(
        self, *given: commands.Command, results: list[records.LocalResult] | None = None
    ) -> records.WorkflowTaskCompleted:
        run = self._open
        self._completions += 1
        return records.WorkflowTaskCompleted(
            workflow_id=self.id,
            run_id=run.run_id,
            id=f"{SESSION}/{self.id}/{self._completions}",
            base=run.base,
            consumed_through=run.last_event_id,
            session=SESSION,
            commands=list(given),
            local_results=results or [],
            history_size=run.history_size,
        )

    def local(self, seq: int) -> records.LocalResult:
        """The result of an activity that the worker of the last completion ran itself."""
        return records.LocalResult(
            seq=seq, scheduled_by=self._open.base, time_ms=self._open.last_event_ms, result=RESULT
        )

    def activity(self, seq: int) -> Iterator[Record]:
        run, by = self._open, self._open.base
        yield records.ActivityStarted(
            workflow_id=self.id, run_id=run.run_id, seq=seq, scheduled_by=by, attempt=1, session=SESSION
        )
        yield records.ActivityCompleted(
            workflow_id=self.id, run_id=run.run_id, seq=seq, scheduled_by=by, attempt=1, session=SESSION, result=RESULT
        )

    @property
    def _open(self) -> RunRow:
        if self.run is None or not self.run.is_open:
            raise AssertionError(f"{self.id} is not open: the script does not fit the fold")
        return self.run


def _schedule(seq: int, eager: bool) -> commands.ScheduleActivity:
    return commands.ScheduleActivity(
        seq=seq, activity_type="charge", input=[INPUT], start_to_close_timeout_ms=60_000, eager=eager
    )


def _finish() -> commands.CompleteWorkflow:
    return commands.CompleteWorkflow(result=RESULT)


def three_tasks(script: Script) -> Iterator[Record]:
    """Three activities one after another, each a task of its own: 11 records, 12 events."""
    yield script.start("Tasks")
    for seq in (1, 2, 3):
        yield script.completed(_schedule(seq, eager=False))
        yield from script.activity(seq)
    yield script.completed(_finish())


def three_eager(script: Script) -> Iterator[Record]:
    """Three activities one after another, run by the worker of the workflow itself: 5 records, 12 events."""
    yield script.start("Eager")
    yield script.completed(_schedule(1, eager=True))
    for seq in (2, 3):
        yield script.completed(_schedule(seq, eager=True), results=[script.local(seq - 1)])
    yield script.completed(_finish(), results=[script.local(3)])


def order(script: Script) -> Iterator[Record]:
    """An activity, then a signal awaited with a timeout, then a last activity: 9 records, 12 events."""
    yield script.start("Order")
    yield script.completed(_schedule(1, eager=False))
    yield from script.activity(1)
    yield script.completed(commands.StartTimer(seq=2, duration_ms=3_600_000))
    yield script.signal()
    yield script.completed(commands.CancelTimer(seq=2), _schedule(3, eager=True))
    yield script.completed(_finish(), results=[script.local(3)])


def idle(script: Script) -> Iterator[Record]:
    """Waits for a signal, a year at most: it stays open."""
    yield script.start("Idle")
    yield script.completed(commands.StartTimer(seq=1, duration_ms=365 * 24 * 3600 * 1000))


KINDS = (three_eager, order, three_tasks)
"""The workflows of a log, in turn."""


class Writer:
    """One partition: appends what its workflows do next, and folds it as it comes back."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        partition: int,
        partitions: int,
        scratch: Path,
        kinds: Sequence[Callable[[Script], Iterator[Record]]] = KINDS,
    ) -> None:
        self._log, self._topics, self._partitions = log, topics, partitions
        self._here = TopicPartition(topics.events, partition)
        self._storage = RocksStorage(scratch / str(partition))
        self.state = State(self._storage, partition)
        self._producer = log.producer(linger_ms=5.0)
        self._names = self.names()
        self._kinds = cycle(kinds)
        self._lives: list[tuple[Script, Iterator[Record]]] = []
        self._marks: dict[tuple[str, int], records.Mark] = {}
        self._refused: list[LogError] = []
        self.events = self.workflows = 0

    def names(self) -> Iterator[str]:
        """Workflow IDs of the partition, all of one length."""
        names = (f"order-{number:08}" for number in count())
        return (name for name in names if partition_of(name.encode(), self._partitions) == self._here.partition)

    def begin(self, now_ms: int) -> None:
        """A leader, and a worker."""
        self.round([
            records.LeaderElected(member="bench", nonce="1", clock_ms=now_ms, partitions=self._partitions),
            records.WorkerAlive(session=SESSION, client_id="bench-worker", reply_partition=0),
        ])  # fmt: skip

    def advance(self, more: bool) -> bool:
        """One round: the next record of each workflow, and the marks of the round before. `more`: begin new ones in
        the place of those that end. Says whether anything is open."""
        while more and len(self._lives) < IN_FLIGHT:
            script = Script(next(self._names), lambda: self.state.partition.time_ms)
            self._lives.append((script, next(self._kinds)(script)))
            self.workflows += 1
        appended: list[Record] = []
        going = []
        for script, life in self._lives:
            script.run = self.state.row(keys.current(script.id), RunRow)
            record = next(life, None)
            if record is not None:
                appended.append(record)
                going.append((script, life))
        self._lives = going
        partition = self.state.partition
        if partition.time_ms > partition.clock_ms + 20_000:
            appended.append(records.ClockRead(clock_ms=partition.time_ms, epoch=partition.epoch))
        if self._marks:
            appended.append(records.EffectsEmitted(marks=list(self._marks.values())))
            self._marks = {}
        self.round(appended)
        return bool(self._lives)

    def round(self, appended: list[Record]) -> None:
        """Append, read back, fold."""
        for record in appended:
            key = getattr(record, "workflow_id", "").encode()
            self._producer.send(*self._here, key, encode(record), self._delivered)
        if self._producer.flush(60.0) or self._refused:
            raise RuntimeError(f"the log took no record: {self._refused[:1]}")
        begin = self.state.partition.position
        for entry in read_partition(self._log, self._here, begin, begin + len(appended)):
            folded = fold(self.state, self._topics, entry.offset, entry.timestamp_ms, entry.key, entry.value)
            self.events += sum(type(event).__name__ == "Appended" for event in folded.events)
            for effect in folded.effects:
                self._marks[(effect.topic, effect.partition)] = records.Mark(
                    topic=effect.topic, partition=effect.partition, offset=effect.offset, index=effect.index
                )
        if self.state.unflushed >= _FLUSH_ROWS:
            self.state.flush()

    def multiply(self, copies: int) -> None:
        """So many copies of the first workflow, which waits: of its records in the log, and of its rows in the state,
        with other IDs in them. They are not folded one by one, which takes ten times as long."""
        template = next(self.names())
        run = self.state.row(keys.current(template), RunRow)
        assert run is not None
        old_id, old_run = template.encode(), run.run_id.encode()
        self.state.flush()
        rows = [(key, value) for key, value in self._storage.scan(b"\x01", b"\xff") if old_id in key]
        entries = read_partition(self._log, self._here, 0, self.state.partition.position)
        values = [entry.value for entry in entries if entry.key == old_id]
        changes: list[tuple[bytes, bytes | None]] = []
        for name in islice(self._names, copies):
            new_id = name.encode()
            h = hashlib.blake2b(new_id, digest_size=16).hexdigest()
            new_run = f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}".encode()
            for value in values:
                appended = value.replace(old_id, new_id).replace(old_run, new_run)
                self._producer.send(*self._here, new_id, appended, self._delivered)
            for key, row in rows:
                changes.append((key.replace(old_id, new_id).replace(old_run, new_run),
                                row.replace(old_id, new_id).replace(old_run, new_run)))
            if len(changes) >= _FLUSH_ROWS:
                self._storage.write(changes)
                changes = []
        if self._producer.flush(60.0) or self._refused:
            raise RuntimeError(f"the log took no record: {self._refused[:1]}")
        partition = msgspec.structs.replace(
            self.state.partition, position=self._log.offsets(self._here)[1], checksum=zlib.crc32(appended),
            open_workflows=self.state.partition.open_workflows + copies,
        )
        self._storage.write([*changes, (keys.PARTITION, msgspec.msgpack.encode(partition))])
        self.workflows += copies

    def _delivered(self, offset: int, error: LogError | None) -> None:
        if error is not None:
            self._refused.append(error)

    def close(self, keep: bool = False) -> None:
        """`keep`: the state, for an engine to go on with."""
        self._producer.close()
        if keep:
            self.state.flush()
            self._storage.close()
        else:
            self._storage.destroy()


def make(log: Log, namespace: str, partitions: int, events: int, scratch: Path) -> Made:
    """Write `events` history events' worth of records, and end the workflows that are open then. `scratch`: an empty
    folder for the state that is folded meanwhile."""
    topics = Topics(namespace)
    ensure_topics(log, topics, partitions)
    writers = [Writer(log, topics, number, partitions, scratch) for number in range(partitions)]
    for writer in writers:
        writer.begin(round(time.time() * 1000))
        while writer.events < events // partitions:
            writer.advance(more=True)
        while writer.advance(more=False):
            pass
    positions = sum(writer.state.partition.position for writer in writers)
    made = Made(positions, sum(w.events for w in writers), sum(w.workflows for w in writers))
    for writer in writers:
        writer.close()
    return made
