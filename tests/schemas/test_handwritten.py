"""The JSON records: every field, the defaults, and an error that names the field for everything else."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from odradek_schemas import DecodeError, Failure, Payload, Request, RetryPolicy, decode, task_token
from odradek_schemas.records import (
    CancelWorkflow,
    ChangeActivity,
    CompleteActivity,
    FailActivity,
    PauseWorkflow,
    ResetWorkflow,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    UnpauseWorkflow,
    UpdateWorkflow,
)

TOKEN = task_token("order-42", "run-1", "s/1", 3)
YEAR = 365 * 86_400


def value(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


NULL = Payload(metadata={"encoding": b"binary/null"})


def read(**fields: Any) -> Any:
    return decode(json.dumps(fields).encode())


def start(**fields: Any) -> Any:
    return read(type="StartWorkflow", workflow_id="order-42", workflow_type="Order", **fields)


def test_start_with_the_fewest_fields_has_the_defaults_of_the_record() -> None:
    assert start() == StartWorkflow(workflow_id="order-42", workflow_type="Order", task_queue="default")


def test_start_with_every_field() -> None:
    assert start(
        task_queue="orders",
        input=[{"id": 1, "name": "Poké"}, None, 1.5, "x"],
        request_id="q1",
        deadline=1_700_000_000.5,
        id_conflict_policy="use_existing",
        id_reuse_policy="reject",
        execution_timeout=3600,
        run_timeout=0.0001,
        task_timeout=10.25,
        start_delay=YEAR,
        retry_policy={
            "initial_interval": 0.5,
            "backoff_coefficient": 3,
            "maximum_interval": 60,
            "maximum_attempts": 4,
            "non_retryable_error_types": ["CardDeclined"],
        },
        memo={"who": "me"},
        search_attributes={"City": "Wien"},
        signal="note",
        signal_args=["now"],
    ) == StartWorkflow(
        workflow_id="order-42",
        workflow_type="Order",
        task_queue="orders",
        input=[value('{"id":1,"name":"Pok\\u00e9"}'), NULL, value("1.5"), value('"x"')],
        request=Request(request_id="q1", deadline_ms=1_700_000_000_500),
        id_conflict_policy="use_existing",
        id_reuse_policy="reject",
        execution_timeout_ms=3_600_000,
        run_timeout_ms=1,  # rounded up: a short timeout is not none
        task_timeout_ms=10_250,
        start_delay_ms=YEAR * 1000,
        retry_policy=RetryPolicy(
            initial_interval_ms=500,
            backoff_coefficient=3.0,
            maximum_interval_ms=60_000,
            maximum_attempts=4,
            non_retryable_error_types=["CardDeclined"],
        ),
        memo={"who": value('"me"')},
        search_attributes={"City": value('"Wien"')},
        signal="note",
        signal_input=[value('"now"')],
    )


def test_signal() -> None:
    assert read(
        type="SignalWorkflow", workflow_id="w", signal="picked_up", run_id="r", args=[1, [2]], request_id="q"
    ) == SignalWorkflow(
        workflow_id="w", signal="picked_up", run_id="r", input=[value("1"), value("[2]")],
        request=Request(request_id="q"),
    )  # fmt: skip
    assert read(type="SignalWorkflow", workflow_id="w", signal="s") == SignalWorkflow(workflow_id="w", signal="s")


def test_cancel() -> None:
    assert read(type="CancelWorkflow", workflow_id="w") == CancelWorkflow(workflow_id="w")
    assert read(type="CancelWorkflow", workflow_id="w", run_id="r", reason="why", request_id="q") == CancelWorkflow(
        workflow_id="w", run_id="r", reason="why", request=Request(request_id="q")
    )


def test_complete_activity() -> None:
    token = TOKEN.decode()
    for result, payload in (([1], value("[1]")), (None, NULL), (False, value("false"))):
        assert read(type="CompleteActivity", task_token=token, result=result) == CompleteActivity(
            workflow_id="order-42", task_token=TOKEN, result=payload
        )
    assert read(type="CompleteActivity", task_token=token).result == NULL
    assert read(type="CompleteActivity", task_token=token, workflow_id="order-42", request_id="q").request == Request(
        request_id="q"
    )


def test_fail_activity() -> None:
    token = TOKEN.decode()
    assert read(type="FailActivity", task_token=token, failure="no") == FailActivity(
        workflow_id="order-42", task_token=TOKEN, failure=Failure(message="no")
    )
    failure = {"message": "no", "type": "Declined", "non_retryable": True, "details": [1]}
    assert read(type="FailActivity", task_token=token, failure=failure).failure == Failure(
        message="no", type="Declined", non_retryable=True, details=[value("1")]
    )


def test_null_is_the_same_as_leaving_a_field_out() -> None:
    names = ("task_queue", "input", "request_id", "deadline", "id_conflict_policy", "id_reuse_policy",
             "execution_timeout", "run_timeout", "task_timeout", "start_delay", "retry_policy", "memo",
             "search_attributes", "signal", "signal_args")  # fmt: skip
    assert start(**dict.fromkeys(names)) == start()
    policy = ("initial_interval", "backoff_coefficient", "maximum_interval", "maximum_attempts",
              "non_retryable_error_types")  # fmt: skip
    assert start(retry_policy=dict.fromkeys(policy)) == start(retry_policy={})
    assert start(retry_policy={}).retry_policy == RetryPolicy()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"workflow_id": 5}, "'workflow_id' is a text, not 5"),
    ({"workflow_id": None}, "'workflow_id' is missing"),
    ({"workflow_type": ["Order"]}, "'workflow_type' is a text"),
    ({"task_queue": True}, "'task_queue' is a text, not true"),
    ({"input": {"id": 1}}, "'input' is a list of arguments, also for one"),
    ({"input": "Poke"}, "'input' is a list of arguments, also for one"),
    ({"request_id": 7}, "'request_id' is a text, not 7"),
    ({"request_id": "q", "deadline": "soon"}, "'deadline' is a number of seconds"),
    ({"deadline": 1_700_000_000}, "'deadline' is for a 'request_id', which is missing"),
    ({"id_conflict_policy": 1}, "'id_conflict_policy' is a text"),
    ({"execution_timeout": "10"}, "'execution_timeout' is a number of seconds"),
    ({"execution_timeout": True}, "'execution_timeout' is a number of seconds"),
    ({"execution_timeout": -1}, "'execution_timeout' is a number of seconds from 0"),
    ({"execution_timeout": 1e300}, "'execution_timeout' is a number of seconds from 0 to"),
    ({"run_timeout": 10**30}, "'run_timeout' is a number of seconds from 0 to"),
    ({"task_timeout": [1]}, "'task_timeout' is a number of seconds"),
    ({"start_delay": {"seconds": 1}}, "'start_delay' is a number of seconds"),
    ({"execution_timeout_ms": 5}, "StartWorkflow has no field 'execution_timeout_ms'"),
    ({"retry_policy": "none"}, "'retry_policy' is an object, not \"none\""),
    ({"retry_policy": "initial_interval"}, "'retry_policy' is an object"),
    ({"retry_policy": [1]}, "'retry_policy' is an object"),
    ({"retry_policy": {"attempts": 3}}, "StartWorkflow has no field 'retry_policy.attempts'"),
    ({"retry_policy": {"initial_interval": 0}}, "'retry_policy.initial_interval' is more than 0"),
    ({"retry_policy": {"initial_interval": "1s"}}, "'retry_policy.initial_interval' is a number of seconds"),
    ({"retry_policy": {"maximum_interval": 0.5}}, "'retry_policy.maximum_interval' is not below initial_interval"),
    ({"retry_policy": {"backoff_coefficient": 0.5}}, "'retry_policy.backoff_coefficient' is from 1"),
    ({"retry_policy": {"backoff_coefficient": "2"}}, "'retry_policy.backoff_coefficient' is a number"),
    ({"retry_policy": {"maximum_attempts": -1}}, "'retry_policy.maximum_attempts' is a whole number"),
    ({"retry_policy": {"maximum_attempts": 1.5}}, "'retry_policy.maximum_attempts' is a whole number"),
    ({"retry_policy": {"maximum_attempts": True}}, "'retry_policy.maximum_attempts' is a whole number"),
    ({"retry_policy": {"non_retryable_error_types": [1]}}, "'retry_policy.non_retryable_error_types' is a list of te"),
    ({"memo": [1]}, "'memo' is an object"),
    ({"search_attributes": "x"}, "'search_attributes' is an object"),
    ({"signal": 1}, "'signal' is a text"),
    ({"signal_args": [1]}, "'signal_args' is for a 'signal', which is missing"),
    ({"colour": "red"}, "StartWorkflow has no field 'colour'"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG, ids=[m[:60] for _, m in WRONG])
def test_an_error_names_the_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodeError) as raised:
        read(**{"type": "StartWorkflow", "workflow_id": "w", "workflow_type": "T", **fields})
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "SignalWorkflow", "workflow_id": "w"}, "'signal' is missing"),
        ({"type": "SignalWorkflow", "workflow_id": "w", "signal": "s", "args": 1}, "'args' is a list of arguments"),
        ({"type": "SignalWorkflow", "workflow_id": "w", "signal": "s", "input": []}, "has no field 'input'"),
        ({"type": "CancelWorkflow"}, "'workflow_id' is missing"),
        ({"type": "CancelWorkflow", "workflow_id": "w", "reason": 1}, "'reason' is a text"),
        ({"type": "CompleteActivity"}, "'task_token' is missing"),
        ({"type": "CompleteActivity", "task_token": "nonsense"}, "'task_token': not a task token"),
        ({"type": "CompleteActivity", "task_token": 5}, "'task_token' is a text"),
        (
            {"type": "CompleteActivity", "task_token": TOKEN.decode(), "workflow_id": "other"},
            "'workflow_id' is 'other', but 'task_token' is of 'order-42'",
        ),
        ({"type": "FailActivity", "task_token": TOKEN.decode()}, "'failure' is missing"),
        ({"type": "FailActivity", "task_token": TOKEN.decode(), "failure": 3}, "'failure' is a text, or an object"),
        ({"type": "FailActivity", "task_token": TOKEN.decode(), "failure": {}}, "'failure.message' is missing"),
        (
            {"type": "FailActivity", "task_token": TOKEN.decode(), "failure": {"message": "m", "non_retryable": 1}},
            "'failure.non_retryable' is true or false",
        ),
        (
            {"type": "FailActivity", "task_token": TOKEN.decode(), "failure": {"message": "m", "stack": "x"}},
            "FailActivity has no field 'failure.stack'",
        ),
        ({"type": "ForwardedRecord"}, "use one of CancelWorkflow, ChangeActivity, CompleteActivity, FailActivity, Pa"),
        ({"type": "ResetWorkflow", "workflow_id": "w"}, "'event_id' is missing"),
        ({"type": "ResetWorkflow", "workflow_id": "w", "event_id": "3"}, "'event_id' is a whole number"),
        ({"type": "PauseWorkflow", "workflow_id": "w", "activity": "x"}, "PauseWorkflow has no field 'activity'"),
        ({"type": "ChangeActivity", "workflow_id": "w", "action": "pause"}, "'activity' is missing"),
        (
            {"type": "ChangeActivity", "workflow_id": "w", "action": "update", "activity": 1, "retry_policy": {"x": 1}},
            "ChangeActivity has no field 'retry_policy.x'",
        ),
        ({"type": ["StartWorkflow"]}, "'type' is a text"),
        ({"workflow_id": "w"}, "'type' is missing"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_an_error_names_the_field_of_the_other_records(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodeError) as raised:
        read(**fields)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"StartWorkflow"',
        b'{"type":"CancelWorkflow","workflow_id":"\\ud800"}',  # half a character: no UTF-8, so no Avro either
        b'{"type":"CancelWorkflow","workflow_id":"\xff"}',
        b'{"type":"StartWorkflow","workflow_id":"w","workflow_type":"T","execution_timeout":NaN}',
        b'{"type":"StartWorkflow","workflow_id":"w","workflow_type":"T","execution_timeout":Infinity}',
        b'{"type":"StartWorkflow","workflow_id":"w","workflow_type":"T","execution_timeout":1e999}',
        b'{"type":"StartWorkflow","workflow_id":"w","workflow_type":"T","input":[NaN]}',
        b'{"type":"StartWorkflow","workflow_id":"w","workflow_type":"T","input":[' + b"9" * 10_000 + b"]}",
    ],
    ids=lambda data: data[-50:].decode(errors="replace"),
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="JSON record not understood"):
        decode(data)


def test_an_error_shows_no_more_than_the_beginning_of_a_long_value() -> None:
    with pytest.raises(DecodeError) as raised:
        start(execution_timeout="9" * 1_000_000)
    assert len(str(raised.value)) < 300
    with pytest.raises(DecodeError) as raised:
        read(type="x" * 1_000_000)
    assert len(str(raised.value)) < 300


def test_what_people_do_to_workflows_and_activities() -> None:
    said = {"workflow_id": "w", "run_id": "r", "reason": "why", "request_id": "q1"}
    who = {**said, "identity": "Ada"}
    record = {"workflow_id": "w", "run_id": "r", "reason": "why", "request": Request(request_id="q1")}
    by = {**record, "identity": "Ada"}
    assert read(type="TerminateWorkflow", **said) == TerminateWorkflow(**record)
    assert read(type="PauseWorkflow", **who) == PauseWorkflow(**by)
    assert read(type="UnpauseWorkflow", **who) == UnpauseWorkflow(**by)
    assert read(type="ResetWorkflow", workflow_id="w", event_id=7) == ResetWorkflow(workflow_id="w", event_id=7)
    reset = read(type="ResetWorkflow", event_id=7, reapply="none", **who)
    assert reset == ResetWorkflow(event_id=7, reapply="none", **by)


def test_changes_of_pending_activities() -> None:
    fewest = {"type": "ChangeActivity", "workflow_id": "w", "action": "retry"}
    assert read(**fewest, activity="charge") == ChangeActivity(
        workflow_id="w", action="retry", activity_type="charge"
    )
    assert read(**fewest, activity=3) == ChangeActivity(workflow_id="w", action="retry", seq=3)
    assert read(
        type="ChangeActivity", workflow_id="w", action="update", activity="charge", task_queue="other",
        start_to_close_timeout=1.5, heartbeat_timeout=0, retry_policy={"maximum_attempts": 3}, identity="Ada",
    ) == ChangeActivity(
        workflow_id="w", action="update", activity_type="charge", task_queue="other", start_to_close_timeout_ms=1500,
        heartbeat_timeout_ms=0, retry_policy=RetryPolicy(maximum_attempts=3), identity="Ada",
    )  # fmt: skip


def test_updates() -> None:
    asked = {"type": "UpdateWorkflow", "workflow_id": "w", "update": "rename", "request_id": "u1"}
    fewest = UpdateWorkflow(workflow_id="w", update="rename", request=Request(request_id="u1"))
    assert read(**asked) == fewest
    assert read(**asked, run_id="r", args=["Poke"]) == msgspec.structs.replace(
        fewest, run_id="r", input=[value('"Poke"')]
    )
    with_start = start(update="rename", update_args=[1], request_id="u1")
    assert (with_start.update, with_start.update_input) == ("rename", [value("1")])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "UpdateWorkflow", "update": "rename"}, "'request_id' is missing"),
        ({"type": "UpdateWorkflow", "request_id": "u1"}, "'update' is missing"),
        ({"type": "StartWorkflow", "workflow_type": "Order", "update": "rename"}, "'request_id' is missing"),
        ({"type": "StartWorkflow", "workflow_type": "Order", "update_args": [1]}, "'update', which is missing"),
    ],
)
def test_an_update_has_an_id_and_a_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodeError) as raised:
        read(workflow_id="w", **fields)
    assert message in str(raised.value)
