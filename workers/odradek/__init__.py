"""Odradek: durable workflows in plain typed Python, on a partitioned log."""

from . import activity, workflow
from ._batch import ResetResult
from ._client import Client
from ._codecs import AESGCMCodec, PayloadCodec, ZlibCodec
from ._converter import DataConverter
from ._description import (
    BuildDescription,
    HistoryEvent,
    PendingActivity,
    PendingChild,
    PendingLocalActivity,
    PendingTimer,
    PendingUpdate,
    TaskQueueBuilds,
    WorkflowDescription,
)
from ._handle import UpdateHandle, WorkflowHandle
from ._listing import ListedWorkflow
from ._payload_store import ObjectPayloadStore, PayloadStore
from ._schedules.action import ScheduleActionStartWorkflow
from ._schedules.handle import ScheduleHandle
from ._schedules.schedule import (
    Schedule,
    ScheduleAction,
    ScheduleBackfill,
    ScheduleDescription,
    SchedulePolicy,
    ScheduleState,
)
from ._schedules.spec import ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleRange, ScheduleSpec
from ._schedules.worker import ScheduleWorker
from ._source_guard import DeterminismWarning
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
    OverloadedError,
    PayloadError,
    PayloadStoreError,
    PayloadTooLargeError,
    QueryFailedError,
    QueryRejectedError,
    RequestTimeoutError,
    ScheduleAlreadyRunningError,
    ScheduleNotFoundError,
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
    "ListedWorkflow",
    "ResetResult",
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
    "DeterminismWarning",
    "HistoryEvent",
    "NonDeterminismError",
    "OdradekError",
    "OverloadedError",
    "PayloadCodec",
    "ObjectPayloadStore",
    "PayloadError",
    "PayloadStore",
    "PayloadStoreError",
    "PayloadTooLargeError",
    "PendingActivity",
    "PendingChild",
    "PendingLocalActivity",
    "PendingTimer",
    "PendingUpdate",
    "QueryFailedError",
    "QueryRejectedError",
    "RequestTimeoutError",
    "RetryPolicy",
    "Schedule",
    "ScheduleAction",
    "ScheduleActionStartWorkflow",
    "ScheduleAlreadyRunningError",
    "ScheduleBackfill",
    "ScheduleCalendarSpec",
    "ScheduleDescription",
    "ScheduleHandle",
    "ScheduleIntervalSpec",
    "ScheduleNotFoundError",
    "SchedulePolicy",
    "ScheduleRange",
    "ScheduleSpec",
    "ScheduleState",
    "ScheduleWorker",
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
