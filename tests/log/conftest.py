"""The `harness` fixture: every test that takes it runs on all the logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import EmbeddedHarness, Harness, KafkaHarness, MemoryHarness, SimulatedHarness


@pytest.fixture(params=["embedded", "embedded-not-durable", "kafka", "memory", "simulated"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    made: Harness
    if request.param == "kafka":
        made = KafkaHarness(request.getfixturevalue("kafka_bootstrap"))
    elif request.param == "simulated":
        made = SimulatedHarness()
    elif request.param == "memory":
        made = MemoryHarness()
    else:
        made = EmbeddedHarness(tmp_path / "log", durable=request.param == "embedded")
    yield made
    made.close()
