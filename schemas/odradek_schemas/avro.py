"""Avro schemas from record classes, and their fingerprints.

The `.avsc` files are written from the classes by `python -m odradek_schemas.generate`; a test holds them equal.
"""

from __future__ import annotations

import types
import typing
from functools import cache
from typing import Any

import fastavro
import msgspec
from fastavro.schema import to_parsing_canonical_form

from .common import Record

MARKER = b"\xc3\x01"
_EMPTY = 0xC15D213AA4D7A795
_PRIMITIVES = {int: "long", str: "string", bytes: "bytes", bool: "boolean", float: "double"}
_NAMESPACES = {
    "common": "common", "commands": "command", "history": "history", "records": "record", "engine_records": "record",
    "tasks": "task", "replies": "reply", "ephemeral": "ephemeral",
}


def full_name(cls: type[Record]) -> str:
    """`odradek.record.StartWorkflow`: the namespace is the module's, in the singular."""
    config = cls.__struct_config__
    if config.tag is not None:
        return str(config.tag)
    return f"odradek.{_NAMESPACES[cls.__module__.rsplit('.', 1)[-1]]}.{cls.__name__}"


def schema_of(cls: type[Record]) -> dict[str, Any]:
    """The Avro schema of a record class, complete in itself: nested types are defined where first used."""
    schema: dict[str, Any] = _record(cls, set())
    return schema


def fingerprint_of(schema: Any) -> bytes:
    """The 8 bytes that name a schema on the wire: CRC-64-AVRO of its parsing canonical form, little endian."""
    result, table = _EMPTY, _crc_table()
    for byte in to_parsing_canonical_form(fastavro.parse_schema(schema)).encode():
        result = (result >> 8) ^ table[(result ^ byte) & 0xFF]
    return result.to_bytes(8, "little")


@cache
def _crc_table() -> list[int]:
    """Of CRC-64-AVRO. fastavro makes it anew for each schema, which doubles the time."""
    table = list(range(256))
    for _ in range(8):
        table = [(entry >> 1) ^ (_EMPTY if entry & 1 else 0) for entry in table]
    return table


@cache
def hints_of(cls: type[Record]) -> dict[str, Any]:
    """The types of its fields. Each process asks several times for those of each class before its first record."""
    return typing.get_type_hints(cls)


_fields_of = cache(msgspec.structs.fields)


def _record(cls: type[Record], defined: set[str]) -> Any:
    name = full_name(cls)
    if name in defined:
        return name
    defined.add(name)
    namespace, _, short = name.rpartition(".")
    fields = []
    hints = hints_of(cls)
    for field in _fields_of(cls):
        entry: dict[str, Any] = {"name": field.name, "type": _type(hints[field.name], defined)}
        if field.default_factory is not msgspec.NODEFAULT:
            entry["default"] = field.default_factory()
        elif field.default is not msgspec.NODEFAULT:
            entry["default"] = field.default.decode("latin-1") if isinstance(field.default, bytes) else field.default
        fields.append(entry)
    doc = " ".join((cls.__doc__ or "").split())
    described = {"doc": doc} if doc and not doc.startswith(f"{cls.__name__}(") else {}
    return {"type": "record", "name": short, "namespace": namespace, **described, "fields": fields}


def _type(hint: Any, defined: set[str]) -> Any:
    if hint in _PRIMITIVES:
        return _PRIMITIVES[hint]
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], defined)}
    if origin is dict:
        return {"type": "map", "values": _type(arguments[1], defined)}
    if origin in (types.UnionType, typing.Union):
        members = [a for a in arguments if a is not types.NoneType]
        null = ["null"] if len(members) < len(arguments) else []
        return null + [_type(m, defined) for m in members]
    if isinstance(hint, type) and issubclass(hint, Record):
        return _record(hint, defined)
    raise TypeError(f"{hint!r} has no Avro type here")
