"""Failures: errors as data, and back as their own classes.

A failure is bounded: 20 causes, 16 KB for a message or a stack trace, 200 KB of details. Writing one never fails:
what cannot be written is left out, and the failure says so. With a codec, messages and stack traces are encoded too.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import msgspec
from odradek_schemas.common import Failure, Payload

from ._guards import is_dict, is_list
from ._stack_traces import stack_trace_of
from .errors import (
    ActivityError,
    ActivityTimeoutError,
    ApplicationError,
    ChildWorkflowError,
    CodecError,
    PayloadError,
    WorkflowCancelledError,
    WorkflowTerminatedError,
    WorkflowTimeoutError,
)

if TYPE_CHECKING:
    from ._converter import DataConverter

MAX_CAUSES = 20
MAX_TEXT = 16 * 1024
MAX_DETAILS = 200 * 1024
HIDDEN = "Encoded failure"
"""The message of a failure whose own message and stack trace a codec has put into `encoded_attributes`."""

_log = logging.getLogger(__name__)
_MODULE = re.compile(r"[A-Za-z_][\w.]*")
_STACK_TRACE = "_odradek_stack_trace"
_OWN_FIELDS = frozenset({"message", "details", "type", "non_retryable", "next_retry_delay"})


# ---------------------------------------------------------------- errors to failures


def to_failure(error: BaseException, converter: DataConverter) -> Failure:
    """`error` and what is behind it, as data."""
    chain: list[BaseException] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        chain.append(link)
        link = _behind(link)
    failure: Failure | None = None
    if len(chain) > MAX_CAUSES:
        failure = Failure(message=f"{len(chain) - MAX_CAUSES} more causes are left out", type="Truncated")
    budget = MAX_DETAILS // min(len(chain), MAX_CAUSES)
    for link in reversed(chain[:MAX_CAUSES]):
        failure = _link(link, failure, converter, budget)
    assert failure is not None
    return failure


def _behind(error: BaseException) -> BaseException | None:
    """What Python itself would show as the reason of `error`; of a group, its first error."""
    if error.__cause__ is not None:
        return error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return None if error.__suppress_context__ else error.__context__


def _link(error: BaseException, cause: Failure | None, converter: DataConverter, budget: int) -> Failure:
    fields: dict[str, Any] = {"kind": "application", "type": type(error).__name__}
    details: Sequence[Any] = ()
    if isinstance(error, ActivityError):
        fields = {"kind": "activity", "type": error.type, "activity_type": error.activity_type}
        fields |= {"attempt": error.attempt, "non_retryable": error.non_retryable}
        details = error.details
        if isinstance(error, ActivityTimeoutError):
            fields |= {"kind": "timeout", "timeout_type": error.timeout_type}
    elif isinstance(error, ApplicationError):
        fields |= {"type": error.type, "non_retryable": error.non_retryable}
        details = error.details
    elif isinstance(error, asyncio.CancelledError | WorkflowCancelledError):
        fields["kind"] = "cancelled"
    elif isinstance(error, WorkflowTerminatedError):
        fields["kind"] = "terminated"
    elif isinstance(error, WorkflowTimeoutError):
        fields |= {"kind": "timeout", "timeout_type": error.timeout_type}
    elif isinstance(error, ChildWorkflowError):
        fields["kind"] = "child"
    message, stack_trace = _shorten(_message(error)), _stack_trace(error)
    try:
        attributes = _attributes(error, converter) if fields["kind"] == "application" else None
        fields["details"] = _details(details, converter, budget)
        if converter.has_codec:
            attributes = _hidden(attributes, message, stack_trace, converter)
            message, stack_trace = HIDDEN, ""
    except CodecError as problem:  # the text must not leave as it is
        _log.warning("a failure of type %s leaves without its message: %s", fields["type"], problem)
        message, stack_trace, attributes = f"{HIDDEN}, which the codec could not encode", "", None
    return Failure(message=message, stack_trace=stack_trace, encoded_attributes=attributes, cause=cause, **fields)


def _hidden(attributes: Payload | None, message: str, stack_trace: str, converter: DataConverter) -> Payload:
    """The attributes with the texts of a failure, encoded."""
    known = converter.from_payload(attributes) if attributes is not None else {}
    return converter.to_payload({**known, "message": message, "stack_trace": stack_trace})


def opened(failure: Failure, converter: DataConverter) -> Failure:
    """`failure` and its causes with the texts that `_hidden` has put into their attributes. Raises CodecError."""
    cause = None if failure.cause is None else opened(failure.cause, converter)
    texts: dict[str, str] = {}
    if failure.encoded_attributes is not None and failure.message == HIDDEN:
        found = converter.from_payload(failure.encoded_attributes)
        if is_dict(found):
            texts = {name: found[name] for name in ("message", "stack_trace") if isinstance(found.get(name), str)}
    return msgspec.structs.replace(failure, cause=cause, **texts)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:
        return f"(its __str__ raised {type(broken).__name__})"


def _shorten(text: str) -> str:
    """`text` without surrogates, and with its middle cut out if it is too long."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= MAX_TEXT // 4 or len(text.encode()) <= MAX_TEXT:
        return text
    head, tail = text.encode()[: MAX_TEXT // 3], text.encode()[-MAX_TEXT // 2 :]
    return f"{head.decode(errors='ignore')}\n... ({len(text)} characters in all) ...\n{tail.decode(errors='ignore')}"


def _stack_trace(error: BaseException) -> str:
    remote = vars(error).get(_STACK_TRACE)
    if isinstance(remote, str):
        return remote
    return _shorten(stack_trace_of(error))


def _details(details: Sequence[Any], converter: DataConverter, budget: int) -> list[Payload]:
    payloads: list[Payload] = []
    for detail in details:
        try:
            payload = converter.to_payload(detail)
        except CodecError:
            raise
        except PayloadError as error:
            payload = converter.to_payload(_shorten(f"{detail!r:.1000} ({error})"))
        budget -= len(payload.data)
        if budget < 0:
            payloads.append(converter.to_payload("more details are left out: they are too large"))
            break
        payloads.append(payload)
    return payloads


def _attributes(error: BaseException, converter: DataConverter) -> Payload | None:
    """What it takes to make the same error again; None where the failure itself says all, or no error can be made."""
    if type(error) is ApplicationError or isinstance(error, BaseExceptionGroup):
        return None
    attributes: dict[str, Any] = {"class": class_path(type(error))}
    if all(_is_plain(argument) for argument in error.args):
        attributes["args"] = list(error.args)
    own = _OWN_FIELDS if isinstance(error, ApplicationError) else frozenset[str]()
    extra = {
        name: value
        for name, value in vars(error).items()
        if not name.startswith("_") and name not in own and _is_plain(value)
    }
    if extra:
        attributes["attributes"] = extra
    payload = converter.to_payload(attributes)
    if len(payload.data) > MAX_TEXT:
        payload = converter.to_payload({"class": attributes["class"]})
    return payload


def _is_plain(value: Any, depth: int = 3) -> bool:
    """Whether `value` comes back the same from JSON without an annotation."""
    if value is None or type(value) is bool:
        return True
    if type(value) is str:
        return value.isascii() or value.encode("utf-8", "replace").decode() == value  # no lone surrogates
    if type(value) is int:
        return abs(value) < 2**63
    if type(value) is float:
        return math.isfinite(value)
    if depth == 0 or type(value) not in (list, dict):
        return False
    if is_dict(value):
        return all(type(key) is str and _is_plain(item, depth - 1) for key, item in value.items())
    return is_list(value) and all(_is_plain(item, depth - 1) for item in value)


def set_stack_trace(error: BaseException, stack_trace: str) -> None:
    """What is written as the stack trace of an error that was not raised where it comes from."""
    error.__dict__[_STACK_TRACE] = stack_trace


# ---------------------------------------------------------------- failures to errors


def from_failure(failure: Failure, converter: DataConverter) -> BaseException:
    """The error that `failure` was made of, with its chain of causes."""
    error = _from_link(failure, converter)
    if failure.cause is not None:
        error.__cause__ = from_failure(failure.cause, converter)
    return error


def activity_error(failure: Failure, converter: DataConverter, *, activity_type: str, attempt: int) -> Exception:
    """What a failed activity raises in the workflow: its own error with ActivityError as `__cause__`, or that alone.
    Raises CodecError if it was encoded with a codec that is not the same."""
    failure = opened(failure, converter)
    activity = ActivityError(
        failure.message or failure.type or "the activity failed",
        *_read_details(failure.details, converter),
        type=failure.type,
        activity_type=activity_type,
        attempt=attempt,
        non_retryable=failure.non_retryable,
    )
    _add_stack_trace(activity, failure)
    if failure.cause is not None:
        activity.__cause__ = from_failure(failure.cause, converter)
    own = _own_error(failure, converter)
    if own is None:
        return activity
    own.__cause__ = activity
    return own


def activity_timeout_error(
    converter: DataConverter,
    *,
    activity_type: str,
    timeout_type: str,
    timeout_ms: int,
    attempt: int,
    last_failure: Failure | None = None,
    heartbeat_details: Sequence[Payload] = (),
) -> ActivityTimeoutError:
    """What a timed-out activity raises in the workflow; `__cause__` is the error of the attempt before."""
    limit = str(timedelta(milliseconds=timeout_ms)) if timeout_ms else ""
    name = f"{timeout_type}_timeout{f' of {limit}' * bool(limit)}"
    error = ActivityTimeoutError(
        f"activity {activity_type}: its {name} is over (attempt {attempt})",
        *_read_details(heartbeat_details, converter),
        timeout_type=timeout_type,
        activity_type=activity_type,
        attempt=attempt,
    )
    if last_failure is not None:
        error.__cause__ = from_failure(opened(last_failure, converter), converter)
    return error


def _from_link(failure: Failure, converter: DataConverter) -> BaseException:
    error = _own_error(failure, converter) or _standard_error(failure, converter)
    _add_stack_trace(error, failure)
    return error


def _standard_error(failure: Failure, converter: DataConverter) -> BaseException:
    details = _read_details(failure.details, converter)
    message = failure.message
    if failure.kind == "cancelled":
        return asyncio.CancelledError(*[message] if message else [])
    if failure.kind == "terminated":
        return WorkflowTerminatedError(message, reason=message)
    if failure.kind == "child":
        return ChildWorkflowError(message)
    if failure.kind == "timeout" and not failure.activity_type:
        return WorkflowTimeoutError(message, timeout_type=failure.timeout_type)
    common: dict[str, Any] = {"type": failure.type, "non_retryable": failure.non_retryable}
    if failure.kind in ("activity", "timeout"):
        common |= {"activity_type": failure.activity_type, "attempt": failure.attempt}
    if failure.kind == "timeout":
        return ActivityTimeoutError(message, *details, timeout_type=failure.timeout_type, **common)
    if failure.kind == "activity":
        return ActivityError(message, *details, **common)
    return ApplicationError(message, *details, **common)


def _own_error(failure: Failure, converter: DataConverter) -> Exception | None:
    """The error as an instance of its own class, without a call of its `__init__`; None if that cannot be."""
    if failure.encoded_attributes is None or failure.kind not in ("application", "bug"):
        return None
    try:
        attributes = converter.from_payload(failure.encoded_attributes)
    except CodecError:
        raise
    except PayloadError as error:
        _log.warning("the class of a failure of type %s cannot be read: %s", failure.type, error)
        return None
    if not is_dict(attributes) or not isinstance(attributes.get("class"), str):
        return None
    cls = _find_class(attributes["class"])
    if cls is None or issubclass(cls, (StopIteration, StopAsyncIteration)):  # no future or coroutine can raise these
        return None
    try:
        return _make(cls, failure, attributes, converter)
    except Exception as broken:
        _log.warning("%s cannot be made again from its failure: %r", attributes["class"], broken)
        return None


def _make(cls: type[Exception], failure: Failure, attributes: dict[str, Any], converter: DataConverter) -> Exception:
    given = attributes.get("args")
    args: tuple[Any, ...] = tuple(given) if is_list(given) else (failure.message,)
    error = cls.__new__(cls, *args)
    error.args = args
    if isinstance(error, ApplicationError):
        error.message = failure.message
        error.details = tuple(_read_details(failure.details, converter))
        error.type = failure.type
        error.non_retryable = failure.non_retryable
        error.next_retry_delay = None
    extra = attributes.get("attributes")
    if is_dict(extra):
        error.__dict__.update(extra)
    return error


def _read_details(details: Sequence[Payload], converter: DataConverter) -> list[Any]:
    try:
        return converter.from_payloads(details, [])
    except CodecError:
        raise
    except PayloadError as error:
        _log.warning("the details of a failure cannot be read: %s", error)
        return []


def _add_stack_trace(error: BaseException, failure: Failure) -> None:
    """Keep the stack trace of the process that raised: to show it, and to hand it on."""
    if failure.stack_trace:
        set_stack_trace(error, failure.stack_trace)
        error.add_note(f"Raised in the worker (most recent call last):\n{failure.stack_trace.rstrip()}")


# ---------------------------------------------------------------- classes by name


def class_path(cls: type) -> str:
    """`module:qualname` of a class. A module that is run with `python -m` goes by its own name."""
    module = cls.__module__
    if module == "__main__":
        module = _main_name() or module
    return f"{module}:{cls.__qualname__}"


def _find_class(path: str) -> type[Exception] | None:
    """The exception class of that path if it can be imported, and is one."""
    module_name, _, qualname = path.partition(":")
    if not _MODULE.fullmatch(module_name):
        return None
    module: Any = sys.modules.get("__main__" if module_name == _main_name() else module_name)
    if module is None:
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            return None
        except Exception as error:
            _log.warning("%s cannot be imported, for %s: %r", module_name, qualname, error)
            return None
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    return found


def _main_name() -> str | None:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return getattr(spec, "name", None)
