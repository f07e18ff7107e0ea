"""Log lines on stderr: readable for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from rich.logging import RichHandler

from .failures import CommandError, ExitCode
from .output import stderr

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_OF_USERS = ("odradek.workflow", "odradek.activity")
_OURS = ("odradek", "odradek_engine", "odradek_log")
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: time, level, logger, message, what was given as `extra`, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        shown = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)
        return json.dumps(shown, default=str, ensure_ascii=False)


def set_up(level: str, style: str) -> None:
    """Begin to log at `level`; what workflows and activities log is shown from info on in any case.

    Raises CommandError for unknown levels and formats.
    """
    if level.lower() not in _LEVELS:
        raise CommandError(ExitCode.USAGE, f"--log-level {level}: use one of {', '.join(_LEVELS)}")
    if style not in ("text", "json"):
        raise CommandError(ExitCode.USAGE, f"--log-format {style}: use text or json")
    number = _LEVELS[level.lower()]
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[_handler(style)], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(number)
    for name in _OF_USERS:
        logging.getLogger(name).setLevel(min(number, logging.INFO))


def _handler(style: str) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler()
    if style == "json":
        handler.setFormatter(JsonFormatter())
    elif sys.stderr.isatty():
        handler = RichHandler(console=stderr, show_path=False, markup=False, log_time_format="%H:%M:%S")
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    return handler
