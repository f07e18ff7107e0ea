"""Workflows over HTTP and JSON: the server, the client of it, and the operations that both share.

`service` is what can be asked, with JSON values in and out; `server` puts it behind HTTP, `remote` speaks to such a
server. A program that has a `Client` uses `ClientService` directly. `server` and `remote` are not imported here: few
need them, and they are slow to import.
"""

from .messages import (
    ActivityChange,
    ActivityCompletion,
    ActivityFailure,
    Outcome,
    ResetBeforeRequest,
    ResetRequest,
    Started,
    StartRequest,
    UpdateAnswer,
    UpdateRequest,
    WorkflowKey,
)
from .service import ClientService, WorkflowService

__all__ = [
    "ActivityChange",
    "ActivityCompletion",
    "ActivityFailure",
    "ClientService",
    "Outcome",
    "ResetBeforeRequest",
    "ResetRequest",
    "StartRequest",
    "Started",
    "UpdateAnswer",
    "UpdateRequest",
    "WorkflowKey",
    "WorkflowService",
]
