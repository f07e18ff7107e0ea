"""Completions above the log's limit for a record: they leave the worker in pieces, and count as one append."""

from __future__ import annotations

import pytest
from odradek._worker.dividing import DividingProducer, most_bytes
from odradek_log.protocol import LogError, LogUnavailableError, OnDelivery
from odradek_schemas import Payload, decode, encode
from odradek_schemas.records import (
    MAX_COMPLETION_BYTES,
    CompletionPiece,
    LocalResult,
    WorkerAlive,
    WorkflowTaskCompleted,
)

LIMIT = 2_000


class Sent:
    """A producer that holds what is sent, until the test settles it."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.callbacks: list[OnDelivery | None] = []

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        assert (topic, partition, key) == ("events", 3, b"w")
        self.values.append(value)
        self.callbacks.append(on_delivery)

    def settle(self, index: int, offset: int, error: LogError | None = None) -> None:
        callback = self.callbacks[index]
        assert callback is not None
        callback(offset, error)

    def flush(self, timeout: float) -> int:
        return len(self.values)

    def close(self) -> None: ...


def completion(size: int) -> bytes:
    result = LocalResult(seq=1, scheduled_by="", time_ms=0, kind="side_effect", result=Payload(data=b"x" * size))
    return encode(WorkflowTaskCompleted(
        workflow_id="w", run_id="r", id="c1", base="c0", consumed_through=1, local_results=[result]
    ))


def sent(value: bytes) -> tuple[Sent, list[tuple[int, LogError | None]]]:
    below, reports = Sent(), list[tuple[int, LogError | None]]()
    DividingProducer(below, LIMIT).send("events", 3, b"w", value, lambda *report: reports.append(report))
    return below, reports


@pytest.mark.parametrize("size", [LIMIT, 3 * LIMIT, 20 * LIMIT])
def test_the_pieces_fit_and_make_the_whole_again(size: int) -> None:
    below, reports = sent(whole := completion(size))
    pieces = [decode(value) for value in below.values]
    assert max(map(len, below.values)) <= LIMIT - 4
    assert size // LIMIT < len(pieces) <= size // LIMIT + 3
    assert all(isinstance(p, CompletionPiece) and (p.id, p.base, p.count) == ("c1", "c0", len(pieces)) for p in pieces)
    assert [getattr(p, "index", None) for p in pieces] == list(range(len(pieces)))
    assert b"".join(getattr(p, "piece", b"") for p in pieces) == whole
    for index in range(len(pieces)):
        assert reports == []
        below.settle(index, 100 + index)
    assert reports == [(100 + len(pieces) - 1, None)]


def test_one_piece_that_was_not_appended_makes_it_one_failed_append() -> None:
    below, reports = sent(completion(2 * LIMIT))
    error = LogUnavailableError("away")
    for index in range(len(below.values)):
        below.settle(index, -1 if index == 1 else index, error if index == 1 else None)
    assert reports == [(-1, error)]


def test_what_fits_and_what_is_no_completion_goes_as_it_is() -> None:
    for value in (completion(LIMIT // 2), encode(WorkerAlive(session="s" * LIMIT))):
        assert sent(value)[0].values == [value]
        assert most_bytes(value, LIMIT) == LIMIT


def test_a_completion_has_a_limit_in_bytes_and_in_pieces() -> None:
    value = completion(LIMIT)
    assert 60 * LIMIT < most_bytes(value, LIMIT) < 64 * LIMIT
    assert most_bytes(completion(1_000_000), 900_000) == MAX_COMPLETION_BYTES
