"""Answers of the engine that are errors."""

from __future__ import annotations

from typing import NoReturn

from odradek_schemas.common import Failure
from odradek_schemas.replies import RequestReply

from .errors import (
    OdradekError,
    OverloadedError,
    WorkflowAlreadyStartedError,
    WorkflowClosedError,
    WorkflowNotFoundError,
)


def refused(workflow_id: str, reply: RequestReply) -> NoReturn:
    """Raise the error for an outcome that is none of success."""
    message = reply.message or f"workflow {workflow_id!r}: the engine answered {reply.outcome!r}"
    if reply.outcome in ("already_started", "reuse_rejected"):
        hint = "id_conflict_policy" if reply.outcome == "already_started" else "id_reuse_policy"
        raise WorkflowAlreadyStartedError(
            f"{message} (run {reply.run_id}). Choose another ID, or another {hint}",
            workflow_id=workflow_id,
            run_id=reply.run_id,
        )
    if reply.outcome == "closed":
        raise WorkflowClosedError(message, workflow_id=workflow_id, run_id=reply.run_id)
    if reply.outcome == "not_found":
        raise WorkflowNotFoundError(message, workflow_id=workflow_id, run_id=reply.run_id)
    if reply.outcome == "overloaded":
        raise OverloadedError(message)
    raise OdradekError(f"{message}; the engine may be of another version")


def not_found(workflow_id: str, run_id: str | None) -> WorkflowNotFoundError:
    """There is no such workflow, or no such run of it."""
    run = f" with a run {run_id}" if run_id else ""
    return WorkflowNotFoundError(
        f"there is no workflow {workflow_id!r}{run} in this namespace (or its history was removed after "
        "closed_retention)",
        workflow_id=workflow_id,
        run_id=run_id or "",
    )


def summary(failure: Failure) -> str:
    """A failure in a line."""
    return f"{failure.type}: {failure.message}" if failure.type and failure.type != failure.message else failure.message
