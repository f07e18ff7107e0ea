"""Exit codes, and how errors are told: what went wrong, what to do next, no traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer
from odradek_log import LogCorruptError, LogError, LogLockedError, LogUnavailableError
from odradek_schemas import InvalidNameError

from .. import errors
from .output import stderr


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    TIMEOUT = 5
    REFUSED = 6
    DEFECT = 70
    INTERRUPTED = 130


EXIT_CODES = """Exit codes:

\b
  0  done
  1  the workflow or the update failed; `log verify` or `replay-check` found a difference
  2  wrong use: an option, an argument, JSON, a module
  3  there is no such workflow or run
  4  nobody answers: server, broker, engine or worker
  5  the workflow or the update did not end within --timeout
  6  refused: already started or closed, no such query, an update rejected
 70  a defect of this program
130  interrupted
"""


class CommandError(Exception):
    """A command cannot be done. `hint` is what to do next, in a sentence of its own."""

    def __init__(self, code: ExitCode, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


_CODES: list[tuple[type[BaseException], ExitCode]] = [  # subclasses before their bases
    (errors.WorkflowClosedError, ExitCode.REFUSED),
    (errors.WorkflowNotFoundError, ExitCode.NOT_FOUND),
    (errors.WorkflowAlreadyStartedError, ExitCode.REFUSED),
    (errors.ScheduleNotFoundError, ExitCode.NOT_FOUND),
    (errors.ScheduleAlreadyRunningError, ExitCode.REFUSED),
    (errors.QueryFailedError, ExitCode.REFUSED),
    (errors.QueryRejectedError, ExitCode.REFUSED),
    (errors.UpdateRejectedError, ExitCode.REFUSED),
    (errors.UpdateFailedError, ExitCode.FAILED),
    (errors.InvalidRequestError, ExitCode.USAGE),
    (errors.PayloadError, ExitCode.USAGE),
    (errors.DefinitionError, ExitCode.USAGE),
    (errors.NotAvailableError, ExitCode.USAGE),
    (InvalidNameError, ExitCode.USAGE),
    (errors.OdradekError, ExitCode.UNAVAILABLE),
    (LogLockedError, ExitCode.UNAVAILABLE),
    (LogUnavailableError, ExitCode.UNAVAILABLE),
    (LogCorruptError, ExitCode.FAILED),
    (LogError, ExitCode.UNAVAILABLE),
]


@contextmanager
def told(as_json: bool = False) -> Iterator[None]:
    """Turn the errors that a command may end with into a message on stderr and an exit code."""
    try:
        yield
    except CommandError as error:
        _tell(error.code, error.message, error.hint, as_json)
        raise typer.Exit(error.code) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except Exception as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
        if code is None:
            raise
        _tell(code, str(error), "", as_json)
        raise typer.Exit(code) from None


def _tell(code: ExitCode, message: str, hint: str, as_json: bool) -> None:
    if as_json:
        shown = {"error": {"code": code.name.lower(), "message": message, "hint": hint}}
        print(json.dumps(shown), file=sys.stderr)
        return
    stderr.print("[bold red]Error:[/] ", end="")
    stderr.print(message, markup=False, soft_wrap=True)
    if hint:
        stderr.print(hint, markup=False, soft_wrap=True)
