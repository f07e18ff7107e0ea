"""The bytes of one entry of a journal.

    length u32 | crc32 u32 | topic id u32 | partition u32 | offset u64 | timestamp ms u64 | key length u32 | key | value

little-endian; `length` counts what follows the checksum, which covers it too. Topic 0 is the journal's own: a
*mark*, whose offset is its own position in the journal, and whose value says up to which position the journal
had been forced to the disk when the mark was written. Damage below that position can be no torn write.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

_FRAME = struct.Struct("<II")
_BODY = struct.Struct("<IIQQI")
_HEAD = struct.Struct("<IIIIQQI")
_MARK = struct.Struct("<16sQ")
_MAGIC = b"\x00odradek-synced\x00"

FRAME_SIZE = _FRAME.size
HEAD_SIZE = _HEAD.size
MARK_TOPIC = 0
MARK_SIZE = HEAD_SIZE + _MARK.size


class Entry(NamedTuple):
    size: int
    topic: int
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


def encode(topic: int, partition: int, offset: int, timestamp_ms: int, key: bytes, value: bytes) -> bytes:
    """One entry, ready to be written."""
    body = _BODY.pack(topic, partition, offset, timestamp_ms, len(key)) + key + value
    size = len(body)
    return _FRAME.pack(size, crc32(body, size)) + body


def decode(buffer: bytes, at: int) -> Entry | None:
    """The entry at `at`; None if what stands there is none, or is not all there."""
    if len(buffer) - at < HEAD_SIZE:
        return None
    length, crc, topic, partition, offset, timestamp_ms, key_size = _HEAD.unpack_from(buffer, at)
    start, end = at + HEAD_SIZE, at + FRAME_SIZE + length
    if start + key_size > end or end > len(buffer):
        return None
    if crc32(memoryview(buffer)[at + FRAME_SIZE : end], length) != crc:
        return None
    middle = start + key_size
    return Entry(end - at, topic, partition, offset, timestamp_ms, buffer[start:middle], buffer[middle:end])


def entry_size(buffer: bytes, at: int) -> int:
    """What the frame at `at` says its entry's size is, true or not."""
    length: int = _FRAME.unpack_from(buffer, at)[0]
    return FRAME_SIZE + length


def encode_mark(position: int, synced: int) -> bytes:
    """The mark to be written at journal position `position`."""
    return encode(MARK_TOPIC, 0, position, 0, b"", _MARK.pack(_MAGIC, synced))


def synced_of(mark: Entry) -> int:
    """The journal position up to which everything was on the disk when `mark` was written."""
    synced: int = _MARK.unpack(mark.value)[1]
    return synced


def last_synced(buffer: bytes, position: int) -> int:
    """The highest such position that any mark in `buffer` tells; `buffer` begins at journal position `position`."""
    found, at = 0, buffer.find(_MAGIC)
    while at >= 0:
        start = at - HEAD_SIZE
        entry = decode(buffer, start) if start >= 0 else None
        if entry is not None and entry.topic == MARK_TOPIC and entry.offset == position + start:
            found = max(found, synced_of(entry))
        at = buffer.find(_MAGIC, at + 1)
    return found
