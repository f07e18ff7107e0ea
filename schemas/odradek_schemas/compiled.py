"""Readers and writers of Avro, made for each class of records from its fields' types.

They are functions of Python put together as text, as dataclasses are: no dicts lie between the bytes and the record,
which is most of what a general library spends. They know well-formed bytes only. Whatever else there is (a negative
size, an unknown branch, a failure with causes, a value that is none of the type) they give up on, and the codec asks
fastavro, whose answer is the one that counts. So they may refuse anything, and must never take what fastavro does not,
nor read or write it differently; `tests/schemas/test_compiled.py` holds both beside each other.
"""

from __future__ import annotations

import struct
import threading
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

from .avro import hints_of
from .common import Failure, Record

MAX_KEPT_LONGS = MAX_KEPT_TEXTS = 10_000
_LONGEST_KEPT = 100

Writer = Callable[[Any], bytes]
Reader = Callable[[bytes, int], tuple[Any, int]]
"""From the bytes and where to begin: the record, and where it ends. That may lie behind the end of the bytes."""


class UnusualError(Exception):
    """Something that these functions leave to fastavro."""


# ---------------------------------------------------------------- the smallest parts


def _written_long(value: int) -> bytes:
    """Zigzag, seven bits a byte, the lowest first."""
    if not -(2**63) <= value < 2**63:
        raise UnusualError
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


class _Longs(dict[int, bytes]):
    """The bytes of each number, kept for when it comes again, as small ones and times do; a bounded number of them."""

    def __missing__(self, value: int) -> bytes:
        written = _written_long(value)
        if len(self) >= MAX_KEPT_LONGS:
            self.clear()
        self[value] = written
        return written


_LONG = _Longs()


class _Texts(dict[str, bytes]):
    """The bytes of each text, with their number before them; of short ones kept for when they come again, as names and
    IDs do, and a bounded number of them."""

    def __missing__(self, value: str) -> bytes:
        text = value.encode()
        written = _LONG[len(text)] + text
        if len(text) <= _LONGEST_KEPT:
            if len(self) >= MAX_KEPT_TEXTS:
                self.clear()
            self[value] = written
        return written


def _long(data: bytes, at: int) -> tuple[int, int]:
    """A number of two bytes or more, and where it ends."""
    byte = data[at + 1]
    value = data[at] & 127 | (byte & 127) << 7
    at += 2
    shift = 14
    while byte > 127:
        if shift > 63:
            raise UnusualError
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
    if value >= 2**64:
        raise UnusualError
    return (value >> 1) ^ -(value & 1), at


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Where the bytes begin and end that follow their own size."""
    size, begin = _long(data, at)
    if size < 0:
        raise UnusualError
    return begin, begin + size


def _null(data: bytes, at: int) -> tuple[None, int]:
    return None, at


_ONE_BYTE = tuple((byte >> 1) ^ -(byte & 1) for byte in range(128))

_names: dict[str, Any] = {
    "UnusualError": UnusualError,
    "LONG": _LONG,
    "TEXT": _Texts(),
    "NO_CAUSE": {None: b"\0"},
    "BOOL": {False: b"\0", True: b"\1"},
    "pack": struct.Struct("<d").pack,
    "unpack": struct.Struct("<d").unpack_from,
    "NUMBER": _ONE_BYTE,
    "SIZE": tuple(None if byte & 1 else byte >> 1 for byte in range(128)),  # adding None ends in a TypeError
    "TRUTH": (False, True),
    "long": _long,
    "span": _span,
}
"""What the functions made here may use, and they themselves."""

_making = threading.RLock()


def writer_of(cls: type[Record]) -> Writer:
    """Gives the bytes of a record of the class, without a header. Raises whatever a value of a wrong type leads to."""
    with _making:
        writer: Writer = _names[_writer(cls)]
    return writer


def reader_of(cls: type[Record]) -> Reader:
    """Reads a record of the class. Raises whatever the bytes lead to."""
    with _making:
        reader: Reader = _names[_reader(cls)]
    return reader


def _define(name: str, lines: list[str]) -> str:
    exec("\n".join(lines), _names)  # of nothing but the names of our own classes and fields
    return name


def _named(prefix: str, value: Any) -> str:
    """A name for a value that the functions use."""
    name = f"{prefix}{len(_names)}"
    _names[name] = value
    return name


def _members(hint: Any) -> tuple[Any, ...]:
    """The branches of a union, as in its schema: null is the first. Empty: it is none."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return ()
    members = typing.get_args(hint)
    null = (types.NoneType,) if types.NoneType in members else ()
    return (*null, *(m for m in members if m is not types.NoneType))


# ---------------------------------------------------------------- writing


@cache
def _writer(cls: type[Record]) -> str:
    """The name of the function that writes the class. A failure contains itself, and is written up to that."""
    parts: list[str] = []
    hints = hints_of(cls)
    for field in cls.__struct_fields__:
        if cls is Failure and field == "cause":
            parts.append("NO_CAUSE[record.cause]")
        else:
            parts.extend(_bytes_of(hints[field], f"record.{field}"))
    name = _named("write", None)
    return _define(name, [f"def {name}(record):", f"    return b''.join(({', '.join(parts)},))"])


