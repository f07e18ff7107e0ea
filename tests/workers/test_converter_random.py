"""Any typed value comes back from its payload the same, by its annotation, through codecs too; what cannot be written
is named, wherever it is."""

from __future__ import annotations

import dataclasses
import enum
import os
import uuid
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odradek import AESGCMCodec, DataConverter, PayloadError, ZlibCodec

T = TypeVar("T")
CONVERTERS = {
    "plain": DataConverter(),
    "zlib": DataConverter(codec=ZlibCodec(min_bytes=1)),
    "chain": DataConverter(codec=[ZlibCodec(min_bytes=20), AESGCMCodec({"k": os.urandom(32)})]),
}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = dataclasses.field(default_factory=list)


class Struct(msgspec.Struct, Generic[T]):
    item: T
    by_name: dict[str, T] = {}


class Model(pydantic.BaseModel, Generic[T]):
    item: T
    several: tuple[T, ...] = ()


class Card(msgspec.Struct, tag="card"):
    number: str


class Cash(msgspec.Struct, tag="cash"):
    cents: int


@dataclasses.dataclass
class Circle:
    radius: int


@dataclasses.dataclass
class Square:
    side: int
    at: date | None = None


class Point(NamedTuple):
    x: int
    y: Decimal


class Options(TypedDict, total=False):
    color: Color
    since: datetime


class Person(pydantic.BaseModel):
    name: str
    born: date | None = None
    level: Level = Level.LOW


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), None])
decimals = st.decimals(allow_nan=False, allow_infinity=False)
datetimes = st.datetimes(timezones=zones, allow_imaginary=False)
persons = st.builds(Person, name=texts, born=st.none() | st.dates(), level=st.sampled_from(Level))
Typed = tuple[Any, st.SearchStrategy[Any]]

LEAVES: list[Typed] = [
    (bool, st.booleans()),
    (int, st.integers(-(2**63), 2**64 - 1)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, texts),
    (bytes, st.binary(max_size=9)),
    (Decimal, decimals),
    (uuid.UUID, st.uuids()),
    (datetime, datetimes),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-9000), timedelta(days=9000))),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 3], st.sampled_from(["a", 3])),
    (Annotated[int, "cents"], st.integers(0, 9)),
    (Point, st.builds(Point, st.integers(-9, 9), decimals)),
    (Options, st.fixed_dictionaries({}, optional={"color": st.sampled_from(Color), "since": datetimes})),
    (Person, persons),
    # unions whose members can be told apart
    (int | str, st.integers(-9, 9) | texts),
    (datetime | int | None, datetimes | st.integers(-9, 9) | st.none()),
    (Card | Cash, st.builds(Card, texts) | st.builds(Cash, st.integers(0, 9))),
    (Circle | Square, st.builds(Circle, st.integers(0, 9)) | st.builds(Square, st.integers(0, 9), st.dates())),
    (list[Circle | Person], st.lists(st.builds(Circle, st.integers(0, 9)) | persons, max_size=3)),
]  # fmt: skip
LEAVES += [  # what pydantic takes
    (Model[hint], st.tuples(values, st.lists(values, max_size=2)).map(  # type: ignore[valid-type]
        lambda v, model=Model[hint]: model(item=v[0], several=tuple(v[1]))  # type: ignore[valid-type]
    ))
    for hint, values in LEAVES
    if hint in (int, float, str, Decimal, uuid.UUID, datetime, date, timedelta, Color, Level, Person)
]  # fmt: skip


def _around(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    def wrap(one: Typed) -> st.SearchStrategy[Typed]:
        hint, values = one
        several = st.lists(values, max_size=2)
        made: list[Typed] = [
            (list[hint], several),
            (tuple[hint, ...], several.map(tuple)),
            (tuple[hint, int], st.tuples(values, st.integers(0, 9))),
            (dict[str, hint], st.dictionaries(texts, values, max_size=2)),
            (Optional[hint], st.none() | values),  # noqa: UP045  # `|` does not take every hint
            (Box[hint], st.builds(Box, values, several)),
            (Struct[hint], st.builds(Struct, values, st.dictionaries(texts, values, max_size=2))),
        ]
        return st.sampled_from(made)

    return inner.flatmap(wrap)


typed = st.recursive(st.sampled_from(LEAVES), _around, max_leaves=3).flatmap(
    lambda one: st.tuples(st.just(one[0]), one[1])
)
seen: Counter[str] = Counter()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(typed, st.sampled_from(sorted(CONVERTERS)))
def test_a_typed_value_comes_back_the_same(given_value: tuple[Any, Any], how: str) -> None:
    hint, value = given_value
    converter = CONVERTERS[how]
    payload = converter.to_payload(value)
    back = converter.from_payload(payload, hint)
    assert back == value
    assert type(back) is type(value)
    assert CONVERTERS["plain"].to_payload(back) == CONVERTERS["plain"].to_payload(value), "inside, too"
    seen[how] += 1


class Unwritable:
    pass


places = st.recursive(
    st.sampled_from([Unwritable(), lambda: 1, 1j, type, float("nan")]),
    lambda inside: st.one_of(
        st.tuples(texts, inside).map(list),
        st.dictionaries(texts, inside, min_size=1, max_size=1),
        st.builds(Box, inside),
        st.builds(Struct, inside),
    ),
    max_leaves=4,
)


@given(places)
def test_what_cannot_be_written_is_an_error_that_says_where(value: Any) -> None:
    for converter in CONVERTERS.values():
        with pytest.raises(PayloadError, match=r"\$.*(cannot be written as JSON|which JSON cannot hold)"):
            converter.to_payload(value)


@given(typed, st.sampled_from(LEAVES))
def test_a_value_of_another_type_is_read_or_refused_as_such(given_value: tuple[Any, Any], other: Typed) -> None:
    """Never another error than a PayloadError that shows what was sent."""
    converter = CONVERTERS["plain"]
    payload = converter.to_payload(given_value[1])
    try:
        converter.from_payload(payload, other[0])
    except PayloadError as error:
        assert "cannot be read as" in str(error)  # noqa: PT017  # it may be none
