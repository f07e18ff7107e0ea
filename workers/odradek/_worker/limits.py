"""Failures that fit into a record, whatever the user's error holds."""

from __future__ import annotations

import msgspec
from odradek_schemas import Failure

from .bounded_history import HistoryTooLargeError

_MESSAGE = 4_000
_TRACE = 16_000
_DEPTH = 5
_SMALL_BYTES = 20_000


def compact(failure: Failure, depth: int = _DEPTH) -> Failure:
    """The failure with texts cut, details left out, and the chain of causes ended after a few.

    At most about 110,000 characters: below every log's limit for a record.
    """
    dropped = bool(failure.details) or failure.encoded_attributes is not None
    note = " [details left out: too large for the log]" if dropped else ""
    cause = failure.cause
    return msgspec.structs.replace(
        failure,
        message=_cut(failure.message, _MESSAGE) + note,
        stack_trace=_cut(failure.stack_trace, _TRACE),
        details=[],
        encoded_attributes=None,
        cause=compact(cause, depth - 1) if cause is not None and depth > 1 else None,
    )


def compact_if_large(failure: Failure) -> Failure:
    """The failure as it is, unless it would take much of a record."""
    return failure if len(msgspec.json.encode(failure)) <= _SMALL_BYTES else compact(failure)


def _cut(text: str, limit: int) -> str:
    """The beginning and, longer, the end: of a traceback the end says most."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 4]}\n[... {len(text) - limit} characters left out ...]\n{text[-(limit - limit // 4) :]}"


def history_too_large_failure(error: HistoryTooLargeError) -> Failure:
    return Failure(message=str(error), type="HistoryTooLarge", kind="bug")


def too_large_failure(size: int) -> Failure:
    return Failure(
        message=f"what the workflow asks for in one step is {size:,} bytes, more than the log takes in one record; "
        "schedule fewer activities at once, and give client and workers DataConverter(store=...) for large values",
        type="CompletionTooLarge", kind="bug",
    )
