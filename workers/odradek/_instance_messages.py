"""The messages of one running workflow: signals that its handlers take, queries that they answer."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from odradek_schemas import commands, history
from odradek_schemas.common import Payload

from ._definitions import DYNAMIC, HandlerDefinition, UpdateDefinition, runtime_handler
from ._instance_core import InstanceCore
from ._interceptors import HandleQueryInput, HandleSignalInput, WorkflowInterceptor
from ._loop import Discarded
from ._workflow import logger
from .errors import CodecError, DefinitionError, PayloadError, QueryRejectedError


class InstanceMessages:
    """Handlers by name, those of the class and those set at run time.

    `running`: names of the asynchronous handlers that run now. `unhandled`: signals that no handler took yet.
    """

    def __init__(self, core: InstanceCore) -> None:
        self._core = core
        definition = core.definition
        self.signals: dict[str, HandlerDefinition] = dict(definition.signals)
        self.queries: dict[str, HandlerDefinition] = dict(definition.queries)
        self.updates: dict[str, UpdateDefinition] = dict(definition.updates)
        self.running: defaultdict[str, int] = defaultdict(int)
        self.unhandled: deque[history.SignalReceived] = deque()
        self._deliverable: deque[history.SignalReceived] = deque()

    # ------------------------------------------------------------ handlers

    def set_handler(self, kind: str, name: str | None, fn: Callable[..., Any] | None, validator: Any) -> None:
        """Set or take away a handler; signals that waited for it are delivered next."""
        tables: dict[str, dict[str, Any]] = {"signal": self.signals, "query": self.queries, "update": self.updates}
        table = tables[kind]
        key = DYNAMIC if name is None else name
        if fn is None:
            table.pop(key, None)
            return
        table[key] = runtime_handler(kind, name, fn, validator)
        if kind == "signal":
            ready = [signal for signal in self.unhandled if name is None or signal.signal == name]
            self._deliverable.extend(ready)
            taken = set(map(id, ready))
            self.unhandled = deque(signal for signal in self.unhandled if id(signal) not in taken)

    def next_kept(self) -> Callable[[], None] | None:
        """The delivery of the next kept signal that has a handler now."""
        if not self._deliverable:
            return None
        return partial(self._deliver, self._deliverable.popleft())

    def kept(self) -> list[history.SignalReceived]:
        """Signals that no handler has taken."""
        return [*self._deliverable, *self.unhandled]

    def all_finished(self) -> bool:
        """Whether no handler runs, and none is about to."""
        return not self.running and not self._deliverable

    def warn_of_unfinished(self) -> None:
        """The workflow has ended: say what it leaves undone."""
        name = self._core.definition.name
        if self.running:
            logger.warning(
                "workflow %s closed while handlers were running: %s; their work is lost. Wait for them at the end of "
                "`run`: await workflow.wait_condition(workflow.all_handlers_finished)",
                name, _counted(self.running),
            )
        kept = self.kept()
        continued = any(isinstance(command, commands.ContinueAsNewWorkflow) for command in self._core.commands)
        if kept and not continued:
            counts = Counter(f"signal {signal.signal}" for signal in kept)
            logger.warning("workflow %s closed with signals that no handler took: %s", name, _counted(counts))

    # ------------------------------------------------------------ signals

    def on_signal(self, signal: history.SignalReceived) -> None:
        self._core.count(signal.input)
        self._deliver(signal)

    def _deliver(self, signal: history.SignalReceived) -> None:
        core = self._core
        handler = self.signals.get(signal.signal) or self.signals.get(DYNAMIC)
        if handler is None:
            self.unhandled.append(signal)
            logger.warning(
                "workflow %s has no handler for the signal %r; it is kept", core.definition.name, signal.signal
            )
            return
        try:
            args, kwargs = self.arguments(handler, signal.signal, signal.input)
            call = HandleSignalInput(
                signal=signal.signal, args=list(args), kwargs=kwargs, headers=core.headers(signal.headers),
                _handler=handler,
            )
        except CodecError as error:
            core.leave(error)  # a worker with the right codec can read it
            return
        except (PayloadError, DefinitionError) as error:
            # Not the workflow's fault, and nothing that a new deployment would mend.
            logger.error("signal %r was dropped: its arguments do not fit: %s", signal.signal, error)
            return
        name = f"signal {signal.signal}"
        if handler.is_async or core.intercepted:
            core.loop.create_task(self._handle(call, name), name=name)
            self.running[name] += 1
            return
        try:
            handler.fn(core.object, *args, **kwargs)
        except BaseException as error:
            core.leave(error)

    async def _handle(self, call: HandleSignalInput, name: str) -> None:
        core = self._core
        try:
            await core.calls.handle_signal(call)
        except (Discarded, asyncio.CancelledError):
            raise
        except BaseException as error:
            core.leave(error)
        finally:
            self.finished(name)

    def finished(self, name: str) -> None:
        """A handler that ran has ended."""
        self.running[name] -= 1
        if not self.running[name]:
            del self.running[name]

    def arguments(
        self, handler: HandlerDefinition, name: str, input: Sequence[Payload]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a handler; one that is dynamic gets the message's name first. Raises PayloadError or
        DefinitionError if they do not fit."""
        core = self._core
        if not handler.dynamic:
            return core.arguments(handler.signature, input)
        types = handler.signature.types_for(len(input) + 1)[1:]
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = handler.signature.arguments(
            [name, *core.converter.from_payloads(input, types)]
        )
        return arguments

    # ------------------------------------------------------------ queries

    def query(
        self, name: str, input: Sequence[Payload], headers: Mapping[str, Payload], calls: WorkflowInterceptor
    ) -> Payload:
        """The answer of a query handler, through `calls`; the loop is read-only and this the current workflow."""
        core = self._core
        handler = self.queries.get(name) or self.queries.get(DYNAMIC)
        if handler is None:
            known = ", ".join(sorted(self.queries)) or "none"
            raise QueryRejectedError(f"workflow {core.definition.name} has no query {name!r}; there are: {known}")
        try:
            args, kwargs = self.arguments(handler, name, input)
            call = HandleQueryInput(
                query=name, args=list(args), kwargs=kwargs, headers=core.headers(headers), _handler=handler
            )
        except (PayloadError, DefinitionError) as error:
            raise QueryRejectedError(f"query {name!r}: its arguments do not fit: {error}") from error
        result = calls.handle_query(call)
        if inspect.iscoroutine(result):
            result.close()
            raise DefinitionError(f"query {name!r} returned a coroutine: a query returns at once, and only reads")
        return core.converter.to_payload(result)


def _counted(names: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in names.items())
