"""Random workflows of all commands and messages do what a simple model of them in plain asyncio does: the same steps,
at the same times, with the same results; on the real fold and worker, also when any task meets a new worker."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from . import random_programs as programs
from .random_model import Model
from .random_system import RealSystem

totals: Counter[str] = Counter()


@pytest.mark.filterwarnings("error")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs.programs, programs.bursts, programs.cancels, st.frozensets(st.integers(1, 40)))
@example(
    [[("wait", 0, 3)], [("activity", 0, 0)]],
    [(685, [("put", 0), ("work", 0, 0)]), (0, [("put", 0), ("put", 0)])],
    None,
    frozenset(),
)
@example([[("change", 0), ("wait", 0, 2)], [("effect", 0)]], [(0, [("put", 0), ("put", 0)])], None, frozenset())
@example([[("wait", 1, 1), ("effect", 0)]], [(0, [("put", 0), ("put", 1), ("put", 0)])], None, frozenset())
@example(
    [[("first", [[("activity", 0, 0)], [("effect", 0)], [("child", 0, [("activity", 14126156, 0)])]]),
      ("gather", [[("effect", 0)], [("child", 0, [("effect", 0)])]])]],
    [], None, frozenset(),
)
@example(
    [[("wait", 0, 1)], [("spawn", 0, [("activity", 8403201, 0)])]],
    [(0, [("put", 0), ("put", 0)])], None, frozenset(),
)
def test_random_workflows_do_what_the_model_does(
    segments: Any, bursts: Any, cancel: int | None, restarts: frozenset[int]
) -> None:
    segments, messages = programs.distinct([segments, [burst for _, burst in bursts]])
    planned = [(programs.duration_ms("burst", n, salt), messages[n]) for n, (salt, _) in enumerate(bursts)]
    cancel_ms = None if cancel is None else programs.duration_ms("cancel", cancel)
    model = Model()
    try:
        expected = programs.normal(model.execute("w", segments, planned, cancel_ms))
    finally:
        model.close()
    real = RealSystem(restarts)
    assert programs.normal(real.execute("w", segments, planned, cancel_ms)) == expected
    for number, came in model.updates.items():
        reply = real.outcomes[f"u{number}"]
        shown = json.loads(reply.result.data) if reply.result is not None else reply.outcome
        assert shown == came, number
    totals[expected[0]] += 1
    totals["replays"] += real.replays
    totals["runs"] += len(segments)


def test_the_random_workflows_were_worth_it() -> None:
    kinds = {name[1:] for name in vars(programs.Interpreter) if name.startswith("_") and not name.startswith("__")}
    assert not {kind for kind in kinds if not programs.used[kind]}, programs.used
    for kind, least in {"completed": 5, "failed": 1, "replays": 20}.items():
        assert totals[kind] >= least, totals
