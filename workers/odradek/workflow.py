"""What may be called to define a workflow, and inside one. Only names to use: the code is in private modules."""

from ._children import continue_as_new, execute_child, start_child
from ._context import ParentInfo
from ._context import WorkflowInfo as Info
from ._continuing import get_last_completion_result, get_last_failure, has_last_completion_result
from ._definitions import define
from ._handle import ChildWorkflowHandle, ExternalWorkflowHandle
from ._handlers import Query, Signal, Update, query, signal, update
from ._workflow import (
    all_handlers_finished,
    deprecate_patch,
    execute_activity,
    execute_local_activity,
    external,
    info,
    logger,
    memo,
    now,
    patched,
    random,
    set_query_handler,
    set_signal_handler,
    set_update_handler,
    side_effect,
    time,
    upsert_search_attributes,
    uuid4,
    wait_condition,
)

__all__ = [
    "ChildWorkflowHandle",
    "ExternalWorkflowHandle",
    "Info",
    "ParentInfo",
    "Query",
    "Signal",
    "Update",
    "all_handlers_finished",
    "continue_as_new",
    "define",
    "deprecate_patch",
    "execute_activity",
    "execute_child",
    "execute_local_activity",
    "external",
    "get_last_completion_result",
    "get_last_failure",
    "has_last_completion_result",
    "info",
    "logger",
    "memo",
    "now",
    "patched",
    "query",
    "random",
    "set_query_handler",
    "set_signal_handler",
    "set_update_handler",
    "side_effect",
    "signal",
    "start_child",
    "time",
    "update",
    "upsert_search_attributes",
    "uuid4",
    "wait_condition",
]


def __dir__() -> list[str]:
    return __all__
