"""What the parts of one running workflow share: its loop, the commands that its code gives, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from odradek_schemas import commands
from odradek_schemas.commands import Command
from odradek_schemas.common import Payload
from odradek_schemas.history import SignalReceived

from ._context import WorkflowInfo
from ._continuing import continuation_in
from ._converter import DataConverter
from ._cron import with_next_time
from ._definitions import WorkflowDefinition
from ._interceptors import WorkflowInterceptor, read_headers
from ._loop import WorkflowLoop
from ._outcome import failing_error, retry_delay_ms


class InstanceCore:
    """`object`: the instance of the user's class, once `run` is called. `bug`: what the code raised that it should
    not. `fed_bytes`: of payloads, for the cache's bound. `kept_signals`: those that have had no handler. `calls`: what
    comes in and goes out passes there, from the first event on. `started_headers`: those that the run came with."""

    calls: WorkflowInterceptor

    def __init__(
        self, definition: WorkflowDefinition, info: WorkflowInfo, converter: DataConverter, loop: WorkflowLoop
    ) -> None:
        self.definition = definition
        self.info = info
        self.converter = converter
        self.loop = loop
        self.object: Any = None
        self.ended = False
        self.bug: BaseException | None = None
        self.cancel_requested = False
        self.commands: list[Command] = []
        self.seq = 0
        self.fed_bytes = 0
        self.kept_signals: Callable[[], Iterable[SignalReceived]] = tuple
        self.intercepted = False
        self.started_headers: dict[str, Payload] = {}

    def emit(self, command: Command) -> None:
        """Ask for something. Raises ReadOnlyError in a query."""
        if self.loop.is_closed():  # code that goes on while it is thrown away
            return
        if self.loop.read_only:
            raise self.loop.refuse_write()
        self.commands.append(command)

    def next_seq(self) -> int:
        """The number of the next command that has a later life."""
        self.seq += 1
        return self.seq

    def leave(self, error: BaseException, *, main: bool = False) -> None:
        """An error has left `run` or a message handler: it ends the workflow, or is a bug."""
        if isinstance(error, KeyboardInterrupt):
            raise error
        continuing = continuation_in(error)
        if continuing is not None:
            kept = [
                commands.KeptSignal(
                    signal=s.signal, input=s.input, headers=s.headers, request_id=s.request_id, identity=s.identity
                )
                for s in self.kept_signals()
            ]
            self.end(msgspec.structs.replace(continuing.command, kept=kept))
            return
        if main and self.cancel_requested and isinstance(error, asyncio.CancelledError):
            self.end(commands.CancelledWorkflow())
            return
        failing = failing_error(error)
        if failing is not None:
            delay = retry_delay_ms(failing)
            failure = self.converter.to_failure(failing)
            self.end(commands.FailWorkflow(failure=failure, next_retry_delay_ms=delay))
            return
        self.bug = error
        self.loop.halt()

    def end(self, command: Command) -> None:
        """Give the command that closes the run; no code runs after it."""
        self.emit(with_next_time(command, self.info.cron_schedule, self.loop.time()))
        self.ended = True
        self.loop.halt()

    def let_go(self) -> None:
        """The run is thrown away: drop what refers back to here, so that its memory is free at once. Garbage that is in
        cycles is looked for seldom, and costs more."""
        self.commands.clear()
        self.kept_signals = tuple
        vars(self).pop("calls", None)  # not there before the first event

    def halted(self) -> bool:
        """Whether no more code may run: the workflow has ended, or its code has a bug."""
        return self.ended or self.bug is not None

    def arguments(self, signature: Any, input: Sequence[Payload]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Payloads as the arguments of a call. Raises PayloadError or DefinitionError if they do not fit."""
        values = self.converter.from_payloads(input, signature.types_for(len(input)), signature.names)
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = signature.arguments(values)
        return arguments

    def headers(self, headers: Mapping[str, Payload]) -> dict[str, Any]:
        """Headers as interceptors see them; without interceptors nobody does. Raises PayloadError."""
        return read_headers(headers, self.converter) if self.intercepted and headers else {}

    def count(self, payloads: Sequence[Payload]) -> None:
        """Note how much was fed."""
        for payload in payloads:
            self.fed_bytes += len(payload.data)
