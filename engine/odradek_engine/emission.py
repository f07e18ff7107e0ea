"""Emitting a partition's effects, and knowing which have left (rules E2, E3, E5, E6).

Each output partition has an emission session. A delivery error ends it: what is in flight is waited for and
no longer counted, then everything from the first unacknowledged effect on is emitted again. Receivers drop
what they have.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from odradek_log import LogError, Producer, ProducerFailedError
from odradek_schemas.records import EffectsEmitted, Mark

from .fold import Effect

logger = logging.getLogger(__name__)

Output: TypeAlias = tuple[str, int]
Place: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class _Session:
    """What is known of one output partition."""

    number: int = 0
    in_flight: deque[tuple[Place, int]] = field(default_factory=deque)
    acknowledged: Place | None = None
    marked: Place | None = None
    failed: tuple[Place, LogError] | None = None
    outstanding: int = 0


class Emitter:
    """Sends effects while its partition is led. `drain` and the rest belong to one thread; acknowledgements may come
    from any.

    `producer(topic)` is what sends to a topic; `outbox(output)` gives the effects of one output that have not left,
    in order; `report(output, place, error)` is called for an effect that can never be delivered; `prepare(topic)`
    makes a topic at its first use, or raises LogError.
    """

    def __init__(
        self,
        producer: Callable[[str], Producer],
        outbox: Callable[[Output], Iterable[Effect]],
        report: Callable[[Output, Place, LogError], None],
        prepare: Callable[[str], None],
    ) -> None:
        self._producer = producer
        self._outbox = outbox
        self._report = report
        self._prepare = prepare
        self._sessions: dict[Output, _Session] = {}
        self._inbox: deque[tuple[Output, int, Place, LogError | None]] = deque()
        self._reported: set[tuple[Output, Place]] = set()
        self._topicless: set[Output] = set()  # their topics could not be made yet
        self.unmarked_effects = False
        """Whether something was emitted since the last marks, or is not marked yet."""
        self.producer_failed = False
        """Whether a producer met an error that it does not recover from: nothing more is emitted by this one."""
        self.in_flight = 0
        self.in_flight_bytes = 0

    def emit(self, effect: Effect) -> None:
        """Send one effect. While its output recovers from an error, it stays in the outbox only."""
        output = (effect.topic, effect.partition)
        session = self._sessions.get(output)
        if session is None:
            session = self._sessions[output] = _Session()
            self._first_use(output, session, (effect.offset, effect.index))
        if session.failed is None:
            self._send(output, session, effect)

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
        place = (effect.offset, effect.index)
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
                else:
                    self._fail(output, session, place, error)
            if session.failed is not None and session.outstanding == 0:
                self._recover(output, session)

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
            if (output, place) not in self._reported:
                self._reported.add((output, place))
                self._report(output, place, error)
            return
        self.restart(output)

    def restart(self, output: Output) -> None:
        """Emit again from the first effect of an output that is not acknowledged."""
        session = self._sessions.get(output)
        if session is None or session.outstanding:
            return
        session.failed = None
        for effect in self._outbox(output):
            if session.acknowledged is None or (effect.offset, effect.index) > session.acknowledged:
                self._send(output, session, effect)

    def unreported(self, output: Output, place: Place) -> None:
        """The report about an effect was lost: it may be made again."""
        self._reported.discard((output, place))
        session = self._sessions[output]
        if session.failed is not None and session.outstanding == 0:
            self._recover(output, session)

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
