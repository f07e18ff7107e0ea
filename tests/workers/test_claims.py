"""The claim check: what of a record goes into the payload store, and how it comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odradek import CodecError, DataConverter, ObjectPayloadStore, PayloadStoreError, PayloadTooLargeError, ZlibCodec
from odradek._claims import Claims, has_references, is_reference
from odradek._worker.held import HeldBytes
from odradek._worker.offsets import Ticket
from odradek._worker.storing import NotStoredError, StoringProducer
from odradek.errors import RequestTooLargeError
from odradek_log import LogError, OnDelivery
from odradek_schemas import Payload, decode, encode
from odradek_schemas.commands import CompleteWorkflow, ScheduleActivity
from odradek_schemas.common import Failure
from odradek_schemas.history import HistoryEvent, SignalReceived
from odradek_schemas.records import ActivityFailed, StartWorkflow, WorkflowTaskCompleted
from odradek_schemas.replies import HistoryPage

LIMIT = 50_000


class Shelf:
    """A payload store in memory, which refuses as often as it is told."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.refusals = 0

    def put(self, name: str, data: bytes, /) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("out of order")
        self.kept[name] = data

    def get(self, name: str, /) -> bytes:
        return self.kept[name]


def payload(size: int, fill: bytes = b"x") -> Payload:
    return Payload(metadata={"encoding": b"json/plain", "of": fill}, data=fill * size)


def completed(*sizes: int) -> WorkflowTaskCompleted:
    return WorkflowTaskCompleted(
        workflow_id="w", run_id="r", id="s-1", base="r", consumed_through=1, session="s",
        commands=[
            ScheduleActivity(seq=n, activity_type="work", input=[payload(size, b"%d" % n)])
            for n, size in enumerate(sizes, 1)
        ],
    )


def closing(result: Payload) -> WorkflowTaskCompleted:
    return msgspec.structs.replace(completed(), commands=[CompleteWorkflow(result=result)])


def stored(claims: Claims, record: WorkflowTaskCompleted) -> WorkflowTaskCompleted:
    packed = claims.pack(record, LIMIT)
    claims.put(packed.blobs)
    assert isinstance(packed.record, WorkflowTaskCompleted)
    return packed.record


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30_000), max_size=12))
def test_a_record_becomes_small_enough_and_comes_back_as_it_was(sizes: list[int]) -> None:
    """Many middle-sized values, too: the largest go until the record fits."""
    claims = Claims(Shelf(), offload_above=20_000)
    record = completed(*sizes)
    small = stored(claims, record)
    assert len(encode(small)) <= LIMIT
    assert claims.fetch(decode(encode(small))) == record
    kept = [command.input[0] for command in small.commands if isinstance(command, ScheduleActivity)]
    for was, now in zip(sizes, kept, strict=True):
        assert is_reference(now) or now.data == payload(was, now.metadata["of"]).data
        assert is_reference(now) or was <= 20_000


def test_payloads_are_found_wherever_they_are_except_what_is_searched() -> None:
    claims = Claims(Shelf(), offload_above=2_000)
    big = payload(3_000)
    failure = Failure(message="m", details=[big], cause=Failure(message="c", encoded_attributes=big))
    failed = ActivityFailed(
        workflow_id="w", run_id="r", seq=1, scheduled_by="b", attempt=1, session="s", failure=failure
    )
    start = StartWorkflow(
        workflow_id="w", workflow_type="t", task_queue="q", input=[big], headers={"h": big}, memo={"m": big},
        search_attributes={"a": big}, signal="s", signal_input=[big],
    )
    for record, left in ((failed, 0), (start, 1), (completed(3_000), 0), (closing(big), 0)):
        packed = claims.pack(record, LIMIT)
        assert encode(packed.record).count(big.data) == left
        claims.put(packed.blobs)
        assert claims.fetch(packed.record) == record


def test_history_pages_are_opened_event_by_event() -> None:
    claims = Claims(Shelf(), offload_above=2_000)
    plain, large = (
        HistoryEvent(event_id=n, time_ms=n, attributes=SignalReceived(signal="s", input=[payload(size)]))
        for n, size in ((1, 10), (2, 5_000))
    )
    packed = claims.pack(large, LIMIT)
    claims.put(packed.blobs)
    page = HistoryPage(
        client_id="c", request_id="r", found=True, events=[encode(plain), encode(packed.record)], next_event_id=0
    )
    assert has_references(page)
    opened = claims.fetch(page)
    assert [decode(event) for event in opened.events] == [plain, large]
    assert opened.events[0] is page.events[0]


# ---------------------------------------------------------------- what can go wrong


def test_what_is_missing_or_damaged_is_said() -> None:
    shelf = Shelf()
    claims = Claims(shelf, offload_above=2_000)
    packed = claims.pack(closing(payload(3_000)), LIMIT)
    with pytest.raises(PayloadStoreError, match="is not to be had from the payload store"):
        claims.fetch(packed.record)
    [name] = packed.blobs
    shelf.kept[name] = b"something else"
    with pytest.raises(PayloadStoreError, match="damaged"):
        claims.fetch(packed.record)
    shelf.refusals = 1
    with pytest.raises(PayloadStoreError, match="did not take"):
        claims.put(packed.blobs)
    assert issubclass(PayloadStoreError, CodecError), "workflows and activities try it again"


def test_without_a_store_a_value_too_large_is_refused_where_it_is_written() -> None:
    with pytest.raises(PayloadTooLargeError, match=r"1,000,003 bytes.*1,000,000.*DataConverter\(store="):
        DataConverter().to_payload("x" * 1_000_001)
    assert issubclass(PayloadTooLargeError, RequestTooLargeError)
    zipped = DataConverter(codec=ZlibCodec()).to_payload("x" * 2_000_000)
    assert len(zipped.data) < 10_000, "what counts is the size in the log"
    assert DataConverter(store=Shelf()).to_payload("x" * 2_000_000).data


