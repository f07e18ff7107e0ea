"""Every effect leaves once, in order, whatever befalls the engines; and the simulation notices when it does not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from odradek_engine.announcing import Announcer
from odradek_engine.emission import Emitter
from odradek_engine.fold import step
from odradek_engine.leadership import Leadership
from odradek_engine.processor import Processor
from odradek_log import ProducerFailedError
from odradek_schemas.common import Position

from .world import World

SEEDS = 120


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of warnings about faults that were made on purpose help nobody."""
    caplog.set_level(logging.CRITICAL, "odradek_engine")


def test_every_effect_leaves_once_and_in_order() -> None:
    """Crashes, pauses, takeovers, lost acknowledgements, failing producers, on two partitions and two engines."""
    happened: Counter[str] = Counter()
    for seed in range(SEEDS):
        world = World(seed)
        assert world.run() == [], f"seed {seed}"
        happened += world.happened
        happened["elections"] += sum(
            c.elections for m in world.machines for c in m.engine.counters().values()
        )
    for kind in ("crash", "pause", "producer failed", "expelled", "dropped by the chain"):
        assert happened[kind] > SEEDS / 2, happened


# ---------------------------------------------------------------- planted bugs


def _skip_outbox_on_takeover(monkeypatch: pytest.MonkeyPatch) -> None:
    """E3: a new leader takes what is in the outbox for delivered."""
    observe = Leadership.observe

    def planted(self: Leadership, *args: Any) -> bool:
        observe(self, *args)
        return False

    monkeypatch.setattr(Leadership, "observe", planted)


def _go_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: an effect that failed counts as delivered."""

    def planted(self: Emitter, output: Any, session: Any, place: Any, error: Any) -> None:
        session.acknowledged = place
        self.producer_failed = isinstance(error, ProducerFailedError)

    monkeypatch.setattr(Emitter, "_fail", planted)


def _mark_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """E5: marks cover what is not acknowledged."""
    send = Emitter._send

    def planted(self: Emitter, output: Any, session: Any, effect: Any) -> None:
        send(self, output, session, effect)
        session.acknowledged = (effect.offset, effect.index)

    monkeypatch.setattr(Emitter, "_send", planted)


def _no_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: an effect does not name its predecessor, so that receivers take what leaves a gap."""

    def planted(**fields: Any) -> Position:
        return Position(**{**fields, "previous_offset": -1, "previous_index": 0})

    monkeypatch.setattr(step, "Position", planted)


def _never_stand_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """L1: a deposed leader that still holds its partition does not stand again."""
    observe = Leadership.observe

    def planted(self: Leadership, *args: Any) -> bool:
        leading = self.leading
        led = observe(self, *args)
        if leading and not self.leading:
            self.resign()
        return led

    monkeypatch.setattr(Leadership, "observe", planted)


def _keep_the_failed_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: an engine whose producer failed for good goes on with it."""
    monkeypatch.setattr(Processor, "producer_failed", False)
    monkeypatch.setattr(Announcer, "_sent", lambda *_: None)


@pytest.mark.parametrize(
    "plant",
    [
        _skip_outbox_on_takeover,
        _go_on_after_an_error,
        _mark_what_is_sent,
        _no_chain,
        _never_stand_again,
        _keep_the_failed_producer,
    ],
)
def test_planted_bugs_are_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation can fail: each of these is found within a few seeds."""
    plant(monkeypatch)
    for seed in range(SEEDS):
        try:
            if World(seed).run():
                return
        except AssertionError:
            return
    pytest.fail(f"not found in {SEEDS} seeds")
