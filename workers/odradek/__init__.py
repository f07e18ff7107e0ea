"""Odradek: durable workflows in plain typed Python, on a partitioned log."""

from . import activity, workflow
from ._handle import WorkflowHandle
from ._types import RetryPolicy
from .errors import ActivityError, ActivityTimeoutError, ApplicationError, ChildWorkflowError, WorkflowFailedError

__all__ = [
    "ActivityError",
    "ActivityTimeoutError",
    "ApplicationError",
    "ChildWorkflowError",
    "RetryPolicy",
    "WorkflowFailedError",
    "WorkflowHandle",
    "activity",
    "workflow",
]
