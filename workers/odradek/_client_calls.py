"""Behind the interceptors of a client: starts and messages as records, and what their answers say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from odradek_schemas.common import Failure, Payload, Record, Request
from odradek_schemas.ephemeral import QueryWorkflow
from odradek_schemas.records import (
    SignalWorkflow,
    StartWorkflow,
    UpdateWorkflow,
)
from odradek_schemas.replies import QueryResult, RequestReply

from ._calls import MakeRecord
from ._client_operations import ClientOperations, target_of
from ._handle import Target, UpdateHandle, WorkflowHandle
from ._interceptors import (
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    UpdateWorkflowInput,
    write_headers,
)
from ._options import check_start_options, milliseconds, retry_policy_record
from ._refusals import not_found, refused, summary
from .errors import (
    OverloadedError,
    QueryFailedError,
    QueryRejectedError,
    RequestTimeoutError,
    UpdateFailedError,
    UpdateRejectedError,
)

PROMPT_SECONDS = 2.0
"""Where the answer to a start takes longer, an engine may have gone that knew who waits for the result: it is asked for
again."""


class ClientCalls(ClientOperations):
    """What the last interceptor calls."""

    # ------------------------------------------------------------ starting

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        target = Target(input.id, request_id=input.options.get("request_id"))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        reply = await self._requests.append(target, self._start_record(input))
        if reply.outcome not in ("started", "existing"):
            refused(input.id, reply)
        barrier = reply.position.offset + 1  # the run is there once that record is folded
        asked = input.result_request and reply.outcome == "started" and loop.time() - begun < PROMPT_SECONDS
        run = Target(input.id, None, reply.run_id, barrier, result_request=input.result_request if asked else None)
        return WorkflowHandle(self._requests, run, input.result_type)

    async def update_with_start(self, input: StartWorkflowInput) -> UpdateHandle[Any]:
        assert input.update is not None, "update_with_start has an update"
        target = Target(input.id, request_id=input.options["request_id"])
        reply = await self._update_reply(target, input.update, self._start_record(input))
        return self._accepted(target, input.update, reply, input.update_result_type)

    def _start_record(self, call: StartWorkflowInput) -> MakeRecord:
        """What makes the record of a start. Raises DefinitionError for options that make no sense."""
        converter, options = self._converter, call.options
        check_start_options(options, f"workflow {call.workflow_type}")
        payloads, headers = converter.to_payloads(call.args), self._headers(call.headers)
        signal_payloads = converter.to_payloads(call.signal_args)
        update_payloads = converter.to_payloads(call.update_args)
        memo = {key: converter.to_payload(value) for key, value in options.get("memo", {}).items()}
        attributes = {key: converter.plain.to_payload(v) for key, v in options.get("search_attributes", {}).items()}

        def make(request: Request) -> Record:
            return StartWorkflow(
                workflow_id=call.id,
                workflow_type=call.workflow_type,
                task_queue=options.get("task_queue") or os.environ.get("ODRADEK_TASK_QUEUE") or "default",
                input=payloads,
                headers=headers,
                request=request,
                identity=self._requests.identity,
                id_conflict_policy=options.get("id_conflict_policy", "fail"),
                id_reuse_policy=options.get("id_reuse_policy", "allow"),
                execution_timeout_ms=milliseconds(options.get("execution_timeout")),
                run_timeout_ms=milliseconds(options.get("run_timeout")),
                task_timeout_ms=milliseconds(options.get("task_timeout")),
                start_delay_ms=milliseconds(options.get("start_delay")),
                retry_policy=retry_policy_record(options.get("retry_policy")),
                memo=memo,
                search_attributes=attributes,
                signal=call.signal or "",
                signal_input=signal_payloads,
                cron_schedule=options.get("cron_schedule") or "",
                build_id=options.get("build_id") or "",
                update=call.update or "",
                update_input=update_payloads,
                update_wait_for="accepted",
                result_request=call.result_request,
            )

        return make

    def _headers(self, headers: Mapping[str, Any]) -> dict[str, Payload]:
        return write_headers(headers, self._converter)

    # ------------------------------------------------------------ messages

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        payloads, headers = self._converter.to_payloads(input.args), self._headers(input.headers)

        def make(request: Request) -> Record:
            return SignalWorkflow(
                workflow_id=input.id,
                run_id=input.run_id or "",
                signal=input.signal,
                input=payloads,
                headers=headers,
                request=request,
                identity=self._identity(input),
            )

        await self._requests.change(target_of(input), make)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        name = input.query
        payloads, headers = self._converter.to_payloads(input.args), self._headers(input.headers)

        def make(request: Request) -> Record:
            return QueryWorkflow(
                workflow_id=input.id,
                run_id=input.run_id or "",
                query=name,
                input=payloads,
                headers=headers,
                request=request,
            )

        try:
            reply = await self._requests.ask(target_of(input), make, QueryResult)
        except RequestTimeoutError as error:
            raise RequestTimeoutError(
                f"{error} If one is, a worker has to answer query {name!r}: does one poll the workflow's task queue?",
                durable=error.durable,
            ) from None
        if reply.status == "answered":
            return self._value(reply.result, input.result_type)
        if reply.status == "not_found":
            raise not_found(input.id, input.run_id)
        cause, said = self._why(reply.failure)
        if reply.status == "overloaded":
            raise OverloadedError(f"query {name!r} of workflow {input.id!r} was not taken: {said}")
        if reply.status == "failed":
            raise QueryFailedError(f"query {name!r} of workflow {input.id!r} failed: {said}") from cause
        raise QueryRejectedError(f"query {name!r} of workflow {input.id!r} was rejected: {said}") from cause

    # ------------------------------------------------------------ updates

    async def update_workflow(self, input: UpdateWorkflowInput) -> Any:
        target = target_of(input)
        payloads, headers = self._converter.to_payloads(input.args), self._headers(input.headers)

        def make(request: Request) -> Record:
            return UpdateWorkflow(
                workflow_id=input.id,
                run_id=input.run_id or "",
                update=input.update,
                input=payloads,
                headers=headers,
                request=request,
                wait_for=input.wait_for,
                identity=self._identity(input),
            )

        if input.wait_for == "completed":
            return await self._update_outcome(target, input.update, make, input.result_type)
        reply = await self._update_reply(target, input.update, make)
        return self._accepted(target, input.update, reply, input.result_type)

    async def await_update(self, target: Target, name: str, result_type: Any) -> Any:
        """Wait for the outcome of an update that was sent before: no interceptor sees that."""

        def make(request: Request) -> Record:
            return UpdateWorkflow(
                workflow_id=target.workflow_id, run_id=target.run_id or "", update=name, request=request, attach=True
            )

        return await self._update_outcome(target, name, make, result_type)

    async def _update_outcome(self, target: Target, name: str, make: MakeRecord, result_type: Any) -> Any:
        reply = await self._update_reply(target, name, make)
        while reply.outcome == "accepted":  # a late copy of an earlier answer
            reply = await self._update_reply(target, name, make)
        return self._update_result(target, name, reply, result_type)

    async def _update_reply(self, target: Target, name: str, make: MakeRecord) -> RequestReply:
        """The answer to a request that holds an update."""
        try:
            reply = await self._requests.append(target, make, waits=True)
        except RequestTimeoutError as error:
            raise RequestTimeoutError(
                f"{error}. If one is, a worker has to take update {name!r}, and its handler to end: does one poll the "
                "workflow's task queue? describe() tells. Send it again with the same request_id to go on waiting",
                durable=error.durable,
            ) from None
        return reply

    def _update_result(self, target: Target, name: str, reply: RequestReply, result_type: Any) -> Any:
        """What an answer to an update says. Raises UpdateFailedError, UpdateRejectedError, and what `refused` does."""
        if reply.outcome == "completed":
            return self._value(reply.result, result_type)
        if reply.outcome not in ("failed", "rejected"):
            refused(target.workflow_id, reply)
        cause, said = self._why(reply.failure)
        about = f"update {name!r} of workflow {target.workflow_id!r}"
        if reply.outcome == "rejected":
            raise UpdateRejectedError(f"{about} was rejected: {said}") from cause
        raise UpdateFailedError(f"{about} failed: {said}") from cause

    def _accepted(self, target: Target, name: str, reply: RequestReply, result_type: Any) -> UpdateHandle[Any]:
        """The handle of an update that was accepted, or is done already. Raises for one that was not taken."""
        if reply.outcome not in ("accepted", "completed", "failed"):
            self._update_result(target, name, reply, result_type)
        return UpdateHandle[Any](self._requests, replace(target, result_run_id=reply.run_id), name, result_type)

    # ------------------------------------------------------------ answers

    def _value(self, result: Payload | None, result_type: Any) -> Any:
        return None if result is None else self._converter.from_payload(result, result_type)

    def _why(self, failure: Failure | None) -> tuple[BaseException | None, str]:
        """A failure as an error, and in a line."""
        if failure is None:
            return None, "no reason is given"
        return self._converter.from_failure(failure), summary(self._converter.open_failure(failure))
