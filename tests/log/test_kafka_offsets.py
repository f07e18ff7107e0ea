"""What brokers say of offsets while their leaders change: such an answer is asked for again, and never believed."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from odradek_log import LogError, LogUnavailableError, TopicPartition
from odradek_log.kafka import offsets
from odradek_log.kafka.offsets import OffsetListing

HERE = TopicPartition("t", 0)
NONE = -1001
"""librdkafka's word for no offset. It gives it without an error when a leader has not answered in time."""

Answer = int | KafkaError


class Admin:
    """Answers each question with the next of these; to those for leaders, with `metadata`. What is not answered takes
    all the time that it may: `now` is what the clock says."""

    def __init__(self, answers: list[Answer], metadata: KafkaError | None) -> None:
        self._answers = answers
        self._metadata = metadata
        self.asked: list[tuple[str, float]] = []
        self.now = 0.0

    def list_offsets(self, asked: dict[Any, Any], *, request_timeout: float, **_: Any) -> dict[Any, Future[Any]]:
        self.asked.append(("offsets", request_timeout))
        answers: dict[Any, Future[Any]] = {}
        for where in asked:
            answers[where] = Future()
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if answer == NONE:
                self.now += request_timeout
            if isinstance(answer, KafkaError):
                answers[where].set_exception(KafkaException(answer))
            else:
                answers[where].set_result(SimpleNamespace(offset=answer))
        return answers

    def list_topics(self, timeout: float) -> None:
        self.asked.append(("leaders", timeout))
        if self._metadata is not None:
            self.now += timeout
            raise KafkaException(self._metadata)


def ask(
    *answers: Answer,
    timeout: float = 10.0,
    metadata: KafkaError | None = None,
    partitions: int = 1,
    leaders_known: bool = True,
) -> tuple[dict[TopicPartition, int], LogError | None, Admin]:
    """The answer to a question for offsets, and who was asked."""
    fake = Admin(list(answers), metadata)
    admin: Any = fake
    where = [TopicPartition("t", number) for number in range(partitions)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offsets, "time", SimpleNamespace(monotonic=lambda: fake.now, sleep=lambda _: None))
        listing = OffsetListing(admin, [(one, "end") for one in where], timeout, "kafka:9092", leaders_known)
        try:
            return {one: offset for (one, _), offset in listing.answer().items()}, None, fake
        except LogError as error:
            return {}, error, fake


def test_no_offset_is_no_end_of_a_log() -> None:
    """Breaks when an engine takes its state for that of another log, and discards it: "the log ends at -1001"."""
    assert ask(NONE, NONE, 224)[:2] == ({HERE: 224}, None)


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.UNKNOWN_TOPIC_OR_PART,  # it was just made
        KafkaError._NOENT,  # "no leaders found"
        KafkaError._TRANSPORT,  # the leader died with the question
        KafkaError._TIMED_OUT,
    ],
)
def test_what_passes_is_asked_again(code: int) -> None:
    """Breaks when a worker that starts while brokers change their leaders ends."""
    assert ask(KafkaError(code), KafkaError(code), 224)[:2] == ({HERE: 224}, None)


def test_a_leader_that_is_gone_does_not_take_all_the_time() -> None:
    """Breaks when the question waits for the one that is gone until there is no time left to ask the next leader."""
    _, error, admin = ask(NONE, NONE, 224)
    assert error is None
    assert admin.asked == [("offsets", 1.0), ("leaders", 1.0), ("offsets", 2.0), ("leaders", 2.0), ("offsets", 3.0)]


def test_leaders_are_looked_for_before_a_client_asks_that_does_not_know_them() -> None:
    """Breaks when librdkafka is asked for offsets and looks for leaders itself: once in thousands of times it uses
    what its own thread, which was told of them meanwhile, has freed, and the process ends."""
    ends, _, admin = ask(224, leaders_known=False)
    assert ends == {HERE: 224}
    assert admin.asked == [("leaders", 1.0), ("offsets", 1.0)]


STANDS_STILL = KafkaError(KafkaError._TIMED_OUT)
"""There is a connection, on which nothing comes."""


def test_a_client_that_hears_of_no_leaders_asks_nothing_else() -> None:
    ends, error, admin = ask(224, metadata=STANDS_STILL, leaders_known=False)
    assert (ends, {what for what, _ in admin.asked}) == ({}, {"leaders"})
    assert isinstance(error, LogUnavailableError)
    assert admin.now == pytest.approx(offsets.LEADER_CHANGE_S, abs=0.2)


@pytest.mark.parametrize("metadata", [None, STANDS_STILL])
def test_brokers_are_asked_for_as_long_as_they_need_for_another_leader(metadata: KafkaError | None) -> None:
    """Breaks when a worker gives up just before Kafka has noticed that a broker is gone."""
    ends, _, admin = ask(NONE, NONE, NONE, NONE, 224, timeout=5.0, metadata=metadata)
    assert ends == {HERE: 224}
    assert admin.now >= 10.0
    _, error, admin = ask(NONE, timeout=5.0, metadata=metadata)
    assert isinstance(error, LogUnavailableError)
    assert admin.now == pytest.approx(offsets.LEADER_CHANGE_S, abs=0.2)


def test_where_no_broker_is_nobody_waits_for_a_leader() -> None:
    _, error, admin = ask(NONE, timeout=5.0, metadata=KafkaError(KafkaError._TRANSPORT))
    assert admin.now == pytest.approx(5.0, abs=0.2)
    with pytest.raises(LogUnavailableError, match=r"no Kafka broker at kafka:9092 answers.*check the address"):
        raise error or AssertionError


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (NONE, "its leader does not answer"),
        (KafkaError(KafkaError.OFFSET_NOT_AVAILABLE), "Leader high watermark is not caught up"),
        (KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION), "Not leader for partition"),
        (KafkaError(KafkaError._NOENT, "No leaders found"), "No leaders found"),
    ],
)
def test_who_gives_up_does_not_blame_the_address_when_brokers_answer(
    answer: Answer, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offsets, "LEADER_CHANGE_S", 0.0)
    ends, error, _ = ask(answer, timeout=0.0)
    assert ends == {}
    with pytest.raises(LogUnavailableError, match=rf"cluster at kafka:9092 answers, but .*{said}.*brokers are up") as e:
        raise error or AssertionError
    assert e.value.retriable
    assert "address" not in str(e.value)


def test_a_topic_that_is_not_there_is_not_waited_for() -> None:
    _, error, _ = ask(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), timeout=0.0)
    with pytest.raises(LogError, match="no such topic or partition; create the topic first"):
        raise error or AssertionError


def test_what_does_not_pass_is_told_at_once() -> None:
    """Breaks when it is hidden by what another partition's leader said after it."""
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    _, error, admin = ask(NONE, refused, NONE, partitions=3)
    assert len(admin.asked) == 1
    with pytest.raises(LogError, match="ACLs"):
        raise error or AssertionError
