"""Emitting a partition's effects, and knowing which have left (rules E2, E3, E5, E6).

Each output partition has an emission session. A delivery error ends it: what is in flight is waited for and
no longer counted, then everything from the first unacknowledged effect on is emitted again. Receivers drop
what they have.

What is to be emitted again, and all that a new leader finds, is read from the outbox piece by piece: no more of it is
in memory than may be in flight.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from odradek_log import LogError, Producer, ProducerFailedError
from odradek_schemas import class_of
from odradek_schemas.records import EffectsEmitted, Mark
from odradek_schemas.tasks import VoidEffect

from .fold import Effect

logger = logging.getLogger(__name__)

Output: TypeAlias = tuple[str, int]
Place: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class _Session:
    """What is known of one output partition. `hopeless`: it refuses even void effects; all others are reported.
    `reported`: those of them that the fold has not made void yet. `trying`: it was hopeless; one effect goes alone, the
    rest once that is acknowledged. `void`: all up to there are."""

    number: int = 0
    sent: Place | None = None
    behind: bool = False  # there may be more in the outbox after `sent`
    in_flight: deque[tuple[Place, int]] = field(default_factory=deque)
    acknowledged: Place | None = None
    marked: Place | None = None
    failed: tuple[Place, LogError] | None = None
    hopeless: LogError | None = None
    trying: bool = False
    void: Place | None = None
    reported: set[Place] = field(default_factory=set)
    outstanding: int = 0


class Emitter:
    """Sends effects while its partition is led. `drain` and the rest belong to one thread; acknowledgements may come
    from any.

    `producer(topic)` is what sends to a topic; `outbox(place)` gives the effects that have not left, of all outputs, in
    order, from those after a place on (None: from the first); `report(output, place, error)` is called for an effect
    that can never be delivered; `prepare(topic)` makes a topic at its first use, or raises LogError. At most so many
    effects and bytes of the outbox are in flight.
    """

    def __init__(
        self,
        producer: Callable[[str], Producer],
        outbox: Callable[[Place | None], Iterable[Effect]],
        report: Callable[[Output, Place, LogError], None],
        prepare: Callable[[str], None],
        max_in_flight: int,
        max_in_flight_bytes: int,
    ) -> None:
        self._max_in_flight = max_in_flight
        self._max_in_flight_bytes = max_in_flight_bytes
        self._reached: Place | None = None  # how far `emit_all` has come
        self._emits_all = False
        self._behind: dict[Output, None] = {}
        self._producer = producer
        self._outbox = outbox
        self._report = report
        self._prepare = prepare
        self._sessions: dict[Output, _Session] = {}
        self._inbox: deque[tuple[Output, int, Place, LogError | None]] = deque()
        self._topicless: set[Output] = set()  # their topics could not be made yet
        self.unmarked_effects = False
        """Whether something was emitted since the last marks, or is not marked yet."""
        self.producer_failed = False
        """Whether a producer met an error that it does not recover from: nothing more is emitted by this one."""
        self.in_flight = 0
        self.in_flight_bytes = 0

    def emit(self, effect: Effect) -> None:
        """Send one effect. While what comes before it waits in the outbox, it stays there, too."""
        if not self._emits_all:
            self._emit(effect)

    def _emit(self, effect: Effect) -> None:
        output, place = (effect.topic, effect.partition), (effect.offset, effect.index)
        session = self._sessions.get(output)
        if session is None:
            session = self._sessions[output] = _Session()
            self._first_use(output, session, place)
        if session.hopeless is not None:
            self._report_once(effect, session, session.hopeless)
        elif session.failed is None and not session.behind and (session.sent is None or place > session.sent):
            self._send(output, session, effect)

    def emit_all(self) -> None:
        """Send all that is in the outbox (rule E3), before what comes later."""
        self._emits_all, self._reached = True, None
        self._catch_up()

    @property
    def behind(self) -> bool:
        """Whether effects wait in the outbox for others to be acknowledged."""
        return self._emits_all or bool(self._behind)

    @property
    def full(self) -> bool:
        """Whether as much is in flight as may be."""
        return self.in_flight >= self._max_in_flight or self.in_flight_bytes >= self._max_in_flight_bytes

    def _catch_up(self) -> None:
        """Send of the outbox what there is room for."""
        for output in list(self._behind):
            session = self._sessions[output]
            if session.failed is not None:
                session.behind = False  # it begins again when it has recovered
                del self._behind[output]
            elif not self._catch_up_output(output, session):
                return
        if not self._emits_all:
            return
        for effect in self._outbox(self._reached):
            if self.full:
                return
            self._emit(effect)
            self._reached = (effect.offset, effect.index)
        self._emits_all = False

    def _catch_up_output(self, output: Output, session: _Session) -> bool:
        """Send what one output lacks, for as long as there is room; say whether there is."""
        for effect in self._effects(output, session.sent):
            if self.full:
                return False
            self._send(output, session, effect)
            if session.trying:  # what comes meanwhile waits, and holds up nothing else
                del self._behind[output]
                return True
        session.behind = False
        del self._behind[output]
        return True

    def _first_use(self, output: Output, session: _Session, place: Place) -> None:
        """Have the topic made. Where that fails, the effects of the output wait in the outbox."""
        try:
            self._prepare(output[0])
        except LogError as error:
            logger.warning("topic %s cannot be made: %s", output[0], error)
            session.failed = (place, error)
            if error.retriable:
                self._topicless.add(output)
            else:
                self._recover(output, session)

    def retry_topics(self) -> None:
        """Try again to make the topics that the log could not make. Each try may wait for the log: call it seldom."""
        for output in sorted(self._topicless):
            session = self._sessions[output]
            place, _ = session.failed or ((-1, 0), None)
            self._topicless.discard(output)
            session.failed = None
            self._first_use(output, session, place)
            if output in self._topicless:
                return  # the others would wait for as long
            if session.failed is None:
                self.restart(output)

    def _send(self, output: Output, session: _Session, effect: Effect) -> None:
        self.unmarked_effects = True
        place = session.sent = (effect.offset, effect.index)
        session.in_flight.append((place, len(effect.value)))
        session.outstanding += 1
        self.in_flight += 1
        self.in_flight_bytes += len(effect.value)
        self._producer(effect.topic).send(
            effect.topic,
            effect.partition,
            effect.key,
            effect.value,
            partial(self._delivered, output, session.number, place),
        )

    def _delivered(self, output: Output, number: int, place: Place, offset: int, error: LogError | None) -> None:
        self._inbox.append((output, number, place, error))

    def drain(self) -> None:
        """Take in what the log has acknowledged or refused since the last call."""
        while self._inbox:
            output, number, place, error = self._inbox.popleft()
            session = self._sessions[output]
            session.outstanding -= 1
            if number == session.number and session.failed is None:
                sent, size = session.in_flight.popleft()
                if sent != place:
                    raise AssertionError("acknowledgements of one partition come in order")
                self.in_flight -= 1
                self.in_flight_bytes -= size
                if error is None:
                    session.acknowledged = place
                    if session.trying:
                        session.trying = False
                        self._behind[output] = None
                else:
                    self._fail(output, session, place, error)
            if session.failed is not None and session.outstanding == 0:
                self._recover(output, session)
        if self.behind and 2 * self.in_flight <= self._max_in_flight and (
            2 * self.in_flight_bytes <= self._max_in_flight_bytes
        ):
            self._catch_up()

    def _fail(self, output: Output, session: _Session, place: Place, error: LogError) -> None:
        """End the session: nothing that is in flight counts any more."""
        logger.warning("%s partition %d refused the effect at %s: %s", *output, place, error)
        session.failed = (place, error)
        session.number += 1
        for _, size in session.in_flight:
            self.in_flight -= 1
            self.in_flight_bytes -= size
        session.in_flight.clear()

    def _recover(self, output: Output, session: _Session) -> None:
        place, error = session.failed or ((-1, 0), LogError(""))
        if isinstance(error, ProducerFailedError):
            self.producer_failed = True
            return
        if not error.retriable:
            self._give_up(output, session, place, error)
            return
        self.restart(output)

    def _give_up(self, output: Output, session: _Session, place: Place, error: LogError) -> None:
        """Report the effect that was refused. If it was void already, nothing gets through: report all others."""
        refused = next((e for e in self._effects(output, session.acknowledged) if (e.offset, e.index) >= place), None)
        if refused is None:
            return
        if (refused.offset, refused.index) != place or class_of(refused.value) is not VoidEffect:
            self._report_once(refused, session, error)
            return
        session.hopeless = error
        session.void = max(place, session.void or place)
        for effect in self._effects(output, session.void):
            if class_of(effect.value) is not VoidEffect:
                self._report_once(effect, session, error)
                if len(session.reported) >= self._max_in_flight:
                    return
            elif not session.reported:
                session.void = (effect.offset, effect.index)

    def _effects(self, output: Output, after: Place | None) -> Iterator[Effect]:
        """What has not left of one output."""
        return (effect for effect in self._outbox(after) if (effect.topic, effect.partition) == output)

    def _report_once(self, effect: Effect, session: _Session, error: LogError) -> None:
        """No more reports are out than effects may be: when one of them is made void, the output is tried again, and
        what it refuses then is reported."""
        place = (effect.offset, effect.index)
        if place in session.reported or len(session.reported) >= self._max_in_flight:
            return
        if class_of(effect.value) is not VoidEffect:
            session.reported.add(place)
            self._report((effect.topic, effect.partition), place, error)

    @property
    def reports(self) -> int:
        """How many effects were reported that are not void yet."""
        return sum(len(session.reported) for session in self._sessions.values())

    def made_void(self, output: Output, place: Place) -> None:
        """The report about an effect was folded: a void one stands in its place."""
        session = self._sessions.get(output)
        if session is not None:
            session.reported.discard(place)
            self.restart(output)

    def restart(self, output: Output) -> None:
        """Emit again from the first effect of an output that is not acknowledged."""
        session = self._sessions.get(output)
        if session is None or session.outstanding:
            return
        session.trying = session.trying or session.hopeless is not None
        session.failed = session.hopeless = None
        session.sent = session.acknowledged
        session.behind = True
        self._behind[output] = None
        if not self.full:
            self._catch_up()

    def unreported(self, output: Output, place: Place) -> None:
        """The report about an effect was lost: it may be made again."""
        session = self._sessions[output]
        session.reported.discard(place)
        if session.failed is not None and session.outstanding == 0:
            self._recover(output, session)

    def oldest(self) -> dict[Output, Place]:
        """The first effect that is not acknowledged, of each output that has one out."""
        return {output: session.in_flight[0][0] for output, session in self._sessions.items() if session.in_flight}

    def marks(self) -> EffectsEmitted | None:
        """What left since the last call; None if nothing did."""
        marks = []
        self.unmarked_effects = self.in_flight > 0
        for (topic, partition), session in self._sessions.items():
            done = session.acknowledged
            if done is not None and done != session.marked:
                session.marked = done
                marks.append(Mark(topic=topic, partition=partition, offset=done[0], index=done[1]))
        return EffectsEmitted(marks=marks) if marks else None

    def unmarked(self, marks: EffectsEmitted) -> None:
        """The record of these marks did not get into the log: give them out again."""
        for mark in marks.marks:
            self._sessions[(mark.topic, mark.partition)].marked = None
        self.unmarked_effects = True
