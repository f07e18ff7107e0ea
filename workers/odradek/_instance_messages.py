"""The messages of one running workflow: signals that its handlers take, queries that they answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

from odradek_schemas import history
from odradek_schemas.common import Payload

from ._definitions import HandlerDefinition
from ._instance_core import InstanceCore
from ._loop import Discarded
from ._workflow import logger
from .errors import CodecError, DefinitionError, PayloadError, QueryRejectedError


class InstanceMessages:
    """`open_handlers`: how many asynchronous handlers run now. `unhandled`: signals that no handler took."""

    def __init__(self, core: InstanceCore) -> None:
        self._core = core
        self.open_handlers = 0
        self.unhandled: list[history.SignalReceived] = []

    def on_signal(self, signal: history.SignalReceived) -> None:
        core = self._core
        core.count(signal.input)
        handler = core.definition.signals.get(signal.signal)
        if handler is None:
            self.unhandled.append(signal)
            logger.warning(
                "workflow %s has no handler for the signal %r; it is kept", core.definition.name, signal.signal
            )
            return
        try:
            args, kwargs = core.arguments(handler.signature, signal.input)
        except CodecError as error:
            core.leave(error)  # a worker with the right codec can read it
            return
        except (PayloadError, DefinitionError) as error:
            # Not the workflow's fault, and nothing that a new deployment would mend.
            logger.error("signal %r was dropped: its arguments do not fit: %s", signal.signal, error)
            return
        if handler.is_async:
            self.open_handlers += 1
            core.loop.create_task(self._handle(handler, args, kwargs), name=f"signal {handler.name}")
            return
        try:
            handler.fn(core.object, *args, **kwargs)
        except BaseException as error:
            core.leave(error)

    async def _handle(self, handler: HandlerDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        core = self._core
        try:
            await handler.fn(core.object, *args, **kwargs)
        except (Discarded, asyncio.CancelledError):
            raise
        except BaseException as error:
            core.leave(error)
        finally:
            self.open_handlers -= 1

    def query(self, name: str, input: Sequence[Payload]) -> Payload:
        """The answer of a query handler; the loop is read-only and this the current workflow."""
        core = self._core
        handler = core.definition.queries.get(name)
        if handler is None:
            known = ", ".join(sorted(core.definition.queries)) or "none"
            raise QueryRejectedError(f"workflow {core.definition.name} has no query {name!r}; there are: {known}")
        try:
            args, kwargs = core.arguments(handler.signature, input)
        except (PayloadError, DefinitionError) as error:
            raise QueryRejectedError(f"query {name!r}: its arguments do not fit: {error}") from error
        result = handler.fn(core.object, *args, **kwargs)
        if inspect.iscoroutine(result):
            result.close()
            raise DefinitionError(f"query {name!r} returned a coroutine: a query returns at once, and only reads")
        return core.converter.to_payload(result)
