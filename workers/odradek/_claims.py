"""The claim check: payloads too large for the log are put into a store, and records carry a reference to them.

It works on records: after codecs have changed the payloads, before the record is appended; and on what is read,
before anybody decodes it. So neither a workflow's code nor a codec knows of it. A reference is a payload whose metadata
name the bytes by their SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import msgspec
from odradek_schemas import decode, encode
from odradek_schemas.common import Payload, Record
from odradek_schemas.history import HistoryEvent

from ._codecs import packed, unpacked
from ._payload_store import PayloadStore
from .errors import PayloadStoreError

R = TypeVar("R", bound=Record)

OFFLOAD_ABOVE = 100_000
"""Default: a tenth of what Kafka takes in a record."""

_SMALL = 1_000
"""Payloads up to this size are never replaced: it would not make a record small."""

_STORED = b"odradek/stored"
_NAME, _SIZE = "stored-name", "stored-size"
_THREADS = 8
_PLAIN_FIELDS = frozenset({"search_attributes"})  # they are to be searched


class Packed(NamedTuple):
    """A record with references, and what has to be in the store before it is appended, by name."""

    record: Record
    blobs: dict[str, bytes]


class Claims:
    """Puts payloads of more than `offload_above` bytes into `store`; smaller ones, too, where a record would be too
    large as a whole."""

    def __init__(self, store: PayloadStore, offload_above: int) -> None:
        self._store = store
        self.offload_above = max(offload_above, _SMALL)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="odradek-payloads")

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Run something that waits for the store, in a thread."""
        return self._pool.submit(work)

    # ------------------------------------------------------------ writing

    def pack(self, record: Record, limit: int) -> Packed:
        """The record with references. Nothing is stored yet. `limit`: bytes that the encoded record may have."""
        payloads = sorted(_payloads(record), key=lambda payload: -len(payload.data))
        large = [payload for payload in payloads if len(payload.data) > self.offload_above]
        blobs: dict[str, bytes] = {}
        references = {id(payload): _reference(payload, blobs) for payload in large}
        made = _replaced(record, references)
        over = len(encode(made)) - limit
        if over <= 0:
            return Packed(made, blobs)
        for payload in payloads[len(large) :]:
            if over <= 0 or len(payload.data) <= _SMALL:
                break
            references[id(payload)] = _reference(payload, blobs)
            over -= len(payload.data) - _SMALL
        return Packed(_replaced(record, references), blobs)

    def put(self, blobs: Mapping[str, bytes]) -> None:
        """Store them. Blocks. Raises PayloadStoreError."""
        for name, data in blobs.items():
            try:
                self._store.put(name, data)
            except Exception as error:
                raise PayloadStoreError(
                    f"the payload store did not take {len(data):,} bytes: {error!r}; nothing was appended. Look at the "
                    "store that the data converter has"
                ) from error

    # ------------------------------------------------------------ reading

    def fetch(self, value: R) -> R:
        """A record with what its references stand for; also in the encoded history events that it holds. Blocks.
        Raises PayloadStoreError."""
        found = {id(payload): self.fetch_payload(payload) for payload in _payloads(value) if is_reference(payload)}
        fetched: R = _replaced(value, found)
        events = getattr(fetched, "events", None)
        if isinstance(events, list) and any(map(mentions, events)):
            opened = [self._fetch_event(event) if mentions(event) else event for event in events]
            fetched = msgspec.structs.replace(fetched, events=opened)
        return fetched

    def _fetch_event(self, encoded: bytes) -> bytes:
        event = decode(encoded)
        return encode(self.fetch(event)) if isinstance(event, HistoryEvent) else encoded

    def fetch_payload(self, payload: Payload) -> Payload:
        """What a reference stands for. Blocks. Raises PayloadStoreError."""
        name = payload.metadata.get(_NAME, b"").decode(errors="replace")
        try:
            data = self._store.get(name)
        except Exception as error:
            raise PayloadStoreError(f"payload {name!r} is not to be had from the payload store: {error!r}") from error
        if hashlib.sha256(data).hexdigest() != name:
            raise PayloadStoreError(f"payload {name!r} is damaged in the payload store: it has another hash")
        return unpacked(data)


def is_reference(payload: Payload) -> bool:
    """Whether the payload stands for another one, in a store."""
    return payload.metadata.get("encoding") == _STORED


def described(payload: Payload) -> str:
    """A reference, for people."""
    size, name = (payload.metadata.get(key, b"?").decode(errors="replace") for key in (_SIZE, _NAME))
    return f"<{size} bytes in the payload store: {name}>"


def mentions(encoded: bytes) -> bool:
    """Whether an encoded record may hold a reference."""
    return _STORED in encoded


def has_references(value: Any) -> bool:
    """Whether a record holds a reference, also in the encoded history events that it holds."""
    events = getattr(value, "events", None)
    if isinstance(events, list) and any(type(event) is bytes and mentions(event) for event in events):
        return True
    return any(map(is_reference, _payloads(value)))


def _reference(payload: Payload, blobs: dict[str, bytes]) -> Payload:
    data = packed(payload)
    name = hashlib.sha256(data).hexdigest()
    blobs[name] = data
    return Payload(metadata={"encoding": _STORED, _NAME: name.encode(), _SIZE: str(len(payload.data)).encode()})


def _payloads(value: Any) -> Iterator[Payload]:
    """The payloads that may be stored elsewhere."""
    if type(value) is Payload:
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if name not in _PLAIN_FIELDS:
                yield from _payloads(getattr(value, name))
    elif type(value) is list:
        for item in value:
            yield from _payloads(item)
    elif type(value) is dict:
        yield from _payloads(list(value.values()))


def _replaced(value: Any, new: Mapping[int, Payload]) -> Any:
    """`value` with other payloads, by the identity of the old ones."""
    if not new:
        return value
    if type(value) is Payload:
        return new.get(id(value), value)
    if isinstance(value, msgspec.Struct):
        names = [name for name in value.__struct_fields__ if name not in _PLAIN_FIELDS]
        old = {name: getattr(value, name) for name in names}
        changed = {name: made for name in names if (made := _replaced(old[name], new)) is not old[name]}
        return msgspec.structs.replace(value, **changed) if changed else value
    if type(value) is list:
        items = [_replaced(item, new) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    if type(value) is dict:
        entries = {key: _replaced(item, new) for key, item in value.items()}
        return entries if any(entries[key] is not value[key] for key in value) else value
    return value
