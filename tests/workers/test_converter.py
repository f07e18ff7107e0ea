"""Values as payloads and back, by annotation; errors that name what is wrong and what to do."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odradek import DataConverter
from odradek.errors import PayloadError
from odradek_schemas.common import Payload

converter = DataConverter()
T = TypeVar("T")
OrderId = NewType("OrderId", str)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Circle:
    radius: int
    tag: bytes = b"\xff"


@dataclasses.dataclass
class Square:
    side: str


@dataclasses.dataclass
class SameAsSquare:
    side: str


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


class Card(pydantic.BaseModel):
    number: int
    valid_for: timedelta = timedelta(days=1)
    holder: str = pydantic.Field(default="", alias="cardHolder")


class Cash(pydantic.BaseModel):
    kind: Literal["cash"]


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


class Zoo(msgspec.Struct):
    shape: Circle | Square


class Movie(TypedDict):
    title: str
    shape: NotRequired[Circle | Square]


class Point(NamedTuple):
    x: int
    shape: Circle | Square = Circle(0)


@dataclasses.dataclass
class Basket:
    shapes: list[Circle | Square]
    paid_by: Card | Cash | None
    by_name: dict[str, Card]
    hidden: int = dataclasses.field(default=7, init=False)


VALUES: list[tuple[Any, Any]] = [
    ("x", str),
    (1, int),
    (2**70, int),
    (1.5, float),
    (1, float),
    (True, bool),
    (None, None),
    (None, Circle | None),
    (b"\x00\xff", bytes),
    (b"", bytes | None),
    ([b"\xff"], list[bytes]),
    ({"k": b"\xff"}, dict[str, bytes]),
    (datetime(2026, 1, 2, 3, 4, 5, 6), datetime),
    (datetime(2026, 1, 2, tzinfo=UTC), datetime),
    (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime),
    (date(2026, 1, 2), date),
    (timedelta(days=400, microseconds=7), timedelta),
    (timedelta(seconds=-5), timedelta),
    (uuid.UUID(int=5), uuid.UUID),
    (Decimal("1.10"), Decimal),
    (Color.RED, Color),
    (Level.HIGH, Level),
    ({1, 2}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    ({1: "a"}, dict[int, str]),
    ({Color.RED: 1}, dict[Color, int]),
    ([1, 2], Sequence[int]),
    (Circle(1), Circle),
    ([Circle(1)], list[Circle]),
    (Circle(1), Annotated[Circle, "of a size"]),
    (OrderId("o"), OrderId),
    (Path("/tmp/x"), Path),
    ("a", Literal["a", "b"]),
    (Card(number=1, cardHolder="me"), Card),
    ([Card(number=1)], list[Card]),
    ({"k": Card(number=1)}, dict[str, Card]),
    (Card(number=1), Card | None),
    (Page[Card](items=[Card(number=1)]), Page[Card]),
    (Circle(1), Circle | Square),
    (Square("s"), Circle | Square),
    ([Square("s"), Circle(1)], list[Circle | Square]),
    ((Square("s"), 1), tuple[Circle | Square, int]),
    ({2: Square("s")}, dict[int, Circle | Square]),
    (Card(number=1), Card | Cash),
    (Cash(kind="cash"), Card | Cash),
    (Cash(kind="cash"), Circle | Cash | int),
    (5, Circle | Cash | int),
    ("x", Circle | str | None),
    (None, Circle | Square | None),
    (date(2026, 1, 2), str | date),
    (Cat("x"), Cat | Dog),
    (Dog("x"), Cat | Dog),
    (Zoo(Square("s")), Zoo),
    (Movie(title="t", shape=Square("s")), Movie),
    (Movie(title="t"), Movie),
    (Point(1, Square("s")), Point),
    (Point(1), Point),
    (Box(Circle(1)), Box[Circle]),
    (Box(Square("s")), Box[Circle | Square]),
    (Basket([Square("s"), Circle(2)], Cash(kind="cash"), {"a": Card(number=3)}), Basket),
    ([1, {"a": [None, "x", 1.5]}], Any),
]


@pytest.mark.parametrize(("value", "hint"), VALUES, ids=[f"{v!r}-{h}"[:70] for v, h in VALUES])
def test_a_value_comes_back_the_same(value: Any, hint: Any) -> None:
    read = converter.from_payload(converter.to_payload(value), hint)
    assert read == value
    assert type(read) is type(value) or hint is float


@pytest.mark.parametrize(
    ("value", "encoding", "data"),
    [
        (None, b"binary/null", b""),
        (b"\xff", b"binary/plain", b"\xff"),
        (bytearray(b"x"), b"binary/plain", b"x"),
        ({"id": 1}, b"json/plain", b'{"id":1}'),
        (Circle(1, b""), b"json/plain", b'{"radius":1,"tag":""}'),
        (Card(number=1, cardHolder="me"), b"json/plain", b'{"number":1,"valid_for":"P1D","cardHolder":"me"}'),
    ],
)
def test_how_values_are_written(value: Any, encoding: bytes, data: bytes) -> None:
    payload = converter.to_payload(value)
    assert (payload.metadata, payload.data) == ({"encoding": encoding}, data)


def test_without_an_annotation_values_are_plain_json() -> None:
    assert converter.from_payload(converter.to_payload(Circle(1, b"")), Any) == {"radius": 1, "tag": ""}
    assert converter.from_payload(converter.to_payload(b"x")) == b"x"
    assert converter.from_payloads(converter.to_payloads([1, "x"]), [int]) == [1, "x"]


def test_json_of_other_languages_is_read_by_annotation() -> None:
    def read(data: bytes, hint: Any) -> Any:
        return converter.from_payload(Payload(metadata={"encoding": b"json/plain"}, data=data), hint)

    assert read(b'{"radius": 1, "unknown": 2}', Circle) == Circle(1)
    assert read(b'{"radius": 1, "unknown": 2}', Circle | Square) == Circle(1)
    assert read(b'"/w=="', bytes) == b"\xff"
    assert read(b"null", Circle | None) is None


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_any_json_value_comes_back(value: Any) -> None:
    assert converter.from_payload(converter.to_payload(value), Any) == value


@given(st.lists(st.integers().map(Circle) | st.text().map(Square)))
def test_any_list_of_a_union_comes_back(value: list[Circle | Square]) -> None:
    assert converter.from_payload(converter.to_payload(value), list[Circle | Square]) == value


# ---------------------------------------------------------------- errors

cyclic: list[Any] = []
cyclic.extend([cyclic, cyclic])

NOT_WRITTEN: list[tuple[Any, str]] = [
    ({"a": [1, object()]}, r"\$\['a'\]\[1\], of type object, cannot be written as JSON.*Use dataclasses"),
    (Basket([], None, {"k": lambda: 1}), r"\$\.by_name\['k'\], of type function"),  # type: ignore[dict-item]
    ([1, float("nan")], r"\$\[1\] is nan, which JSON cannot hold"),
    ({"x": float("inf")}, r"\$\['x'\] is inf"),
    ("\ud800", "surrogates not allowed"),
    (cyclic, "cannot be written"),
    ([Circle], "of type type"),
]


@pytest.mark.parametrize(("value", "message"), NOT_WRITTEN, ids=[message[:40] for _, message in NOT_WRITTEN])
def test_what_cannot_be_written_is_named_with_its_path(value: Any, message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        converter.to_payload(value)


NOT_READ: list[tuple[Any, Any, str]] = [
    ({"radius": "s"}, Circle, r"read as Circle: Expected `int`, got `str` - at `\$\.radius`.*make the annotation fit"),
    ({"shapes": [{"radius": "s"}], "paid_by": None, "by_name": {}}, Basket, r"not Circle.*at `\$\.shapes\[0\]`"),
    ({"side": "s"}, Square | SameAsSquare, "fits Square and SameAsSquare alike.*Literal"),
    ({"number": "q"}, Card, "number Input should be a valid integer"),
    (None, str, "Expected `str`, got `null`"),
    (b"x", str, "bytes were sent, which cannot be read as"),
    ([1], tuple[Circle | Square, int], "length 2, got 1"),
    (1, type, "no way to read"),
    ({"title": "t", "shape": {}}, Movie, r"missing required field.*at `\$\.shape`"),
]


@pytest.mark.parametrize(("value", "hint", "message"), NOT_READ, ids=[message[:40] for *_, message in NOT_READ])
def test_what_does_not_fit_its_annotation_is_named_with_its_path(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        converter.from_payload(converter.to_payload(value), hint)


def test_one_of_several_values_is_named_by_its_number() -> None:
    with pytest.raises(PayloadError, match="value 2 of 2: this cannot be read as str"):
        converter.from_payloads(converter.to_payloads([1, 2]), [int, str])
    with pytest.raises(PayloadError, match="value 1 of 2: "):
        converter.to_payloads([object(), 2])


def test_field_types_that_cannot_be_found_are_named() -> None:
    @dataclasses.dataclass
    class Inner:
        x: int

    @dataclasses.dataclass
    class Outer:
        inner: Inner

    with pytest.raises(PayloadError, match=r"Outer cannot be read: name 'Inner' is not defined\. Define the types"):
        converter.from_payload(converter.to_payload({"inner": {"x": 1}}), Outer)


def test_an_unknown_encoding_says_that_the_converters_differ() -> None:
    with pytest.raises(PayloadError, match=r"'binary/encrypted'.*same DataConverter"):
        converter.from_payload(Payload(metadata={"encoding": b"binary/encrypted"}, data=b"x"))


class Reversing:
    """A codec that can be seen."""

    def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"x-" + p.metadata["encoding"]}, data=p.data[::-1]) for p in payloads]

    def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": p.metadata["encoding"][2:]}, data=p.data[::-1]) for p in payloads]


def test_a_codec_changes_all_payloads_and_failures() -> None:
    coded = DataConverter(codec=Reversing())
    assert coded.to_payload("abc").data == b'"cba"'
    assert coded.from_payloads(coded.to_payloads(["abc", None, b"x"]), [str, None, bytes]) == ["abc", None, b"x"]
    failure = coded.to_failure(KeyError("k"))
    assert failure.encoded_attributes is not None
    assert failure.encoded_attributes.metadata["encoding"] == b"x-json/plain"
    assert repr(coded.from_failure(failure)) == "KeyError('k')"
