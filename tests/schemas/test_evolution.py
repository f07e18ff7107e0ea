"""A record of an older schema still reads: removed fields are passed over, new ones have their defaults."""

from __future__ import annotations

import copy
import io
import json
import random
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from fastavro.utils import generate_one
from odradek_schemas import Failure, Payload, Record, Request, RetryPolicy, decode, encode, generate
from odradek_schemas.avro import fingerprint_of, full_name, schema_of
from odradek_schemas.codec import ARCHIVE, record_classes
from odradek_schemas.history import ActivityFailed, HistoryEvent, TimerFired, WorkflowStarted
from odradek_schemas.nesting import without_recursion
from odradek_schemas.records import StartWorkflow

ARGUMENT = Payload(metadata={"encoding": b"json/plain"}, data=b'{"id":1}')
ARCHIVED = sorted(ARCHIVE.glob("*.avsc"))
CLASSES = {full_name(cls): cls for cls in record_classes()}


def test_old_start_workflow() -> None:
    """Written with a `priority`, since removed, and before start_delay_ms, search_attributes, signal and
    RetryPolicy.non_retryable_error_types."""
    old = bytes.fromhex(
        "c301e0514b62750c2a6c"
        "106f726465722d34320a4f726465720c6f7264657273020210656e636f64696e67146a736f6e2f706c61696e00107b226964223a317d"
        "00000204713102630680a0abfef9620e187573655f6578697374696e670a616c6c6f7780bab703000002e80700000000000000400008"
        "020677686f0210656e636f64696e67146a736f6e2f706c61696e00107b226964223a317d00"
    )
    assert decode(old) == StartWorkflow(
        workflow_id="order-42",
        workflow_type="Order",
        task_queue="orders",
        input=[ARGUMENT],
        request=Request(request_id="q1", client_id="c", reply_partition=3, deadline_ms=1_700_000_000_000),
        id_conflict_policy="use_existing",
        execution_timeout_ms=3_600_000,
        retry_policy=RetryPolicy(initial_interval_ms=500, maximum_attempts=4),
        memo={"who": ARGUMENT},
    )


@pytest.mark.parametrize(
    ("old", "event"),
    [
        (
            "0280a0abfef96204000a4f726465720c6f7264657273122a202a202a202a202a020210656e636f64696e67146a736f6e2f706c6169"
            "6e00107b226964223a317d0000047231000200000000",
            HistoryEvent(
                event_id=1,
                time_ms=1_700_000_000_000,
                attributes=WorkflowStarted(
                    workflow_type="Order", task_queue="orders", input=[ARGUMENT], first_run_id="r1"
                ),
            ),
        ),
        (
            "1282a0abfef962000c0208106465636c696e656418436172644465636c696e6564166170706c69636174696f6e0000000000000210"
            "48545450203430320010616374697669747900000000000400061a6e6f6e5f726574727961626c65",
            HistoryEvent(
                event_id=9,
                time_ms=1_700_000_000_001,
                attributes=ActivityFailed(
                    seq=1,
                    scheduled_event_id=4,
                    failure=Failure(
                        message="declined",
                        type="CardDeclined",
                        cause=Failure(message="HTTP 402", kind="activity", attempt=2),
                    ),
                    attempt=3,
                    reason="non_retryable",
                ),
            ),
        ),
        (
            "1484a0abfef9620014040c",
            HistoryEvent(
                event_id=10, time_ms=1_700_000_000_002, attributes=TimerFired(seq=2, started_event_id=6)
            ),
        ),
    ],
    ids=["WorkflowStarted", "ActivityFailed", "TimerFired"],
)  # fmt: skip
def test_old_history_event(old: str, event: HistoryEvent) -> None:
    """Written with HistoryEvent.version and WorkflowStarted.cron, since removed; before three fields of
    WorkflowStarted, one each of ActivityFailed and Failure, and two types of event in the middle of the union."""
    assert decode(bytes.fromhex("c301002a2007fe5a9690" + old)) == event


@pytest.mark.parametrize("path", ARCHIVED, ids=lambda path: path.stem)
def test_every_archived_schema_is_filed_under_its_fingerprint(path: Path) -> None:
    assert fingerprint_of(json.loads(path.read_text())).hex() == path.stem


@pytest.mark.parametrize("path", ARCHIVED, ids=lambda path: path.stem)
def test_random_records_of_every_archived_schema_read(path: Path) -> None:
    raw = json.loads(path.read_text())
    cls = CLASSES[f"{raw['namespace']}.{raw['name']}"]
    schema = fastavro.parse_schema(without_recursion(raw))
    header = b"\xc3\x01" + fingerprint_of(raw)
    random.seed(7)  # generate_one draws from the global generator
    for _ in range(50):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, schema, _with_empty_causes(generate_one(schema)))
        record = decode(header + buffer.getvalue())
        assert type(record) is cls
        assert decode(encode(record)) == record


