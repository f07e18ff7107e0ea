"""A little of `make fuzz` with every run of the tests; what was found before, again; and that it means something."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odradek import DataConverter
from odradek._read import description
from odradek_schemas import decode
from odradek_schemas.replies import PendingTimer, WorkflowDescription

from .bytes_random import BytesRandom, spoilt
from .targets import _EVENTS, TARGETS, Partition

BUDGET = {"codec": 200, "json": 200, "processor": 12, "worker": 25, "client": 30, "answers": 150}


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    @settings(max_examples=BUDGET[name], deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=600))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


def test_times_beyond_the_calendar_are_shown() -> None:
    """Breaks when a timer of a million years keeps its workflow from being described, its history from being read."""
    record = WorkflowDescription(client_id="c", request_id="r", found=True, pending_timers=[
        PendingTimer(seq=1, due_ms=2**62), PendingTimer(seq=2, due_ms=-(2**62)),
    ])  # fmt: skip
    assert [timer.due_time.year for timer in description(record, DataConverter()).pending_timers] == [9999, 1]


def test_what_is_tried_is_not_all_nonsense() -> None:
    """The fuzzers mean something: many changed records are still read, and many things happen in a partition."""
    rng = random.Random(1)
    read = 0
    for _ in range(300):
        try:
            decode(spoilt(rng, rng.choice(_EVENTS)))
        except ValueError:
            continue
        read += 1
    assert 100 < read < 290
    happened: Counter[str] = Counter()
    for seed in range(6):
        partition = Partition(BytesRandom(random.Random(seed).randbytes(3_000)))
        partition.live()
        happened += Counter(type(body).__name__ for _, _, body in partition.solo.out)
    assert {"WorkflowTask", "ActivityTask", "RequestReply", "HistoryBatch", "DeadLetter"} <= set(happened), happened
