"""The real thing for random programs: the real fold, and the real worker's core and instances, in one thread and with
virtual time. The worker is thrown away before some of its tasks: another one replays the histories."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from odradek import DataConverter, RetryPolicy, workflow
from odradek._definitions import definition_of
from odradek._instance_locals import LocalCall
from odradek._worker.cache import BoundedCache
from odradek._worker.cached_run import CachedRun
from odradek._worker.local_activities import LocalEnd, LocalRun
from odradek._worker.local_steps import HEARTBEAT_SECONDS
from odradek._worker.offsets import Ticket
from odradek._worker.queries import Queries
from odradek._worker.registry import RegisteredWorkflows
from odradek._worker.session import WorkerSession
from odradek._worker.steps import Steps
from odradek._worker.workflow_tasks import WorkflowTasks
from odradek.errors import ActivityError, ApplicationError, WorkflowClosedError
from odradek_engine.answers import find_run, history_page
from odradek_engine.due import DueRecords
from odradek_engine.fold import MemoryStorage, State, fold, keys
from odradek_engine.fold.invariants import problems
from odradek_engine.fold.rows import RunRow
from odradek_log.protocol import OnDelivery
from odradek_schemas import Topics, decode, encode, history, records, replies, tasks
from odradek_schemas.common import Record, Request

from .random_programs import ATTEMPTS, Interpreter

T0 = 1_700_000_000_000
TOPICS = Topics("test")
QUEUE = "random"
converter = DataConverter()


class RealWorld:
    """What a program asks of the workflow that it runs in."""

    @property
    def path(self) -> str:
        return workflow.info().workflow_id

    def now_ms(self) -> int:
        return round(workflow.time() * 1000) - T0

    async def activity(self, ms: int, fails: int) -> str:
        policy = RetryPolicy(maximum_attempts=ATTEMPTS)
        return await workflow.execute_activity(
            "act", ms, fails, result_type=str, retry_policy=policy, start_to_close_timeout=None
        )

    async def effect(self, value: int) -> int:
        return await workflow.side_effect(lambda: value)

    async def local(self, value: int, fails: bool) -> int:
        return await workflow.execute_local_activity("now", value, fails, result_type=int)

    async def wait(self, fn: Any, timeout: float | None) -> Any:
        return await workflow.wait_condition(fn, timeout)

    async def child(self, path: str, program: Any) -> Any:
        root = path.partition("/")[0]
        state = {"root": root, "slots": [0, 0], "trace": []}
        return await workflow.execute_child("Random", program, state, id=path, result_type=Any)

    async def tell(self, root: str, slot: int) -> None:
        await workflow.external(root).signal("put", slot)

    def refusal(self, message: str, *details: Any) -> BaseException:
        return ApplicationError(message, *details)

    def kind_of(self, error: BaseException) -> str:
        return "WorkflowNotFoundError" if isinstance(error, WorkflowClosedError) else type(error).__name__


@workflow.define(name="Random")
class RandomWorkflow:
    async def run(self, segments: list[Any], state: dict[str, Any]) -> Any:
        import asyncio

        self.it = Interpreter(RealWorld(), state)
        try:
            await self.it.block(segments[0])
        except asyncio.CancelledError as error:
            if error.args == ("asked",):
                raise
            return self.it.trace
        except Exception as error:
            raise ApplicationError("failed", [self.it.world.kind_of(error), self.it.trace]) from None
        if segments[1:]:
            workflow.continue_as_new(RandomWorkflow, segments[1:], self.it.state())
        return self.it.trace

    @workflow.signal
    def put(self, slot: int) -> None:
        self.it.put(slot)

    @workflow.signal
    async def work(self, slot: int, salt: int) -> None:
        await self.it.work(slot, salt)

    @workflow.update
    def bump(self, slot: int, by: int) -> int:
        return self.it.bump(slot, by)

    @bump.validator
    def check_bump(self, slot: int, by: int) -> None:
        self.it.check_bump(slot, by)

    @workflow.update
    async def slow(self, slot: int, salt: int, fails: int) -> str:
        return await self.it.slow(slot, salt, fails)

    @workflow.query
    def seen(self) -> list[Any]:
        return self.it.trace


class AtOnce:
    """Local activities that take no time; all of them are "now"."""

    names = ("now",)

    def start(self, task: Any, call: LocalCall, on_end: Callable[[LocalEnd], None]) -> LocalRun:
        value, fails = converter.from_payloads(call.input, [int, bool])
        if fails:
            on_end(LocalEnd(1, failure=converter.to_failure(ActivityError("no"))))
        else:
            on_end(LocalEnd(1, result=converter.to_payload(value)))
        return LocalRun(call, task, on_end, 0.0)

    def cancel(self, run: LocalRun) -> None: ...


class NoProducer:
    """Sessions are announced by the system itself."""

    def send(self, *_: Any) -> None: ...


class RealSystem:
    """One partition, one worker. `restarts`: before which workflow tasks, by their number, the worker is a new one."""

    def __init__(self, restarts: frozenset[int]) -> None:
        self.state = State(MemoryStorage(), 0)
        self.offset = 0
        self.now = T0
        self.restarts = restarts
        self.sessions = 0
        self.handled = 0
        self.replays = 0
        self.log: deque[tuple[bytes, OnDelivery | None]] = deque()
        self.tasks: deque[tasks.WorkflowTask] = deque()
        self.running: dict[tuple[str, str, int], tuple[int, Callable[[], Record]]] = {}
        self.outcomes: dict[str, replies.RequestReply] = {}
        self.answers: list[replies.QueryResult] = []
        self.failed: list[Any] = []
        self.append(records.LeaderElected(member="m", nonce="n", clock_ms=self.now, partitions=1))
        self.settle()
        self.due = DueRecords(self.state, lambda row: (self.now, []), 3_600_000 * 24 * 3650)
        self._new_worker()

    def _new_worker(self) -> None:
        self.sessions += 1
        self.session = WorkerSession(
            NoProducer(), TOPICS, 1, new_id=lambda: f"W{self.sessions}", client_id="w", reply_partition=0  # type: ignore[arg-type]
        )
        self.append(records.WorkerAlive(session=self.session.id, client_id="w", reply_partition=0))
        workflows = RegisteredWorkflows(
            {"Random": definition_of(RandomWorkflow)}, task_queue=QUEUE, namespace="test", converter=converter
        )
        shared: dict[str, Any] = {
            "workflows": workflows, "appender": self, "history": self, "steps": Steps(lambda: 0.0),
            "cache": BoundedCache[CachedRun](1 << 40), "failure_of": converter.to_failure,
        }  # fmt: skip
        locals: Any = AtOnce()
        self.spot: deque[Callable[[], None]] = deque()
        self.worker = WorkflowTasks(
            session=self.session, later=self._later, now_ms=lambda: self.now, local_activities=locals, **shared
        )
        self.queries = Queries(now_ms=lambda: self.now, **shared)

    # ------------------------------------------------------------ what the worker's core asks for

    def append(
        self, what: str | Record, value: bytes | None = None, on_delivery: OnDelivery | None = None, at_once: Any = None
    ) -> None:
        given = encode(what) if isinstance(what, Record) else value
        assert given is not None
        self.log.append((given, on_delivery))
        record = decode(given)
        if isinstance(record, records.WorkflowTaskFailed):
            self.failed.append(record)

    def reply(self, partition: int, client_id: str, value: bytes) -> None:
        answer = decode(value)
        assert isinstance(answer, replies.QueryResult)
        self.answers.append(answer)

    def fits(self, workflow_id: str, value: bytes) -> bool:
        return True

    def fetch(self, workflow_id: str, run_id: str, barrier: int, from_event_id: int, on_page: Any) -> None:
        run = find_run(self.state, workflow_id, run_id)
        assert run is not None
        self.replays += from_event_id == 1
        on_page(history_page(self.state, run, from_event_id, "", ""))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        assert seconds == 0 or seconds >= HEARTBEAT_SECONDS, "nothing fails here that is to be tried again"
        if seconds == 0:  # the end of a local activity; none is at work so long that its task is answered before
            self.spot.append(action)

    # ------------------------------------------------------------ the engine's part

    def _fold(self, value: bytes, on_delivery: OnDelivery | None) -> None:
        offset = self.offset
        self.offset += 1
        folded = fold(self.state, TOPICS, offset, self.now, b"", value)
        if on_delivery is not None:
            on_delivery(offset, None)
        for effect in folded.effects:
            self._effect(effect.topic, decode(effect.value))

    def _effect(self, topic: str, body: Record) -> None:
        if isinstance(body, tasks.WorkflowTask):
            self.tasks.append(body)
        elif isinstance(body, tasks.ActivityTask):
            self._begin(body)
        elif isinstance(body, replies.RequestReply):
            self.outcomes[body.request_id] = body
        elif isinstance(body, tasks.DeadLetter):
            assert "defect" not in body.reason, body.reason
        elif topic == TOPICS.events:
            self.append(body)

    def _begin(self, task: tasks.ActivityTask) -> None:
        ms, fails = converter.from_payloads(task.input, [int, int])
        identity = {
            "workflow_id": task.workflow_id, "run_id": task.run_id, "seq": task.seq,
            "scheduled_by": task.scheduled_by, "attempt": task.attempt, "session": self.session.id,
        }  # fmt: skip
        self.append(records.ActivityStarted(**identity))

        def end() -> Record:
            if task.attempt > fails:
                result = converter.to_payload(f"{ms} by {task.attempt}")
                return records.ActivityCompleted(**identity, result=result)
            return records.ActivityFailed(**identity, failure=converter.to_failure(ActivityError("no")))

        self.running[(task.run_id, task.scheduled_by, task.seq)] = (self.now + ms, end)

    def settle(self) -> None:
        """Let everything happen that can happen now."""
        while self.log or self.tasks:
            while self.log:
                self._fold(*self.log.popleft())
            if self.tasks:
                self.handled += 1
                if self.handled in self.restarts:
                    self._new_worker()
                self.worker.on_task(self.tasks.popleft(), Ticket(0))
                while self.spot:
                    self.spot.popleft()()

    def _next_ms(self) -> int | None:
        moments = [at for at, _ in self.running.values()]
        entry = next(iter(self.state.scan(keys.DUE)), None)
        if entry is not None:
            moments.append(keys.number_in(entry[0]))
        return min(moments, default=None)

    def _advance(self, to_ms: int) -> None:
        self.now = max(self.now, to_ms)
        self.append(records.ClockRead(clock_ms=self.now, epoch=self.state.partition.epoch))
        for key, (at, end) in list(self.running.items()):
            if at <= self.now:
                del self.running[key]
                self.append(end())
        self.settle()
        for record in list(self.due.take(self.now)):
            self.append(record)
        self.settle()

    # ------------------------------------------------------------ doing

    def execute(self, path: str, segments: Any, bursts: Any, cancel_ms: int | None) -> tuple[str, Any]:
        """As of the model."""
        state = {"root": path, "slots": [0, 0], "trace": []}
        input = converter.to_payloads([segments, state])
        self.append(
            records.StartWorkflow(workflow_id=path, workflow_type="Random", task_queue=QUEUE, input=input)
        )
        self.settle()
        planned: list[tuple[int, list[Record]]] = []
        number = 0
        for at_ms, burst in bursts:
            made = []
            for kind, *args in burst:
                number += 1
                made.append(message(path, number, kind, args))
            planned.append((at_ms, made))
        if cancel_ms is not None:
            planned.append((cancel_ms, [records.CancelWorkflow(workflow_id=path, reason="asked")]))
        for at_ms, made in sorted(planned, key=lambda one: one[0]):
            self._run_until(path, T0 + at_ms)
            if not self._run(path).is_open:
                break
            self._advance(T0 + at_ms)
            for record in made:
                self.append(record)
            self.settle()
        self._run_until(path, None)
        assert self.failed == [], self.failed[0].failure
        assert problems(self.state) == []
        return self._outcome(path)

    def _run_until(self, path: str, until: int | None) -> None:
        while self._run(path).is_open and (at := self._next_ms()) is not None and (until is None or at < until):
            self._advance(at)

    def _run(self, path: str) -> RunRow:
        run = find_run(self.state, path, "")
        assert run is not None
        return run

    def _outcome(self, path: str) -> tuple[str, Any]:
        run = self._run(path)
        if run.is_open:
            return "running", self.query(path)
        encoded = self.state.get(keys.event(path, run.run_id, run.last_event_id))
        event = decode(encoded)
        assert isinstance(event, history.HistoryEvent)
        closing = event.attributes
        if isinstance(closing, history.WorkflowCompleted):
            assert closing.result is not None
            return "completed", converter.from_payload(closing.result)
        if isinstance(closing, history.WorkflowFailed):
            return "failed", converter.from_payload(closing.failure.details[0])
        assert isinstance(closing, history.WorkflowCancelled), closing
        return "cancelled", self.query(path)

    def query(self, path: str) -> Any:
        """What the workflow has seen: answered by a new worker, from its history."""
        run = self._run(path)
        self._new_worker()
        self.settle()
        self.queries.on_query(
            tasks.QueryTask(
                workflow_id=path, run_id=run.run_id, workflow_type="Random", base=run.base, offset=self.offset,
                query="seen", request=Request(request_id="q", client_id="c", reply_partition=0),
            )
        )  # fmt: skip
        answer = self.answers.pop()
        assert answer.result is not None, answer.failure
        return converter.from_payload(answer.result)


def message(path: str, number: int, kind: str, args: Any) -> Record:
    input = converter.to_payloads(args)
    if kind in ("put", "work"):
        return records.SignalWorkflow(workflow_id=path, signal=kind, input=input)
    request = Request(request_id=f"u{number}", client_id="c", reply_partition=0)
    return records.UpdateWorkflow(workflow_id=path, update=kind, input=input, request=request)
