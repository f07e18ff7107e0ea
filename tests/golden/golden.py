"""Logs that are kept as they were written, and the digest of what folding them gives (rule V2).

A digest covers every effect and the whole state, by the names of fields and without those that have their default: a
field that newer code adds does not change it, what newer code does differently with an old log does.

A file is `logs/v<fold version>/<name>.log`: zlib over MessagePack, `[partition, [[timestamp, key, value], ...]]`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from odradek_engine.fold import Effect, MemoryStorage, State, fold
from odradek_schemas import DecodeError, Topics, decode

LOGS = Path(__file__).parent / "logs"
DIGESTS = "digests.json"
_EFFECT = ("topic", "partition", "offset", "index", "key", "value")
TOPICS = Topics("golden")


class Entry(NamedTuple):
    timestamp_ms: int
    key: bytes
    value: bytes


class GoldenLog(NamedTuple):
    """One partition of `events`, from its first record on."""

    partition: int
    entries: list[Entry]


def write_log(path: Path, log: GoldenLog) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.compress(msgspec.msgpack.encode(log), 9))


def read_log(path: Path) -> GoldenLog:
    return msgspec.msgpack.decode(zlib.decompress(path.read_bytes()), type=GoldenLog)


def read_digests(folder: Path) -> dict[str, str]:
    """The digests of a folder's logs, by their names."""
    return msgspec.json.decode((folder / DIGESTS).read_bytes(), type=dict[str, str])


def digest(log: GoldenLog) -> str:
    """What folding the log gives: each record's effects, and the state at its end."""
    state = State(MemoryStorage(), log.partition)
    hashed = hashlib.sha256()
    for offset, entry in enumerate(log.entries):
        for effect in fold(state, TOPICS, offset, *entry).effects:
            hashed.update(_text(effect))
    state.flush()
    for key, row in sorted(state.scan(b"\x01", b"\x01", b"\xff")):
        hashed.update(_text([key, row]))
    return hashed.hexdigest()


def _text(value: Any) -> bytes:
    return msgspec.json.encode(_plain(value), order="sorted")


def _plain(value: Any) -> Any:
    """A value by the names of its fields, and records instead of their bytes."""
    if isinstance(value, Effect):
        return ["Effect", {name: _plain(getattr(value, name)) for name in _EFFECT}]
    if isinstance(value, msgspec.Struct):
        return [type(value).__name__, {name: _plain(field) for name, field in _set_fields(value)}]
    if isinstance(value, bytes):
        try:
            return _plain(decode(value))
        except DecodeError:
            return value.hex()
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _set_fields(value: msgspec.Struct) -> Iterable[tuple[str, Any]]:
    for field in msgspec.structs.fields(value):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        found = getattr(value, field.name)
        if default is msgspec.NODEFAULT or found != default:
            yield field.name, found
