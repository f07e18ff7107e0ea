"""Avro's binary encoding of our own records, straight between bytes and instances.

A reader or writer is put together once for each class, from its fields' types, as `avro.py` makes its schema. A general
library looks at the schema for every value, and searches a union of forty kinds each time: it takes twice as long.
What older schemas wrote is still read by that library (`codec.py`).

Readers take (data, where) and give (value, where it ends); they raise IndexError, EOFError, OverflowError or
UnicodeDecodeError for bytes that do not fit.
"""

from __future__ import annotations

import struct
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from .common import Failure, Record
from .nesting import MAX_NESTED_FAILURES

Reader: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
Writer: TypeAlias = Callable[[bytearray, Any], None]

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_MAX_VARINT_BITS = 63
_DOUBLE = struct.Struct("<d")


@cache
def reader_of(cls: type[Record]) -> Reader:
    """What reads one record of a class."""
    return _failure_reader(0) if cls is Failure else _record_reader(cls, typing.get_type_hints(cls))


@cache
def writer_of(cls: type[Record]) -> Writer:
    """What writes one record of a class. It raises ValueError for a failure with more causes than readers take."""
    return _failure_writer(0) if cls is Failure else _record_writer(cls, typing.get_type_hints(cls))


# ---------------------------------------------------------------- reading


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > _MAX_VARINT_BITS:
            raise OverflowError("a number of more than 64 bits")
    value = (value >> 1) ^ -(value & 1)
    if not _LOWEST <= value <= _HIGHEST:
        raise OverflowError("a number of more than 64 bits")
    return value, at


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = _read_long(data, at)
    end = at + length
    if length < 0 or end > len(data):
        raise EOFError
    return data[at:end], end


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    value, at = _read_bytes(data, at)
    return value.decode(), at


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    return data[at] != 0, at + 1


def _read_double(data: bytes, at: int) -> tuple[float, int]:
    if at + 8 > len(data):
        raise EOFError
    return _DOUBLE.unpack_from(data, at)[0], at + 8


def _read_null(data: bytes, at: int) -> tuple[None, int]:
    return None, at


def _block(data: bytes, at: int) -> tuple[int, int]:
    """How many items come next; a negative number is followed by their size in bytes."""
    count, at = _read_long(data, at)
    if count < 0:
        _, at = _read_long(data, at)
    return abs(count), at


def _array_reader(item: Reader) -> Reader:
    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        count, at = _block(data, at)
        while count:
            for _ in range(count):
                value, at = item(data, at)
                values.append(value)
            count, at = _block(data, at)
        return values, at

    return read


def _map_reader(item: Reader) -> Reader:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {}
        count, at = _block(data, at)
        while count:
            for _ in range(count):
                key, at = _read_string(data, at)
                values[key], at = item(data, at)
            count, at = _block(data, at)
        return values, at

    return read


def _union_reader(branches: list[Reader]) -> Reader:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        index, at = _read_long(data, at)
        if index < 0:
            raise IndexError
        return branches[index](data, at)

    return read


def _record_reader(cls: type[Record], hints: dict[str, Any], **given: Reader) -> Reader:
    fields = [(name, given.get(name) or _reader(hints[name])) for name in cls.__struct_fields__]

    def read(data: bytes, at: int) -> tuple[Record, int]:
        values = {}
        for name, field in fields:
            values[name], at = field(data, at)
        return cls(**values), at

    return read


@cache
def _failure_reader(level: int) -> Reader:
    """A failure contains itself, and is read so many levels deep: no bytes can exhaust the stack."""
    causes: list[Reader] = [_read_null, _failure_reader(level + 1)] if level < MAX_NESTED_FAILURES else [_read_null]
    return _record_reader(Failure, typing.get_type_hints(Failure), cause=_union_reader(causes))


_READERS: dict[Any, Reader] = {
    int: _read_long, str: _read_string, bytes: _read_bytes, bool: _read_boolean, float: _read_double,
    types.NoneType: _read_null,
}


def _reader(hint: Any) -> Reader:
    if hint in _READERS:
        return _READERS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return _array_reader(_reader(arguments[0]))
    if origin is dict:
        return _map_reader(_reader(arguments[1]))
    if origin in (types.UnionType, typing.Union):
        return _union_reader([_reader(branch) for branch in _branches(arguments)])
    return reader_of(hint)


def _branches(arguments: tuple[Any, ...]) -> list[Any]:
    """The branches of a union in the order of its schema: null is the first."""
    members = [a for a in arguments if a is not types.NoneType]
    return members if len(members) == len(arguments) else [types.NoneType, *members]


# ---------------------------------------------------------------- writing


def _write_long(out: bytearray, value: int) -> None:
    if 0 <= value < 64:
        out.append(value << 1)
        return
    if not _LOWEST <= value <= _HIGHEST:
        raise OverflowError(f"{value} has more than 64 bits")
    left = (value << 1) ^ (value >> 63)
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)


def _write_bytes(out: bytearray, value: bytes) -> None:
    _write_long(out, len(value))
    out += value


def _write_string(out: bytearray, value: str) -> None:
    _write_bytes(out, value.encode())


def _write_boolean(out: bytearray, value: bool) -> None:
    out.append(1 if value else 0)


def _write_double(out: bytearray, value: float) -> None:
    out += _DOUBLE.pack(value)


def _write_null(out: bytearray, value: None) -> None:
    pass


def _array_writer(item: Writer) -> Writer:
    def write(out: bytearray, values: list[Any]) -> None:
        if values:
            _write_long(out, len(values))
            for value in values:
                item(out, value)
        out.append(0)

    return write


def _map_writer(item: Writer) -> Writer:
    def write(out: bytearray, values: dict[str, Any]) -> None:
        if values:
            _write_long(out, len(values))
            for key, value in values.items():
                _write_string(out, key)
                item(out, value)
        out.append(0)

    return write


def _union_writer(members: list[tuple[Any, Writer]]) -> Writer:
    """`members`: in the order of the schema. Which branch a value is of follows from its class."""
    branches = {hint: (index, write) for index, (hint, write) in enumerate(members)}

    def write(out: bytearray, value: Any) -> None:
        index, branch = branches[type(value)]
        _write_long(out, index)
        branch(out, value)

    return write


def _record_writer(cls: type[Record], hints: dict[str, Any], **given: Writer) -> Writer:
    fields = [(name, given.get(name) or _writer(hints[name])) for name in cls.__struct_fields__]

    def write(out: bytearray, value: Record) -> None:
        for name, field in fields:
            field(out, getattr(value, name))

    return write


@cache
def _failure_writer(level: int) -> Writer:
    deeper = _failure_writer(level + 1) if level < MAX_NESTED_FAILURES else _too_deep
    cause = _union_writer([(types.NoneType, _write_null), (Failure, deeper)])
    return _record_writer(Failure, typing.get_type_hints(Failure), cause=cause)


def _too_deep(out: bytearray, value: Any) -> None:
    raise ValueError(f"a failure has more than {MAX_NESTED_FAILURES} causes, which no reader takes: shorten it")


_WRITERS: dict[Any, Writer] = {
    int: _write_long, str: _write_string, bytes: _write_bytes, bool: _write_boolean, float: _write_double,
    types.NoneType: _write_null,
}


def _writer(hint: Any) -> Writer:
    if hint in _WRITERS:
        return _WRITERS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return _array_writer(_writer(arguments[0]))
    if origin is dict:
        return _map_writer(_writer(arguments[1]))
    if origin in (types.UnionType, typing.Union):
        return _union_writer([(branch, _writer(branch)) for branch in _branches(arguments)])
    return writer_of(hint)
