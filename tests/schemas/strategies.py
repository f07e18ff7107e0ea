"""Hypothesis strategies that make records of any class from its fields' types."""

from __future__ import annotations

import types
import typing
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from odradek_schemas.codec import record_classes
from odradek_schemas.common import Failure, Record

LONG = st.integers(-(2**63), 2**63 - 1)
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: LONG,
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    str: st.text(max_size=12),  # never lone surrogates: those are no text in UTF-8
    bytes: st.binary(max_size=12),
}


@cache
def records(cls: type[Record], causes: int = 2) -> st.SearchStrategy[Record]:
    """Instances of `cls`; failures in it have at most `causes` causes."""
    hints = typing.get_type_hints(cls)
    fields = {}
    for field in msgspec.structs.fields(cls):
        if cls is Failure and field.name == "cause":
            fields[field.name] = st.none() if causes == 0 else st.none() | records(Failure, causes - 1)
        else:
            fields[field.name] = _of_type(hints[field.name], causes)
    return st.builds(cls, **fields)


def _of_type(hint: Any, causes: int) -> st.SearchStrategy[Any]:
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return st.lists(_of_type(arguments[0], causes), max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(max_size=8), _of_type(arguments[1], causes), max_size=2)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([st.none() if a is types.NoneType else _of_type(a, causes) for a in arguments])
    assert issubclass(hint, Record), hint
    return records(hint, causes)


def any_record() -> st.SearchStrategy[Record]:
    """An instance of any class that may stand alone in a topic."""
    return st.sampled_from(record_classes()).flatmap(records)
