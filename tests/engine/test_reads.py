"""How long a read waits for its answer."""

from __future__ import annotations

import pytest
from odradek_engine.fold import MemoryStorage, State
from odradek_engine.reads import WAIT_MS, Reads
from odradek_engine.sessions import Sessions
from odradek_schemas.common import Request
from odradek_schemas.ephemeral import AwaitResult

from .harness import T0

DAY = 24 * 3600.0


class TwoClocks:
    """A wall clock that is set, or skips as that of the test kit does, beside one that only goes on."""

    wall = 0.0
    passed = 0.0

    def now_ms(self) -> int:
        return T0 + round(self.wall * 1000)

    def monotonic(self) -> float:
        return self.passed


@pytest.mark.parametrize("jump", [DAY, -DAY])
@pytest.mark.parametrize(("deadline_ms", "seconds"), [(0, WAIT_MS / 1000), (T0 + 5000, 5.0)])
def test_a_read_waits_as_long_as_its_client_whatever_the_wall_clock_does(
    jump: float, deadline_ms: int, seconds: float
) -> None:
    clock = TwoClocks()
    state = State(MemoryStorage(), 0)
    reads = Reads(state, Sessions(state, clock, 10.0), clock, lambda *_: None, lambda *_: None, lambda *_: None)
    reads.ask(AwaitResult(workflow_id="w", request=Request("r", deadline_ms=deadline_ms), barrier=7))
    assert reads.waiting == 1
    clock.wall += jump
    clock.passed += seconds - 0.1
    reads.expire()
    assert reads.waiting == 1
    clock.passed += 0.2
    reads.expire()
    assert reads.waiting == 0
