"""The updates of one running workflow: validated, then accepted or rejected; each accepted one is completed once."""

from __future__ import annotations

import asyncio
from typing import Any

from odradek_schemas import commands, history
from odradek_schemas.common import Failure
from odradek_schemas.records import AcceptedUpdate, RejectedUpdate
from odradek_schemas.tasks import PendingUpdate

from ._definitions import DYNAMIC, UpdateDefinition
from ._instance_core import InstanceCore
from ._instance_messages import InstanceMessages
from ._interceptors import HandleUpdateInput
from ._loop import Discarded
from ._outcome import failing_error
from .errors import ApplicationError, CodecError, DefinitionError, PayloadError


class InstanceUpdates:
    """`accepted`, `rejected`: what was decided since the worker last took it."""

    def __init__(self, core: InstanceCore, messages: InstanceMessages) -> None:
        self._core = core
        self._messages = messages
        self.accepted: list[AcceptedUpdate] = []
        self.rejected: list[RejectedUpdate] = []

    # ------------------------------------------------------------ deciding; replay knows the decisions

    def refusal(self, update: PendingUpdate) -> BaseException | None:
        """Why the update is rejected; None if it is not. The workflow is read-only, and this the current one."""
        handler = self._handler(update.update)
        if handler is None:
            known = ", ".join(sorted(self._messages.updates)) or "none"
            name = self._core.definition.name
            return DefinitionError(f"workflow {name} has no update {update.update!r}; there are: {known}")
        refused_before = self._core.loop.refused_writes
        try:
            self._core.calls.validate_update(self._call(handler, update))
        except CodecError:
            raise  # a worker with the right codec can read it
        except (PayloadError, DefinitionError) as error:
            return type(error)(f"update {update.update!r}: its arguments do not fit: {error}")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return error
        finally:
            self._core.loop.refused_writes = refused_before  # nothing came of what was refused
        return None

    def reject(self, update: PendingUpdate, refusal: BaseException) -> None:
        failure = self._core.converter.to_failure(refusal)
        self.rejected.append(RejectedUpdate(seq=update.seq, update_id=update.update_id, failure=failure))

    def accept(self, update: PendingUpdate, fed_after: int, fed_ms: int) -> history.UpdateAccepted:
        """Take an update; what history will hold of it."""
        self.accepted.append(
            AcceptedUpdate(seq=update.seq, update_id=update.update_id, fed_after=fed_after, fed_ms=fed_ms)
        )
        return history.UpdateAccepted(
            seq=update.seq,
            update_id=update.update_id,
            update=update.update,
            input=update.input,
            headers=update.headers,
            fed_after=fed_after,
            fed_ms=fed_ms,
        )

    # ------------------------------------------------------------ handling; the same live and on replay

    def on_accepted(self, update: history.UpdateAccepted) -> None:
        core = self._core
        core.count(update.input)
        handler = self._handler(update.update)
        try:
            if handler is None:
                raise DefinitionError(
                    f"workflow {core.definition.name} accepted the update {update.update!r} and has no handler for it "
                    "any more; deploy one"
                )
            call = self._call(handler, update)
        except (PayloadError, DefinitionError) as error:
            core.leave(error)
            return
        if handler.is_async or core.intercepted:
            name = f"update {update.update}"
            core.loop.create_task(self._handle(call, update.seq, name), name=name)
            self._messages.running[name] += 1
            return
        try:
            result = handler.fn(core.object, *call.args, **call.kwargs)
            self._complete(update.seq, result)
        except BaseException as error:
            self._fail(update.seq, error)

    def _call(self, handler: UpdateDefinition, update: PendingUpdate | history.UpdateAccepted) -> HandleUpdateInput:
        """An update as interceptors see it. Raises PayloadError or DefinitionError if its arguments do not fit."""
        args, kwargs = self._messages.arguments(handler, update.update, update.input)
        headers = self._core.headers(update.headers)
        return HandleUpdateInput(
            id=update.update_id, update=update.update, args=list(args), kwargs=kwargs, headers=headers,
            _handler=handler,
        )

    async def _handle(self, call: HandleUpdateInput, seq: int, name: str) -> None:
        core = self._core
        try:
            self._complete(seq, await core.calls.handle_update(call))
        except Discarded:
            raise
        except asyncio.CancelledError:
            self._fail(seq, ApplicationError("the update's handler was cancelled", type="Cancelled"))
            raise
        except BaseException as error:
            self._fail(seq, error)
        finally:
            self._messages.finished(name)

    def _complete(self, seq: int, result: Any) -> None:
        self._core.emit(commands.CompleteUpdate(seq=seq, result=self._core.converter.to_payload(result)))

    def _fail(self, seq: int, error: BaseException) -> None:
        """An error that would fail the workflow fails the update; others are bugs, as everywhere."""
        failing = failing_error(error)
        if failing is None:
            self._core.leave(error)
            return
        failure: Failure = self._core.converter.to_failure(failing)
        self._core.emit(commands.CompleteUpdate(seq=seq, failure=failure))

    def _handler(self, name: str) -> UpdateDefinition | None:
        return self._messages.updates.get(name) or self._messages.updates.get(DYNAMIC)
