"""Plain JSON values to types that msgspec refuses: unions of classes, and whatever holds such a union.

A value of a union becomes the member that it fits. If it fits several classes, the one that is written back
exactly as it came; if there are several of those too, that is an error: which one it was cannot be known.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, Protocol

import msgspec

from ._guards import is_class, is_dict, is_list, is_subclass


class Mismatch(ValueError):
    """A value does not fit its type: `reason`, at `path` below the value (`$` is the value itself)."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{reason} - at `${path}`" if path else reason)
        self.reason = reason
        self.path = path

    def below(self, step: str) -> Mismatch:
        """The same mismatch, seen from one level up."""
        return Mismatch(self.reason, step + self.path)


class Codec(Protocol):
    """The reading of types that need no help from here, and the writing of all."""

    def is_native(self, hint: Any) -> bool: ...

    def convert(self, value: Any, hint: Any) -> Any: ...

    def to_plain(self, value: Any) -> Any: ...


class _Field(NamedTuple):
    name: str
    key: str
    hint: Any
    required: bool


def structure(value: Any, hint: Any, codec: Codec) -> Any:
    """`value`, made of plain JSON values, as a value of type `hint`. Raises Mismatch."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return structure(value, hint.__supertype__, codec)
    if origin is typing.Annotated:
        return structure(value, arguments[0], codec)
    if origin in (typing.Union, types.UnionType):
        return _union(value, arguments, codec)
    if codec.is_native(hint):
        return _native(value, hint, codec)
    kind: Any = origin or hint
    if is_subclass(kind, Mapping) and not typing.is_typeddict(kind):
        return _mapping(value, arguments, codec)
    if is_class(kind) and hasattr(kind, "_fields"):
        return _named_tuple(value, kind, codec)
    if is_subclass(kind, list, tuple, set, frozenset, Sequence, AbstractSet):
        return _collection(value, kind, arguments, codec)
    fields = _fields_of(kind, arguments)
    if fields is None:
        return _native(value, hint, codec)
    return _record(value, kind, fields, codec)


def _native(value: Any, hint: Any, codec: Codec) -> Any:
    try:
        return codec.convert(value, hint) if codec.is_native(hint) else _refuse(hint)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise Mismatch(reason, path.rstrip("`")) from error
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, Mismatch) else Mismatch(str(error)) from error


def _refuse(hint: Any) -> Any:
    raise Mismatch(f"there is no way to read a {hint}")


def _union(value: Any, members: Sequence[Any], codec: Codec) -> Any:
    records = [member for member in members if _is_record(member)]
    others = [member for member in members if member not in records]
    if others and codec.is_native(typing.Union[tuple(others)]):  # noqa: UP007
        others = [typing.Union[tuple(others)]]  # noqa: UP007
    fitting: list[tuple[Any, Any]] = []
    reasons: list[str] = []
    for member in [*sorted(others, key=lambda member: member is str), *records]:
        try:
            fitting.append((member, structure(value, member, codec)))
        except Mismatch as error:
            reasons.append(f"not {_name(member)} ({error})")
    if not fitting:
        raise Mismatch("; ".join(reasons))
    if len(fitting) == 1:
        return fitting[0][1]
    exact = [(member, read) for member, read in fitting if codec.to_plain(read) == value] or fitting[:1]
    if len(exact) > 1 and _is_record(exact[0][0]):
        names = " and ".join(_name(member) for member, _ in exact)
        raise Mismatch(
            f"it fits {names} alike; tell them apart by a field like `kind: Literal[...]`, or by tagged msgspec structs"
        )
    return exact[0][1]


def _is_record(hint: Any) -> bool:
    kind = typing.get_origin(hint) or hint
    return is_class(kind) and (
        dataclasses.is_dataclass(kind)
        or typing.is_typeddict(kind)
        or hasattr(kind, "_fields")
        or hasattr(kind, "__struct_fields__")
        or hasattr(kind, "__pydantic_validator__")
    )


def _mapping(value: Any, arguments: Sequence[Any], codec: Codec) -> dict[Any, Any]:
    if not is_dict(value):
        raise Mismatch(f"Expected `object`, got `{_json_name(value)}`")
    key_hint, item_hint = arguments or (Any, Any)
    result: dict[Any, Any] = {}
    for text, item in value.items():
        [key] = codec.convert({text: None}, types.GenericAlias(dict, (key_hint, None)))
        result[key] = _inner(item, item_hint, f"[{text!r}]", codec)
    return result


def _collection(value: Any, kind: type[Any], arguments: Sequence[Any], codec: Codec) -> Any:
    if not is_list(value):
        raise Mismatch(f"Expected `array`, got `{_json_name(value)}`")
    if issubclass(kind, tuple) and not (len(arguments) == 2 and arguments[1] is ...):
        if arguments and len(arguments) != len(value):
            raise Mismatch(f"Expected `array` of length {len(arguments)}, got {len(value)}")
        hints = list(arguments) or [Any] * len(value)
    else:
        hints = [arguments[0] if arguments else Any] * len(value)
    items = [
        _inner(item, hint, f"[{index}]", codec) for index, (item, hint) in enumerate(zip(value, hints, strict=True))
    ]
    if issubclass(kind, tuple):
        return tuple(items)
    if issubclass(kind, frozenset):
        return frozenset(items)
    return items if issubclass(kind, Sequence) else set(items)


def _named_tuple(value: Any, kind: type[Any], codec: Codec) -> Any:
    names: tuple[str, ...] = vars(kind)["_fields"]
    defaults = vars(kind).get("_field_defaults", {})
    if not is_list(value) or not len(names) - len(defaults) <= len(value) <= len(names):
        raise Mismatch(f"Expected `array` of {len(names)} for {kind.__name__}")
    hints = _all_hints(kind)
    items = [
        _inner(item, hints.get(name, Any), f"[{index}]", codec)
        for index, (name, item) in enumerate(zip(names, value, strict=False))
    ]
    return kind(*items)


def _record(value: Any, kind: Any, fields: Sequence[_Field], codec: Codec) -> Any:
    if not is_dict(value):
        raise Mismatch(f"Expected `object`, got `{_json_name(value)}`")
    given: dict[str, Any] = {}
    for field in fields:
        if field.key in value:
            given[field.name] = _inner(value[field.key], field.hint, f".{field.key}", codec)
        elif field.required:
            raise Mismatch(f"Object missing required field `{field.key}`")
    return kind(**given)


def _inner(value: Any, hint: Any, step: str, codec: Codec) -> Any:
    try:
        return structure(value, hint, codec)
    except Mismatch as error:
        raise error.below(step) from error


def _fields_of(kind: Any, arguments: Sequence[Any]) -> list[_Field] | None:
    """The fields of a class that JSON objects become; None if it is no such class."""
    parameters = getattr(kind, "__parameters__", ())
    of: Callable[[Any], Any] = lambda hint: _substitute(hint, dict(zip(parameters, arguments, strict=False)))  # noqa: E731
    if dataclasses.is_dataclass(kind):
        hints = _all_hints(kind)
        return [
            _Field(field.name, field.name, of(hints[field.name]), _has_no_default(field))
            for field in dataclasses.fields(kind)
            if field.init
        ]
    if typing.is_typeddict(kind):
        return [_typed_dict_field(kind, name, of(hint)) for name, hint in _all_hints(kind).items()]
    if is_class(kind) and issubclass(kind, msgspec.Struct):
        return [
            _Field(field.name, field.encode_name, of(field.type), field.required)
            for field in msgspec.structs.fields(kind)
        ]
    return None


def _typed_dict_field(kind: Any, name: str, hint: Any) -> _Field:
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):  # what annotations as text hide from __required_keys__
        return _Field(name, name, typing.get_args(hint)[0], origin is typing.Required)
    return _Field(name, name, hint, name in kind.__required_keys__)


def _all_hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _substitute(hint: Any, values: Mapping[Any, Any]) -> Any:
    """`hint` with the type variables of a generic class replaced by what it was subscripted with."""
    if isinstance(hint, typing.TypeVar):
        return values.get(hint, Any)
    parameters: tuple[Any, ...] = getattr(hint, "__parameters__", ())
    if not parameters or not values or isinstance(hint, type):
        return hint
    return hint[tuple(values.get(parameter, parameter) for parameter in parameters)]


def _json_name(value: object) -> str:
    if value is None:
        return "null"
    return {"list": "array", "dict": "object"}.get(type(value).__name__, type(value).__name__)


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
