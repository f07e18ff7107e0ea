"""One step of the fold: what deciding on one record may read, and how it says what follows.

A decision emits events, which are applied at once, and effects, which get their positions in the order
in which they are made. Everything is derived from the state and the record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from odradek_schemas import Topics, encode, partition_of
from odradek_schemas.common import Failure, Payload, Position, Record, Request
from odradek_schemas.ephemeral import AwaitResult
from odradek_schemas.history import Attributes, HistoryEvent
from odradek_schemas.replies import RequestReply
from odradek_schemas.tasks import DeadLetter, HistoryBatch

from . import events, keys
from .evolve import APPLY
from .rows import ActivityRow, Effect, LinkRow, PartitionRow, RunRow, SessionRow, TimerRow
from .state import State

MAX_EFFECT_BYTES = 1_000_000
"""Larger effects are not made: a broker with default settings would refuse them."""

ROOM = 50_000
"""More than the names and numbers of an effect take, all of which are checked or made here."""

KEEP_REQUEST_MS = 24 * 3600 * 1000
"""How long a request without a deadline is remembered (rule Q1)."""

WORK = 200
"""Units of long work, such as a reset, that one step does: about one for an event, more for a large one."""

_BYTES_A_UNIT = 5_000

_START = LinkRow(offset=-1, index=0)


class Source(msgspec.Struct, frozen=True, gc=False):
    """The record being folded, as it lies in the log."""

    offset: int
    key: bytes
    value: bytes


class Step:
    """Deciding on one record. `now` is fold time in ms.

    `offset` is where the record lies that makes this step; `source` may be one that it carries, or that waited for it.
    `work` is left of what this step may do of long work; `releasing`: a record is folded that waited for a reset.
    `awaited`: what starts ask for besides, the results of the runs that they began here.
    """

    def __init__(self, state: State, topics: Topics, source: Source, now: int) -> None:
        self.state = state
        self.topics = topics
        self.source = source
        self.offset = source.offset
        self.now = now
        self.hops = 0
        self.work = WORK
        self.releasing = False
        self.events: list[events.Event] = []
        self.effects: list[Effect] = []
        self.awaited: list[AwaitResult] = []
        self._index = 0
        self._batches: dict[tuple[str, str], list[bytes]] = {}

    def spend(self, size: int) -> None:
        """A unit of long work is done, on so many bytes."""
        self.work -= 1 + size // _BYTES_A_UNIT

    # ------------------------------------------------------------ reading

    @property
    def partition(self) -> PartitionRow:
        return self.state.partition

    def run(self, workflow_id: str) -> RunRow | None:
        """The newest run of a workflow ID."""
        return self.state.row(keys.current(workflow_id), RunRow)

    def open_run(self, workflow_id: str, run_id: str) -> RunRow | None:
        """The open run, if it is the one meant; `run_id` empty means whichever is open (rule R1)."""
        run = self.run(workflow_id)
        if run is None or not run.is_open or (run_id and run.run_id != run_id):
            return None
        return run

    def activity(self, run: RunRow, seq: int, scheduled_by: str) -> ActivityRow | None:
        """The open activity of that identity (rule W5)."""
        row = self.open_activity(run, seq)
        return row if row is not None and row.scheduled_by == scheduled_by else None

    def open_activity(self, run: RunRow, seq: int) -> ActivityRow | None:
        """The open activity that the run's own code calls `seq`."""
        if seq < 0:
            return None
        return self.state.row(keys.activity(run.workflow_id, run.run_id, seq), ActivityRow)

    def timer(self, run: RunRow, seq: int) -> TimerRow | None:
        """The timer that the run's own code calls `seq`."""
        if seq < 0:
            return None
        return self.state.row(keys.timer(run.workflow_id, run.run_id, seq), TimerRow)

    def session(self, session_id: str) -> SessionRow | None:
        """A live session (rule T5)."""
        row = self.state.row(keys.session(session_id), SessionRow)
        return row if row is not None and not row.ended_ms else None

    # ------------------------------------------------------------ changing

    def apply(self, event: events.Event) -> None:
        """Record a change of state, and make it."""
        self.events.append(event)
        APPLY[type(event)](self.state, event)  # as `evolve` does, without a call between

    def append(
        self, workflow_id: str, run_id: str, attributes: Attributes, time_ms: int | None = None, local: bool = False
    ) -> int:
        """Append a history event to a run; return its ID. Times of a run never go back (rule C1)."""
        run = self.run(workflow_id)
        last_id = last_ms = 0
        if run is not None and run.run_id == run_id:
            last_id, last_ms = run.last_event_id, run.last_event_ms
        event_id, at_ms = last_id + 1, max(self.now if time_ms is None else time_ms, last_ms)
        encoded = encode(HistoryEvent(event_id=event_id, time_ms=at_ms, attributes=attributes))
        self.apply(events.Appended(workflow_id, run_id, event_id, at_ms, attributes, encoded, local))
        self._batches.setdefault((workflow_id, run_id), []).append(encoded)
        return event_id

    def new_run_id(self, workflow_id: str) -> str:
        """A run ID that no other run has, in this log or another: made of where and when the run began."""
        parts = f"{self.partition.partition}/{self.offset}/{self._index}/{self.now}/{workflow_id}"
        self._index += 1
        h = hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    # ------------------------------------------------------------ effects

    def effect(
        self,
        topic: str,
        partition: int,
        key: bytes,
        make: Callable[[Position], Record],
        at_most: int = MAX_EFFECT_BYTES,
    ) -> Position | None:
        """Stage an effect as the next link of its chain (rules E1, E4). None: too large, nothing is staged.

        `at_most`: what is known to bound its size without its bytes, apart from `ROOM` for names and numbers.
        """
        state, index = self.state, self._index
        last = state.row(keys.tail(topic, partition), LinkRow) or _START
        position = Position(
            partition=state.partition.partition,
            offset=self.offset,
            index=index,
            previous_offset=last.offset,
            previous_index=last.index,
        )
        effect = Effect(topic, partition, self.offset, index, key, make(position), at_most)
        if at_most + ROOM > MAX_EFFECT_BYTES and len(effect.value) > MAX_EFFECT_BYTES:
            return None
        self._index = index + 1
        self.apply(events.EffectStaged(effect))
        self.effects.append(effect)
        return position

    def can_reply(self, reply_partition: int) -> bool:
        """Whether somebody can be reached there; -1 means that nobody waits."""
        return 0 <= reply_partition < self.partition.partitions

    def tell(self, session: SessionRow | None, make: Callable[[Position, SessionRow], Record]) -> None:
        """Send a message to the worker of a live session, if there is one that can be reached."""
        if session is None or not self.can_reply(session.reply_partition):
            return
        self.effect(
            self.topics.replies,
            session.reply_partition,
            session.client_id.encode(),
            lambda position: make(position, session),
        )

    def reply(
        self,
        request: Request | None,
        outcome: str,
        run_id: str = "",
        message: str = "",
        result: Payload | None = None,
        failure: Failure | None = None,
    ) -> None:
        """Answer a request, if somebody waits for it. A result that is too large is a failure that says so."""
        if request is None or not self.can_reply(request.reply_partition):
            return
        names = (request.client_id, request.request_id, run_id)
        made = self.effect(
            self.topics.replies,
            request.reply_partition,
            request.client_id.encode(),
            lambda position: RequestReply(
                position=position,
                client_id=request.client_id,
                request_id=request.request_id,
                outcome=outcome,
                run_id=run_id,
                message=message,
                result=result,
                failure=failure,
            ),
            at_most=MAX_EFFECT_BYTES if result or failure else 4 * sum(map(len, (*names, message))),
        )
        if made is None:
            large = Failure(message="the answer is larger than a record may be; return a reference", type="TooLarge")
            self.reply(request, "failed", run_id, "", None, large)

    def dead_letter(self, reason: str, value: bytes | None = None, key: bytes | None = None) -> None:
        """Put a record aside for people, with the reason. A very large one loses its end."""
        source = self.source
        room = MAX_EFFECT_BYTES - 100_000
        self.effect(
            self.topics.dead_letters,
            self.partition.partition,
            source.key[:10_000] if key is None else key,
            lambda position: DeadLetter(
                position=position,
                reason=reason[:10_000],
                topic=self.topics.events,
                partition=self.partition.partition,
                offset=source.offset,
                key=source.key[:10_000],
                value=(source.value if value is None else value)[:room],
            ),
        )

    def publish_history(self) -> None:
        """At the end of a step: this step's history events, for the public stream."""
        for (workflow_id, run_id), encoded in self._batches.items():
            run = self.run(workflow_id)
            if run is None or run.run_id != run_id:
                run = self.state.row(keys.earlier(workflow_id, run_id), RunRow)
            if run is None:
                raise AssertionError(f"events of {workflow_id}/{run_id}, which has no run")
            size = sum(map(len, encoded))
            if size <= MAX_EFFECT_BYTES // 2:
                self._publish(run, encoded, size)
                continue
            for batch in _split(encoded):
                self._publish(run, batch, sum(map(len, batch)))

    def _publish(self, run: RunRow, batch: list[bytes], size: int) -> None:
        made = self.effect(
            self.topics.history,
            self.partition.partition,
            run.workflow_id.encode(),
            lambda position: HistoryBatch(
                position=position,
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                workflow_type=run.workflow_type,
                task_queue=run.task_queue,
                events=batch,
            ),
            at_most=size + 5 * len(batch),
        )
        if made is None:
            self.dead_letter(f"a history event of {run.workflow_id!r} is too large to be published", batch[0])

    def home(self, workflow_id: str) -> int:
        """The partition that a workflow ID belongs to."""
        return partition_of(workflow_id.encode(), self.state.partition.partitions)


def _split(encoded: list[bytes]) -> list[list[bytes]]:
    """Batches that stay well under the limit of an effect, if their events do."""
    batches: list[list[bytes]] = [[]]
    size = 0
    for event in encoded:
        if batches[-1] and size + len(event) > MAX_EFFECT_BYTES // 2:
            batches.append([])
            size = 0
        batches[-1].append(event)
        size += len(event)
    return batches