def test_a_reference_without_a_store_says_what_is_missing() -> None:
    record = stored(Claims(Shelf(), offload_above=2_000), completed(3_000))
    [command] = record.commands
    assert isinstance(command, ScheduleActivity)
    with pytest.raises(CodecError, match=r"<3000 bytes in the payload store: [0-9a-f]{64}>.*DataConverter\(store"):
        DataConverter().from_payload(command.input[0])


def test_a_threshold_that_makes_no_sense_is_refused() -> None:
    for wrong in (0, -1, 10_000_000):
        with pytest.raises(ValueError, match="offload_above"):
            DataConverter(store=Shelf(), offload_above=wrong)


def test_a_folder_keeps_them_by_their_hash(tmp_path: Path) -> None:
    store = ObjectPayloadStore(tmp_path / "payloads")
    claims = Claims(store, offload_above=2_000)
    packed = claims.pack(closing(payload(3_000)), LIMIT)
    claims.put(packed.blobs)
    claims.put(packed.blobs)
    [name] = packed.blobs
    assert [p.name for p in (tmp_path / "payloads").rglob("*") if p.is_file()] == [name]
    again = Claims(ObjectPayloadStore(f"file://{tmp_path}/payloads"), 2_000)
    assert again.fetch(packed.record) == closing(payload(3_000))
    with pytest.raises(PayloadStoreError, match="no payloads can be kept at"):
        ObjectPayloadStore("nonsense://x")


def test_what_is_gone_from_a_folder_is_told_in_a_line(tmp_path: Path) -> None:
    """obstore's errors have many lines of its insides."""
    with pytest.raises(FileNotFoundError, match="payloads") as told:
        ObjectPayloadStore(tmp_path / "payloads").get("abcd")
    assert "\n" not in str(told.value)
    assert "Debug" not in str(told.value)


# ---------------------------------------------------------------- the producer of a worker


class Taking:
    """A producer whose appends land at once."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes]] = []

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        self.sent.append((key, value))
        if on_delivery is not None:
            on_delivery(len(self.sent) - 1, None)

    def flush(self, timeout: float) -> int:
        return 0

    def close(self) -> None: ...


class Bench:
    def __init__(self, pauses: tuple[float, ...] = (0.0, 0.0)) -> None:
        self.shelf, self.inner = Shelf(), Taking()
        self.claims = Claims(self.shelf, offload_above=2_000)
        self.producer = StoringProducer(self.inner, self.claims, LIMIT, pauses)
        self.outcomes: list[tuple[int, LogError | None]] = []

    def send(self, value: bytes, key: bytes = b"w") -> None:
        self.producer.send("events", 0, key, value, lambda *outcome: self.outcomes.append(outcome))


def test_records_of_a_workflow_keep_their_order_and_others_do_not_wait() -> None:
    bench = Bench()
    gate = threading.Event()
    put = bench.shelf.put
    bench.shelf.put = lambda name, data, /: (gate.wait(30), put(name, data))[1]  # type: ignore[method-assign]
    large, small = encode(completed(3_000)), encode(completed(10))
    bench.send(large)
    bench.send(small)
    bench.send(small, b"other")
    assert bench.inner.sent == [(b"other", small)]
    assert bench.producer.flush(0.01) == 2
    gate.set()
    assert bench.producer.flush(30) == 0
    assert [key for key, _ in bench.inner.sent] == [b"other", b"w", b"w"]
    assert len(bench.inner.sent[1][1]) < 2_000
    assert bench.claims.fetch(decode(bench.inner.sent[1][1])) == completed(3_000)
    assert bench.inner.sent[2][1] == small
    assert bench.producer.fits(encode(completed(*[9_000] * 20)), LIMIT)
    assert not bench.producer.fits(encode(completed(*[300] * 200)), LIMIT), "payloads as small stay in the record"


def test_a_store_that_does_not_answer_is_asked_again_and_then_given_up() -> None:
    bench = Bench()
    bench.shelf.refusals = 2
    bench.send(encode(completed(3_000)))
    bench.producer.flush(30)
    assert bench.outcomes == [(0, None)]
    bench.shelf.refusals = 3
    bench.send(encode(completed(3_000)))
    bench.send(encode(completed(10)))
    bench.producer.flush(30)
    assert [type(error) for _, error in bench.outcomes[1:]] == [NotStoredError, type(None)]
    assert len(bench.inner.sent) == 2, "nothing is appended that refers to what is not there"


def test_a_producer_that_is_closed_waits_for_no_store() -> None:
    bench = Bench(pauses=(3600.0,))
    bench.shelf.refusals = 10
    bench.send(encode(completed(3_000)))
    bench.producer.close()
    assert bench.producer.flush(30) == 0
    assert isinstance(bench.outcomes[0][1], NotStoredError)


def test_what_was_fetched_for_a_task_counts_as_held() -> None:
    held = HeldBytes()
    ticket = Ticket(0, size=100, held=held)
    ticket.grow(5_000)
    ticket.grow(10)
    assert held.bytes == 5_000
    ticket.finish()
    ticket.grow(7_000)
    assert held.bytes == 0


def test_records_without_payloads_pass_as_they_are() -> None:
    claims = Claims(Shelf(), offload_above=2_000)
    record = msgspec.structs.replace(completed(), commands=[])
    assert claims.pack(record, LIMIT).record is record
