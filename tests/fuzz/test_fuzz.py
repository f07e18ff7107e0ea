"""A little of `make fuzz` with every run of the tests; what was found before, again; and that it means something."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odradek_schemas import decode

from .bytes_random import BytesRandom, spoilt
from .targets import _EVENTS, TARGETS, Partition

BUDGET = {"codec": 200, "json": 200, "processor": 12, "worker": 25, "client": 30}


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str) -> None:
    @settings(max_examples=BUDGET[name], deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=600))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


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
