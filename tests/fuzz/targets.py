"""What the fuzzers call: each takes any bytes, and raises only if something is wrong.

`codec` and `json`: what any writer may have put into a topic. `processor`: a whole partition, with records that were
changed field by field. `worker` and `client`: what they read of tasks, history and replies. `answers`: what callers
are given of that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

from odradek import DataConverter, workflow
from odradek._connection import Connection
from odradek._read import description, history_event
from odradek._worker.intake import TaskIntake
from odradek._worker.registry import RegisteredWorkflows, workflow_definitions
from odradek.errors import PayloadError
from odradek_engine.fold import Folded, UnsupportedVersionError
from odradek_engine.fold.invariants import problems
from odradek_log import Record as LogRecord
from odradek_log import TopicPartition
from odradek_log.memory import MemoryLog
from odradek_schemas import DecodeError, Position, Record, Request, decode, encode, ephemeral, tasks
from odradek_schemas.common import Caller, Failure, Payload
from odradek_schemas.history import (
    ActivityFailed,
    ActivityScheduled,
    SignalReceived,
    TimerFired,
    TimerStarted,
    UpdateAccepted,
    WorkflowStarted,
)
from odradek_schemas.records import SignalWorkflow, StartWorkflow
from odradek_schemas.replies import (
    HistoryPage,
    OpenUpdate,
    PendingActivity,
    PendingChild,
    PendingLocalActivity,
    PendingTimer,
    QueryResult,
    RequestReply,
    WorkflowDescription,
    WorkflowResult,
)

from ..engine.harness import TOPICS, Entry
from ..engine.solo import Solo
from ..engine.streams import Stream
from ..workers.activity_bench import ActivityBench, activity_task
from ..workers.client_fakes import create_topics
from ..workers.worker_fakes import Bench, completed_event, event, page, query_task, workflow_task
from .bytes_random import HEADERS, BytesRandom, mutated, spoilt

HERE = TopicPartition("odradek.default.workflow-tasks.q", 0)

# ---------------------------------------------------------------- codec and JSON


def codec(data: bytes) -> None:
    """Any bytes are a record, or a DecodeError; what was read can be written. As they are, and behind a good header."""
    _check_codec(data)
    rng = BytesRandom(data)
    _check_codec(rng.choice(HEADERS) + rng.rest())


def _check_codec(data: bytes) -> None:
    try:
        record = decode(data)
    except DecodeError:
        return
    again = encode(record)
    assert encode(decode(again)) == again


_BY_HAND: tuple[dict[str, Any], ...] = (
    {"type": "StartWorkflow", "workflow_id": "w", "workflow_type": "Order", "task_queue": "q", "input": [{"id": 1}],
     "request_id": "r", "retry_policy": {"initial_interval": 1}, "memo": {"a": 1}, "execution_timeout": 3,
     "search_attributes": {"k": "v"}, "cron_schedule": "* * * * *", "id_conflict_policy": "fail", "deadline": 1},
    {"type": "SignalWorkflow", "workflow_id": "w", "signal": "s", "args": [1, "a", None], "run_id": ""},
    {"type": "CancelWorkflow", "workflow_id": "w", "reason": "r"},
    {"type": "CompleteActivity", "task_token": "t", "result": {"a": [1.5]}},
    {"type": "FailActivity", "task_token": "t", "failure": {"message": "m", "type": "T", "details": [1]}},
)  # fmt: skip
_ODD_JSON: tuple[Any, ...] = (
    None, True, -1, 2**70, 1e308, "", "x" * 2_000, [], {}, [[[]]], {"a": {"b": []}}, "\ud800", "\0", "P1D", -0.0,
)  # fmt: skip


def json_by_hand(data: bytes) -> None:
    """What people write: with other values, other names, cut short, or not JSON at all."""
    rng = BytesRandom(data)
    text = dict(rng.choice(_BY_HAND))
    for _ in range(rng.randrange(4)):
        name = rng.choice([*text, "nonsense", "type"])
        text[name] = rng.choice(_ODD_JSON)
    value = json.dumps(text).encode(errors="surrogatepass")
    if rng.randrange(3) == 0:
        at = rng.randrange(len(value))
        value = value[:at] + rng.rest() + value[at + rng.randrange(3) :]
    _check_codec(value)


# ---------------------------------------------------------------- a partition


class Partition(Stream):
    """A stream of records that a leading processor folds, and not the stream itself."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng, spoilt=0.0)
        self.solo = Solo()
        self.state = self.solo.state
        self.solo.lead()

    def append(self, entry: Entry) -> Folded:
        raise NotImplementedError  # the processor folds

    def live(self) -> None:
        """Fold, read and act, for as long as there are choices."""
        rng, solo = self.rng, self.solo
        assert isinstance(rng, BytesRandom)
        while rng.left and len(solo.events) < 400:
            if rng.randrange(4) == 0:
                read = rng.choice(_READS)(Request(request_id="q", client_id="c", reply_partition=0))
                solo.processor.handle_ephemeral(spoilt(rng, read))
            else:
                self.now += rng.choice((0, 0, 1000, 20_000))
                solo.put(self._next(), solo.clock.now_ms() + rng.choice((0, 0, 0, -5000, 400_000_000)))
            for found in solo.ends:
                found(len(solo.events))
            solo.ends.clear()
            solo.pass_time(rng.choice((0.0, 0.0, 0.1, 5.0)))
            solo.settle()

    def _next(self) -> bytes:
        way = self.rng.randrange(8)
        if way == 0:
            return self.rng.randbytes(self.rng.randrange(30))
        if way == 1 and self.solo.events:
            return self.rng.choice(self.solo.events).value
        return spoilt(self.rng, self._record()) if way < 6 else encode(self._record())


