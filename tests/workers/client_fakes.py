"""An engine that answers as a test tells it to, over a real log."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec
from odradek.errors import RequestTimeoutError
from odradek_log import Log, TopicPartition, TopicSpec
from odradek_schemas import Topics, decode, encode
from odradek_schemas.common import Position, Record, Request
from odradek_schemas.ephemeral import AwaitResult
from odradek_schemas.records import StartWorkflow
from odradek_schemas.replies import RequestReply

PARTITIONS = 4
T = TypeVar("T", bound=Record)
Answer = Callable[[Record, Request], Iterable[Record]]


class FakeEngine:
    """Reads all requests, keeps them in `seen`, and sends what `answer` gives for each. It has been called for each
    request that `wait_for` has waited for."""

    def __init__(self, log: Log, namespace: str = "default") -> None:
        self.topics = Topics(namespace)
        create_topics(log, self.topics)
        self.answer: Answer = lambda record, request: [reply_to(request, "ok")]
        self.seen: list[Record] = []
        self.raw: list[bytes] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._producer = log.producer()
        self._consumer = log.consumer()
        self._consumer.assign(
            {
                TopicPartition(topic, partition): 0
                for topic in (self.topics.events, self.topics.ephemeral)
                for partition in range(PARTITIONS)
            }
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            for read in self._consumer.poll(60):
                record = decode(read.value)
                request: Request | None = getattr(record, "request", None)
                assert request is not None
                with self._changed:
                    self.seen.append(record)
                    self.raw.append(read.value)
                    answers = list(self.answer(record, request))
                    self._changed.notify_all()
                for reply in answers:
                    self.send(request.reply_partition, request.client_id, encode(reply))
                    if isinstance(record, StartWorkflow) and isinstance(reply, RequestReply):
                        self._answer_what_it_asks(record, request, reply, read.offset)
        self._consumer.close()

    def _answer_what_it_asks(self, start: StartWorkflow, request: Request, reply: RequestReply, offset: int) -> None:
        """A start that begins a run asks for its result besides."""
        if not start.result_request or reply.outcome != "started":
            return
        asks = msgspec.structs.replace(request, request_id=start.result_request)
        read = AwaitResult(workflow_id=start.workflow_id, run_id=reply.run_id, barrier=offset + 1, request=asks)
        with self._changed:
            self.seen.append(read)
            self._changed.notify_all()
        for answer in self.answer(read, asks):
            self.send(request.reply_partition, request.client_id, encode(answer))

    def send(self, partition: int, client_id: str, value: bytes) -> None:
        """A record for a client."""
        self._producer.send(self.topics.replies, partition, client_id.encode(), value)

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, timeout=30), self.seen

    def first(self, kind: type[T]) -> T:
        """The first request of a kind; waits for it: a client knows that one is in the log before it was read."""

        def found() -> T | None:
            return next((record for record in self.seen if isinstance(record, kind)), None)

        with self._changed:
            record = self._changed.wait_for(found, timeout=30)
        assert record is not None, self.seen
        return record

    def close(self) -> None:
        self._stopping = True
        self._consumer.wake()
        self._thread.join()
        self._producer.close()


def create_topics(log: Log, topics: Topics) -> None:
    """What an engine makes of a namespace before all else."""
    log.create_topics(
        [
            TopicSpec(topics.events, PARTITIONS),
            TopicSpec(topics.ephemeral, PARTITIONS, 3_600_000, durable=False),
            TopicSpec(topics.replies, PARTITIONS, 3_600_000, durable=False),
        ]
    )


def reply_to(request: Request, outcome: str, run_id: str = "r1", message: str = "") -> RequestReply:
    """The outcome of a request."""
    return RequestReply(
        position=Position(partition=0, offset=0, index=0),
        client_id=request.client_id,
        request_id=request.request_id,
        outcome=outcome,
        run_id=run_id,
        message=message,
    )


async def unanswered(ask: Callable[[float], Awaitable[object]]) -> RequestTimeoutError:
    """How a request ends that is in the log and is not answered. `ask` makes it, with a timeout in s: the shortest one
    in which the log takes it, however busy the machine is."""
    for timeout in (0.05, 0.5, 5.0, 50.0):
        try:
            await ask(timeout)
        except RequestTimeoutError as error:
            if error.durable:
                return error
        else:
            raise AssertionError("it was answered")
    raise AssertionError("the log did not take it")


def nobody_answers(record: Record, request: Request) -> Iterable[Record]:
    """An engine that is away."""
    return []
