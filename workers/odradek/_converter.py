"""Payloads: values of users as bytes with their encoding, and back by annotation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from odradek_schemas.common import Failure, Payload

from . import _codecs, _failures, _json
from ._claims import OFFLOAD_ABOVE, Claims, described, is_reference
from ._codecs import ChainCodec, PayloadCodec
from ._payload_store import PayloadStore
from .errors import CodecError, PayloadError, PayloadTooLargeError

MAX_PAYLOAD_BYTES = 1_000_000
"""No engine sends a larger record."""

MAX_OFFLOAD_ABOVE = 500_000
_NULL = Payload(metadata={"encoding": b"binary/null"})
_BINARY, _JSON = {"encoding": b"binary/plain"}, {"encoding": b"json/plain"}


class DataConverter:
    """Writes values as payloads and reads them by annotation. Clients and workers need the same one.

    None is `binary/null`, bytes are `binary/plain`, all else is `json/plain`: dataclasses, pydantic models, msgspec
    structs, enums, dates and times, UUID, Decimal, and containers and unions of these. Without an annotation,
    JSON is read as plain values. Errors are PayloadErrors.

    codec: changes all payloads, and messages and stack traces of failures, on their way to the log; several are used
    in order, for instance [ZlibCodec(), AESGCMCodec(keys)]. Search attributes stay plain: they are to be searched.
    store: where payloads of more than `offload_above` bytes (default 100,000) go, once they are encoded, so that
    records in the log carry only a reference. Without one, a value above 1,000,000 bytes raises PayloadTooLargeError.
    """

    def __init__(
        self,
        *,
        codec: PayloadCodec | Sequence[PayloadCodec] | None = None,
        store: PayloadStore | None = None,
        offload_above: int = OFFLOAD_ABOVE,
    ) -> None:
        if not 0 < offload_above <= MAX_OFFLOAD_ABOVE:
            raise ValueError(f"offload_above is 1 to {MAX_OFFLOAD_ABOVE:,} bytes, not {offload_above:,}")
        self._codec = ChainCodec(codec) if isinstance(codec, Sequence) else codec
        self._claims = Claims(store, offload_above) if store is not None else None

    @property
    def claims(self) -> Claims | None:
        """What puts large payloads into the store; None: there is none."""
        return self._claims

    @property
    def has_codec(self) -> bool:
        """Whether a codec changes what is written."""
        return self._codec is not None

    @property
    def plain(self) -> DataConverter:
        """The same without the codec: for what the engine and others are to read, as search attributes are."""
        return self if self._codec is None else DataConverter()

    def to_payload(self, value: Any) -> Payload:
        """`value` as a payload. Raises PayloadError that names what cannot be written."""
        if self._codec is not None or self._claims is not None:
            return self.to_payloads([value])[0]
        payload = _write(value)
        _check_sizes((payload,))
        return payload

    def from_payload(self, payload: Payload, type_hint: Any = Any) -> Any:
        """The value of a payload, read as `type_hint`. Raises PayloadError that names what does not fit."""
        if self._codec is not None or self._claims is not None:
            return self.from_payloads([payload], [type_hint])[0]
        return _read(payload, type_hint)

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Each value as a payload."""
        try:
            payloads = [_write(value) for value in values]
        except PayloadError:  # which one?
            payloads = [_numbered(index, len(values), _write, value) for index, value in enumerate(values)]
        if self._codec is not None and payloads:
            payloads = _codecs.encoded(self._codec, payloads)
        if self._claims is None:
            _check_sizes(payloads)
        return payloads

    def from_payloads(
        self, payloads: Sequence[Payload], types: Sequence[Any], names: Sequence[str] = ()
    ) -> list[Any]:
        """The values of the payloads; those beyond the last of `types` are read as plain values. `names`: what errors
        call them, for instance the parameters' names."""
        if self._claims is not None:  # for the most part they were fetched before, where nobody waits
            payloads = [self._claims.fetch_payload(p) if is_reference(p) else p for p in payloads]
        if self._codec is not None and payloads:
            payloads = _codecs.decoded(self._codec, payloads)
        hints = types if len(types) >= len(payloads) else [*types, *[Any] * (len(payloads) - len(types))]
        try:
            return [_read(payload, hint) for payload, hint in zip(payloads, hints, strict=False)]
        except PayloadError:  # which one?
            return [
                _numbered(index, len(payloads), _read, payload, hints[index], names=names)
                for index, payload in enumerate(payloads)
            ]

    def to_failure(self, error: BaseException) -> Failure:
        """An error as data: type, message, details, stack trace, and the chain of its causes."""
        return _failures.to_failure(error, self)

    def from_failure(self, failure: Failure) -> BaseException:
        """The error that a failure was made of: its own class where that can be imported, else ActivityError or
        ApplicationError; with `__cause__`. Raises CodecError if it was encoded with a codec that is not the same."""
        return _failures.from_failure(_failures.opened(failure, self), self)

    def open_failure(self, failure: Failure) -> Failure:
        """The failure with the messages and stack traces that a codec has hidden. Raises CodecError."""
        return _failures.opened(failure, self)


def _check_sizes(payloads: Sequence[Payload]) -> None:
    for payload in payloads:
        if len(payload.data) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLargeError(
                f"a value has {len(payload.data):,} bytes, more than the {MAX_PAYLOAD_BYTES:,} that a record of the "
                "log takes: give client and workers a place for large values, DataConverter(store="
                "ObjectPayloadStore('s3://bucket/prefix')), or hand over a reference"
            )


def _numbered(
    index: int, count: int, convert: Callable[..., Any], *args: Any, names: Sequence[str] = ()
) -> Any:
    """`convert(*args)`; an error says which of several values it is about."""
    try:
        return convert(*args)
    except PayloadError as error:
        if index < len(names):
            where = f"parameter {names[index]!r}"
        elif count > 1:
            where = f"value {index + 1} of {count}"
        else:
            raise
        raise type(error)(f"{where}: {error}") from error.__cause__


def _write(value: Any) -> Payload:
    if value is None:
        return _NULL
    if type(value) in (bytes, bytearray, memoryview):
        return Payload(metadata=_BINARY, data=bytes(value))
    return Payload(metadata=_JSON, data=_json.encode(value))


def _read(payload: Payload, hint: Any) -> Any:
    encoding = payload.metadata.get("encoding", b"")
    if encoding == b"json/plain":
        return _json.decode(payload.data, hint)
    if encoding == b"binary/null":
        return None if hint in _json.PLAIN_HINTS else _json.decode(b"null", hint)
    if encoding == b"binary/plain":
        return _read_bytes(payload.data, hint)
    if is_reference(payload):
        raise CodecError(
            f"a payload is a reference, {described(payload)}, and this data converter has no payload store: give "
            "client and workers the same DataConverter(store=...)"
        )
    raise CodecError(
        f"a payload has the encoding {encoding.decode(errors='replace')!r}, which this data converter cannot read: "
        "give client and worker the same DataConverter, with the same codec"
    )


def _read_bytes(data: bytes, hint: Any) -> Any:
    if hint in _json.PLAIN_HINTS or hint is bytes:
        return data
    _json.is_native(hint)
    try:
        return msgspec.convert(data, hint, builtin_types=(bytes, bytearray, memoryview))
    except (msgspec.ValidationError, TypeError) as error:
        raise PayloadError(f"bytes were sent, which cannot be read as {hint}: {error}") from error
