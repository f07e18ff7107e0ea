"""Any bytes decode to a record or to a DecodeError, in time and memory that their size bounds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from odradek_schemas import DecodeError, Record, codec, decode, encode
from odradek_schemas.avro import fingerprint_of, schema_of
from odradek_schemas.codec import record_classes
from odradek_schemas.history import HistoryEvent
from odradek_schemas.records import (
    CompleteActivity,
    EffectsEmitted,
    FailActivity,
    SignalWorkflow,
    WorkerStopped,
    WorkflowTaskCompleted,
)

from .strategies import any_record

ODD_BYTES = [b"", b"\0", b"\1", b"\2", b"\3", b"\x80", b"\x80\0", b"\xff" * 9]
"""What numbers, sizes, branches and truths are made of: no, negative, too large, longer than needed."""

quick = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def header(cls: type[Record]) -> bytes:
    return b"\xc3\x01" + fingerprint_of(schema_of(cls))


def long(number: int) -> bytes:
    """Avro's long: zigzag, seven bits a byte."""
    number = (number << 1) ^ (number >> 63)
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def decoded(data: bytes) -> Record | None:
    """The record, or None for a DecodeError; whatever else is raised fails the test."""
    try:
        return decode(data)
    except DecodeError:
        return None


def by_fastavro(data: bytes) -> Record:
    """The record, without the quick readers. Raises DecodeError."""
    known, older = codec._written()[data[:10]]
    return codec._decode_slowly(known, older, data)


def outcome(data: bytes, read: Callable[[bytes], Record]) -> Record | str:
    """The record, or why there is none."""
    try:
        return read(data)
    except DecodeError as error:
        return str(error)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc3\x01")
@example(b"{")
@example(b"{}")
@example(b"[]")
@quick
def test_arbitrary_bytes(data: bytes) -> None:
    decoded(data)


@given(st.sampled_from(record_classes()), st.binary(max_size=200))
@quick
def test_arbitrary_bytes_after_a_good_header(cls: type[Record], data: bytes) -> None:
    record = decoded(header(cls) + data)
    if record is not None:
        assert type(record) is cls
        assert decoded(encode(record)) is not None, "what was read can be written again"


@given(any_record(), st.data())
@quick
def test_mutated_records(record: Record, data: st.DataObject) -> None:
    """Breaks, too, when the quick readers take anything that fastavro does not, or read it differently."""
    encoded = bytearray(encode(record))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(10, len(encoded)))
        put = data.draw(st.sampled_from(ODD_BYTES) | st.binary(max_size=3))
        encoded[at : at + data.draw(st.integers(0, 2))] = put
    read = decoded(bytes(encoded))
    if read is not None:
        encode(read)
    assert outcome(bytes(encoded), decode) == outcome(bytes(encoded), by_fastavro)


@given(any_record(), st.data())
@quick
def test_a_record_cut_short_or_with_bytes_behind_is_refused(record: Record, data: st.DataObject) -> None:
    encoded = encode(record)
    if len(encoded) > 10:
        assert decoded(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) is None
    assert decoded(encoded + data.draw(st.binary(min_size=1, max_size=5))) is None


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5), st.data())
@quick
def test_json_fields_with_any_values(value: object, data: st.DataObject) -> None:
    import json

    names = ("workflow_id", "workflow_type", "input", "retry_policy", "memo", "execution_timeout", "deadline",
             "request_id", "signal", "args", "task_token", "failure", "result", "reason")  # fmt: skip
    kinds = ("StartWorkflow", "SignalWorkflow", "CancelWorkflow", "CompleteActivity", "FailActivity", "Nothing")
    fields = data.draw(st.dictionaries(st.sampled_from(names), st.just(value) | st.text(max_size=5)))
    text = json.dumps({"type": data.draw(st.sampled_from(kinds)), **fields})
    read = decoded(text.encode(errors="surrogatepass"))
    if read is not None:
        assert decode(encode(read)) == read


@pytest.mark.parametrize(
    "data",
    [
        header(WorkerStopped) + long(2**40) + b"abc",
        header(WorkerStopped) + long(2**62) + b"abc",
        header(WorkerStopped) + long(-1) + b"abc",
        header(WorkerStopped) + long(-(2**63)) + b"abc",
        header(CompleteActivity) + long(1) + b"w" + long(2**40) + b"abc",
        header(CompleteActivity) + long(1) + b"w" + long(-1) + b"abc",
        header(EffectsEmitted) + long(2**40),
        header(EffectsEmitted) + long(2**40) + b"\x00" * 1000,
        header(EffectsEmitted) + long(-(2**40)) + long(2**40),
        header(SignalWorkflow) + b"\x00\x00\x00" + long(2**62),
        header(SignalWorkflow) + b"\x00\x00\x00\x00" + long(2**40),
        header(SignalWorkflow) + b"\x00" * 5 + long(99),
        header(SignalWorkflow) + b"\x00" * 5 + long(2**62),
        header(HistoryEvent) + b"\x00\x00" + long(2**40),
    ],
    ids=lambda data: data[10:40].hex(),
)
def test_declared_sizes_do_not_allocate(data: bytes) -> None:
    decoded(data)  # the schema is parsed once, outside of what is measured
    tracemalloc.start()
    try:
        assert decoded(data) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_the_most_items_that_fit_into_a_record_stay_in_proportion() -> None:
    """The smallest item, a payload, is two bytes: a full record of them is some hundred bytes each, no more."""
    items = 10_000
    after = len(SignalWorkflow.__struct_fields__) - 4  # the end of the array and what follows it
    data = header(SignalWorkflow) + b"\x00\x00\x00" + long(items) + b"\x00\x00" * items + b"\x00" * (after + 1)
    decoded(data)
    tracemalloc.start()
    try:
        record = decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(record, SignalWorkflow)
    assert len(record.input) == items
    assert peak < 1_000 * items


@pytest.mark.parametrize("levels", [51, 1000, 90_000])
@pytest.mark.parametrize("branch", [b"\x02", b"\x01", b"\x82\x80\x00"], ids=["plain", "negative", "overlong"])
def test_failures_that_cause_each_other_do_not_exhaust_the_stack(levels: int, branch: bytes) -> None:
    level = b"\x00" * 10
    data = header(FailActivity) + b"\x00\x00" + (level + branch) * levels + level + b"\x00" + b"\x00"
    assert decoded(data) is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"type":"StartWorkflow","input":' + "[" * 100_000])
def test_deep_json_does_not_exhaust_the_stack(text: str) -> None:
    assert decoded(text.encode()) is None


def test_how_deep_json_may_be_does_not_depend_on_the_stack_of_the_caller() -> None:
    def attempt(levels: int, frames: int) -> Record | None:
        if frames:
            return attempt(levels, frames - 1)
        nested = "[" * levels + "]" * levels
        return decoded(f'{{"type":"SignalWorkflow","workflow_id":"w","signal":"s","args":{nested}}}'.encode())

    for frames in (0, 300):
        assert attempt(99, frames) is not None
        assert attempt(100, frames) is None


def test_the_reason_says_what_is_wrong() -> None:
    for data, reason in (
        (b"hello", "5 bytes that are neither Avro single-object encoding nor JSON"),
        (b"\xc3\x01" + b"\x00" * 8, "no schema has the fingerprint 0000000000000000"),
        (header(WorkflowTaskCompleted), "do not fit the schema of odradek.record.WorkflowTaskCompleted"),
        (header(WorkerStopped) + b"\x00\x01", "1 bytes too many after odradek.record.WorkerStopped"),
    ):
        with pytest.raises(DecodeError, match=reason):
            decode(data)
