"""Fixtures of the logs' tests: `harness`, with which a test runs on all of them."""

from __future__ import annotations

import socket
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


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address where no broker is, nor anybody else meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"