_WRITTEN: dict[Any, tuple[str, ...]] = {
    int: ("LONG[{0}]",),
    bool: ("BOOL[{0}]",),
    float: ("pack({0})",),
    str: ("TEXT[{0}]",),
    bytes: ("LONG[len(text := {0})]", "text"),
}


def _bytes_of(hint: Any, value: str) -> list[str]:
    """Expressions that give, one after another, the bytes of `value`, an expression itself."""
    if hint in _WRITTEN:
        return [part.format(value) for part in _WRITTEN[hint]]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        items = f"b''.join([{' + '.join(_bytes_of(arguments[0], 'item'))} for item in many])"
        return [f"(b'\\0' if not (many := {value}) else LONG[len(many)] + {items} + b'\\0')"]
    if origin is dict:
        entry = " + ".join([*_bytes_of(str, "key"), *_bytes_of(arguments[1], "item")])
        items = f"b''.join([{entry} for key, item in many.items()])"
        return [f"(b'\\0' if not (many := {value}) else LONG[len(many)] + {items} + b'\\0')"]
    members = _members(hint)
    if len(members) == 2 and members[0] is types.NoneType:
        return [f"(b'\\0' if (one := {value}) is None else b'\\2' + {_writer(members[1])}(one))"]
    if members:
        branches = {m: (_written_long(n), _names[_writer(m)]) for n, m in enumerate(members)}
        return [f"(branch := {_named('branches', branches)}[type(one := {value})])[0] + branch[1](one)"]
    return [f"{_writer(hint)}({value})"]


# ---------------------------------------------------------------- reading


@cache
def _reader(cls: type[Record]) -> str:
    """The name of the function that reads the class."""
    lines: list[str] = []
    hints = hints_of(cls)
    for field in cls.__struct_fields__:
        if cls is Failure and field == "cause":
            lines.extend(["if data[at]: raise UnusualError", "at += 1", "cause = None"])
        else:
            lines.extend(_reading(hints[field], field))
    given = ", ".join(f"{field}={field}" for field in cls.__struct_fields__)
    lines.append(f"return {_named('Class', cls)}({given}), at")
    name = _named("read", None)
    return _define(name, [f"def {name}(data, at):", *(f"    {line}" for line in lines)])


_SPAN = (
    "byte = data[at]",
    "if byte < 128: begin = at + 1; at = begin + SIZE[byte]",
    "else: begin, at = span(data, at)",
)
_READ: dict[Any, tuple[str, ...]] = {
    int: ("byte = data[at]", "if byte < 128: {0} = NUMBER[byte]; at += 1", "else: {0}, at = long(data, at)"),
    bool: ("{0} = TRUTH[data[at]]", "at += 1"),
    float: ("{0} = unpack(data, at)[0]", "at += 8"),
    str: (*_SPAN, "{0} = data[begin:at].decode()"),
    bytes: (*_SPAN, "{0} = data[begin:at]"),
}


def _reading(hint: Any, name: str) -> list[str]:
    """Lines that read a value of the type, at `at`, into the variable `name`."""
    if hint in _READ:
        return [line.format(name) for line in _READ[hint]]
    origin = typing.get_origin(hint)
    if origin in (list, dict):
        empty = "[]" if origin is list else "{}"
        return [f"if data[at]: {name}, at = {_many_reader(hint)}(data, at)", f"else: {name} = {empty}; at += 1"]
    members = _members(hint)
    if len(members) == 2 and members[0] is types.NoneType:
        return [
            "byte = data[at]",
            f"if byte == 2: {name}, at = {_reader(members[1])}(data, at + 1)",
            "elif byte: raise UnusualError",
            f"else: {name} = None; at += 1",
        ]
    if members:
        readers = {n: _null if m is types.NoneType else _names[_reader(m)] for n, m in enumerate(members)}
        return [*_reading(int, "branch"), f"{name}, at = {_named('readers', readers)}[branch](data, at)"]
    return [f"{name}, at = {_reader(hint)}(data, at)"]


@cache
def _many_reader(hint: Any) -> str:
    """The name of the function that reads a list or a map: blocks of items, the last one empty."""
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind is list:
        empty, reading = "[]", [*_reading(arguments[0], "item"), "many.append(item)"]
    else:
        empty, reading = "{}", [*_reading(str, "key"), *_reading(arguments[1], "item"), "many[key] = item"]
    name = _named("read", None)
    lines = [
        f"def {name}(data, at):",
        f"    many = {empty}",
        "    while True:",
        "        byte = data[at]",
        "        if byte < 128: left = NUMBER[byte]; at += 1",
        "        else: left, at = long(data, at)",
        "        if left <= 0:",
        "            if left: raise UnusualError",
        "            return many, at",
        "        for _ in range(left):",
        *(f"            {line}" for line in reading),
    ]
    return _define(name, lines)
