"""What commands print: JSON for programs, text and tables for people."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_WIDE = 200


def _console(stderr: bool = False) -> Console:
    """Lines are as wide as the terminal; a file or a pipe gets wide ones, so that nothing is cut. COLUMNS wins."""
    stream = sys.stderr if stderr else sys.stdout
    width = None
    if not stream.isatty():
        width = shutil.get_terminal_size((_WIDE, 24)).columns if "COLUMNS" in os.environ else _WIDE
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False, emoji=False)


stdout = _console()
stderr = _console(stderr=True)


def plain_table(*columns: str) -> Table:
    """A table without a frame; long cells go on in the next line."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_json(value: Any) -> None:
    """One JSON value; on several lines only for a person who looks at it."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, ensure_ascii=False, indent=indent), flush=True)


def compact(value: Any, limit: int = 0) -> str:
    """A JSON value on one line; `limit` cuts it (0: not)."""
    text = value if isinstance(value, str) and "\n" not in value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    return cut(text, limit)


def cut(text: str, limit: int) -> str:
    """`text`, with an ellipsis in place of what is beyond `limit` characters (0: no limit)."""
    return text if not limit or len(text) <= limit else f"{text[: limit - 1]}…"


def moment(text: str | None) -> datetime | None:
    """A point in time of a JSON answer, as local time."""
    return None if not text else datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()


def clock(text: str | None) -> str:
    """The time of day, to the millisecond."""
    at = moment(text)
    return "" if at is None else at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}"


def date_and_time(text: str | None) -> str:
    at = moment(text)
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """`1.2 s`, `3 min 20 s`, `2 h 5 min`, `30 d`."""
    if seconds < 10:
        return f"{seconds:.3g} s"
    total = round(seconds)
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "min"), (total % 60, "s")]
    first = next((i for i, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def failure_line(failure: dict[str, Any] | None) -> str:
    """A failure in one line: its type and message."""
    if not failure:
        return ""
    kind, message = failure.get("type", ""), str(failure.get("message", "")).strip()
    first = message.splitlines()[0] if message else ""
    return f"{kind}: {first}" if kind and kind != first else first or "no reason given"


def cause_lines(failure: dict[str, Any] | None) -> list[str]:
    """A failure and its causes, each in a line."""
    lines: list[str] = []
    while failure:
        attempt = f" (attempt {failure['attempt']})" if failure.get("attempt") else ""
        where = f"activity {failure['activity_type']}{attempt}: " if failure.get("activity_type") else ""
        lines.append(where + failure_line(failure))
        failure = failure.get("cause")
    return lines
