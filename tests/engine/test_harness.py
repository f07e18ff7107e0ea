"""The harness itself notices a state that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from odradek_engine.fold import State, keys
from odradek_engine.fold.invariants import problems

from .harness import Partition, act, sleep

replace = msgspec.structs.replace


def _run_without_task(state: State) -> None:
    key = keys.current("w")
    state.put(key, replace(state.get(key), task_offset=-1))


def _dead_holder(state: State) -> None:
    state.delete(keys.session("W1"))


def _missing_index(state: State) -> None:
    state.delete(next(k for k, _ in state.scan(keys.DUE)))


def _miscounted(state: State) -> None:
    state.put_partition(replace(state.partition, open_workflows=7))


def _orphans(state: State) -> None:
    state.delete(keys.current("w"))


def _gap(state: State) -> None:
    state.delete(keys.event("w", state.get(keys.current("w")).run_id, 2))


def _lost_tail(state: State) -> None:
    for key, _ in list(state.scan(keys.TAIL)):
        state.delete(key)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_run_without_task, "nothing wakes it"),
        (_dead_holder, "dead session"),
        (_missing_index, "is missing"),
        (_miscounted, "counts 7 open workflows"),
        (_orphans, "belongs to no open run"),
        (_gap, "has the events"),
        (_lost_tail, "above its tail"),
    ],
)
def test_invariants_notice(p: Partition, spoil: Callable[[State], Any], said: str) -> None:
    p.start()
    p.advance(act(1), sleep(2, 1000))
    p.begin()
    p.signal()
    assert problems(p.state) == []
    spoil(p.state)
    assert any(said in problem for problem in problems(p.state))
    p.state.rollback()
