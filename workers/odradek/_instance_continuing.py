"""One running workflow and those before and after it: how it begins, continues as new, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from odradek_schemas import commands, history
from odradek_schemas.common import Failure, Payload

from ._continuing import ContinueAsNew
from ._converter import DataConverter
from ._cron import begin_at
from ._instance_core import InstanceCore
from ._interceptors import ContinueAsNewInput
from ._options import milliseconds, retry_policy_record
from .errors import ApplicationError


class InstanceContinuing:
    """`last_result` and `last_failure`: of the runs before."""

    def __init__(self, core: InstanceCore) -> None:
        self._core = core
        self.last_result: Payload | None = None
        self.last_failure: Failure | None = None

    def on_started(self, started: history.WorkflowStarted) -> bool:
        """Whether the code may begin: not if this run only finds out when a cron workflow has its next time."""
        self.last_result, self.last_failure = started.last_result, started.last_failure
        if not started.cron_pending:
            return True
        core = self._core
        try:
            core.end(begin_at(started.cron_schedule, core.loop.time()))
        except ValueError as error:
            core.leave(ApplicationError(str(error), type="InvalidCronSchedule", non_retryable=True))
        return False

    def continue_as_new(self, call: ContinueAsNewInput, headers: dict[str, Payload]) -> NoReturn:
        core, options = self._core, call.options
        if core.loop.read_only:
            raise core.loop.refuse_write()
        run_timeout, task_timeout = options.get("run_timeout"), options.get("task_timeout")
        raise ContinueAsNew(
            commands.ContinueAsNewWorkflow(
                workflow_type=call.workflow_type,
                task_queue=options.get("task_queue") or "",
                input=core.converter.to_payloads(call.args),
                headers=headers,
                run_timeout_ms=-1 if run_timeout is None else milliseconds(run_timeout),
                task_timeout_ms=-1 if task_timeout is None else milliseconds(task_timeout),
                retry_policy=retry_policy_record(options.get("retry_policy")),
                memo=_payloads(options.get("memo") or {}, core.converter),
                keep_memo="memo" not in options,
                search_attributes=_payloads(options.get("search_attributes") or {}, core.converter.plain),
                keep_search_attributes="search_attributes" not in options,
                versioning=options.get("versioning") or "",
            )
        )

    def upsert_search_attributes(self, attributes: Mapping[str, Any]) -> None:
        core = self._core
        given = {name: value for name, value in attributes.items() if value is not None}
        removed = [name for name, value in attributes.items() if value is None]
        values = _payloads(given, core.converter.plain)
        core.emit(commands.UpsertSearchAttributes(search_attributes=values, removed=removed))
        kept = {name: value for name, value in core.info.search_attributes.items() if name not in removed}
        core.info = replace(core.info, search_attributes={**kept, **given})



def _payloads(values: Mapping[str, Any], converter: DataConverter) -> dict[str, Payload]:
    return {name: converter.to_payload(value) for name, value in values.items()}
