"""Every record reads back as it was written, by this codec and by Avro libraries that know only the `.avsc`."""

from __future__ import annotations

import io
import json
import typing
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import odradek_schemas
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odradek_schemas import decode, encode
from odradek_schemas.avro import full_name
from odradek_schemas.codec import record_classes
from odradek_schemas.common import Failure, Payload, Record
from odradek_schemas.generate import schema_files
from odradek_schemas.history import Attributes, HistoryEvent
from odradek_schemas.records import FailActivity, StartWorkflow

from .strategies import records

AVSC = Path(odradek_schemas.__file__).parent / "avsc"
CLASSES = record_classes()
by_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
few = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def test_the_classes_are_all_there() -> None:
    names = {cls.__name__ for cls in CLASSES}
    assert len(names) == len(CLASSES) >= 45
    assert {"StartWorkflow", "HistoryEvent", "WorkflowTask", "RequestReply", "QueryWorkflow", "DeadLetter"} <= names
    assert "LocalResult" not in names, "a part of other records never stands alone"


def test_avsc_files_are_what_the_classes_say() -> None:
    expected = schema_files()
    assert {path: path.read_text() for path in AVSC.glob("*.avsc")} == expected, (
        "run: python -m odradek_schemas.generate"
    )


@by_class
def test_round_trip_here_and_by_a_reader_with_only_the_avsc(cls: type[Record]) -> None:
    schema = fastavro.parse_schema(json.loads((AVSC / f"{full_name(cls)}.avsc").read_text()))
    header = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))

    @given(record=records(cls))
    @few
    def check(record: Record) -> None:
        encoded = encode(record)
        read = decode(encoded)
        assert type(read) is cls
        assert read == record
        assert encoded[:10] == header
        buffer = io.BytesIO(encoded[10:])
        value = fastavro.schemaless_reader(buffer, schema, None)
        assert buffer.read() == b""
        assert value == _plain(msgspec.to_builtins(record, builtin_types=(bytes,)))

    check()


@given(data=st.data())
@settings(few, max_examples=5)
def test_each_kind_of_event_reads_with_only_the_avsc(data: st.DataObject) -> None:
    """Breaks when a kind is written as another branch of the union, or otherwise than the known schema says."""
    schema = fastavro.parse_schema(json.loads((AVSC / f"{full_name(HistoryEvent)}.avsc").read_text()))
    for kind in typing.get_args(Attributes):
        event = HistoryEvent(event_id=7, time_ms=1_700_000_000_000, attributes=data.draw(records(kind)))
        buffer = io.BytesIO(encode(event)[10:])
        value: Any = fastavro.schemaless_reader(
            buffer, schema, None, return_record_name=True, return_record_name_override=True
        )
        assert buffer.read() == b""
        name, fields = value["attributes"]
        assert (value["event_id"], value["time_ms"], name) == (7, 1_700_000_000_000, full_name(kind))
        assert fields == _plain(msgspec.to_builtins(event.attributes, builtin_types=(bytes,)))


def _plain(value: Any) -> Any:
    """Without the names of union branches, which only our side writes beside the fields."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if not (k == "-type" and isinstance(v, str))}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def test_a_writer_with_only_the_avsc_is_understood() -> None:
    schema = fastavro.parse_schema(json.loads((AVSC / "odradek.record.StartWorkflow.avsc").read_text()))
    canonical = to_parsing_canonical_form(schema)
    buffer = io.BytesIO(b"\xc3\x01" + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO")))
    buffer.seek(0, io.SEEK_END)
    argument = {"metadata": {"encoding": b"json/plain"}, "data": b'{"id":1}'}
    fastavro.schemaless_writer(
        buffer,
        schema,
        {"workflow_id": "order-42", "workflow_type": "Order", "task_queue": "orders", "input": [argument]},
    )
    assert decode(buffer.getvalue()) == StartWorkflow(
        workflow_id="order-42",
        workflow_type="Order",
        task_queue="orders",
        input=[Payload(metadata={"encoding": b"json/plain"}, data=b'{"id":1}')],
    )


def test_a_failure_with_more_causes_than_readers_take_is_not_written() -> None:
    def chain(causes: int) -> Failure:
        failure = Failure(message="the first")
        for _ in range(causes):
            failure = Failure(message="then", cause=failure)
        return failure

    longest = FailActivity(workflow_id="w", task_token=b"t", failure=chain(50))
    assert decode(encode(longest)) == longest
    with pytest.raises(ValueError, match="more than 50 causes"):
        encode(FailActivity(workflow_id="w", task_token=b"t", failure=chain(51)))
