"""Query tasks: answered from the cached run if it is at the task's base, else from a replay for it (rule W12)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from odradek_schemas import Failure, Payload, encode
from odradek_schemas.replies import QueryResult
from odradek_schemas.tasks import QueryTask

from ..errors import QueryRejectedError, WorkflowTaskError
from .bounded_history import HistoryTooLargeError
from .cache import BoundedCache
from .cached_run import CachedRun
from .history import History, HistoryFetch
from .limits import compact, history_too_large_failure
from .ports import Appender, HistorySource, RunningWorkflow, Workflows
from .steps import Step, Steps, blocked_failure

logger = logging.getLogger("odradek.worker")


class Queries:
    """Answers queries, in the same thread as the workflow tasks and from the same cache. Nothing of a query is
    kept: a client whose answer does not come asks again."""

    def __init__(
        self,
        *,
        workflows: Workflows,
        appender: Appender,
        history: HistorySource,
        cache: BoundedCache[CachedRun],
        steps: Steps,
        failure_of: Callable[[BaseException], Failure],
        now_ms: Callable[[], int],
    ) -> None:
        self._workflows = workflows
        self._appender = appender
        self._history = history
        self._cache = cache
        self._steps = steps
        self._failure_of = failure_of
        self._now_ms = now_ms

    def on_query(self, task: QueryTask) -> None:
        """Answer the query, unless nobody waits for the answer any more."""
        if 0 < task.request.deadline_ms < self._now_ms():
            return
        run = self._cache.get(task.workflow_id)
        if run is not None and run.run_id == task.run_id and run.tip == task.base:
            self._cache.take(task.workflow_id)
            if self._ask(task, run.running):
                self._cache.put(task.workflow_id, run)
            else:
                run.close()
            return
        if task.workflow_type not in self._workflows.names:
            known = ", ".join(sorted(self._workflows.names)) or "none"
            self._reject(task, Failure(
                message=f"the worker that got the query has no workflow type {task.workflow_type!r} (it has: {known})",
                type="UnknownWorkflowType", kind="bug",
            ))
            return
        HistoryFetch(
            self._history, task.workflow_id, task.run_id, task.offset, partial(self._fetched, task)
        ).start()

    def cannot_read(self, task: QueryTask, error: Exception) -> None:
        """What the query holds is not to be had."""
        self._reject(task, self._failure_of(error))

    def _fetched(self, task: QueryTask, history: History | Exception | None) -> None:
        if isinstance(history, HistoryTooLargeError):
            self._reject(task, history_too_large_failure(history))
            return
        if isinstance(history, Exception):
            logger.warning("history of workflow %s for a query could not be fetched: %s", task.workflow_id, history)
            return  # the client asks again
        if history is None:
            self._answer(task, "not_found")
            return
        running = self._workflows.create(task.workflow_type, task.workflow_id, task.run_id)
        if self._replay(task, running, history):
            self._ask(task, running)
        running.close()

    def _replay(self, task: QueryTask, running: RunningWorkflow, history: History) -> bool:
        step = self._begin(task, running)
        failure = None
        try:
            self._workflows.replay(running, history.events)
        except WorkflowTaskError as error:
            failure = self._failure_of(error.__cause__ or error)
        except BaseException as error:  # SystemExit too: a workflow must not end the worker
            failure = self._failure_of(error)
        self._steps.end(step)
        if failure is not None:
            self._reject(task, failure)
        return failure is None

    def _ask(self, task: QueryTask, running: RunningWorkflow) -> bool:
        """Run the handler. False: the instance can no longer be used."""
        step = self._begin(task, running)
        result, failure, usable, status = None, None, True, "failed"
        try:
            result = running.query(task.query, task.input, task.headers)
        except QueryRejectedError as error:
            failure, status = self._failure_of(error), "rejected"
        except WorkflowTaskError as error:
            failure, usable = self._failure_of(error.__cause__ or error), False
        except BaseException as error:  # whatever the handler raises is its answer
            failure = self._failure_of(error)
        self._steps.end(step)
        if failure is not None:
            self._answer(task, status, failure=failure)
        else:
            self._answer(task, "answered", result)
        return usable

    def _begin(self, task: QueryTask, running: RunningWorkflow) -> Step:
        step = Step(task.workflow_id, task.run_id, running, lambda stack: self._reject(
            task, blocked_failure(self._failure_of, task.workflow_id, stack)
        ))
        self._steps.begin(step)
        return step

    def _reject(self, task: QueryTask, failure: Failure) -> None:
        self._answer(task, "rejected", failure=failure)

    def _answer(
        self, task: QueryTask, status: str, result: Payload | None = None, failure: Failure | None = None
    ) -> None:
        answer = QueryResult(
            client_id=task.request.client_id, request_id=task.request.request_id, status=status, result=result,
            failure=failure,
        )
        value = encode(answer)
        if not self._appender.fits(task.request.client_id, value):
            large = failure or Failure(
                message=f"the answer to query {task.query!r} is {len(value):,} bytes, more than the log takes in one "
                "record; return less, or page it", type="QueryResultTooLarge",
            )
            value = encode(QueryResult(
                client_id=answer.client_id, request_id=answer.request_id, status="failed", failure=compact(large),
            ))
        self._appender.reply(task.request.reply_partition, task.request.client_id, value)
