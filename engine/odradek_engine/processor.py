"""The stream processor of one partition: folds its records, and, while it leads, acts on what follows.

Synchronous and single-threaded, with time, randomness, log and storage given from outside: a simulation runs
this very class.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator

import odradek_log
from odradek_log import LogError, Producer, TopicPartition
from odradek_schemas import DecodeError, Topics, decode, encode, ephemeral, history
from odradek_schemas.common import Record, Request
from odradek_schemas.records import EffectFailed, LeaderElected
from odradek_schemas.tasks import QueryTask

from . import handover
from .appending import Appender
from .candidacy import Candidacy
from .clock import Clock, Randomness
from .clockwatch import ClockWatch
from .comparison import Comparison, StaleStateError
from .due import DueRecords
from .early_reads import EARLY_S, EarlyRead, EarlyReads
from .emission import Emitter, Output, Place
from .fold import Effect, Folded, State, UnsupportedVersionError, events, fold, keys
from .leadership import Leadership, Role
from .members import Members
from .reads import Read, Reads
from .sessions import Sessions
from .settings import Counters, Outlook, Settings
from .silence import Silence
from .store import StoreDamagedError
from .strays import Strays
from .unwritten import Unwritten

logger = logging.getLogger(__name__)

FLUSH_AFTER_S = 1.0
"""Changes are in memory only for so long, at most."""


class Processor:
    """One partition. `member` names this engine; `partitions` is the namespace's partition count.

    `bulk_producer` is for what nobody waits for. `prepare(topic)` makes a task queue's topic on first use;
    `find_end(tp, callback)` asks the log for the end of a partition (None: it could not be asked).
    """

    def __init__(
        self,
        *,
        partition: int,
        partitions: int,
        topics: Topics,
        member: str,
        state: State,
        producer: Producer,
        bulk_producer: Producer,
        clock: Clock,
        randomness: Randomness,
        settings: Settings,
        prepare: Callable[[str], None],
        find_end: Callable[[TopicPartition, Callable[[int | None], None]], None],
        members: Members | None = None,
    ) -> None:
        self.partition = partition
        self.state = state
        self.state.knows = settings.fold_version
        self.declined = 0
        """The fold version that keeps us from going on here; 0: none does (V1)."""
        self.members = members or Members(member, settings.fold_version, clock, settings.announce_interval)
        self.counters = Counters()
        self._topics = topics
        self._producer = producer
        self._bulk_producer = bulk_producer
        self._clock = clock
        self._settings = settings
        self._prepare = prepare
        self._find_end = find_end
        self._partitions = partitions
        self._here = TopicPartition(topics.events, partition)
        self._silence = Silence(self._here, clock)
        self._appender = Appender(self._here, producer, self._silence)
        self._clock_watch = ClockWatch(state, clock, settings.clock_tolerance, self._append)
        self.leadership = Leadership(member, self._election, self._append_election, clock, randomness)
        self.candidacy = Candidacy(
            lambda: self.state.partition.position, self._find_own_end, clock, settings.leader_lost_after
        )
        self.comparison = Comparison(self._here, state)
        self._mark_at = 0.0
        self._flush_at: float | None = None
        self._early = EarlyReads()
        self._unwritten = Unwritten(state, settings.flush_rows, settings.flush_bytes)
        self._handover_at = 0.0
        self._stuck_at = -1
        self._damage: StoreDamagedError | None = None
        self._begin_term()
        if state.partition.version > settings.fold_version:
            self.decline(UnsupportedVersionError(state.partition.version, settings.fold_version))

    def _begin_term(self) -> None:
        """Forget what was known as leader; the state has everything that matters."""
        self._second_at = 0.0
        self.emitter = Emitter(
            self._producer_for, self._outbox, self._report_failed, self._prepare,
            self._settings.max_in_flight, self._settings.max_in_flight_bytes,
        )
        self.sessions = Sessions(self.state, self._clock, self._settings.lost_after)
        self.handover = handover.Handover(self.state)
        self.strays = Strays(self.state, self.sessions)
        self.due = DueRecords(
            self.state, self.sessions.last_heartbeat, round(self._settings.reissue_after * 1000)
        )
        self.reads = Reads(
            self.state, self.sessions, self._clock, self._reply, self._dispatch_query, self._find_own_end
        )

    # ------------------------------------------------------------ assignment

    @property
    def start_offset(self) -> int:
        """Where to read from: the last folded record, to see that it is still what was folded, then what follows."""
        return self.comparison.begin()

    def gain(self) -> None:
        """The partition is ours to lead, from now on."""
        self.leadership.holding = True
        self._stand()

    def assigned(self, end: int | None) -> None:
        """The partition is ours to lead once we have folded the log up to its end: until then, another may.

        `end`: where it was a moment ago; None: it is asked for.
        """
        self.leadership.holding = True
        if self.leadership.role is Role.NONE:
            self.candidacy.begin(end)
            self._stand_when_ready()

    def unassigned(self) -> None:
        """The partition is another's to lead; we go on until that one does."""
        self.leadership.holding = False

    def _stand(self) -> None:
        """Stand for election, unless newer code must go on here (V1)."""
        if not self.declined:
            self.leadership.stand()
            self.counters.elections += 1

    def _stand_when_ready(self) -> None:
        if self.leadership.role is Role.NONE and self.candidacy.ready(self.leadership.holding):
            self._stand()

    def decline(self, error: UnsupportedVersionError) -> None:
        """The state or the next record is for newer code: stop here, and lead no more (V1)."""
        self.declined = error.version
        self.leadership.resign()
        self._flush()
        logger.error("ALARM: partition %d stands still here: %s", self.partition, error)

    def release(self) -> None:
        """The partition is no longer ours; say what left, so that the next leader need not repeat it."""
        if self.leadership.leading:
            self.emitter.drain()
            self._append_marks()
        self.leadership.resign()

    @property
    def producer_failed(self) -> bool:
        """Whether a producer is of no more use: `use` another."""
        return self._appender.producer_failed or self.emitter.producer_failed

    def use(self, producer: Producer, bulk_producer: Producer) -> None:
        """Go on with new producers, in a new term: what the old ones had out may have landed or not."""
        self._producer, self._bulk_producer = producer, bulk_producer
        self._appender.use(producer)
        self.emitter.producer_failed = False
        if self.leadership.holding or self.leadership.role is not Role.NONE:
            self._stand()

    # ------------------------------------------------------------ folding

    def handle(self, record: odradek_log.Record, *, gap: bool = False) -> None:
        """Fold one record of `events`. `gap`: the offsets before it that nobody gave us are no records, but what Kafka
        keeps of a transaction. Raises UnsupportedVersionError and StaleStateError; see there."""
        position = self.state.partition.position
        if record.offset < position:
            self.comparison.check(record)
            return
        if record.offset > position and not gap:
            raise StaleStateError(
                f"{self._here.topic} partition {self.partition}: the state ends at offset {position}, the log goes on "
                f"at {record.offset}. Records in between are gone; restore them or start from a newer state"
            )
        folded = fold(self.state, self._topics, record.offset, record.timestamp_ms, record.key, record.value)
        self.counters.folded += 1
        self._unwritten.add(record.value, folded.effects)
        took_over = isinstance(folded.record, LeaderElected) and self._observe(folded.record)
        leading = self.leadership.leading
        if leading and not took_over:
            for effect in folded.effects:
                self._emit(effect)
        self._await_results(folded, record.timestamp_ms)
        if leading:
            self._notify(folded)
            self.counters.clock_alarms += self._clock_watch.look(record, folded.record)

    def _observe(self, elected: LeaderElected) -> bool:
        """Follow an election; return whether we lead from here on, and have emitted all that had not left (E3)."""
        now = self.state.partition
        self.candidacy.watch.elected(self.members.knows(elected.member))
        accepted = (now.member, now.nonce) == (elected.member, elected.nonce)
        was_leading = self.leadership.leading
        if self.leadership.observe(elected, accepted):
            logger.info("leading partition %d from offset %d", self.partition, now.epoch)
            self._begin_term()
            self.emitter.emit_all()
            for _, value in self._early.take(self._clock.monotonic() - EARLY_S):
                self.handle_ephemeral(value)
            return True
        if was_leading and not self.leadership.leading:
            logger.info("deposed on partition %d by %s", self.partition, elected.member)
        return False

    def _emit(self, effect: Effect) -> None:
        if effect.topic == self._topics.dead_letters:
            self.counters.dead_letters += 1
        self.counters.emitted += 1
        self.emitter.emit(effect)

    def _notify(self, folded: Folded) -> None:
        """Tell reads which runs closed or advanced, and emission which effects were replaced."""
        for event in folded.events:
            if type(event) is events.Appended:
                kind = type(event.attributes)
                if kind is history.WorkflowTaskCompleted:
                    self.reads.advanced(event.workflow_id)
                elif kind in history.CLOSES:
                    self.reads.closed(event.workflow_id)
            elif type(event) is events.TaskAttemptFailed:
                self.reads.advanced(event.workflow_id)
            elif type(event) is events.EffectReplaced:
                self.emitter.made_void((event.topic, event.partition), (event.offset, event.index))

    def _await_results(self, folded: Folded, timestamp_ms: int) -> None:
        """Keep what starts ask for besides; before we lead, for as long as other reads are kept."""
        for read in folded.awaited:
            if self.leadership.leading:
                self._ask(read)
            elif self._clock.now_ms() - timestamp_ms < EARLY_S * 1000:
                self.asked_before([(timestamp_ms / 1000, encode(read))])

    def asked_before(self, reads: Iterable[EarlyRead]) -> None:
        """What was asked in records that were folded before we lead, with their times in the log."""
        for at, value in reads:
            age = max(0.0, self._clock.now_ms() / 1000 - at)
            self._early.keep(self._clock.monotonic() - age, value)

    def outlook(self, now_ms: int, away: Collection[str] = ()) -> Outlook:
        """What is left to do at `now_ms`, and when there is something to do next. Tasks for the queues `away` wait for
        nobody."""
        if not self.leadership.leading or self.state.partition.waiting:
            return Outlook(True, None)
        out = (self.state.get(key[len(keys.out(0, b"")) :]) for key, _ in self.state.scan(keys.OUT))
        busy = self.due.next_ms() <= now_ms or any(row.task_queue not in away for row in out)
        later = next(self.state.scan(keys.DUE, start=keys.due(now_ms + 1, b"", b"")), None)
        return Outlook(busy, keys.number_in(later[0]) if later is not None else None)

    def maybe_flush(self) -> None:
        """Keep the changes that are only in memory few."""
        if self._unwritten.enough:
            self._flush()

    def _flush(self) -> None:
        self._unwritten.write()
        self._flush_at = None

    # ------------------------------------------------------------ time

    def tick(self) -> None:
        """Do what has happened, and what time asks for. Raises StoreDamagedError."""
        if self._damage is not None:
            raise self._damage
        now = self._clock.monotonic()
        self._appender.serve_failures()
        if self._flush_at is None:
            self._flush_at = now + FLUSH_AFTER_S if self.state.unflushed_at_most else None
        elif now >= self._flush_at:
            self._flush()
        if self.leadership.leading:
            self._lead(now)
        else:
            self.leadership.tick()
            self._stand_when_ready()
        self._silence.look(self.emitter)

    def _lead(self, now: float) -> None:
        """What the leader does besides folding."""
        self.emitter.drain()
        self.reads.advance()
        now_ms = self._clock.now_ms()
        if now_ms >= self.due.next_ms():
            for record in self.due.take(now_ms):
                self._append(record)
        if now >= self._mark_at:
            self._mark_at = now + self._settings.mark_interval
            self._append_marks()
        if now >= self._handover_at:
            for reissued in self.handover.take(now_ms, self.sessions.room()):
                self._append(reissued)
            self._handover_at = now + max(handover.INTERVAL_S, (self.handover.look_again_ms - now_ms) / 1000)
        if now >= self._second_at:
            self._second_at = now + 1.0
            self._each_second(now_ms)

    def _each_second(self, now_ms: int) -> None:
        for verdict in self.sessions.lost():
            self._append(verdict)
        if self.sessions.wants_echo():
            self._send_echo()
        for record in self.due.reissues(now_ms):
            self._append(record)
        for stray in self.strays.take(now_ms):
            self._append(stray)
        self.emitter.retry_topics()
        if self._next_version() > self.state.partition.version:
            self._stand()
        self.reads.expire()
        self._pass_gap()
        if self.state.partition.waiting:
            self._clock_watch.ask()

    def _pass_gap(self) -> None:
        """Reads that wait for the end of a log whose last offset is no record wait for ever: so another one comes."""
        position = self.state.partition.position
        if self.reads.behind and position == self._stuck_at:
            self._clock_watch.ask()
        self._stuck_at = position if self.reads.behind else -1

    def wait_s(self) -> float:
        """How long it is until `tick` has something to do, at most a second."""
        now = self._clock.monotonic()
        at = now + 1.0
        if self._flush_at is not None and self._flush_at < at:
            at = self._flush_at
        if not self.leadership.leading:
            return max(0.0, min(at, self.leadership.next_tick() or at) - now)
        if self._mark_at < at and self.emitter.unmarked_effects:
            at = self._mark_at
        if self._handover_at < at and self.sessions.has_room():
            at = self._handover_at
        due = (self.due.next_ms() - self._clock.now_ms()) / 1000
        return max(0.0, min(at - now, due))

    @property
    def overloaded(self) -> bool:
        """Too many effects are unacknowledged: fold no further until some are (rule E6)."""
        return self.leadership.leading and (
            self.emitter.behind
            or self.emitter.in_flight > self._settings.max_in_flight
            or self.emitter.in_flight_bytes > self._settings.max_in_flight_bytes
        )

    # ------------------------------------------------------------ reads and heartbeats

    def handle_ephemeral(self, value: bytes, *, past: bool = False) -> None:
        """A record of `ephemeral`. What cannot be read there is nobody's: a line in the log file, no more.

        `past`: it was there before we had the partition; a heartbeat among those tells nothing of now.
        """
        try:
            self._hear(value, past)
        except StoreDamagedError as error:
            self._damage = error  # it is for the folding thread to have the state rebuilt
        if len(value) > keys.LARGE:
            keys.forget()

    def _hear(self, value: bytes, past: bool) -> None:
        try:
            record = decode(value)
        except DecodeError as error:
            logger.warning("a record of %s was not understood: %s", self._topics.ephemeral, error)
            return
        if isinstance(record, ephemeral.EngineAlive):
            if not past:
                self._engine_heard(record)
            return
        if not self.leadership.leading:
            if isinstance(getattr(record, "request", None), Request):
                self._early.keep(self._clock.monotonic(), value)
            return
        if isinstance(record, ephemeral.WorkerHeartbeat):
            if not past:
                self.sessions.heard(record)
        elif isinstance(record, ephemeral.ActivityHeartbeat):
            self.sessions.heard_activity(record)
        elif isinstance(record, Read):
            self._ask(record)
        else:
            logger.warning("%s is no record of %s", type(record).__name__, self._topics.ephemeral)

    def _engine_heard(self, record: ephemeral.EngineAlive) -> None:
        """An engine lives, or leaves; for those who follow, it matters whether it is the leader here."""
        self.members.heard(record)
        if record.member == self.members.member:
            self.sessions.echoed()
        if record.member == self.state.partition.member and record.member != self.members.member:
            if record.leaving:
                self.candidacy.watch.left()
            else:
                self.candidacy.watch.heard()

    def _send_echo(self) -> None:
        key, value = self.members.member.encode(), encode(self.members.echo())
        self._producer.send(self._topics.ephemeral, self.partition, key, value, self._appender.answered)

    def _ask(self, read: Read) -> None:
        """A read whose answer nobody can get is not looked at: a worker would not know where to send it, either."""
        if 0 <= read.request.reply_partition < self._partitions:
            self.reads.ask(read)
        else:
            logger.warning("%s asks for an answer in partition %d", type(read).__name__, read.request.reply_partition)

    def _reply(self, request: Request, record: Record) -> None:
        key = request.client_id.encode()
        self._producer.send(self._topics.replies, request.reply_partition, key, encode(record), self._appender.answered)

    def _dispatch_query(self, queue: str, build_id: str, task: QueryTask) -> None:
        topic = self._topics.workflow_tasks(queue, build_id)
        try:
            self._prepare(topic)
        except LogError as error:  # whoever asks will ask again
            logger.warning("a query of workflow %s cannot be handed on: %s", task.workflow_id, error)
            return
        self._producer.send(topic, self.partition, task.workflow_id.encode(), encode(task), self._appender.answered)

    def _find_own_end(self, found: Callable[[int | None], None]) -> None:
        self._find_end(self._here, found)

    # ------------------------------------------------------------ appending

    def _append(self, record: Record, failed: Callable[[], None] | None = None) -> None:
        name = type(record).__name__
        self.counters.appended[name] = self.counters.appended.get(name, 0) + 1
        self._appender.append(record, failed)

    def _election(self, nonce: str) -> LeaderElected:
        return LeaderElected(
            member=self.leadership.member,
            nonce=nonce,
            clock_ms=self._clock.now_ms(),
            version=self._next_version(),
            partitions=self._partitions,
            closed_retention_ms=round(self._settings.closed_retention * 1000),
        )

    def _next_version(self) -> int:
        """The fold version from our next election on: that of the log, or ours once every engine knows it (V2)."""
        ours, now = self._settings.fold_version, self.state.partition.version
        return ours if ours > now and self.members.all_know(ours) else now

    def _append_election(self, record: LeaderElected, failed: Callable[[], None]) -> None:
        self._append(record, failed)

    def _append_marks(self) -> None:
        marks = self.emitter.marks()
        if marks is not None:
            emitter = self.emitter
            self._append(marks, lambda: emitter.unmarked(marks))

    def _producer_for(self, topic: str) -> Producer:
        """Nobody waits for the public history; workers and clients wait for the rest."""
        return self._bulk_producer if topic == self._topics.history else self._producer

    def _outbox(self, after: Place | None) -> Iterator[Effect]:
        start = None if after is None else keys.outbox(after[0], after[1] + 1)
        for _, row in self.state.scan(keys.OUTBOX, start=start):
            yield Effect(row.topic, row.partition, row.offset, row.index, row.key, row.value, len(row.value))

    def _report_failed(self, output: Output, place: Place, error: LogError) -> None:
        emitter = self.emitter
        record = EffectFailed(
            topic=output[0],
            partition=output[1],
            offset=place[0],
            index=place[1],
            reason=str(error),
            epoch=self.state.partition.epoch,
        )
        self._append(record, lambda: emitter.unreported(output, place))


__all__ = ["Counters", "Processor", "Settings", "StaleStateError"]
