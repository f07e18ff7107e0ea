"""Records to bytes and back: Avro single-object encoding, and JSON for what people write by hand.

A record's bytes begin with C3 01 and the fingerprint of the schema that wrote them, so that any record
ever written still reads: a schema that is no longer the current one is kept in `avsc/archive/`.
"""

from __future__ import annotations

import contextlib
import json
import threading
import types
import typing
from collections.abc import Callable
from functools import cache, cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import fastavro
import msgspec

from . import common, engine_records, ephemeral, history, records, replies, tasks
from .avro import MARKER, fingerprint_of, full_name, hints_of, schema_of
from .common import Record
from .compiled import Reader, Writer, reader_of, writer_of
from .handwritten import from_json
from .nesting import MAX_NESTED_FAILURES, without_recursion

SHOWN_DEPTH = 4
_TAG = "-type"
ARCHIVE = Path(__file__).parent / "avsc" / "archive"


class DecodeError(ValueError):
    """Bytes that are no record of ours. The message says why."""


def record_classes() -> list[type[Record]]:
    """All classes that may stand alone in a topic."""
    nested = {common.Record, history.CommandSummary, records.LocalResult, records.Mark, records.HeldDetails}
    nested |= {replies.PendingActivity, replies.PendingTimer}
    classes: list[type[Record]] = []
    for module in (records, engine_records, ephemeral, tasks, replies):
        for value in vars(module).values():
            ours = isinstance(value, type) and issubclass(value, Record) and value.__module__ == module.__name__
            if ours and value not in nested:
                classes.append(value)
    return [*classes, history.HistoryEvent]


_Wrapper: TypeAlias = Callable[[Any], Any]


@cache
def _wrapper(hint: Any) -> _Wrapper | None:
    """What names the records inside unions for Avro, in place, in a value of type `hint`; None: nothing to do.

    Avro finds the branch by the name at once; without it, it would try them one by one.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, dict):
        inner = _wrapper(arguments[-1])
        if inner is None:
            return None
        return partial(_wrap_list if origin is list else _wrap_map, inner)
    if origin in (types.UnionType, typing.Union):
        members = {full_name(a): a for a in arguments if isinstance(a, type) and issubclass(a, Record)}
        return _union_wrapper(members) if members else None
    if isinstance(hint, type) and issubclass(hint, Record):
        return _record_wrapper(hint)
    return None


def _wrap_list(inner: _Wrapper, values: list[Any]) -> list[Any]:
    return [inner(v) for v in values]


def _wrap_map(inner: _Wrapper, values: dict[str, Any]) -> dict[str, Any]:
    return {k: inner(v) for k, v in values.items()}


def _union_wrapper(members: dict[str, type[Record]]) -> _Wrapper:
    only = next(iter(members)) if len(members) == 1 else None

    def wrap(value: Any) -> Any:
        if value is None:
            return None
        name = only or value[_TAG]
        inner = _wrapper(members[name])
        return (name, value if inner is None else inner(value))

    return wrap


def _record_wrapper(cls: type[Record]) -> _Wrapper | None:
    if cls is common.Failure:
        return _wrap_failure
    hints = hints_of(cls)
    steps = [(name, step) for name in cls.__struct_fields__ if (step := _wrapper(hints[name])) is not None]
    if not steps:
        return None

    def wrap(value: dict[str, Any]) -> dict[str, Any]:
        for name, step in steps:
            if value[name]:
                value[name] = step(value[name])
        return value

    return wrap


def _wrap_failure(value: dict[str, Any], level: int = 0) -> dict[str, Any]:
    """Failure contains itself, so its wrapper cannot be built from its fields."""
    if level > MAX_NESTED_FAILURES:
        raise ValueError(f"a failure has more than {MAX_NESTED_FAILURES} causes, which no reader takes: shorten it")
    if value["encoded_attributes"] is not None:
        value["encoded_attributes"] = (full_name(common.Payload), value["encoded_attributes"])
    if value["cause"] is not None:
        value["cause"] = (full_name(common.Failure), _wrap_failure(value["cause"], level + 1))
    return value


class _Format:
    """How one class is written and read."""

    def __init__(self, cls: type[Record]) -> None:
        self.cls = cls
        self.raw = schema_of(cls)
        self.schema = fastavro.parse_schema(self.raw)
        self.header = MARKER + fingerprint_of(self.raw)
        self.unions = [name for name, hint in hints_of(cls).items() if _is_union_of_records(hint)]
        self.wrap = _wrapper(cls) or (lambda value: value)
        msgspec.json.Decoder(cls)  # gathers what msgspec knows of the class, which two threads must not do at once

    @cached_property
    def write_quickly(self) -> Writer:
        return writer_of(self.cls)

    @cached_property
    def read_quickly(self) -> Reader:
        return reader_of(self.cls)

    @cached_property
    def reader(self) -> Any:
        """The schema to read with: made when the first one is read, for it is large where failures nest."""
        return fastavro.parse_schema(without_recursion(self.raw))

    def read(self, buffer: BytesIO, older: Any) -> Record:
        """Read what was written by the schema `older`; None: by today's."""
        writer, reader = (self.reader, None) if older is None else (older, self.reader)
        named = bool(self.unions)
        value: Any = fastavro.schemaless_reader(
            buffer, writer, reader, return_record_name=named, return_record_name_override=named
        )
        for name in self.unions:
            found = value[name]
            value[name] = [_tagged(one) for one in found] if isinstance(found, list) else _tagged(found)
        return msgspec.convert(value, self.cls)

    def write(self, buffer: BytesIO, record: Any) -> None:
        """Write a record of the class, without the header."""
        fastavro.schemaless_writer(buffer, self.schema, self.wrap(_to_builtins(record, builtin_types=(bytes,))))


