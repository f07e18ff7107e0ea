"""Choices that come from bytes, so that a fuzzer that changes bytes changes choices; and records changed by choices."""

from __future__ import annotations

import random
from typing import Any, TypeVar

import msgspec
from odradek_schemas import encode
from odradek_schemas.avro import fingerprint_of, schema_of
from odradek_schemas.codec import record_classes
from odradek_schemas.common import Failure, Payload, Record
from odradek_schemas.records import LeaderElected

R = TypeVar("R", bound=Record)

HEADERS = tuple(b"\xc3\x01" + fingerprint_of(schema_of(cls)) for cls in record_classes())
ODD_NUMBERS = (-(2**63), -(2**62), -2, -1, 0, 1, 2, 7, 2**31, 2**53, 2**62, 2**63 - 1)
ODD_TEXTS = ("", "w", "other", "a\0b", "\ud7ff", "\U0010ffff", "x" * 1500, "{}", "../..", "odradek/stored", "-1")
ODD_BYTES = (b"", b"\0", b"\xff" * 9, b"null", b'{"a":1}', b"[" * 2_000, b'"' + b"x" * 300, b"odradek/stored", b"1e400")
ODD_PAYLOADS = tuple(
    Payload(metadata={"encoding": encoding}, data=data)
    for encoding in (b"json/plain", b"binary/null", b"binary/plain", b"binary/zlib", b"odradek/stored", b"", b"\xff")
    for data in ODD_BYTES
)


class BytesRandom(random.Random):
    """Draws from `data`; when that is used up, all is 0."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return max(0, len(self._data) - self._at)

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        piece = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(piece, "big") & ((1 << k) - 1)

    def _randbelow(self, n: int) -> int:
        """Without the loop of the original, which draws again what is too large."""
        return self.getrandbits(max(8, n.bit_length())) % n if n else 0

    def random(self) -> float:
        return self.getrandbits(16) / 65_536

    def rest(self) -> bytes:
        piece, self._at = self._data[self._at :], len(self._data)
        return piece


def mutated(rng: random.Random, record: R) -> R:
    """A record with some of its fields changed, at any depth, for others of their types."""
    changed: R = record
    for _ in range(rng.randrange(4)):
        changed = _changed(rng, changed)
    return changed


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(ODD_NUMBERS)
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1e308, float("inf"), 0.5))
    if isinstance(value, str):
        return rng.choice(ODD_TEXTS)
    if isinstance(value, bytes):
        return rng.choice(ODD_BYTES)
    if isinstance(value, Payload) and rng.randrange(2):
        return rng.choice(ODD_PAYLOADS)
    if isinstance(value, Failure) and rng.randrange(4) == 0:
        return msgspec.structs.replace(value, cause=value)
    if isinstance(value, list):
        return _changed_list(rng, value)
    if isinstance(value, dict):
        return {**value, rng.choice(ODD_TEXTS): _changed(rng, rng.choice(list(value.values())))} if value else value
    if isinstance(value, msgspec.Struct) and value.__struct_fields__:
        name = rng.choice(value.__struct_fields__)
        if (type(value), name) == (LeaderElected, "version"):
            return value  # a newer fold than ours: we are to stop there (V1)
        return msgspec.structs.replace(value, **{name: _changed(rng, getattr(value, name))})
    return value


def _changed_list(rng: random.Random, value: list[Any]) -> list[Any]:
    if not value:
        return value
    at, way = rng.randrange(len(value)), rng.randrange(4)
    if way == 0:
        return value + value
    if way == 1:
        return value[:at] + value[at + 1 :]
    if way == 2:
        return value[::-1]
    return [*value[:at], _changed(rng, value[at]), *value[at + 1 :]]


def spoilt(rng: random.Random, record: Record) -> bytes:
    """The bytes of a record that was changed: its fields, a few of its bytes, its length, or what it says it is."""
    try:
        value = encode(mutated(rng, record))
    except (ValueError, UnicodeEncodeError, OverflowError):  # not every change can be written
        value = encode(record)
    way = rng.randrange(6)
    if way == 0 and len(value) > 10:
        at = rng.randrange(10, len(value))
        return value[:at] + rng.randbytes(rng.randrange(3)) + value[at + 1 :]
    if way == 1:
        return rng.choice(HEADERS) + value[10:]
    if way == 2:
        return value[: rng.randrange(len(value) + 1)] + rng.randbytes(rng.randrange(4))
    return value