_READS: tuple[Callable[[Request], Record], ...] = (
    lambda r: ephemeral.AwaitResult(workflow_id="w", request=r),
    lambda r: ephemeral.QueryWorkflow(workflow_id="w", query="q", request=r, input=[Payload(data=b"1")]),
    lambda r: ephemeral.DescribeWorkflow(workflow_id="w", request=r),
    lambda r: ephemeral.FetchHistory(workflow_id="w", request=r, from_event_id=1, barrier=0),
    lambda r: ephemeral.HeartbeatActivity(workflow_id="w", task_token=b"t", request=r),
    lambda r: ephemeral.ListRuns(request=r),
    lambda r: ephemeral.DescribeBuilds(task_queue="q", request=r),
    lambda r: ephemeral.WorkerHeartbeat(
        session="W1", lost_after_ms=1000, activity_queues=["q"], activity_partitions=[0]
    ),
    lambda r: ephemeral.EngineAlive(member="another", version=1, holds=[0]),
    lambda r: ephemeral.ActivityHeartbeat(
        workflow_id="w", run_id="r", scheduled_by="b", seq=1, attempt=1, session="W1"
    ),
)


def processor(data: bytes) -> None:
    """A whole partition: whatever comes, it goes on, leads, answers, and its state is sound."""
    partition = Partition(BytesRandom(data))
    solo = partition.solo
    try:
        partition.live()
    except UnsupportedVersionError:
        return  # bytes that say that a newer engine leads: we are to stop there (V1)
    for _ in range(30):  # other members may have been elected meanwhile: we stand again
        solo.pass_time(1.0)
        solo.settle()
    assert solo.leading
    assert problems(solo.state) == []
    assert not [letter for letter in solo.outputs("dead-letters") if "defect" in getattr(letter, "reason", "")]
    solo.put(StartWorkflow(workflow_id="at the end", workflow_type="Order", task_queue="orders", request=Request(
        request_id="at the end", client_id="c", reply_partition=0,
    )))
    for _ in range(4):  # records stamped ahead wait for the leader's clock
        solo.settle()
        solo.pass_time(1.0)
    answers = [r for r in solo.outputs("replies") if getattr(r, "request_id", "") == "at the end"]
    assert [answer.outcome for answer in answers] == ["started"], TOPICS.events


# ---------------------------------------------------------------- workers


@workflow.define
class Order:
    def __init__(self) -> None:
        self.notes: list[str] = []

    async def run(self, number: int = 0) -> int:
        await workflow.wait_condition(lambda: len(self.notes) > 2)
        return number

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.query
    def status(self, text: str = "") -> str:
        return text + "".join(self.notes)

    @workflow.update
    async def change(self, text: str) -> str:
        return text


def _payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


_EVENTS = (
    event(1, WorkflowStarted(workflow_type="Order", task_queue="q", input=[_payload("1")])),
    event(2, SignalReceived(signal="note", input=[_payload('"a"')])),
    event(3, TimerFired(seq=1, started_event_id=1)),
    event(4, ActivityScheduled(seq=1, activity_type="charge", task_queue="q", scheduled_by="run")),
    event(5, UpdateAccepted(seq=1, update_id="u", update="change", input=[_payload('"b"')], fed_after=2, fed_ms=5)),
    completed_event(6, "s1-1", "run", 2),
)


def worker(data: bytes) -> None:
    """Tasks, queries and pages of history: none of them ends a thread of the worker, whatever it holds."""
    rng = BytesRandom(data)
    bench, activities = Bench(), ActivityBench()
    registered: Any = RegisteredWorkflows(
        workflow_definitions([Order]), task_queue="q", namespace="default", converter=DataConverter(), interceptors=()
    )
    bench.tasks._workflows = bench.queries._workflows = registered
    intake = TaskIntake(lambda partition: 0)
    intake.assigned({HERE: None})
    for offset in range(1 + rng.randrange(8)):
        events = [mutated(rng, one) for one in _EVENTS[: 1 + rng.randrange(len(_EVENTS))]]
        kind = rng.randrange(4)
        update = tasks.PendingUpdate(
            seq=1, update_id="u", update="change", after_event_id=1, time_ms=1, input=[_payload('"x"')]
        )
        task: Record
        if kind == 0:
            task = query_task(input=[_payload('"x"')])
        elif kind == 1:
            task = activity_task(input=[_payload("1")])
        else:
            task = workflow_task(
                events=events, complete=bool(rng.randrange(3)), updates=[update] * rng.randrange(3),
                position=Position(partition=0, offset=offset, index=0, previous_offset=offset - 1),
            )
        taken = intake.receive(LogRecord(*HERE, offset, 0, b"w", spoilt(rng, task)))
        if taken is None:
            continue
        if isinstance(taken.task, tasks.WorkflowTask):
            bench.tasks.on_task(taken.task, taken.ticket)
        elif isinstance(taken.task, tasks.QueryTask):
            bench.queries.on_query(taken.task)
        else:
            activities.core.on_task(taken.task, taken.ticket, bool(rng.randrange(2)))
        fetches, bench.fetches = bench.fetches, []
        for fetch in fetches:
            answer = mutated(rng, page(*events))
            fetch.answer(answer if isinstance(answer, HistoryPage) else page(*events))
    intake.commits()


