"""Random logs: plausible records of every kind, beside stale, repeated, bent, broken, oversized and misplaced ones.

What comes next is drawn with a look at the state, so that many records do something.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from odradek_engine.fold import Folded, MemoryStorage, State, fold, keys
from odradek_engine.fold.engine_records import VERSION
from odradek_engine.fold.rows import ActivityRow, RunRow
from odradek_schemas import DecodeError, commands, decode, encode, partition_of, records, task_token
from odradek_schemas.common import Failure, Payload, Record, Request, RetryPolicy

from .harness import T0, TOPICS, YEAR_MS, Entry
from .streams_engine import ENGINES, PARTITIONS, elected
from .streams_more import MORE, forwarded, pending

ODD_NUMBERS = (-(2**62), -2, -1, 0, 1, 7, 2**31, 2**62)
ODD_TEXTS = ("", "other", "a\0b", "\ud7ff", "x" * 1500)


def _is_for_newer_code(value: bytes) -> bool:
    """Whether the fold has to stop at this record (V1): broken bytes may say anything."""
    try:
        record = decode(value)
    except DecodeError:
        return False
    return isinstance(record, records.LeaderElected) and record.version > VERSION


class Stream:
    """One partition's log as it grows. `spoilt`: how often a record is bent, broken or repeated (0 to 1)."""

    def __init__(self, rng: Random, spoilt: float = 0.25) -> None:
        self.rng = rng
        self.spoilt = spoilt
        self.state = State(MemoryStorage(), 0)
        self.log: list[Entry] = []
        self.now = T0
        self.ids = [i for i in (f"w{n}" for n in range(40)) if partition_of(i.encode(), PARTITIONS) == 0][:5]
        self.elsewhere = next(i for i in (f"w{n}" for n in range(40)) if i not in self.ids)
        self._counter = 0
        self.chains: dict[int, int] = {}
        self.pieces: list[Record] = []

    # ------------------------------------------------------------ drawing

    def grow(self) -> Folded:
        """Append the next record, and fold it."""
        self.now += self.rng.choice((0, 0, 0, 0, 1, 50, 1000, 1000, 5000, 20_000))
        value = self._value()
        stamp = self.now + self.rng.choice((*[0] * 60, -5000, 30_000, YEAR_MS))
        return self.append(Entry(stamp, b"key", value))

    def append(self, entry: Entry) -> Folded:
        self.log.append(entry)
        return fold(self.state, TOPICS, len(self.log) - 1, *entry)

    def _value(self) -> bytes:
        if self.rng.random() >= self.spoilt:
            return encode(self._record())
        way = self.rng.randrange(4)
        if way == 0 and self.log:
            return self.rng.choice(self.log).value
        if way == 1:
            return self.rng.randbytes(self.rng.randrange(40))
        value = encode(self._record() if way == 2 else bent(self.rng, self._record()))
        if way == 2:
            at = self.rng.randrange(10, len(value))
            broken = value[:at] + self.rng.randbytes(self.rng.randrange(3)) + value[at + 1 :]
            value = value if _is_for_newer_code(broken) else broken
        return value

    def _record(self) -> Record:
        kind = self.rng.choices(_KINDS, _WEIGHTS)[0]
        return kind(self)

    # ------------------------------------------------------------ what there is

    def workflow_id(self) -> str:
        return self.elsewhere if self.rng.random() < 0.05 else self.rng.choice(self.ids)

    def request(self) -> Request | None:
        if self.rng.random() < 0.3:
            return None
        deadline = self.rng.choice((0, self.now - 1, self.now + 1000, self.now + 50_000))
        return Request(
            request_id=f"r{self.rng.randrange(30)}",
            client_id="client",
            reply_partition=self.rng.choice((0, 0, 1, 2, -1)),
            deadline_ms=deadline,
        )

    def session(self) -> str:
        return f"W{self.rng.randrange(4)}"

    def run(self) -> RunRow:
        rows = [row for table in (keys.CURRENT, keys.CURRENT, keys.EARLIER) for _, row in self.state.scan(table)]
        if not rows:
            return RunRow(workflow_id=self.ids[0], run_id="none", first_run_id="none", workflow_type="Order",
                          task_queue="orders", base="none")
        row: RunRow = self.rng.choice(rows)
        return row

    def activity(self) -> ActivityRow:
        rows = [row for _, row in self.state.scan(keys.ACTIVITY)]
        if not rows:
            run = self.run()
            return ActivityRow(workflow_id=run.workflow_id, run_id=run.run_id, seq=1, scheduled_by="none",
                               scheduled_event_id=1, scheduled_ms=0, activity_type="work", task_queue="orders")
        row: ActivityRow = self.rng.choice(rows)
        return row

    def attempt_of(self, row: ActivityRow) -> dict[str, Any]:
        return {
            "workflow_id": row.workflow_id,
            "run_id": row.run_id,
            "seq": row.seq,
            "scheduled_by": row.scheduled_by,
            "attempt": row.attempt - (self.rng.random() < 0.1),
        }

    def epoch(self) -> int:
        return self.state.partition.epoch - (self.rng.random() < 0.1)

    def payloads(self) -> list[Payload]:
        size = self.rng.choice((0, 3, 3, 3, 300_000 if self.rng.random() < 0.02 else 3))
        return [Payload(metadata={"encoding": b"json/plain"}, data=b"1" * size)]

    def fresh(self) -> str:
        self._counter += 1
        return f"id{self._counter}"

    def failure(self) -> Failure:
        return Failure(message="failed", type=self.rng.choice(("A", "B")), non_retryable=self.rng.random() < 0.1)


