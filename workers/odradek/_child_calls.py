"""What `workflow.execute_child`, `start_child` and `external` do with what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _context
from ._definitions import definition_of
from ._handle import ChildWorkflowHandle, ExternalWorkflowHandle
from ._options import check_child_options
from .errors import DefinitionError


async def start_child(workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> ChildWorkflowHandle[Any, Any]:
    """Start a child of the running workflow. Raises DefinitionError for arguments or options that do not fit."""
    what = workflow if isinstance(workflow, str) else getattr(workflow, "__name__", repr(workflow))
    if isinstance(workflow, str):
        result_type, name, values = options.pop("result_type", Any), workflow, list(args)
    else:
        definition = definition_of(workflow)
        name, result_type = definition.name, definition.signature.result_type
        values = definition.signature.bind(args, {})
    check_child_options(options, f"child workflow {what}")
    return await _context.current().start_child(name, values, result_type=result_type, options=options)


async def execute_child(workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Start a child and wait for its result."""
    handle = await start_child(workflow, args, options)
    return await handle.result()


def external(workflow_id: Any, workflow: Any, run_id: Any) -> ExternalWorkflowHandle[Any]:
    """A handle on another workflow. Raises DefinitionError for what is no workflow, or no ID."""
    if workflow is not None:
        definition_of(workflow)
    for name, value in (("workflow_id", workflow_id), ("run_id", "x" if run_id is None else run_id)):
        if not (isinstance(value, str) and value):
            raise DefinitionError(f"workflow.external: {name} is a string, not {value!r}")
    return ExternalWorkflowHandle(_context.current().messages(), workflow_id, run_id or "")