# ---------------------------------------------------------------- clients


def client(data: bytes) -> None:
    """Whatever comes as a reply, the thread that reads replies goes on, and the right answer arrives."""
    rng = BytesRandom(data)
    log = MemoryLog()
    create_topics(log, TOPICS_OF_CLIENT)
    connection = Connection(log, "default", DataConverter())
    try:
        answers: list[object] = []
        request_id = connection.append(
            "w", lambda request: SignalWorkflow(workflow_id="w", signal="s", request=request),
            answers.append, timeout=60,
        )
        other = connection.ask(
            "w", lambda request: ephemeral.DescribeWorkflow(workflow_id="w", request=request),
            lambda reply: 1 // 0, timeout=60,
        )
        right = RequestReply(
            position=Position(partition=0, offset=0, index=0), client_id=connection.client_id, request_id=request_id,
            outcome="ok",
        )
        made = {"client_id": connection.client_id, "request_id": other}
        replies = (
            right,
            QueryResult(**made, status="failed", failure=Failure(message="m", details=[_payload("1")])),
            WorkflowResult(**made, status="completed", result=_payload("1")),
            WorkflowDescription(**made, found=True),
            page(*_EVENTS),
        )
        for _ in range(rng.randrange(6)):
            connection._receive(spoilt(rng, rng.choice(replies)))
        connection._receive(encode(right))
        assert len(answers) == 1, "each call has one answer"
        assert connection.in_flight() >= 0
    finally:
        connection.close()


# ---------------------------------------------------------------- what callers get

_FAILURE = Failure(
    message="m", type="T", kind="application", details=[_payload("1")], stack_trace="s",
    encoded_attributes=_payload("{}"),
    cause=Failure(message="n", kind="activity", activity_type="a", cause=Failure(message="o", kind="timeout")),
)
_DESCRIPTION = WorkflowDescription(
    client_id="c", request_id="r", found=True, workflow_id="w", run_id="r", status="running", start_ms=1, now_ms=2,
    task_failure=_FAILURE, task_retry_ms=1, memo={"m": _payload("1")}, search_attributes={"s": _payload('"v"')},
    pending_activities=[PendingActivity(
        seq=1, activity_type="a", task_queue="q", state="started", attempt=1, scheduled_ms=1, started_ms=1,
        next_retry_ms=1,
        last_failure=_FAILURE, heartbeat_details=[_payload("1")], task_token=b"t", paused_ms=1,
    )],
    pending_timers=[PendingTimer(seq=1, due_ms=5)], parent=Caller(workflow_id="p", run_id="r", seq=1),
    pending_children=[PendingChild(seq=1, workflow_id="c", workflow_type="C", state="started", initiated_ms=1)],
    pending_updates=[OpenUpdate(update_id="u", update="u", state="pending", asked_ms=1)],
    local_activities=[PendingLocalActivity(seq=1, activity_type="l", since_ms=1)],
)  # fmt: skip


def answers(data: bytes) -> None:
    """What replies and histories hold is shown to whoever asked, whatever it is: descriptions, events, errors."""
    rng, converter = BytesRandom(data), DataConverter()
    described = description(mutated(rng, _DESCRIPTION), converter)
    assert described.warnings is not None
    shown = history_event(mutated(rng, rng.choice((*_EVENTS, _FAILED, _SCHEDULED))), converter)
    assert shown.attributes is not None
    with suppress(PayloadError):
        assert isinstance(converter.from_failure(mutated(rng, _FAILURE)), BaseException)


_FAILED = event(7, ActivityFailed(seq=1, scheduled_event_id=4, failure=_FAILURE))
_SCHEDULED = event(8, TimerStarted(seq=1, due_ms=1))

TOPICS_OF_CLIENT = type(TOPICS)("default")

TARGETS: dict[str, Callable[[bytes], None]] = {
    "codec": codec, "json": json_by_hand, "processor": processor, "worker": worker, "client": client,
    "answers": answers,
}


def quiet() -> None:
    """What is logged of hostile input is no finding."""
    logging.disable(logging.CRITICAL)


__all__ = ["TARGETS", "quiet"]
