"""What commands that ask something of workflows share: connecting, errors as exit codes, a line when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .._gateway import WorkflowService
from .connect import connect
from .failures import told
from .logs import set_up
from .output import print_json, stdout

T = TypeVar("T")

ANSWER_SECONDS = 10.0


def do(
    address: str,
    namespace: str,
    as_json: bool,
    action: Callable[[WorkflowService], Awaitable[T]],
    timeout: float = ANSWER_SECONDS,
) -> T:
    """Connect, do `action`, and disconnect. Errors become messages and exit codes."""

    async def run() -> T:
        async with connect(address, namespace, timeout) as service:
            return await action(service)

    with told(as_json):
        set_up("error", "text")
        return asyncio.run(run())


def print_done(as_json: bool, text: str, **fields: str | int) -> None:
    """What was done: a line for people, or `fields` as JSON."""
    if as_json:
        print_json(fields)
    else:
        stdout.print(text, markup=False, soft_wrap=True)
