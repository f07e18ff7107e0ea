"""Request and reply over the log: one client's place in it.

Requests are appended to `events` (or `ephemeral`, for reads) with an ID; the answers come to this client's partition
of `replies`. A request that is not answered is appended again under the same ID, which changes nothing but
the chance of an answer (rule Q1). One thread reads the replies and appends again.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator

from odradek_log import Log, LogError, RecordTooLargeError, TopicPartition
from odradek_log.renewing import RenewingProducer
from odradek_schemas import DecodeError, Topics, decode, encode, partition_of
from odradek_schemas.common import Record, Request
from odradek_schemas.ephemeral import FetchHistory
from odradek_schemas.replies import HistoryPage, WorkflowResult

from ._calls import Call, Due, How, MakeRecord, OnDone, Pauses
from ._converter import DataConverter
from ._types import Serving
from .errors import (
    ClientClosedError,
    InvalidRequestError,
    OdradekError,
    RequestTimeoutError,
    RequestTooLargeError,
    UnavailableError,
)

logger = logging.getLogger("odradek.client")

DEADLINE_SLACK_SECONDS = 30.0
"""A request stays valid for so much longer than its caller waits: clocks differ."""

_OVERHEAD_BYTES = 600
"""What a call takes besides its record, about."""

_MAX_COPIES = 2
"""So many copies of a request wait for the log at most: while it is away, they would only fill the producer."""

_IDLE_SECONDS = 60.0
_TOPICS_POLL_SECONDS = 0.25


class Connection:
    """A client's requests and replies. Everything may be called from any thread; callbacks must be quick.

    Raises UnavailableError if the log cannot be reached, or no engine has made the namespace's topics within
    `timeout` seconds. `now_ms`: the clock of deadlines (default: the wall clock). `deadline_slack`: seconds for which a
    request stays valid after its caller has given up.
    """

    def __init__(
        self,
        log: Log,
        namespace: str,
        converter: DataConverter,
        *,
        timeout: float = 30.0,
        pauses: Pauses | None = None,
        now_ms: Callable[[], int] | None = None,
        deadline_slack: float = DEADLINE_SLACK_SECONDS,
    ) -> None:
        self.log = log
        self.namespace = namespace
        self.topics = Topics(namespace)
        self.converter = converter
        self.workers: set[Serving] = set()
        self._pauses = pauses or Pauses()
        self._now_ms = now_ms or _wall_clock_ms
        self._deadline_slack = deadline_slack
        self.client_id = secrets.token_hex(10)
        self._key = self.client_id.encode()
        try:
            self.partitions = self._wait_for_topics(timeout)
            self.reply_partition = partition_of(self._key, self.partitions)
            replies = TopicPartition(self.topics.replies, self.reply_partition)
            self._consumer = log.consumer()
            self._consumer.assign({replies: log.offsets(replies)[1]})
            self._producer = RenewingProducer(log.producer)  # requests may come twice (rule Q1)
        except LogError as error:
            raise unavailable(error) from error
        self._lock = threading.Lock()
        self._calls: dict[str, Call] = {}
        self._bytes = {False: 0, True: 0}  # of the calls that are out, by whether they may be answered much later
        self._due: list[Due] = []
        self._expected: dict[str, Record | None] = {}  # answers to what was asked with other requests, once they come
        self._numbers = itertools.count()
        self._listeners: dict[type[Record], list[Callable[[Record], None]]] = {}
        self._refusal: Callable[[], OdradekError] | None = None  # why nothing can be asked any more
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="odradek-replies", daemon=True)
        self._thread.start()

    def _wait_for_topics(self, timeout: float) -> int:
        """The number of partitions, once an engine has made the topics."""
        give_up = time.monotonic() + timeout
        while True:
            needed = (self.topics.events, self.topics.ephemeral, self.topics.replies)
            found = {topic: self.log.partitions(topic) for topic in needed}  # once: brokers learn of new ones in turn
            missing = [topic for topic, partitions in found.items() if not partitions]
            if not missing:
                return found[self.topics.events]
            if time.monotonic() >= give_up:
                raise UnavailableError(
                    f"there is no topic {missing[0]} in the log: no engine has served namespace {self.namespace!r} "
                    "yet. Start one with `odradek engine`, or check the name of the namespace"
                )
            time.sleep(_TOPICS_POLL_SECONDS)  # nothing announces a new topic

    # ------------------------------------------------------------ requests

    def append(
        self,
        workflow_id: str,
        make: MakeRecord,
        on_done: OnDone,
        *,
        timeout: float,
        request_id: str | None = None,
        partition: int | None = None,
        waits: bool = False,
    ) -> str:
        """Append a request to `events`; return its request ID. An ID of the caller's own is kept for 24 hours, so
        that a repeated call is harmless for that long. `partition`: for what is about no workflow. `waits`: the answer
        may come much later."""
        deadline_ms = 0 if request_id is not None else self._in_ms(timeout + self._deadline_slack)
        how = How(request_id, deadline_ms, self._pauses.requests, timeout, waits)
        return self._call(self.topics.events, workflow_id, make, on_done, how, partition)

    def ask(
        self,
        workflow_id: str,
        make: MakeRecord,
        on_done: OnDone,
        *,
        timeout: float | None,
        partition: int | None = None,
    ) -> str:
        """Append a read to `ephemeral`. `timeout` None: ask again until there is an answer."""
        deadline_ms = 0 if timeout is None else self._in_ms(timeout + self._deadline_slack)
        how = How(None, deadline_ms, self._pauses.reads, timeout)
        return self._call(self.topics.ephemeral, workflow_id, make, on_done, how, partition)

    def wait_for(
        self, workflow_id: str, make: MakeRecord, on_done: OnDone, *, timeout: float | None, expected: str | None = None
    ) -> str:
        """Append a read that is answered when something happens, perhaps much later. Engines forget who waits when
        they stop, so it is asked again at long intervals. `expected`: it was asked under this ID, of `expecting`."""
        how = How(expected, 0, self._pauses.waits, timeout, waits=True)
        return self._call(self.topics.ephemeral, workflow_id, make, on_done, how)

    @contextlib.contextmanager
    def expecting(self) -> Iterator[str]:
        """An ID for a read that goes with another request: its answer is kept for `wait_for`, meanwhile."""
        request_id = secrets.token_hex(12)
        with self._lock:
            self._expected[request_id] = None
        try:
            yield request_id
        finally:
            with self._lock:
                self._expected.pop(request_id, None)

    @property
    def waiting(self) -> int:
        """How many calls are out that may be answered much later."""
        with self._lock:
            return sum(call.waits for call in self._calls.values())

    def in_flight(self, waits: bool = False) -> int:
        """How many bytes the calls that are out take; `waits`: those that may be answered much later."""
        with self._lock:
            return self._bytes[waits]

    def forget(self, request_id: str, on_done: OnDone) -> None:
        """The caller waits no more."""
        with self._lock:
            call = self._calls.get(request_id)
            if call is not None and on_done in call.on_done:
                call.on_done.remove(on_done)
                if not call.on_done:
                    self._remove(request_id)

    def now_ms(self) -> int:
        """The clock of this client's requests, in ms since the Unix epoch."""
        return self._now_ms()

    def _in_ms(self, seconds: float) -> int:
        return self._now_ms() + round(seconds * 1000)

    def _call(
        self,
        topic: str,
        workflow_id: str,
        make: MakeRecord,
        on_done: OnDone,
        how: How,
        partition: int | None = None,
    ) -> str:
        own_id = how.request_id or secrets.token_hex(12)
        record = make(
            Request(
                request_id=own_id,
                client_id=self.client_id,
                reply_partition=self.reply_partition,
                deadline_ms=how.deadline_ms,
            )
        )
        try:
            key, value = workflow_id.encode(), encode(record)
        except (OverflowError, UnicodeEncodeError, ValueError) as error:
            raise InvalidRequestError(
                f"{type(record).__name__} cannot be written: {error}. Numbers have up to 64 bits, and text is Unicode"
            ) from error
        self._check_size(record, len(key) + len(value))
        expires = None if how.timeout is None else time.monotonic() + how.timeout
        partition = partition_of(key, self.partitions) if partition is None else partition
        call = Call(
            own_id, workflow_id, topic, partition, key, value, how.pauses, how.timeout, expires, [on_done],
            waits=how.waits, size=len(key) + len(value) + _OVERHEAD_BYTES,
        )
        with self._lock:
            if self._refusal is not None:
                raise self._refusal()
            other = self._calls.get(own_id)
            if other is not None:
                if other.workflow_id != workflow_id or other.topic != topic:
                    raise InvalidRequestError(
                        f"request ID {own_id!r} is in use by a call about workflow {other.workflow_id!r}: "
                        "use another one for each request"
                    )
                other.on_done.append(on_done)  # the same request twice at once has one answer
                return own_id
            asked, answer = own_id in self._expected, self._expected.get(own_id)
            if answer is None:
                self._calls[own_id] = call
                self._bytes[call.waits] += call.size
                wake = self._schedule(call)
        if answer is not None:
            _tell(on_done, answer)
            return own_id
        if not asked:
            self._send(call)
        if wake:
            self._consumer.wake()
        return own_id

    def _check_size(self, record: Record, size: int) -> None:
        if size > self.log.max_record_bytes:
            raise RequestTooLargeError(
                f"{type(record).__name__} has {size:,} bytes, the log takes records of up to "
                f"{self.log.max_record_bytes:,}: give client and workers a place for large values, DataConverter(store="
                "ObjectPayloadStore('s3://bucket/prefix')), or pass them by reference"
            )

    def _schedule(self, call: Call) -> bool:
        """Plan the next repetition, or the end. Return whether that is the next thing to happen."""
        pause = call.pauses[min(call.sent, len(call.pauses) - 1)]
        call.sent += 1
        at = time.monotonic() + pause
        if call.expires is not None:
            at = min(at, call.expires)
        heapq.heappush(self._due, Due(at, next(self._numbers), call))
        return self._due[0].call is call

    def _remove(self, request_id: str) -> Call | None:
        """Under the lock. The schedule of repetitions may keep the call for a while, but not its record."""
        call = self._calls.pop(request_id, None)
        if call is not None:
            self._bytes[call.waits] -= call.size
            call.value = b""
        return call

    def _send(self, call: Call) -> None:
        with self._lock:
            value = call.value
            if not value or call.appending >= _MAX_COPIES:
                return
            call.appending += 1

        def delivered(offset: int, error: LogError | None) -> None:
            with self._lock:
                call.appending -= 1
            if error is None:
                if call.offset < 0:
                    call.offset = offset
            elif call.offset < 0:
                self._finish(call.request_id, append_failed(error))

        try:
            self._producer.send(call.topic, call.partition, call.key, value, delivered)
        except LogError as error:
            self._finish(call.request_id, append_failed(error))

    # ------------------------------------------------------------ for workers

    def fetch_history(
        self,
        workflow_id: str,
        run_id: str,
        barrier: int,
        from_event_id: int,
        on_page: Callable[[HistoryPage | Exception], None],
    ) -> None:
        """Ask for one page of a run's history, as of `barrier` or later, until it is there."""

        def make(request: Request) -> Record:
            return FetchHistory(
                workflow_id=workflow_id, run_id=run_id, barrier=barrier, from_event_id=from_event_id, request=request
            )

        def done(reply: Record | OdradekError) -> None:
            on_page(reply if isinstance(reply, HistoryPage | OdradekError) else unexpected(reply))

        try:
            self.ask(workflow_id, make, done, timeout=None)
        except OdradekError as error:
            on_page(error)

    def on_reply(self, record_type: type[Record], callback: Callable[[Record], None]) -> None:
        """Call `callback` with every record of that type that comes to this client and answers no request."""
        with self._lock:
            self._listeners.setdefault(record_type, []).append(callback)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        refusal = _closed
        try:
            while not self._stopping:
                for record in self._consumer.poll(self._next_due()):
                    if record.key == self._key:  # others are of other clients
                        self._receive(record.value)
                self._do_what_is_due()
        except LogError as error:
            reason = unavailable(error)
            refusal = lambda: UnavailableError(str(reason))  # noqa: E731
        except Exception as error:
            logger.exception("the client cannot read replies any more")
            text = f"the client cannot read replies any more: {error!r}; open a new one"
            refusal = lambda: UnavailableError(text)  # noqa: E731
        finally:
            self._refuse(refusal)
            self._consumer.close()

    def _next_due(self) -> float:
        """Seconds until there is something to do besides reading."""
        with self._lock:
            while self._due and self._calls.get(self._due[0].call.request_id) is not self._due[0].call:
                heapq.heappop(self._due)
            return max(0.0, self._due[0].at - time.monotonic()) if self._due else _IDLE_SECONDS

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        again: list[Call] = []
        expired: list[Call] = []
        with self._lock:
            while self._due and self._due[0].at <= now:
                call = heapq.heappop(self._due).call
                if self._calls.get(call.request_id) is not call:
                    continue
                if call.expires is not None and call.expires <= now:
                    expired.append(call)
                else:
                    again.append(call)
                    self._schedule(call)
        for call in expired:
            self._finish(call.request_id, self._timed_out(call))
        for call in again:
            self._send(call)

    def _timed_out(self, call: Call) -> RequestTimeoutError:
        durable = call.offset >= 0
        if not durable:
            text = f"the log did not take the request within {call.timeout:g} s: is it reachable?"
        elif call.topic == self.topics.ephemeral:
            text = f"no answer within {call.timeout:g} s: no engine answered; is `odradek engine` running?"
        else:
            text = (
                f"no engine answered within {call.timeout:g} s; is `odradek engine` running? The request is safely in "
                f"the log and may still take effect; repeat it with request_id={call.request_id!r} to be sure"
            )
        return RequestTimeoutError(f"workflow {call.workflow_id!r}: {text}", durable=durable)

    def _receive(self, value: bytes) -> None:
        try:
            record = decode(value)
        except DecodeError as error:
            logger.warning("a reply cannot be read, perhaps that of a newer engine: %s", error)
            return
        request_id = getattr(record, "request_id", None)
        if isinstance(request_id, str):
            if not (isinstance(record, WorkflowResult) and record.status == "running"):
                self._finish(request_id, record)
            return
        with self._lock:
            listeners = list(self._listeners.get(type(record), ()))
        for listener in listeners:
            _tell(listener, record)

    def _finish(self, request_id: str, outcome: Record | OdradekError) -> None:
        with self._lock:
            call = self._remove(request_id)
            if call is None and request_id in self._expected and not isinstance(outcome, OdradekError):
                self._expected[request_id] = outcome
        if call is not None:
            for on_done in call.on_done:
                _tell(on_done, outcome)

    def _refuse(self, refusal: Callable[[], OdradekError]) -> None:
        """Nothing more can be asked; what is out gets that as its answer."""
        with self._lock:
            self._refusal = self._refusal or refusal
            out = list(self._calls)
        for request_id in out:
            self._finish(request_id, self._refusal())

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Stop. Calls that are out raise ClientClosedError. Blocks until the thread has ended."""
        self._stopping = True
        self._refuse(_closed)
        self._consumer.wake()
        self._thread.join()
        self._producer.close()


def _tell(callback: Callable[..., None], *args: object) -> None:
    """Call back; what goes wrong there must not stop the reading of replies."""
    try:
        callback(*args)
    except Exception:
        logger.exception("a callback for a reply failed")


def _closed() -> OdradekError:
    return ClientClosedError("the client is closed; a request that was out may still take effect")


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def unavailable(error: LogError) -> UnavailableError:
    """The error of the log as one of this package."""
    return UnavailableError(f"the log cannot be used: {error}")


def append_failed(error: LogError) -> OdradekError:
    """Why a request could not be appended."""
    if isinstance(error, RecordTooLargeError):
        return RequestTooLargeError(str(error))
    return UnavailableError(f"the request is not in the log: {error}")


def unexpected(reply: Record) -> OdradekError:
    """A reply of a kind that does not belong to the request."""
    return OdradekError(f"an engine answered with {type(reply).__name__}; it may be of another version")
