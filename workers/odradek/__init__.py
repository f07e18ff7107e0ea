"""Odradek: durable workflows in plain typed Python, on a partitioned log."""

from . import activity, workflow
from ._client import Client
from ._codecs import AESGCMCodec, PayloadCodec, ZlibCodec
from ._converter import DataConverter
from ._description import (
    BuildDescription,
    HistoryEvent,
    PendingActivity,
    PendingChild,
    PendingTimer,
    TaskQueueBuilds,
    WorkflowDescription,
)
from ._handle import UpdateHandle, WorkflowHandle
from ._types import RetryPolicy
from ._worker import Worker
from .errors import (
    ActivityCancelRequestedError,
    ActivityError,
    ActivityNotFoundError,
    ActivityTimeoutError,
    ApplicationError,
    ChildWorkflowError,
    CodecError,
    NonDeterminismError,
    OdradekError,
    PayloadError,
    QueryFailedError,
    QueryRejectedError,
    RequestTimeoutError,
    UpdateFailedError,
    UpdateRejectedError,
    WorkflowAlreadyStartedError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowNotFoundError,
    WorkflowTerminatedError,
    WorkflowTimeoutError,
)

__all__ = [
    "ActivityCancelRequestedError",
    "AESGCMCodec",
    "ActivityError",
    "ActivityNotFoundError",
    "ActivityTimeoutError",
    "ApplicationError",
    "BuildDescription",
    "ChildWorkflowError",
    "Client",
    "CodecError",
    "DataConverter",
    "HistoryEvent",
    "NonDeterminismError",
    "OdradekError",
    "PayloadCodec",
    "PayloadError",
    "PendingActivity",
    "PendingChild",
    "PendingTimer",
    "QueryFailedError",
    "QueryRejectedError",
    "RequestTimeoutError",
    "RetryPolicy",
    "TaskQueueBuilds",
    "UpdateFailedError",
    "UpdateHandle",
    "UpdateRejectedError",
    "Worker",
    "WorkflowAlreadyStartedError",
    "WorkflowCancelledError",
    "WorkflowDescription",
    "WorkflowFailedError",
    "WorkflowHandle",
    "WorkflowNotFoundError",
    "WorkflowTerminatedError",
    "WorkflowTimeoutError",
    "ZlibCodec",
    "activity",
    "workflow",
]
