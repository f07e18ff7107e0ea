"""What requests come to, in the words that clients read."""

from __future__ import annotations

from typing import NamedTuple

from odradek_schemas.common import Failure

from .rows import RunRow
from .step import Step


class Outcome(NamedTuple):
    """What a request came to. `accepted`: it changed something, or needed not to. "pending": it is the update
    `update_seq`, and answered later."""

    outcome: str
    run_id: str = ""
    message: str = ""
    accepted: bool = True
    update_seq: int = 0


def timed_out(timeout_type: str) -> Failure:
    """Why a run ended that reached one of its timeouts."""
    message = f"the workflow reached its {timeout_type}_timeout"
    return Failure(message=message, type="Timeout", kind="timeout", timeout_type=timeout_type)


def terminated(reason: str) -> Failure:
    """Why a run ended that somebody terminated; `reason` is what they said."""
    return Failure(message=reason, type="Terminated", kind="terminated")


def not_open(step: Step, workflow_id: str) -> Outcome:
    """The run that a request is about is not open."""
    run = step.run(workflow_id)
    if run is None:
        return Outcome("not_found", message=f"there is no workflow {workflow_id!r}", accepted=False)
    message = f"workflow {workflow_id!r} has no open run"
    if run.is_open:
        message = f"the open run of workflow {workflow_id!r} is {run.run_id}, another than asked for"
    return Outcome("closed", run.run_id, message, accepted=False)


MAX_UNREAD_BYTES = 32 * 1024 * 1024
"""Messages to a run are refused while it has more events than that which its code has not seen."""

MAX_OPEN_UPDATES = 1_000
"""Updates are, while it has so many without an answer."""


def is_flooded(run: RunRow, update: str = "") -> bool:
    """Whether a run has so much unread already that it takes no more messages, or no more updates."""
    unread = run.history_size - run.consumed_size if run.has_unread else 0
    return unread > MAX_UNREAD_BYTES or (bool(update) and run.open_updates >= MAX_OPEN_UPDATES)


def flooded(run: RunRow) -> Outcome:
    message = (
        f"workflow {run.workflow_id!r} has more unread messages than one may have ({MAX_UNREAD_BYTES:,} bytes, or "
        f"{MAX_OPEN_UPDATES:,} updates): see whether its workers keep up, and send it again later"
    )
    return Outcome("overloaded", run.run_id, message, accepted=False)
