"""Fixtures of the logs' tests: `harness`, with which a test runs on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..kafka.broker import free_port
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


@pytest.fixture
def nowhere() -> str:
    """An address where no broker is."""
    return f"127.0.0.1:{free_port()}"