def bent(rng: Random, record: Record) -> Record:
    """A record with an odd value in one field."""
    fields = [f for f in record.__struct_fields__ if f != "version" and isinstance(getattr(record, f), (int, str))]
    if not fields:
        return record
    name = rng.choice(fields)
    value = getattr(record, name)
    if isinstance(value, bool):
        return record
    odd: Any = rng.choice(ODD_NUMBERS) if isinstance(value, int) else rng.choice(ODD_TEXTS)
    return msgspec.structs.replace(record, **{name: odd})


# ---------------------------------------------------------------- clients' records


def _start(s: Stream) -> Record:
    return records.StartWorkflow(
        workflow_id=s.workflow_id(),
        workflow_type="Order",
        task_queue="orders",
        input=s.payloads(),
        request=s.request(),
        id_conflict_policy=s.rng.choice(("fail", "use_existing", "terminate_existing")),
        id_reuse_policy=s.rng.choice(("allow", "allow", "allow_if_failed", "reject")),
        execution_timeout_ms=s.rng.choice((0, 0, 60_000)),
        run_timeout_ms=s.rng.choice((0, 0, 30_000)),
        start_delay_ms=s.rng.choice((0, 0, 5_000)),
        signal=s.rng.choice(("", "", "poke")),
        update=s.rng.choice(("", "", "", "rename")),
    )


def _signal(s: Stream) -> Record:
    return records.SignalWorkflow(
        workflow_id=s.workflow_id(), signal="poke", input=s.payloads(), request=s.request()
    )


def _cancel(s: Stream) -> Record:
    return records.CancelWorkflow(workflow_id=s.workflow_id(), request=s.request())


def _terminate(s: Stream) -> Record:
    return records.TerminateWorkflow(workflow_id=s.workflow_id(), request=s.request())


def _token(s: Stream) -> dict[str, Any]:
    row = s.activity()
    token = task_token(row.workflow_id, row.run_id, row.scheduled_by, row.seq)
    return {"workflow_id": row.workflow_id, "task_token": token, "request": s.request()}


def _complete_by_token(s: Stream) -> Record:
    return records.CompleteActivity(**_token(s))


def _fail_by_token(s: Stream) -> Record:
    return records.FailActivity(**_token(s), failure=s.failure())


