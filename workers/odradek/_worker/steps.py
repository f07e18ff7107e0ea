"""Steps of user code that can be given up: how a workflow that blocks its thread is found and left behind.

Every call into workflow code is a step. A step that makes no progress for too long is given up by the
watchdog, which lets another thread go on; when the blocked one returns after all, it finds that out and ends.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from odradek_schemas import Failure

from .._failures import set_stack_trace
from .._stack_traces import user_frames
from ..errors import WorkflowTaskError
from .ports import RunningWorkflow

_OWN_FOLDER = str(Path(__file__).parent)


class StepAbandoned(BaseException):
    """This step was given up: another thread has taken over. Nothing of its outcome may be used."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step


class Step:
    """One call into the code of a workflow, in one thread."""

    __slots__ = ("abandoned", "give_up", "run_id", "running", "since", "thread_id", "workflow_id")

    def __init__(
        self, workflow_id: str, run_id: str, running: RunningWorkflow, give_up: Callable[[str], None]
    ) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.running = running
        self.give_up = give_up
        self.abandoned = False
        self.thread_id = threading.get_ident()
        self.since = 0.0


class BlockedStep(NamedTuple):
    step: Step
    stack: str


class Steps:
    """The step that is running, if any. `begin` and `end` belong to the workflow thread, `blocked` to the watchdog."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._current: Step | None = None
        self._seen: tuple[Step, int] | None = None

    def begin(self, step: Step) -> None:
        step.since = self._clock()
        self._current = step

    def end(self, step: Step) -> None:
        """The step has come back. Raises StepAbandoned if it was given up meanwhile."""
        with self._lock:
            if step.abandoned:
                raise StepAbandoned(step)
            self._current = None

    def blocked(self, after: float) -> BlockedStep | None:
        """Give up the current step if it has fed no event for `after` seconds; call it several times per `after`."""
        with self._lock:
            step = self._current
            if step is None:
                self._seen = None
                return None
            progress = (step, step.running.fed_through)
            now = self._clock()
            if self._seen is not None and self._seen != progress and self._seen[0] is step:
                step.since = now
            self._seen = progress
            if now - step.since < after:
                return None
            step.abandoned = True
            self._current = None
            return BlockedStep(step, stack_of(step))


def stack_of(step: Step) -> str:
    """Where the thread of the step is now, from the workflow's code inwards."""
    frame = sys._current_frames().get(step.thread_id)
    if frame is None:
        return ""
    frames = traceback.extract_stack(frame)
    own = [i for i, entry in enumerate(frames) if entry.filename.startswith(_OWN_FOLDER)]
    return "".join(traceback.format_list(user_frames(frames[own[-1] + 1 :] if own else frames)))


def blocked_failure(failure_of: Callable[[BaseException], Failure], workflow_id: str, stack: str) -> Failure:
    """The failure of a step that was given up. Its stack goes through the codec, as those of errors do."""
    error = WorkflowTaskError(
        f"workflow {workflow_id} blocks its thread: it has neither awaited nor ended for too long. Move what "
        "blocks (sleeping, network, long computations) into an activity", cause="blocked",
    )
    set_stack_trace(error, stack)
    return msgspec.structs.replace(failure_of(error), type="WorkflowBlocked", kind="bug")
