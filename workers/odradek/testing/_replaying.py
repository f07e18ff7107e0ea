"""Replaying a recorded history against the code as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._converter import DataConverter
from .._definitions import definition_of
from .._export import ExportedHistory, history_from_json
from .._instance import WorkflowInstance
from .._interceptors import Interceptor, checked
from .._replay import replay as replay_events
from ..errors import DefinitionError


def replay(
    history: str | bytes | ExportedHistory,
    *,
    workflows: Sequence[Any],
    data_converter: DataConverter | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> None:
    """Run the code of a workflow over a history that `odradek workflow export` wrote, as its worker would.

    data_converter: the one that the history was written with. interceptors: those of its worker.

    Raises NonDeterminismError with a diff, what history holds and what the code now asks, if they differ;
    WorkflowTaskError for a bug in the code; DefinitionError if none of `workflows` has the history's type; ValueError
    for what is no exported history.
    """
    exported = history if isinstance(history, ExportedHistory) else history_from_json(history)
    by_name = {definition_of(workflow).name: definition_of(workflow) for workflow in workflows}
    definition = by_name.get(exported.workflow_type)
    if definition is None:
        known = ", ".join(sorted(by_name)) or "none"
        raise DefinitionError(f"the history is of workflow type {exported.workflow_type!r}; workflows has {known}")
    instance = WorkflowInstance(
        definition,
        workflow_id=exported.workflow_id,
        run_id=exported.run_id,
        task_queue=exported.task_queue,
        converter=data_converter or DataConverter(),
        namespace=exported.namespace,
        interceptors=checked(interceptors),
    )
    try:
        replay_events(instance, exported.events)
    finally:
        instance.close()
