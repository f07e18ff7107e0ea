"""Which workers live: heartbeats that the leader hears, and what follows when they stop (rules T5, T6).

Heartbeats are not in the log; only the verdict `WorkerLost` is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from odradek_schemas import parse_task_token
from odradek_schemas.common import Payload
from odradek_schemas.ephemeral import ActivityHeartbeat, HeartbeatActivity, WorkerHeartbeat
from odradek_schemas.records import HeldDetails, WorkerLost

from .clock import Clock
from .fold import State, keys
from .fold.limits import payload_bytes
from .fold.rows import ActivityRow, SessionRow

STALL_S = 2.0
"""A leader that did not run for this long cannot judge who was silent meanwhile: that time does not count, and it then
listens for as long again at least."""

FRESH_S = 2.5
"""A worker that said longer ago that it has room may stand still by now."""

Room: TypeAlias = list[tuple[int, frozenset[int]]]
"""Of each worker: how many more activities it could begin, and the partitions that it has."""

ECHO_AGAIN_S = 5.0
"""What the leader says to itself may be lost."""

REPEAT_S = 5.0
FORGET_S = 60.0

MAX_VERDICT_BYTES = 500_000
"""Of heartbeat details in one `WorkerLost`. What does not fit begins without details."""

MAX_DETAILS_BYTES = 64 * 1024 * 1024
"""Of heartbeat details in memory. Above it heartbeats are signs of life only, and the details known before stay."""


MAX_EARLY, MAX_EARLY_BYTES, EARLY_S = 1_000, 10_000, 10.0
"""So many heartbeats wait for their activities, each of so many bytes at most, for so many seconds."""

MAX_WORKERS_BYTES = 32 * 1024 * 1024
"""Of what is known of workers. Above it, those that are not known yet are not heard: they run nothing here."""

_OVERHEAD_BYTES = 500


@dataclass(slots=True)
class _Worker:
    heard_at: float
    lost_after_s: float
    workflow_queues: tuple[str, ...] = ()
    activity_queues: tuple[str, ...] = ()
    room: int = 0
    partitions: frozenset[int] = frozenset()
    verdict_at: float = 0.0
    build_id: str = ""
    left: bool = False

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        names = sum(map(len, self.workflow_queues)) + sum(map(len, self.activity_queues)) + len(self.build_id)
        return _OVERHEAD_BYTES + names + 40 * (len(self.partitions) + len(self.workflow_queues + self.activity_queues))


@dataclass(slots=True)
class _Running:
    attempt: int
    at_ms: int
    details: list[Payload]


class Sessions:
    """What a leader has heard of workers since it leads. `lost_after_s`: for those it has not heard of yet."""

    def __init__(self, state: State, clock: Clock, lost_after_s: float) -> None:
        self._state = state
        self._clock = clock
        self._lost_after_s = lost_after_s
        self._workers: dict[str, _Worker] = {}
        self._workers_bytes = 0
        self._running: dict[tuple[str, str, int], _Running] = {}
        self._details_bytes = 0
        self._early: OrderedDict[tuple[str, str, int], tuple[int, ActivityHeartbeat]] = OrderedDict()
        self._began_ms = clock.now_ms()
        self._since = self._ticked_at = clock.monotonic()
        self._asked_at: float | None = None  # for an echo that has not come
        self._ask_again_at = 0.0
        self._echo_of = float("-inf")  # when the last one that came was asked for

    def heard(self, heartbeat: WorkerHeartbeat) -> None:
        """A worker lives, or has ended: then nothing is expected of it, but it is not forgotten that it was there."""
        if heartbeat.leaving:
            known = self._workers.get(heartbeat.session)
            if known is not None:
                known.left, known.room = True, 0
            return
        worker = _Worker(
            self._clock.monotonic(),
            heartbeat.lost_after_ms / 1000,
            tuple(heartbeat.workflow_queues),
            tuple(heartbeat.activity_queues),
            heartbeat.free_activities,
            frozenset(heartbeat.activity_partitions),
            build_id=heartbeat.build_id,
        )
        before = self._workers.get(heartbeat.session)
        room = MAX_WORKERS_BYTES - self._workers_bytes + (before.size if before is not None else 0)
        if len(heartbeat.session) + worker.size <= room:
            self._forget(heartbeat.session)
            self._remember(heartbeat.session, worker)
        elif before is not None:
            before.heard_at = worker.heard_at

    def _remember(self, session: str, worker: _Worker) -> None:
        self._workers[session] = worker
        self._workers_bytes += len(session) + worker.size

    def _forget(self, session: str) -> None:
        before = self._workers.pop(session, None)
        if before is not None:
            self._workers_bytes -= len(session) + before.size

    def heard_activity(self, heartbeat: ActivityHeartbeat) -> None:
        """An activity is alive. Those of other attempts than the current one do not count. One that is not known may be
        so in a moment: a worker begins eagerly what it knows to be accepted, be it folded here or not (W4)."""
        if heartbeat.seq < 0:
            return
        identity = (heartbeat.workflow_id, heartbeat.run_id, heartbeat.seq)
        now_ms = self._clock.now_ms()
        row = self._state.row(keys.activity(*identity), ActivityRow)
        if row is None:
            self._wait_for_activity(identity, heartbeat, now_ms)
        elif row.scheduled_by == heartbeat.scheduled_by and row.attempt == heartbeat.attempt:
            self._keep(identity, heartbeat.attempt, heartbeat.details, now_ms)

    def _wait_for_activity(self, identity: tuple[str, str, int], heartbeat: ActivityHeartbeat, now_ms: int) -> None:
        names = (*identity[:2], heartbeat.scheduled_by, heartbeat.session)
        if details_bytes(heartbeat.details) + sum(map(len, names)) > MAX_EARLY_BYTES:
            return
        self._early[identity] = (now_ms, heartbeat)
        self._early.move_to_end(identity)
        if len(self._early) > MAX_EARLY:
            self._early.popitem(last=False)

    def _take_early(self, identity: tuple[str, str, int], row: ActivityRow) -> None:
        """The activity is known by now."""
        at_ms, heartbeat = self._early.pop(identity)
        if heartbeat.scheduled_by == row.scheduled_by and heartbeat.attempt == row.attempt:
            known = self._running.get(identity)
            if known is None or known.attempt < heartbeat.attempt:
                self._keep(identity, heartbeat.attempt, heartbeat.details, at_ms)

    def heard_by_token(self, heartbeat: HeartbeatActivity) -> str:
        """An activity that is completed by its task token is alive; the status of `HeartbeatNoted`."""
        try:
            token = parse_task_token(heartbeat.task_token)
        except ValueError:
            return "not_found"
        if token.seq < 0 or token.workflow_id != heartbeat.workflow_id:
            return "not_found"
        row = self._state.row(keys.activity(token.workflow_id, token.run_id, token.seq), ActivityRow)
        if row is None or row.scheduled_by != token.scheduled_by:
            return "not_found"
        identity = (token.workflow_id, token.run_id, token.seq)
        self._keep(identity, row.attempt, heartbeat.details, self._clock.now_ms())
        return "cancel_requested" if row.cancel_requested else "ok"

    def _keep(self, identity: tuple[str, str, int], attempt: int, details: list[Payload], at_ms: int) -> None:
        before = self._running.get(identity)
        known = before.details if before is not None and before.attempt == attempt else []
        held = self._details_bytes - (details_bytes(before.details) if before is not None else 0)
        kept = details if held + details_bytes(details) <= MAX_DETAILS_BYTES else known
        self._running[identity] = _Running(attempt, at_ms, kept)
        self._details_bytes = held + details_bytes(kept)

    def last_heartbeat(self, row: ActivityRow) -> tuple[int, list[Payload]]:
        """The last sign of life of a running activity, in ms, with its details."""
        identity = (row.workflow_id, row.run_id, row.seq)
        if identity in self._early:
            self._take_early(identity, row)
        known = self._running.get(identity)
        if known is None or known.attempt != row.attempt:
            return max(row.started_ms, self._began_ms), row.heartbeat_details
        return max(known.at_ms, row.started_ms), known.details

    def pollers(self, queue: str, build_id: str = "") -> int:
        """How many live workers of a build ("": without one) take workflow tasks of a queue."""
        return sum(queue in w.workflow_queues and w.build_id == build_id for w in self._alive())

    def activity_pollers(self, queue: str, build_id: str = "") -> int:
        """The same, of activity tasks."""
        return sum(queue in w.activity_queues and w.build_id == build_id for w in self._alive())

    def is_gone(self, queue: str, build_id: str, activities: bool) -> bool:
        """Whether no worker of a build takes such tasks: none has been heard for as long as one may be silent. One that
        has ended may be back soon: it was restarted."""
        if self._clock.monotonic() - self._since <= self._lost_after_s:
            return False
        of_build = (worker for worker in self._heard_of_late() if worker.build_id == build_id)
        return not any(queue in (w.activity_queues if activities else w.workflow_queues) for w in of_build)

    def builds(self, queue: str) -> Counter[str]:
        """How many live workers of each build poll a queue, for whatever tasks."""
        return Counter(w.build_id for w in self._alive() if queue in w.workflow_queues or queue in w.activity_queues)

    def room(self) -> dict[tuple[str, str], Room]:
        """By activity queue and build, the room that their workers have. Only those that were heard just now count."""
        found: dict[tuple[str, str], Room] = {}
        for worker in self._with_room():
            for queue in worker.activity_queues:
                found.setdefault((queue, worker.build_id), []).append((worker.room, worker.partitions))
        return found

    def has_room(self) -> bool:
        """Whether any worker that was heard just now could begin an activity."""
        return any(True for _ in self._with_room())

    def _with_room(self) -> Iterator[_Worker]:
        now = self._clock.monotonic()
        return (w for w in self._workers.values() if w.room > 0 and w.partitions and now - w.heard_at <= FRESH_S)

    def _alive(self) -> Iterator[_Worker]:
        return (w for w in self._heard_of_late() if not w.left)

    def _heard_of_late(self) -> Iterator[_Worker]:
        now = self._clock.monotonic()
        return (w for w in self._workers.values() if now - w.heard_at <= w.lost_after_s)

    def wants_echo(self) -> bool:
        """Whether to append something to `ephemeral` that we hear ourselves (`echoed`): a worker is silent, and it may
        be the log that lets nothing through."""
        now = self._clock.monotonic()
        if self._asked_at is None:
            live = (self._workers[row.session] for row in self._sessions() if row.session in self._workers)
            if not any(self._echo_of <= w.heard_at < now - w.lost_after_s / 2 for w in live):
                return False
            self._asked_at = now
        elif now < self._ask_again_at:
            return False
        self._ask_again_at = now + ECHO_AGAIN_S
        return True

    def echoed(self) -> None:
        """The log lets through what is appended to `ephemeral`. For as long as it did not, nobody was silent."""
        if self._asked_at is not None:
            now = self._clock.monotonic()
            for worker in self._workers.values():
                worker.heard_at = min(now, worker.heard_at + now - self._asked_at)
            self._echo_of, self._asked_at = self._asked_at, None

    def _sessions(self) -> Iterator[SessionRow]:
        """Those of this partition that are not over."""
        return (row for _, row in self._state.scan(keys.SESSION) if not row.ended_ms)

    def lost(self) -> Iterator[WorkerLost]:
        """Verdicts about sessions of this partition that are silent for too long, though the log is not. Call it about
        once a second."""
        now = self._clock.monotonic()
        stalled = now - self._ticked_at
        self._ticked_at = now
        if stalled > STALL_S and self._asked_at is not None:
            self._asked_at += stalled
        sessions = list(self._sessions())
        for row in sessions:
            if row.session not in self._workers:
                self._remember(row.session, _Worker(now, self._lost_after_s))
            worker = self._workers[row.session]
            if stalled > STALL_S:
                latest = now - worker.lost_after_s + STALL_S
                worker.heard_at = min(now, max(worker.heard_at + stalled, latest))
            silent = now - worker.heard_at > worker.lost_after_s and self._echo_of > worker.heard_at
            if silent and self._asked_at is None and now - worker.verdict_at > REPEAT_S:
                worker.verdict_at = now
                yield self._verdict(row.session)
        known = {row.session for row in sessions}
        for session, worker in list(self._workers.items()):
            if session not in known and now - worker.heard_at > FORGET_S:
                self._forget(session)
        self._forget_activities()

    def _verdict(self, session: str) -> WorkerLost:
        """The verdict with the last heartbeats' details, as many as fit into a record."""
        details: list[HeldDetails] = []
        room = MAX_VERDICT_BYTES
        prefix = keys.held(session, b"")
        for entry, _ in self._state.scan(prefix):
            row = self._state.row(entry[len(prefix) :], ActivityRow)
            if row is None or not (last := self.last_heartbeat(row)[1]):
                continue
            held = HeldDetails(workflow_id=row.workflow_id, run_id=row.run_id, seq=row.seq, details=last)
            size = details_bytes(last) + 3 * len(row.workflow_id.encode()) + 100
            if size <= room:
                room -= size
                details.append(held)
        return WorkerLost(session=session, epoch=self._state.partition.epoch, heartbeat_details=details)

    def _forget_activities(self) -> None:
        """Drop heartbeats of activities that have ended; a bounded look at each call."""
        late_ms = self._clock.now_ms() - EARLY_S * 1000
        while self._early and next(iter(self._early.values()))[0] < late_ms:
            self._early.popitem(last=False)
        for identity in list(self._running)[:1000]:
            entry = self._running.pop(identity)
            row = self._state.row(keys.activity(*identity), ActivityRow)
            if row is not None and row.attempt == entry.attempt:
                self._running[identity] = entry
            else:
                self._details_bytes -= details_bytes(entry.details)


def details_bytes(details: list[Payload]) -> int:
    """How many bytes the details of a heartbeat have."""
    return sum(map(payload_bytes, details))
