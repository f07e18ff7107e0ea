"""Tasks that come while a run waits for its local activities (rules W2, W10)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from odradek._worker.local_steps import LocalSteps

from .worker_fakes import Bench, completed_event, event, page


class Waiting:
    """Local activities that do not end."""

    names = ("charge",)

    def start(self, task: Any, call: Any, on_end: Any) -> Any:
        return SimpleNamespace()

    def cancel(self, run: Any) -> None: ...


def test_w2_what_was_fed_is_not_fed_again_with_the_task_that_asked_for_it() -> None:
    """Found by the simulation: an older task had the run replayed from a history that held more than the task; then
    the newer one came. Its event was fed again, and the completion said that only that one had been read."""
    bench = Bench()
    bench.tasks.local_steps = LocalSteps(bench.tasks, Waiting())  # type: ignore[arg-type]
    bench.workflows.begins_with = {8: SimpleNamespace(fn=None, activity_type="charge")}
    bench.task(base="s9-1", consumed_through=1, events=[event(2)])
    newer = completed_event(3, "s9-2", "s9-1", 2)
    bench.fetches[0].answer(
        page(event(1), event(2), newer, event(4), event(5), event(6), base="s9-2", consumed_through=2)
    )
    (running,) = bench.workflows.created
    assert running.fed == [1, 2, 4, 5, 6]
    bench.task(base="s9-2", consumed_through=2, events=[event(4)], offset=12)
    assert running.fed == [1, 2, 4, 5, 6]
    assert running.fed_through == 6
    bench.task(base="s9-2", consumed_through=2, events=[event(4), event(7)], offset=14)
    assert running.fed == [1, 2, 4, 5, 6, 7]