# ---------------------------------------------------------------- workers' records


def _alive(s: Stream) -> Record:
    return records.WorkerAlive(session=s.session(), client_id="worker", reply_partition=s.rng.choice((-1, 0, 1)))


def _stopped(s: Stream) -> Record:
    return records.WorkerStopped(session=s.session())


def _command(s: Stream, seq: int) -> commands.Command:
    kind = s.rng.randrange(8)
    if kind == 0:
        return commands.StartTimer(seq=seq, duration_ms=s.rng.choice((0, 10, 5000)))
    if kind == 1:
        return commands.CancelTimer(seq=s.rng.randint(1, seq))
    if kind == 6:
        return commands.StartLocalActivity(seq=seq, activity_type=s.rng.choice(("quick", "")))
    if kind == 7:
        return commands.RecordSideEffect(seq=seq)
    if kind == 5:
        return commands.CompleteUpdate(seq=s.rng.randint(1, 4), failure=s.rng.choice((None, s.failure())))
    if kind == 2:
        return commands.CancelActivity(seq=s.rng.randint(1, seq))
    return commands.ScheduleActivity(
        seq=seq,
        activity_type="work",
        input=s.payloads(),
        start_to_close_timeout_ms=s.rng.choice((0, 10_000)),
        schedule_to_start_timeout_ms=s.rng.choice((0, 10_000)),
        schedule_to_close_timeout_ms=s.rng.choice((0, 40_000)),
        heartbeat_timeout_ms=s.rng.choice((0, 5_000)),
        retry_policy=s.rng.choice((None, RetryPolicy(maximum_attempts=2, non_retryable_error_types=["B"]))),
        delivery=s.rng.choice(("at_least_once", "at_most_once")),
        eager=s.rng.random() < 0.3,
    )


def _task_completed(s: Stream) -> Record:
    run = s.run()
    asked = [_command(s, s.rng.randrange(1, 400)) for _ in range(s.rng.randrange(4))]
    if s.rng.random() < 0.1:
        asked.append(
            s.rng.choice(
                (commands.CompleteWorkflow(), commands.FailWorkflow(failure=s.failure()), commands.CancelledWorkflow())
            )
        )
    rows = [row for _, row in s.state.scan(keys.of_run(keys.ACTIVITY, run.workflow_id, run.run_id))]
    results = [
        records.LocalResult(
            seq=row.seq,
            scheduled_by=row.scheduled_by,
            time_ms=s.now + s.rng.choice((-5000, 0, 100)),
            failure=s.rng.choice((None, None, s.failure())),
        )
        for row in rows[:2]
        if s.rng.random() < 0.3
    ]
    consumed_through = s.rng.randint(min(run.consumed_through, run.last_event_id), run.last_event_id)
    waiting = pending(s, run)
    taken = s.rng.randrange(len(waiting) + 1)
    results += [
        records.LocalResult(
            seq=s.rng.randrange(-1, 9), scheduled_by="", time_ms=s.now, failure=s.rng.choice((None, s.failure())),
            kind=s.rng.choice(("local_activity", "side_effect", "local_activity", "other")), name="quick",
        )
        for _ in range(s.rng.choice((0, 0, 1, 2)))
    ]
    return records.WorkflowTaskCompleted(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        id=s.fresh(),
        base=run.base if s.rng.random() < 0.8 else run.run_id,
        consumed_through=consumed_through,
        accepted_updates=[
            records.AcceptedUpdate(seq=row.seq, update_id=row.update_id, fed_after=consumed_through, fed_ms=s.now)
            for row in waiting[:taken]
        ],
        rejected_updates=[
            records.RejectedUpdate(seq=row.seq, update_id=row.update_id, failure=s.failure())
            for row in waiting[taken:]
            if s.rng.random() < 0.5
        ],
        session=s.session(),
        commands=asked,
        local_results=results,
        new_task=s.rng.random() < 0.2,
        **s.rng.choice(_BUILDS),
    )


