"""Reads: queries, results, descriptions, history. They change nothing, so they stay out of the log of events.

A read waits until the fold has passed its barrier, so that it sees every message acknowledged before it. What is
waiting here is only in memory: a client that gets no answer asks again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

from odradek_schemas.common import Failure, Record, Request
from odradek_schemas.ephemeral import (
    AwaitResult,
    DescribeBuilds,
    DescribeWorkflow,
    FetchHistory,
    HeartbeatActivity,
    ListRuns,
    QueryWorkflow,
)
from odradek_schemas.replies import HeartbeatNoted, HistoryPage, QueryResult, WorkflowDescription, WorkflowResult
from odradek_schemas.tasks import QueryTask

from . import answers
from .clock import Clock
from .fold import State, keys
from .fold.deployments import build_of
from .fold.limits import payload_bytes
from .fold.rows import RunRow
from .sessions import Sessions

Read: TypeAlias = (
    QueryWorkflow | AwaitResult | DescribeWorkflow | FetchHistory | HeartbeatActivity | DescribeBuilds | ListRuns
)

WAIT_MS = 60_000
"""How long a read without a deadline waits here; clients ask again long before."""

MAX_WAITING, MAX_WAITING_BYTES = 100_000, 32 * 1024 * 1024
"""More reads than this are not kept. A query is answered so, which its client raises; the others are asked again."""

_OVERHEAD_BYTES = 300


class Reads:
    """The reads of one partition, while it is led.

    `reply(request, record)` and `dispatch(queue, build, task)` send; `find_end(callback)` asks the log for its end.
    """

    def __init__(
        self,
        state: State,
        sessions: Sessions,
        clock: Clock,
        reply: Callable[[Request, Record], None],
        dispatch: Callable[[str, str, QueryTask], None],
        find_end: Callable[[Callable[[int | None], None]], None],
    ) -> None:
        self._state = state
        self._sessions = sessions
        self._clock = clock
        self._reply = reply
        self._dispatch = dispatch
        self._find_end = find_end
        self._unbarred: list[tuple[int, Read]] = []
        self._asking: list[tuple[int, Read]] | None = None
        self._found: list[tuple[int | None, list[tuple[int, Read]]]] = []
        self._barred: list[tuple[int, int, Read]] = []
        self._results: defaultdict[str, dict[str, tuple[int, AwaitResult]]] = defaultdict(dict)
        self._queries: defaultdict[str, list[tuple[int, str, int, QueryWorkflow]]] = defaultdict(list)
        self._waiting = 0
        self._bytes = 0  # of all that came since they were last counted

    @property
    def waiting(self) -> int:
        """How many reads are not answered yet."""
        return self._waiting + len(self._unbarred) + len(self._asking or ()) + len(self._barred)

    @property
    def behind(self) -> bool:
        """Whether some wait until more is folded."""
        return bool(self._barred)

    def ask(self, read: Read) -> None:
        """A read arrived. It is answered at once where its barrier is passed already."""
        deadline_ms = read.request.deadline_ms
        left = deadline_ms - self._clock.now_ms() if deadline_ms else WAIT_MS
        if left < 0:
            return
        if self.waiting >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES:
            self._refuse(read)
            return
        self._bytes += _weight(read)
        expires = self._monotonic_ms() + left
        if read.barrier < 0:
            self._unbarred.append((expires, read))
            self._find_barrier()
        elif read.barrier <= self._state.partition.position:
            self._answer(read, expires)
        else:
            self._barred.append((read.barrier, expires, read))

    def _refuse(self, read: Read) -> None:
        if isinstance(read, QueryWorkflow):
            failure = Failure(
                message=f"the engine has {self.waiting:,} reads to answer already; ask again later", type="Overloaded",
                kind="server",
            )
            self._reply_query(read, "overloaded", failure)

    def _count_bytes(self) -> None:
        lists = [self._unbarred, self._asking or [], *(found for _, found in self._found)]
        total = sum(_weight(read) for entries in lists for _, read in entries)
        total += sum(_weight(read) for _, _, read in self._barred)
        total += sum(_weight(read) for waiting in self._results.values() for _, read in waiting.values())
        self._bytes = total + sum(_weight(entry[3]) for waiting in self._queries.values() for entry in waiting)

    def _find_barrier(self) -> None:
        """One question to the log at a time, for all reads that came meanwhile."""
        if self._asking is not None or not self._unbarred:
            return
        asking, self._unbarred = self._unbarred, []
        self._asking = asking
        self._find_end(lambda end: self._found.append((end, asking)))

    def advance(self) -> None:
        """Answer what can be answered now. Call it after folding, and now and then."""
        while self._found:
            end, reads = self._found.pop(0)
            self._asking = None
            if end is None:
                self._unbarred.extend(reads)
            else:
                self._barred.extend((end, expires, read) for expires, read in reads)
        self._find_barrier()
        if self._barred:
            position = self._state.partition.position
            ready = [entry for entry in self._barred if entry[0] <= position]
            self._barred = [entry for entry in self._barred if entry[0] > position]
            for _, expires, read in ready:
                self._answer(read, expires)

    def closed(self, workflow_id: str) -> None:
        """A run of this workflow closed: somebody may wait for that."""
        if workflow_id in self._results:
            for expires, awaiting in self._take_results(workflow_id):
                self._await(awaiting, expires)
        self.advanced(workflow_id)

    def advanced(self, workflow_id: str) -> None:
        """The code of a run of this workflow has read more, or failed: queries may wait for that, not who waits for its
        result."""
        if workflow_id in self._queries:
            waiting = self._queries.pop(workflow_id)
            self._waiting -= len(waiting)
            for expires, run_id, target, read in waiting:
                self._query(read, run_id, target, expires)

    def _take_results(self, workflow_id: str) -> list[tuple[int, AwaitResult]]:
        waiting = self._results.pop(workflow_id)
        self._waiting -= len(waiting)
        return list(waiting.values())

    def _monotonic_ms(self) -> int:
        """What expiry is counted by: how long a client waits does not depend on a wall clock that is set, or skips."""
        return int(self._clock.monotonic() * 1000)

    def expire(self) -> None:
        """Forget reads whose clients have stopped waiting. Call it about once a second."""
        now = self._monotonic_ms()
        self._unbarred = [entry for entry in self._unbarred if entry[0] >= now]
        self._barred = [entry for entry in self._barred if entry[1] >= now]
        for workflow_id in list(self._results):
            kept = {name: (at, read) for name, (at, read) in self._results[workflow_id].items() if at >= now}
            self._waiting -= len(self._results[workflow_id]) - len(kept)
            if kept:
                self._results[workflow_id] = kept
            else:
                del self._results[workflow_id]
        for queries in list(self._queries):
            for expires, run_id, target, read in self._queries.pop(queries):
                self._waiting -= 1
                if expires >= now:
                    self._query(read, run_id, target, expires)
        if self._bytes:
            self._count_bytes()

    # ------------------------------------------------------------ answering

    def _answer(self, read: Read, expires: int) -> None:
        if isinstance(read, AwaitResult):
            self._await(read, expires)
        elif isinstance(read, QueryWorkflow):
            self._query(read, "", 0, expires)
        elif isinstance(read, DescribeWorkflow):
            self._describe(read)
        elif isinstance(read, HeartbeatActivity):
            self._heartbeat(read)
        elif isinstance(read, ListRuns):
            self._reply(read.request, answers.runs_page(self._state, read))
        elif isinstance(read, DescribeBuilds):
            request = read.request
            self._reply(
                request,
                answers.builds(self._state, self._sessions, read.task_queue, request.client_id, request.request_id),
            )
        else:
            self._history(read)
        if _weight(read) > keys.LARGE:
            keys.forget()

    def _await(self, read: AwaitResult, expires: int) -> None:
        request = read.request
        run = answers.find_run(self._state, read.workflow_id, read.run_id)
        if run is None:
            missing = WorkflowResult(client_id=request.client_id, request_id=request.request_id, status="not_found")
            self._reply(request, missing)
        elif run.is_open:
            waiting = self._results[read.workflow_id]
            self._waiting += request.request_id not in waiting
            waiting[request.request_id] = (expires, read)
        else:
            self._reply(request, answers.result(self._state, run, request.client_id, request.request_id))

    def _describe(self, read: DescribeWorkflow) -> None:
        request = read.request
        run = answers.find_run(self._state, read.workflow_id, read.run_id)
        if run is None:
            missing = WorkflowDescription(client_id=request.client_id, request_id=request.request_id, found=False)
            self._reply(request, missing)
            return
        now = self._clock.now_ms()
        described = answers.describe(self._state, self._sessions, run, now, request.client_id, request.request_id)
        self._reply(request, described)

    def _heartbeat(self, read: HeartbeatActivity) -> None:
        """Not a read of the state alone, but like one: it changes nothing in it, and sees all that was acknowledged."""
        request = read.request
        status = self._sessions.heard_by_token(read)
        noted = HeartbeatNoted(client_id=request.client_id, request_id=request.request_id, status=status)
        self._reply(request, noted)

    def _history(self, read: FetchHistory) -> None:
        request = read.request
        run = answers.find_run(self._state, read.workflow_id, read.run_id)
        if run is None:
            missing = HistoryPage(client_id=request.client_id, request_id=request.request_id, found=False)
            self._reply(request, missing)
            return
        page = answers.history_page(self._state, run, read.from_event_id, request.client_id, request.request_id)
        self._reply(request, page)

    def _query(self, read: QueryWorkflow, run_id: str, target: int, expires: int) -> None:
        """Have a worker answer, once the code has read everything up to event `target` of the run `run_id`.

        Of another run than that (the first look at it, or a later one that took its place): up to its last input now.
        """
        run = answers.find_run(self._state, read.workflow_id, read.run_id)
        if run is not None and run.run_id != run_id:
            target = run.last_input_id
        refusal = self._query_refusal(run)
        if run is None or refusal is not None:
            self._reply_query(read, "not_found" if run is None else "rejected", refusal)
        elif run.is_open and (run.consumed_through < target or self._is_being_filled(run)):
            self._queries[read.workflow_id].append((expires, run.run_id, target, read))
            self._waiting += 1
        else:
            self._dispatch(
                run.task_queue,
                build_of(self._state, run, run.task_queue),
                QueryTask(
                    workflow_id=run.workflow_id,
                    run_id=run.run_id,
                    workflow_type=run.workflow_type,
                    base=run.base,
                    offset=self._state.partition.position,
                    query=read.query,
                    request=read.request,
                    input=read.input,
                    headers=read.headers,
                ),
            )

    def _is_being_filled(self, run: RunRow) -> bool:
        """Whether a reset has not yet given the run what it keeps."""
        return bool(self._state.partition.resets) and self._state.get(keys.reset(run.workflow_id)) is not None

    def _query_refusal(self, run: RunRow | None) -> Failure | None:
        """Why a query cannot be answered now."""
        if run is None or not run.is_open or run.task_failure is None:
            return None
        message = f"the workflow's code cannot advance ({run.task_failure_cause}): {run.task_failure.message}"
        return Failure(message=message, type="WorkflowTaskFailed", kind="server", cause=run.task_failure)

    def _reply_query(self, read: QueryWorkflow, status: str, failure: Failure | None) -> None:
        request = read.request
        answer = QueryResult(
            client_id=request.client_id, request_id=request.request_id, status=status, failure=failure
        )
        self._reply(request, answer)


def _weight(read: Read) -> int:
    """About how many bytes a read takes while it waits: what it names is whatever somebody wrote."""
    request = read.request
    size = _OVERHEAD_BYTES + len(request.request_id) + len(request.client_id)
    if isinstance(read, ListRuns):
        return size + len(read.workflow_type) + len(read.status) + len(read.after)
    if isinstance(read, DescribeBuilds):
        return size + len(read.task_queue)
    size += len(read.workflow_id)
    if isinstance(read, HeartbeatActivity):
        return size + len(read.task_token) + sum(map(payload_bytes, read.details))
    size += len(read.run_id)
    if isinstance(read, QueryWorkflow):
        size += sum(len(name) + payload_bytes(payload) for name, payload in read.headers.items())
        size += len(read.query) + sum(map(payload_bytes, read.input))
    return size
