"""Seeded simulations of the whole cluster: fresh seeds each time, seeds that once failed, and that a seed repeats."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from . import __main__ as simulation
from . import shrinking
from .faults import Fault
from .hub import Hub, Process
from .loop import SimLoop
from .mutants import bugs
from .mutants.planting import MUTANTS, planted
from .races import TORN
from .scenarios import ANYTHING
from .world import Outcome, simulate

assert bugs

FRESH_SECONDS = float(os.environ.get("ODRADEK_SIMULATE_SECONDS", "180"))
"""How long fresh seeds are run, of real time."""

ONCE_FAILED = [4111, 4195, 4252, 5402, 709537643, 20000263, 205915501]
"""Seeds that have found a bug; each bug has a unit test, too, which a change of what seeds mean cannot take away."""


def test_the_same_seed_gives_the_same_trace() -> None:
    """In two processes in which sets and dictionaries have different orders."""
    seed = random.SystemRandom().randrange(10**6)
    traces = {hash_seed: simulation.digest_in_another_process(seed, hash_seed) for hash_seed in ("1", "2")}
    assert traces["1"] == traces["2"], f"seed {seed}"


def test_a_failing_seed_is_shrunk_to_the_faults_that_it_needs() -> None:
    plan = [Fault(float(n), "crash", "engine1", 0.0) for n in range(30)]

    def fails_with_two_of_them(seed: int, without: Sequence[int] = ()) -> Outcome:
        left = [fault for number, fault in enumerate(plan) if number not in without]
        wrong = ["lost"] if plan[3] in left and plan[17] in left else []
        return Outcome(seed, wrong, "", 0.0, 0, left, Counter())

    out, outcome = shrinking.shrink(1, simulate=fails_with_two_of_them)
    assert outcome.plan == [plan[3], plan[17]]
    assert sorted({*range(30)} - {*out}) == [3, 17]


def test_a_seed_that_fails_is_told_so_that_one_can_see_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bug planted: its smallest form, what happened in it, and a command that fails in the same way."""
    with planted(next(one for one in MUTANTS if one.rule == "E2")):
        failing = next(o for seed in itertools.count(7000) if (o := simulate(seed)).wrong and len(o.work) > 2)
        text = shrinking.explain(failing.seed)
        command = re.search(r"make simulate SEEDS=(\d+)(?: WITHOUT=(\S+))? TRACE=\S+", text)
        assert command is not None
        again = ["simulation", command[1], "--without", command[2] or "", "--trace", "/dev/null"]
        monkeypatch.setattr(sys, "argv", again)
        with pytest.raises(SystemExit) as ended:
            simulation.main()
    assert ended.value.code == 1
    work = re.search("with this work: (.*)", text)
    assert work is not None
    assert len(work[1].split(", ")) < len(failing.work)
    assert re.search(r"odradek.test.events \d+ \d+ (StartWorkflow|WorkflowTaskCompleted) ", text)


def test_each_write_of_a_state_is_audited() -> None:
    """Breaks when a state that is wrong for a moment only, between two looks at all states, passes."""
    calm = replace(TORN, weather=replace(TORN.weather, counts=(0,)))
    assert simulate(1, calm).wrong == []
    with planted(next(one for one in MUTANTS if one.name == "the_position_is_written_before_the_rest")):
        assert "wrote for partition" in simulate(1, calm).wrong[0]


def test_a_world_that_is_over_leaves_no_coroutine_to_the_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when one that still waits for its tasks, as those of a crashed client may, says so at some later time."""
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: said.append(unraisable.exc_value))
    hub = Hub(1)

    class Left:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *_: object) -> None:
            await asyncio.to_thread(int)

    async def main() -> None:
        async with Left(), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(9))
            await asyncio.sleep(9)

    SimLoop(Process(hub, "client")).create_task(main())
    while hub.now < 5:
        hub.step()
    hub.close()
    del hub
    gc.collect()
    assert said == []


@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_seeds_that_once_failed(seed: int) -> None:
    assert simulate(seed, ANYTHING).wrong == []


@pytest.mark.timeout(FRESH_SECONDS + 240)  # a seed that fails is shrunk
def test_fresh_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    base = random.SystemRandom().randrange(10_000, 10**9)
    report = simulation.run(range(base, base + 10_000), FRESH_SECONDS)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.failed, shrinking.explain(report.failed[0].seed, seconds=40)
    assert report.happened["crash"] > 0
