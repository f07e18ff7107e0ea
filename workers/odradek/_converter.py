"""Payloads: values of users as bytes with their encoding, and back by annotation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from odradek_schemas.common import Failure, Payload

from . import _failures, _json
from .errors import PayloadError

_NULL = Payload(metadata={"encoding": b"binary/null"})
_BINARY, _JSON = {"encoding": b"binary/plain"}, {"encoding": b"json/plain"}


class PayloadCodec(Protocol):
    """Changes payloads on their way to the log and back, for instance encrypts them. Called from any thread."""

    def encode(self, payloads: Sequence[Payload]) -> list[Payload]: ...

    def decode(self, payloads: Sequence[Payload]) -> list[Payload]: ...


class DataConverter:
    """Writes values as payloads and reads them by annotation. Clients and workers need the same one.

    None is `binary/null`, bytes are `binary/plain`, all else is `json/plain`: dataclasses, pydantic models, msgspec
    structs, enums, dates and times, UUID, Decimal, and containers and unions of these. Without an annotation,
    JSON is read as plain values. Errors are PayloadErrors.
    """

    def __init__(self, *, codec: PayloadCodec | None = None) -> None:
        self._codec = codec

    def to_payload(self, value: Any) -> Payload:
        """`value` as a payload. Raises PayloadError that names what cannot be written."""
        return self.to_payloads([value])[0]

    def from_payload(self, payload: Payload, type_hint: Any = Any) -> Any:
        """The value of a payload, read as `type_hint`. Raises PayloadError that names what does not fit."""
        return self.from_payloads([payload], [type_hint])[0]

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Each value as a payload."""
        payloads = [_numbered(index, len(values), _write, value) for index, value in enumerate(values)]
        return payloads if self._codec is None or not payloads else self._codec.encode(payloads)

    def from_payloads(self, payloads: Sequence[Payload], types: Sequence[Any]) -> list[Any]:
        """The values of the payloads; those beyond the last of `types` are read as plain values."""
        if self._codec is not None and payloads:
            payloads = self._codec.decode(payloads)
        hints = [*types, *[Any] * (len(payloads) - len(types))]
        return [_numbered(index, len(payloads), _read, payload, hints[index]) for index, payload in enumerate(payloads)]

    def to_failure(self, error: BaseException) -> Failure:
        """An error as data: type, message, details, stack trace, and the chain of its causes."""
        return _failures.to_failure(error, self)

    def from_failure(self, failure: Failure) -> BaseException:
        """The error that a failure was made of: its own class where that can be imported, else ActivityError or
        ApplicationError; with `__cause__`."""
        return _failures.from_failure(failure, self)


def _numbered(index: int, count: int, convert: Callable[..., Any], *args: Any) -> Any:
    """`convert(*args)`; an error says which of several values it is about."""
    try:
        return convert(*args)
    except PayloadError as error:
        if count == 1:
            raise
        raise PayloadError(f"value {index + 1} of {count}: {error}") from error.__cause__


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
    raise PayloadError(
        f"a payload has the encoding {encoding.decode(errors='replace')!r}, which this data converter cannot read: "
        "give client and worker the same DataConverter, with the same codec"
    )


def _read_bytes(data: bytes, hint: Any) -> Any:
    if hint in _json.PLAIN_HINTS or hint is bytes:
        return data
    try:
        return msgspec.convert(data, hint, builtin_types=(bytes, bytearray, memoryview))
    except (msgspec.ValidationError, TypeError) as error:
        raise PayloadError(f"bytes were sent, which cannot be read as {hint}: {error}") from error
