"""Records as people see them."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from odradek_schemas import Failure, Payload, Position, Record, encode, json_payload, to_json
from odradek_schemas.commands import ScheduleActivity, StartTimer
from odradek_schemas.history import HistoryEvent, SignalReceived
from odradek_schemas.records import FailActivity, ForwardedRecord, StartWorkflow, WorkflowTaskCompleted
from odradek_schemas.tasks import HistoryBatch

from .strategies import any_record

POSITION = Position(partition=1, offset=2, index=0)


@given(any_record())
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_every_record_can_be_shown(record: Record) -> None:
    shown = to_json(record)
    assert shown["type"] == type(record).__name__
    assert set(shown) == {"type", *record.__struct_fields__}
    json.dumps(shown)


def test_payloads_are_shown_as_values() -> None:
    shown = to_json(
        StartWorkflow(
            workflow_id="w",
            workflow_type="Order",
            task_queue="q",
            input=[
                json_payload({"id": 1}),
                json_payload(None),
                Payload(metadata={"encoding": b"binary/encrypted"}, data=b"\xff\x00"),
                Payload(metadata={"encoding": b"json/plain"}, data=b"broken"),
            ],
        )
    )
    assert shown["input"] == [
        {"id": 1},
        None,
        {"metadata": {"encoding": "binary/encrypted"}, "data": {"hex": "ff00"}},
        {"metadata": {"encoding": "json/plain"}, "data": "broken"},
    ]


def test_commands_and_events_have_their_short_names() -> None:
    shown = to_json(
        WorkflowTaskCompleted(
            workflow_id="w", run_id="r", id="s/1", base="r", consumed_through=1,
            commands=[ScheduleActivity(seq=1, activity_type="charge"), StartTimer(seq=2, duration_ms=5)],
        )
    )  # fmt: skip
    assert [command["type"] for command in shown["commands"]] == ["ScheduleActivity", "StartTimer"]
    assert shown["commands"][1] == {"type": "StartTimer", "seq": 2, "duration_ms": 5, "summary": ""}


def test_records_within_records_are_shown() -> None:
    event = HistoryEvent(event_id=2, time_ms=5, attributes=SignalReceived(signal="s", input=[json_payload("x")]))
    batch = HistoryBatch(
        position=POSITION, workflow_id="w", run_id="r", workflow_type="T", task_queue="q", events=[encode(event)]
    )
    inner = to_json(batch)["events"][0]
    assert inner["type"] == "HistoryEvent"
    assert inner["attributes"] == {
        "type": "SignalReceived", "signal": "s", "input": ["x"], "headers": {}, "request_id": "", "identity": "",
    }  # fmt: skip


def test_records_forwarded_without_end_are_shown_to_a_bounded_depth() -> None:
    record = ForwardedRecord(position=POSITION, value=b"the first")
    for _ in range(2_000):
        record = ForwardedRecord(position=POSITION, value=encode(record))
    shown = to_json(record)
    for _ in range(4):
        shown = shown["value"]
        assert shown["type"] == "ForwardedRecord"
    assert set(shown["value"]) == {"hex"}


def test_user_keys_that_look_like_ours() -> None:
    """`metadata`, `data` and `-type` are free for users to take as names."""
    memo = {"metadata": json_payload(1), "data": json_payload(2)}
    start = StartWorkflow(workflow_id="w", workflow_type="T", task_queue="q", memo=memo, headers={"-type": Payload()})
    assert to_json(start)["memo"] == {"metadata": 1, "data": 2}
    assert to_json(start)["headers"] == {"-type": {"metadata": {}, "data": ""}}


def test_failures_are_shown_with_their_causes() -> None:
    failure = Failure(message="m", type="T", details=[json_payload(1)], cause=Failure(message="below"))
    shown = to_json(FailActivity(workflow_id="w", task_token=b"t", failure=failure))["failure"]
    assert shown["type"] == "T"
    assert shown["details"] == [1]
    assert shown["cause"]["message"] == "below"