def _is_union_of_records(hint: Any) -> bool:
    """Whether values are of one of several record classes, or lists of such; Avro gives them as (name, record)."""
    if typing.get_origin(hint) is list:
        (hint,) = typing.get_args(hint)
    return sum(isinstance(a, type) and issubclass(a, Record) for a in typing.get_args(hint)) > 1


def _tagged(pair: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """What msgspec reads as a tagged union."""
    name, fields = pair
    fields[_TAG] = name
    return fields


_gathering = threading.Lock()


@cache
def _formats() -> dict[type[Record], _Format]:
    with _gathering:
        return {cls: _Format(cls) for cls in record_classes()}


@cache
def _written() -> dict[bytes, tuple[_Format, Any]]:
    """What the first ten bytes stand for: a class, and the schema that wrote, or None for the class's own."""
    formats = _formats()
    by_name = {full_name(cls): f for cls, f in formats.items()}
    found: dict[bytes, tuple[_Format, Any]] = {}
    for path in sorted(ARCHIVE.glob("*.avsc")):
        raw = json.loads(path.read_text())
        name = f"{raw['namespace']}.{raw['name']}"
        if name in by_name:
            found[MARKER + fingerprint_of(raw)] = (by_name[name], fastavro.parse_schema(without_recursion(raw)))
    for f in formats.values():
        found[f.header] = (f, None)
    return found


_to_builtins: Callable[..., Any] = msgspec.to_builtins


def encode(record: Record) -> bytes:
    """The record in Avro single-object encoding. Raises ValueError for a failure with more causes than readers take."""
    f = _formats()[type(record)]
    try:
        return f.header + f.write_quickly(record)
    except Exception:  # whatever it is: fastavro says whether it is wrong
        return _encode_slowly(f, record)


def _encode_slowly(f: _Format, record: Record) -> bytes:
    """The same by fastavro."""
    buffer = BytesIO()
    buffer.write(f.header)
    f.write(buffer, record)
    return buffer.getvalue()


def decode(data: bytes) -> Record:
    """The record in `data`: single-object Avro, or a JSON object of those that people write by hand.

    Raises DecodeError, and nothing else, for anything else.
    """
    entry = _written().get(data[:10])
    if entry is None:
        return _decode_other(data)
    f, older = entry
    if older is None:
        record: Record
        try:
            record, end = f.read_quickly(data, 10)
        except Exception:  # whatever it is: fastavro says whether it is wrong, and what
            end = -1
        if end == len(data):
            return record
    return _decode_slowly(f, older, data)


def _decode_other(data: bytes) -> Record:
    """What no schema of ours wrote."""
    if data[:1] == b"{":
        try:
            return from_json(data)
        except ValueError as error:
            raise DecodeError(f"JSON record not understood: {error}") from error
    if data[:2] != MARKER:
        raise DecodeError(f"{len(data)} bytes that are neither Avro single-object encoding nor JSON")
    raise DecodeError(f"no schema has the fingerprint {data[2:10].hex()}; a newer version may have written this")


def _decode_slowly(f: _Format, older: Any, data: bytes) -> Record:
    """The same by fastavro, which also reads what an older schema wrote."""
    buffer = BytesIO(data[10:])
    try:
        record = f.read(buffer, older)
    except Exception as error:  # fastavro raises whatever the bytes lead it to: EOFError, IndexError, struct.error ...
        # The text gets into dead letters, and folding again gives the same bytes: no addresses, as fastavro's have.
        said = str(error) if isinstance(error, msgspec.ValidationError) else type(error).__name__
        raise DecodeError(f"bytes do not fit the schema of {full_name(f.cls)}: {said}") from error
    if buffer.tell() != len(data) - 10:
        raise DecodeError(f"{len(data) - 10 - buffer.tell()} bytes too many after {full_name(f.cls)}")
    return record


def class_of(data: bytes) -> type[Record] | None:
    """What kind of record `data` says that it is, without reading it; None for JSON, and for what is not known."""
    entry = _written().get(data[:10])
    return None if entry is None else entry[0].cls


def to_json(record: Record) -> dict[str, Any]:
    """The record as plain JSON values, for people: `type`, then the fields; bytes as text where they are text.

    Records within records are shown `SHOWN_DEPTH` deep, the bytes of deeper ones as hex.
    """
    return _record_to_json(record, SHOWN_DEPTH)


def _record_to_json(record: Record, depth: int) -> dict[str, Any]:
    value = msgspec.to_builtins(record, builtin_types=(bytes,))
    value.pop(_TAG, None)
    return {"type": type(record).__name__, **{k: _readable(v, depth) for k, v in value.items()}}


def _readable(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"metadata", "data"} and isinstance(value["data"], bytes):
            return _readable_payload(value, depth)
        tag = value.get(_TAG)
        if isinstance(tag, str):
            rest = {k: _readable(v, depth) for k, v in value.items() if k != _TAG}
            return {"type": tag.rsplit(".", 1)[-1], **rest}
        return {k: _readable(v, depth) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_readable(v, depth) for v in value]
    if isinstance(value, bytes):
        return _readable_bytes(value, depth)
    return value


def _readable_payload(value: dict[str, Any], depth: int) -> Any:
    encoding = value["metadata"].get("encoding")
    if encoding == b"json/plain":
        with contextlib.suppress(ValueError, RecursionError):
            return msgspec.json.decode(value["data"])
    elif encoding == b"binary/null":
        return None
    return {
        "metadata": {k: _readable_bytes(v, depth) for k, v in value["metadata"].items()},
        "data": _readable_bytes(value["data"], depth),
    }


def _readable_bytes(value: bytes, depth: int) -> Any:
    if value[:2] == MARKER and depth:
        with contextlib.suppress(DecodeError):
            return _record_to_json(decode(value), depth - 1)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"hex": value.hex()}


__all__ = ["DecodeError", "class_of", "decode", "encode", "record_classes", "to_json"]