_BUILDS = [
    *[{}] * 5,
    {"build_id": "v1", "versioning": "pinned"},
    {"build_id": "v2", "versioning": "auto_upgrade"},
    {"build_id": "v 3", "versioning": "pinned"},
    {"versioning": "pinned"},
]


def _piece(s: Stream) -> Record:
    """A piece of a completion, most often the next one."""
    if not s.pieces or s.rng.random() < 0.1:
        whole = _task_completed(s)
        assert isinstance(whole, records.WorkflowTaskCompleted)
        value, count = encode(whole), s.rng.choice((1, 2, 3))
        size = -(-len(value) // count)
        s.pieces = [
            records.CompletionPiece(
                workflow_id=whole.workflow_id, run_id=whole.run_id, id=whole.id, base=whole.base,
                index=index, count=count, piece=value[index * size : (index + 1) * size],
            )
            for index in range(count)
        ]
    return s.pieces.pop(0)


def _set_current(s: Stream) -> Record:
    return records.SetCurrentBuild(
        task_queue=s.rng.choice(("orders", "orders", "push", "no queue")),
        build_id=s.rng.choice(("v1", "v2", "", "v/3")),
        request=s.request() if s.rng.random() < 0.5 else None,
    )


def _task_failed(s: Stream) -> Record:
    run = s.run()
    return records.WorkflowTaskFailed(
        workflow_id=run.workflow_id, run_id=run.run_id, base=run.base, failure=s.failure()
    )


def _started(s: Stream) -> Record:
    return records.ActivityStarted(**s.attempt_of(s.activity()), session=s.session(), claim=s.rng.random() < 0.3)


def _completed(s: Stream) -> Record:
    return records.ActivityCompleted(**s.attempt_of(s.activity()), session=s.session(), result=s.payloads()[0])


def _failed(s: Stream) -> Record:
    return records.ActivityFailed(
        **s.attempt_of(s.activity()),
        session=s.session(),
        failure=s.failure(),
        next_retry_delay_ms=s.rng.choice((-1, -1, 0, 5000)),
        heartbeat_details=s.payloads(),
    )


def _cancelled(s: Stream) -> Record:
    return records.ActivityCancelled(**s.attempt_of(s.activity()), session=s.session())


def _handed_back(s: Stream) -> Record:
    return records.ActivityHandedBack(**s.attempt_of(s.activity()), session=s.session())


def _forwarded(s: Stream) -> Record:
    return forwarded(s, None if s.rng.random() < 0.1 else s._record())


_TABLE: list[tuple[Callable[[Stream], Record], int]] = [
    (_start, 8),
    (_signal, 8),
    (_cancel, 1),
    (_terminate, 1),
    (_complete_by_token, 2),
    (_fail_by_token, 2),
    (_alive, 5),
    (_set_current, 3),
    (_stopped, 1),
    (_task_completed, 25),
    (_piece, 8),
    (_task_failed, 3),
    (_started, 10),
    (_completed, 8),
    (_failed, 5),
    (_cancelled, 2),
    (_handed_back, 3),
    *ENGINES,
    (_forwarded, 4),
    *MORE,
]
_KINDS = [kind for kind, _ in _TABLE]
_WEIGHTS = [weight for _, weight in _TABLE]


def random_log(seed: int, count: int) -> list[Entry]:
    """A log of `count` records that begins with an election."""
    stream = Stream(Random(seed))
    stream.append(Entry(T0, b"", encode(elected(stream))))
    for _ in range(count - 1):
        stream.grow()
    return stream.log


def digest(seed: int, count: int) -> str:
    """A hash over everything that folding a random log makes: each step's effects, and the state at the end."""
    state = State(MemoryStorage(), 0)
    hashed = hashlib.sha256()
    for offset, entry in enumerate(random_log(seed, count)):
        for effect in fold(state, TOPICS, offset, *entry).effects:
            hashed.update(repr(effect).encode())
    hashed.update(repr(state.dump()).encode())
    return hashed.hexdigest()
