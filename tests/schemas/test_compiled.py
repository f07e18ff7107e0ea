"""The quick readers and writers beside fastavro: the same bytes, the same records, and no errors of their own.

What they do with bytes that are wrong is compared in `test_hostile_bytes.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odradek_schemas import Record, codec, compiled, decode, encode
from odradek_schemas.codec import record_classes
from odradek_schemas.common import Payload
from odradek_schemas.records import CompleteActivity, StartWorkflow

from .strategies import records


def by_fastavro(record: Record) -> bytes:
    return codec._encode_slowly(codec._formats()[type(record)], record)


@pytest.mark.parametrize("cls", record_classes(), ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_both_write_and_read_the_same(cls: type[Record], data: st.DataObject) -> None:
    """Breaks, too, when a quick function gives up where it should not: nobody would see, but by the time it takes."""
    record = data.draw(records(cls, causes=0))
    known = codec._formats()[cls]
    encoded = by_fastavro(record)
    assert known.header + known.write_quickly(record) == encoded
    assert known.read_quickly(encoded, 10) == (record, len(encoded))
    assert codec._decode_slowly(known, None, encoded) == record


@pytest.mark.parametrize("number", [0, -1, 63, -64, 64, 4095, 4096, -(2**31), 2**62, 2**63 - 1, -(2**63)])
def test_numbers_of_all_lengths(number: int) -> None:
    record = StartWorkflow(workflow_id="w", workflow_type="t", task_queue="q", run_timeout_ms=number)
    assert encode(record) == by_fastavro(record)
    assert decode(encode(record)) == record


@pytest.mark.parametrize("length", [0, 63, 64, 8191, 8192, 100_000])
def test_bytes_and_texts_of_all_lengths(length: int) -> None:
    record = CompleteActivity(workflow_id="\xe4" * length, task_token=bytes(length), result=Payload(data=b"x" * length))
    assert encode(record) == by_fastavro(record)
    assert decode(encode(record)) == record


def test_texts_that_are_kept_are_short_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MAX_KEPT_TEXTS", 10)
    kept = compiled._Texts()
    for length in (5, 500):
        for number in range(25):
            text = f"{number:0{length}}"
            assert kept[text] == kept[text] == compiled._written_long(length) + text.encode()
    assert {len(text) for text in kept} == {5}
    assert len(kept) <= 10


@pytest.mark.parametrize(
    "fields",
    [{"workflow_id": None}, {"workflow_id": "\ud800"}, {"run_timeout_ms": 2**63}, {"input": [None]}, {"memo": {1: 2}}],
    ids=str,
)
def test_what_is_no_record_is_refused_as_by_fastavro(fields: dict[str, Any]) -> None:
    record = StartWorkflow(**{"workflow_id": "w", "workflow_type": "t", "task_queue": "q", **fields})
    with pytest.raises(Exception) as refused:
        encode(record)
    with pytest.raises(type(refused.value)):
        by_fastavro(record)