def _with_empty_causes(value: Any) -> Any:
    """Without nested failures: their copies in the unrolled schema all fit, and the first would be taken."""
    if isinstance(value, dict):
        return {k: None if k == "cause" else _with_empty_causes(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_empty_causes(v) for v in value]
    return value


def _records_in(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, list):
        for inner in schema:
            yield from _records_in(inner)
    elif isinstance(schema, dict):
        if schema.get("type") == "record":
            yield schema
        for key in ("type", "items", "values", "fields"):
            yield from _records_in(schema.get(key, ""))


@pytest.mark.parametrize("path", ARCHIVED, ids=lambda path: path.stem)
def test_fields_newer_than_an_archived_schema_have_defaults(path: Path) -> None:
    archived = json.loads(path.read_text())
    today = {
        f"{record['namespace']}.{record['name']}": record
        for record in _records_in(schema_of(CLASSES[f"{archived['namespace']}.{archived['name']}"]))
    }
    for old in _records_in(archived):
        new = today.get(f"{old['namespace']}.{old['name']}")
        if new is not None:
            known = {field["name"] for field in old["fields"]}
            required = [f["name"] for f in new["fields"] if f["name"] not in known and "default" not in f]
            assert not required, f"{new['name']}.{required} would make older records unreadable: give it a default"


@pytest.mark.parametrize("cls", record_classes(), ids=lambda cls: cls.__name__)
def test_every_default_in_a_schema_is_the_default_of_the_class(cls: type[Record]) -> None:
    """A writer that knows only the required fields: what it leaves out reads as the class has it."""
    schema = copy.deepcopy(schema_of(cls))
    schema["fields"] = [field for field in schema["fields"] if "default" not in field]
    value = {field["name"]: _smallest(field["type"]) for field in schema["fields"]}
    buffer = io.BytesIO()
    parsed = fastavro.parse_schema(schema)
    fastavro.schemaless_writer(buffer, parsed, value)
    buffer.seek(0)
    read = fastavro.schemaless_reader(buffer, parsed, fastavro.parse_schema(schema_of(cls)))
    for field in msgspec.structs.fields(cls):
        if not field.required:
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            hint = typing.get_type_hints(cls)[field.name]
            assert msgspec.convert(read[field.name], hint) == default, field.name


def _smallest(schema: Any) -> Any:
    """The smallest value that fits a schema."""
    if isinstance(schema, list):
        return _smallest(schema[0])
    if isinstance(schema, dict):
        kind = schema["type"]
        if kind == "record":
            return {f["name"]: _smallest(f["type"]) for f in schema["fields"] if "default" not in f}
        return [] if kind == "array" else {}
    values: dict[str, Any] = {"string": "", "long": 0, "bytes": b"", "boolean": False, "double": 0.0}
    return values.get(schema, {"partition": 0, "offset": 0, "index": 0})


class TestGenerate:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty place for `generate` to write to."""
        monkeypatch.setattr(generate, "AVSC", tmp_path)
        monkeypatch.setattr(generate, "ARCHIVE", tmp_path / "archive")
        return tmp_path

    def test_a_changed_schema_is_archived_and_an_unchanged_one_is_not(self, folder: Path) -> None:
        generate.main()
        written = {path.name: path.read_text() for path in folder.glob("*.avsc")}
        assert len(written) == len(record_classes())
        assert not (folder / "archive").exists()

        older = json.loads(written["odradek.record.StartWorkflow.avsc"])
        del older["fields"][-1]
        (folder / "odradek.record.StartWorkflow.avsc").write_text(json.dumps(older))
        generate.main()
        archived = list((folder / "archive").iterdir())
        assert [path.name for path in archived] == [f"{fingerprint_of(older).hex()}.avsc"]
        assert json.loads(archived[0].read_text()) == older
        assert {path.name: path.read_text() for path in folder.glob("*.avsc")} == written

        generate.main()
        assert list((folder / "archive").iterdir()) == archived

    def test_a_new_comment_or_default_alone_archives_nothing(self, folder: Path) -> None:
        """The fingerprint leaves them out, so what was written before reads by the new schema."""
        generate.main()
        path = folder / "odradek.record.WorkerStopped.avsc"
        schema = json.loads(path.read_text())
        schema["doc"] = "other words"
        path.write_text(json.dumps(schema))
        generate.main()
        assert not (folder / "archive").exists()
        assert json.loads(path.read_text())["doc"] != "other words"
