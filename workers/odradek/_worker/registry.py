"""The workflows and activities of one worker, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from odradek_schemas.history import HistoryEvent

from .._activity import Activity
from .._converter import DataConverter
from .._definitions import ActivityDefinition, WorkflowDefinition, activity_definition, definition_of
from .._instance import WorkflowInstance
from .._interceptors import Interceptor
from .._replay import replay
from .._source_guard import check_source
from ..errors import DefinitionError
from .ports import RunningWorkflow

D = TypeVar("D", WorkflowDefinition, ActivityDefinition)


def workflow_definitions(workflows: Sequence[Any]) -> dict[str, WorkflowDefinition]:
    """By type. Raises DefinitionError for what is no workflow, and for two of one name; warns of source that cannot
    be deterministic."""
    found = _by_name("workflow", workflows, definition_of)
    for definition, workflow in zip(found.values(), workflows, strict=True):
        check_source(definition.name, getattr(workflow, "fn", workflow))
    return found


def activity_definitions(activities: Sequence[Activity[..., Any]]) -> dict[str, ActivityDefinition]:
    """By name. Raises DefinitionError for what is no activity, and for two of one name."""
    return _by_name("activity", activities, activity_definition)


def _by_name(kind: str, given: Sequence[Any], definition: Callable[[Any], D]) -> dict[str, D]:
    found: dict[str, D] = {}
    for item in given:
        one = definition(item)
        if one.name in found:
            raise DefinitionError(
                f"two {kind} definitions named {one.name!r}: register one, or give one another name, "
                f"@{kind}.define(name=...)"
            )
        found[one.name] = one
    return found


class RegisteredWorkflows:
    """Brings runs of the registered workflow types to life."""

    def __init__(
        self,
        definitions: Mapping[str, WorkflowDefinition],
        *,
        task_queue: str,
        namespace: str,
        converter: DataConverter,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._definitions = definitions
        self._task_queue = task_queue
        self._namespace = namespace
        self._converter = converter
        self._interceptors = interceptors
        self.names = list(definitions)

    def create(self, workflow_type: str, workflow_id: str, run_id: str) -> RunningWorkflow:
        return WorkflowInstance(
            self._definitions[workflow_type], workflow_id=workflow_id, run_id=run_id, task_queue=self._task_queue,
            converter=self._converter, namespace=self._namespace, interceptors=self._interceptors,
        )

    def replay(self, running: RunningWorkflow, events: Sequence[HistoryEvent]) -> None:
        replay(running, events)  # type: ignore[arg-type]
