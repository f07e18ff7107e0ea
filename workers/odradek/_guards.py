"""`isinstance` for values of any type, with what is inside left open: pyright takes plain `isinstance` for unknown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeGuard


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether `value` is a list."""
    return isinstance(value, list)


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """Whether `value` is a dict."""
    return isinstance(value, dict)


def is_collection(value: object) -> TypeGuard[Collection[Any]]:
    """Whether `value` is a list, tuple or set."""
    return isinstance(value, list | tuple | set | frozenset)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether `value` is a mapping."""
    return isinstance(value, Mapping)


def is_subclass(value: object, *bases: type[Any]) -> bool:
    """Whether `value` is a class derived from one of `bases`."""
    return isinstance(value, type) and issubclass(value, bases)


def is_class(value: object) -> TypeGuard[type[Any]]:
    """Whether `value` is a class."""
    return isinstance(value, type)
