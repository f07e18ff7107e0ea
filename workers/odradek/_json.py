"""Values to JSON and back, by annotation.

msgspec does the work: dataclasses, structs, enums, dates and times, UUID, Decimal, bytes (base64), tuples, sets,
TypedDict, NamedTuple. pydantic models go through their own rules. Types that msgspec does not take,
which are mostly unions of classes, are read by `_structure`.
"""

from __future__ import annotations

import inspect
import math
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import PurePath
from typing import Any

import msgspec

from ._guards import is_class, is_collection, is_mapping
from ._structure import Mismatch, structure
from .errors import PayloadError

SUPPORTED = (
    "Use dataclasses, pydantic models, msgspec structs, enums, dates and times, UUID, Decimal, bytes, lists, tuples, "
    "sets and dicts of these"
)
PLAIN_HINTS = (Any, object, inspect.Parameter.empty)


def encode(value: Any) -> bytes:
    """`value` as JSON. Raises PayloadError that names the path of what cannot be written."""
    try:
        data = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        path, culprit = _find(value, _cannot_be_encoded) or ("$", value)
        raise PayloadError(
            f"{path}, of type {_name(type(culprit))}, cannot be written as JSON: {_reason(error)}. {SUPPORTED}"
        ) from error
    if b"null" in data:  # what msgspec makes of nan and inf, too
        found = _find(value, _is_not_finite)
        if found is not None:
            raise PayloadError(f"{found[0]} is {found[1]}, which JSON cannot hold. Send None or a string instead")
    return data


def decode(data: bytes, hint: Any) -> Any:
    """The JSON `data` as a value of type `hint`. Raises PayloadError that names the path of what does not fit."""
    try:
        return reader(hint)(data)
    except PayloadError:
        raise
    except Mismatch as error:
        reason = str(error)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        reason = _reason(error)
    shown = data[:200].decode(errors="replace") + ("..." if len(data) > 200 else "")
    raise PayloadError(
        f"this cannot be read as {_name(hint)}: {reason}. It is {shown} - make the annotation fit what was sent, or "
        "give new fields a default"
    )


def convert(value: Any, hint: Any) -> Any:
    """`value`, made of plain JSON values, as a value of type `hint`. Raises msgspec.ValidationError or Mismatch."""
    if hint in PLAIN_HINTS:
        return value
    if is_native(hint):
        return msgspec.convert(value, hint, dec_hook=_read_custom, builtin_types=(), str_keys=True)
    return structure(value, hint, _CODEC)


def reader(hint: Any) -> Callable[[bytes], Any]:
    """A function that reads JSON as `hint`."""
    try:
        return _cached_reader(hint)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _reader(hint)


def _reader(hint: Any) -> Callable[[bytes], Any]:
    if hint in PLAIN_HINTS:
        return _plain.decode
    if is_native(hint):
        decoder = msgspec.json.Decoder(hint, dec_hook=_read_custom)
        decode_native: Callable[[bytes], Any] = decoder.decode
        return decode_native
    return lambda data: structure(_plain.decode(data), hint, _CODEC)


_cached_reader = lru_cache(maxsize=1024)(_reader)


_gathering = threading.Lock()
"""Held while msgspec may gather what it knows of a class, at its first use: a second thread that comes meanwhile finds
half of that, and crashes the process."""


def is_native(hint: Any) -> bool:
    """Whether msgspec takes `hint` as it is; to be asked before msgspec is given `hint` anywhere else. Raises
    PayloadError if an annotation inside it cannot be resolved."""
    try:
        with _gathering:
            msgspec.json.Decoder(hint, dec_hook=_read_custom)
    except NameError as error:
        raise PayloadError(
            f"the fields of {_name(hint)} cannot be read: {error}. Define the types of fields at the top of a module"
        ) from error
    except TypeError:
        return False
    return True


class _Codec:
    """What `structure` needs of this module."""

    def is_native(self, hint: Any) -> bool:
        return is_native(hint)

    def convert(self, value: Any, hint: Any) -> Any:
        return convert(value, hint)

    def to_plain(self, value: Any) -> Any:
        return _plain.decode(encode(value))


_CODEC = _Codec()


def _write_custom(value: Any) -> Any:
    """For msgspec: what to write instead of `value`, which it does not know."""
    pydantic: Any = sys.modules.get("pydantic")  # not imported: then no value of it can be here
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return msgspec.Raw(value.model_dump_json(by_alias=True, round_trip=True).encode())
    if isinstance(value, PurePath):
        return str(value)
    if is_mapping(value):
        return dict(value)
    raise NotImplementedError(f"no way to write a {_name(type(value))}")


def _read_custom(kind: Any, value: Any) -> Any:
    """For msgspec: the value of type `kind`, which it does not know, from plain JSON values."""
    if kind is object:
        return value
    if not is_class(kind):
        raise TypeError(f"no way to read a {_name(kind)}")
    pydantic: Any = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(kind, pydantic.BaseModel):
        model: Any = kind
        return model.model_validate_json(msgspec.json.encode(value))
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    if pydantic is not None and hasattr(kind, "__get_pydantic_core_schema__"):
        return pydantic.TypeAdapter(kind).validate_json(msgspec.json.encode(value))
    raise TypeError(f"no way to read a {_name(kind)}")


_encoder = msgspec.json.Encoder(enc_hook=_write_custom)
_plain: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def _find(value: Any, bad: Callable[[Any], bool]) -> tuple[str, Any] | None:
    """The innermost part of `value` that is `bad`, with its path; None if there is none."""
    try:
        return next(_walk(value, bad, "$", set()), None)
    except RecursionError:
        return None


def _walk(value: Any, bad: Callable[[Any], bool], path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(value) in seen:  # contains itself, or was looked at elsewhere
        return
    inner = list(_parts(value, path))
    if inner:
        seen.add(id(value))
    for inner_path, part in inner:
        yield from _walk(part, bad, inner_path, seen)
    if bad(value):
        yield path, value


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if is_mapping(value):
        yield from ((f"{path}[{key!r}]", part) for key, part in value.items())
    elif is_collection(value):
        yield from ((f"{path}[{index}]", part) for index, part in enumerate(value))
    elif not is_class(value):
        names: Iterable[str] = getattr(value, "__struct_fields__", ()) or getattr(value, "__dict__", ())
        yield from ((f"{path}.{name}", getattr(value, name, None)) for name in list(names))


def _cannot_be_encoded(value: Any) -> bool:
    try:
        _encoder.encode(value)
    except Exception:
        return True
    return False


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _name(hint: Any) -> str:
    if isinstance(hint, type):
        return hint.__qualname__
    return str(hint).replace("typing.", "")
