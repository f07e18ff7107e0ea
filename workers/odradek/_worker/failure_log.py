"""What the console says of workflows that cannot go on: everything when it is new, one line when it comes again."""

from __future__ import annotations

import logging
import traceback
from collections import OrderedDict

from odradek_schemas import Failure
from odradek_schemas.tasks import WorkflowTask

from .._failures import HIDDEN

logger = logging.getLogger("odradek.worker")

_REMEMBERED = 1_000


class FailureLog:
    """Remembers the last problem of each run, of the newest thousand."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, tuple[str, str, str]] = OrderedDict()

    def failed(self, task: WorkflowTask, failure: Failure, cause: str, error: BaseException | None) -> None:
        """A task of the run came to nothing. `error`: what the code raised, if it was the code."""
        problem = (cause, failure.type, failure.message)
        known = self._last.get(task.run_id) == problem
        self._last[task.run_id] = problem
        self._last.move_to_end(task.run_id)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        what = f"{failure.type}: {failure.message}" if failure.type else failure.message
        if known:
            logger.error(
                "workflow %s (%s, run %s) still cannot go on: attempt %d: %s: %s", task.workflow_id,
                task.workflow_type, task.run_id, task.attempt, cause, what,
            )
            return
        if error is not None and failure.stack_trace and failure.message != HIDDEN:
            what = "".join(traceback.format_exception(error))
        elif failure.stack_trace:
            what = f"{what}\n{failure.stack_trace}"
        logger.error(
            "workflow %s (%s, run %s) cannot go on: %s: %s", task.workflow_id, task.workflow_type, task.run_id, cause,
            what,
        )

    def went_on(self, run_id: str) -> None:
        """The run has advanced: the next problem is a new one."""
        self._last.pop(run_id, None)
