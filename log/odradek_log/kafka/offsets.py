"""Asking brokers for the first and next offsets of partitions.

Who asks waits for the answers, in a thread of our own. A callback of the answers would run in a thread of librdkafka,
and may be the last that holds the client: librdkafka ends the whole process when its own thread destroys it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, wait
from typing import Any, Literal, TypeAlias

from confluent_kafka import IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from ..protocol import TopicPartition
from .errors import kafka_error, kafka_problem, passes, translate, unavailable

Bound: TypeAlias = Literal["first", "end"]
Wanted: TypeAlias = tuple[TopicPartition, Bound]

LEADER_CHANGE_S = 20.0
"""How long we ask for a partition's leader. By default Kafka takes 9 s to see that a broker is gone, and some more if
that was the controller. Workers that end wait for as long, at most."""

_QUESTION_S = 1.0  # the n-th question has n times as long: a leader that is gone never answers, a busy one in the end
_ASK_AGAIN_AFTER = 0.05
_LONGEST_PAUSE = 1.0
_LATE_ANSWER_S = 5.0  # librdkafka gives up by itself; that it might not must not hold up a thread for ever
_UNKNOWN = KafkaError.UNKNOWN_TOPIC_OR_PART  # one that was just made is known to all brokers a moment later
# librdkafka's answer for a leader that is gone or stands still is an offset of -1001, and no error.
_SILENT = KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "its leader does not answer")
_SPECS: dict[Bound, OffsetSpec] = {"first": OffsetSpec.earliest(), "end": OffsetSpec.latest()}  # type: ignore[no-untyped-call]


class OffsetListing:
    """One question about many partitions. It gives up when no broker was there for `timeout` seconds, or some leader
    gave no offset for LEADER_CHANGE_S.

    leaders_known: whether the client has listed the topics of late. Else it does so first: a `list_offsets` that has to
        ask for leaders crashes, once in thousands of times, if librdkafka's own thread is told of them meanwhile.
    """

    def __init__(
        self, admin: AdminClient, wanted: Collection[Wanted], timeout: float, servers: str, leaders_known: bool
    ) -> None:
        self._admin = admin
        self._servers = servers
        self._timeout = timeout
        self._leaders_known = leaders_known
        self._began = self._there = time.monotonic()
        self._offsets: dict[Wanted, int] = {}
        self._to_ask = set(wanted)
        self._questions = 0
        self._error: KafkaError | None = None
        self._subject = _subject(next(iter(wanted)))

    def answer(self) -> Mapping[Wanted, int]:
        """All offsets that are wanted. Raises LogError. Waits for LEADER_CHANGE_S and an answer at most."""
        if not self._leaders_known:
            self._questions = 1
            while not self._look_for_leaders():
                self._pause()
                self._questions += 1
            self._questions = 0
        while self._ask():
            self._pause()
            self._look_for_leaders()
        return self._offsets

    def _pause(self) -> None:
        time.sleep(min(self._questions * _ASK_AGAIN_AFTER, _LONGEST_PAUSE))

    def _ask(self) -> bool:
        """Whether some of it has to be asked again."""
        self._questions += 1
        self._error = None
        patience = self._patience()
        asked: dict[Wanted, Future[Any]] = {}
        for bound, spec in _SPECS.items():
            partitions = {Position(*where): spec for where, of in self._to_ask if of == bound}
            if partitions:
                futures = self._admin.list_offsets(
                    partitions, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=patience
                )
                asked.update({(TopicPartition(p.topic, p.partition), bound): f for p, f in futures.items()})
        _, silent = wait(asked.values(), patience + _LATE_ANSWER_S)
        for wanted, answer in asked.items():
            problem = _SILENT if answer in silent else kafka_problem(answer)
            if problem is None and answer.result().offset < 0:
                problem = _SILENT
            if problem is not None:
                self._met(wanted, problem)
            else:
                self._offsets[wanted] = answer.result().offset
                self._to_ask.discard(wanted)
        if self._error is not None and not _may_pass(self._error):
            raise translate(self._error, self._subject, self._servers)
        return self._error is not None

    def _met(self, wanted: Wanted, error: KafkaError) -> None:
        if self._error is None or _may_pass(self._error):
            self._error = error
            self._subject = _subject(wanted)

    def _look_for_leaders(self) -> bool:
        """Ask who leads now; whether there was an answer. Raises when the time is over. By itself librdkafka keeps to
        the leaders it knows for a while."""
        silence = None
        try:
            self._admin.list_topics(timeout=self._patience())
        except KafkaException as e:
            silence = kafka_error(e)
        if silence is None or silence.code() == KafkaError._TIMED_OUT:  # one is there; perhaps it alone stands still
            self._there = time.monotonic()
        if self._left() > 0:
            return silence is None
        if silence is None:
            raise translate(self._error or _SILENT, self._subject, self._servers)
        raise unavailable(self._subject, self._servers, silence.str())

    def _left(self) -> float:
        """Seconds until we give up."""
        unknown = self._error is not None and self._error.code() == _UNKNOWN
        give_up = self._began + (self._timeout if unknown else max(self._timeout, LEADER_CHANGE_S))
        return min(self._there + self._timeout, give_up) - time.monotonic()

    def _patience(self) -> float:
        """Seconds for the next answer."""
        return max(0.1, min(self._questions * _QUESTION_S, self._left()))


def _subject(wanted: Wanted) -> str:
    where, _ = wanted
    return f"offsets of {where.topic}/{where.partition}"


def _may_pass(error: KafkaError) -> bool:
    return passes(error) or error.code() == _UNKNOWN
