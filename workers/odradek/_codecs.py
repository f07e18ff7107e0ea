"""Codecs that come with Odradek: compression, and encryption with keys that can be changed.

What a codec makes of a payload is a payload again, whose `data` holds the old one (MessagePack: [metadata, data]).
What is in another encoding passes `decode` as it is, so that a codec can be switched on under open workflows, and
other services can go on to append plain records.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from odradek_schemas.common import Payload

from .errors import CodecError, PayloadError

_ZLIB, _ENCRYPTED = b"binary/zlib", b"binary/encrypted"
_CIPHER, _KEY_ID = "encryption-cipher", "encryption-key-id"
_NONCE_BYTES = 12
_MAX_INFLATED = 64 * 1024 * 1024
_ROOM = 64 * 1024  # for metadata

_writer = msgspec.msgpack.Encoder()
_reader = msgspec.msgpack.Decoder(tuple[dict[str, bytes], bytes])


class PayloadCodec(Protocol):
    """Changes payloads on their way to the log and back, for instance encrypts them. Called from any thread.

    `decode` returns as they are those that it did not make. Raises CodecError for those that it cannot read.
    """

    def encode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        """What goes to the log in their place: as many, in their order."""
        ...

    def decode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        """What `encode` was given. Raises CodecError for one that cannot be read with the keys that there are."""
        ...


class ZlibCodec:
    """Compresses payloads of at least `min_bytes` bytes (default 256) and at most 64 MiB, if they become smaller."""

    def __init__(self, *, min_bytes: int = 256, level: int = 6) -> None:
        if not -1 <= level <= 9:
            raise ValueError(f"a level of zlib is -1 to 9, not {level}")
        self._min_bytes = min_bytes
        self._level = level

    def encode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        """Compress those that become smaller by it."""
        return [self._compress(payload) for payload in payloads]

    def _compress(self, payload: Payload) -> Payload:
        if not self._min_bytes <= len(payload.data) <= _MAX_INFLATED - _ROOM:
            return payload
        data = zlib.compress(packed(payload), self._level)
        return Payload(metadata={"encoding": _ZLIB}, data=data) if len(data) < len(payload.data) else payload

    def decode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        """As they were. Raises CodecError for one that is damaged, or larger than 64 MiB."""
        return [_inflated(payload) if payload.metadata.get("encoding") == _ZLIB else payload for payload in payloads]


def _inflated(payload: Payload) -> Payload:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(payload.data, _MAX_INFLATED)
    except zlib.error as error:
        raise CodecError(f"a compressed payload is damaged: {error}") from error
    if inflater.unconsumed_tail:
        raise CodecError(f"a compressed payload has more than {_MAX_INFLATED:,} bytes, which none has")
    return unpacked(data)


class AESGCMCodec:
    """Encrypts payloads with AES-GCM. Needs the package cryptography: `pip install 'odradek[encryption]'`.

    keys: 16, 24 or 32 random bytes each, by an ID, which is stored beside the data. The first one encrypts, all of them
    decrypt. To change the key, first add the new one at the end everywhere, then put it first everywhere; keep an old
    one as long as a workflow that was written with it is kept.
    """

    def __init__(self, keys: Mapping[str, bytes], /) -> None:
        if not keys:
            raise ValueError("AESGCMCodec needs a key: AESGCMCodec({'2026-11': os.urandom(32)}), kept in a safe place")
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ImportError("AESGCMCodec needs cryptography: pip install 'odradek[encryption]'") from error
        for name, key in keys.items():
            if len(key) not in (16, 24, 32):
                raise ValueError(f"key {name!r} has {len(key)} bytes; a key of AES has 16, 24 or 32")
        self._ciphers: dict[str, Any] = {name: AESGCM(bytes(key)) for name, key in keys.items()}
        self._current = next(iter(keys))

    def encode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        """Encrypt each with the first of the keys."""
        return [self._encrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        nonce, key_id = os.urandom(_NONCE_BYTES), self._current.encode()
        data: bytes = self._ciphers[self._current].encrypt(nonce, packed(payload), key_id)
        return Payload(
            metadata={"encoding": _ENCRYPTED, _CIPHER: b"AES-GCM", _KEY_ID: key_id}, data=nonce + data
        )

    def decode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        """As they were. Raises CodecError for one that was damaged, or whose key is not here."""
        return [self._decrypt(p) if p.metadata.get("encoding") == _ENCRYPTED else p for p in payloads]

    def _decrypt(self, payload: Payload) -> Payload:
        from cryptography.exceptions import InvalidTag

        key_id = payload.metadata.get(_KEY_ID, b"")
        name = key_id.decode(errors="replace")
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise CodecError(
                f"a payload is encrypted with key {name!r}, which this codec does not have (it has "
                f"{', '.join(sorted(self._ciphers))}): add it to AESGCMCodec(keys)"
            )
        try:
            data = cipher.decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], key_id)
        except (InvalidTag, ValueError):
            raise CodecError(
                f"a payload that is encrypted with key {name!r} cannot be opened: the key of that name is another one "
                "here, or the payload was changed"
            ) from None
        return unpacked(data)


class ChainCodec:
    """Several codecs as one: payloads pass them in order when they are written, in reverse when they are read."""

    def __init__(self, codecs: Sequence[PayloadCodec], /) -> None:
        self._codecs = tuple(codecs)

    def encode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        for codec in self._codecs:
            payloads = codec.encode(payloads)
        return list(payloads)

    def decode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        for codec in reversed(self._codecs):
            payloads = codec.decode(payloads)
        return list(payloads)


def encoded(codec: PayloadCodec, payloads: Sequence[Payload]) -> list[Payload]:
    """`codec.encode`, with whatever it raises as a CodecError."""
    return _call(codec.encode, "encode", codec, payloads)


def decoded(codec: PayloadCodec, payloads: Sequence[Payload]) -> list[Payload]:
    """`codec.decode`, with whatever it raises as a CodecError."""
    return _call(codec.decode, "decode", codec, payloads)


def _call(step: Any, what: str, codec: PayloadCodec, payloads: Sequence[Payload]) -> list[Payload]:
    name = type(codec).__name__
    try:
        result: list[Payload] = step(payloads)
    except PayloadError:
        raise
    except Exception as error:
        raise CodecError(f"{name}.{what} raised {type(error).__name__}: {error}") from error
    if len(result) != len(payloads):
        raise CodecError(f"{name}.{what} made {len(result)} payloads of {len(payloads)}: it has to keep their number")
    return result


def packed(payload: Payload) -> bytes:
    """A payload as bytes."""
    return _writer.encode((payload.metadata, payload.data))


def unpacked(data: bytes) -> Payload:
    """The payload that `packed` made bytes of. Raises CodecError."""
    try:
        metadata, inner = _reader.decode(data)
    except msgspec.MsgspecError as error:
        raise CodecError(f"what a payload was made of cannot be read: {error}") from error
    return Payload(metadata=metadata, data=inner)
