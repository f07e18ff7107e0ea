"""What interceptors are made of. Only names to use: the code is in `_interceptors`."""

from ._interceptors import (
    ActivityInterceptor,
    CancelWorkflowInput,
    ClientInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    QueryWorkflowInput,
    ScheduleActivityInput,
    SignalExternalWorkflowInput,
    SignalWorkflowInput,
    StartChildWorkflowInput,
    StartWorkflowInput,
    TerminateWorkflowInput,
    UpdateWorkflowInput,
    WorkflowInterceptor,
)

__all__ = [
    "ActivityInterceptor",
    "CancelWorkflowInput",
    "ClientInterceptor",
    "ContinueAsNewInput",
    "ExecuteActivityInput",
    "ExecuteWorkflowInput",
    "HandleQueryInput",
    "HandleSignalInput",
    "HandleUpdateInput",
    "Interceptor",
    "QueryWorkflowInput",
    "ScheduleActivityInput",
    "SignalExternalWorkflowInput",
    "SignalWorkflowInput",
    "StartChildWorkflowInput",
    "StartWorkflowInput",
    "TerminateWorkflowInput",
    "UpdateWorkflowInput",
    "WorkflowInterceptor",
]


def __dir__() -> list[str]:
    return __all__
