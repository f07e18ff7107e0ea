"""A workflow that blocks its thread is given up, and others go on."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from odradek import AESGCMCodec, DataConverter
from odradek._worker.steps import BlockedStep, StepAbandoned

from .worker_fakes import Bench, activity, event, query_task


class BlockedBench:
    """A bench whose workflow blocks at event 1 of its first life, in a thread of its own, until released."""

    def __init__(self, converter: DataConverter | None = None) -> None:
        self.entered, self.release = threading.Event(), threading.Event()
        self.bench = Bench({1: self._block_here}, converter=converter or DataConverter())
        self.outcome: list[BaseException | None] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.entered.wait(10)

    def _block_here(self) -> list[Any]:
        self.entered.set()
        assert self.release.wait(10)
        return [activity(1)]

    def _run(self) -> None:
        try:
            self.bench.task(offset=10)
            self.outcome.append(None)
        except BaseException as error:
            self.outcome.append(error)

    def give_up(self) -> BlockedStep:
        assert self.bench.steps.blocked(2.0) is None
        self.bench.now += 2.1
        blocked = self.bench.steps.blocked(2.0)
        assert blocked is not None
        self.bench.tasks.on_blocked(blocked.step, blocked.stack)
        return blocked

    def end(self) -> BaseException | None:
        self.release.set()
        self.thread.join(10)
        return self.outcome[0]


@pytest.fixture
def blocked() -> Any:
    bench = BlockedBench()
    yield bench
    bench.end()


def test_blocked_workflow_fails_its_task_with_its_stack(blocked: BlockedBench) -> None:
    blocked.give_up()
    (failed,) = blocked.bench.sent
    assert (failed.cause, failed.base) == ("blocked", "run")
    assert "_block_here" in failed.failure.stack_trace
    assert "workflow_tasks.py" not in failed.failure.stack_trace, "the worker's own frames say nothing"
    assert failed.failure.type == "WorkflowBlocked"


def test_the_stack_of_a_blocked_workflow_goes_through_the_codec() -> None:
    converter = DataConverter(codec=AESGCMCodec({"k": bytes(32)}))
    blocked = BlockedBench(converter)
    blocked.give_up()
    blocked.bench.task(offset=20, attempt=2)  # it blocks still
    blocked.end()
    assert len(blocked.bench.sent) == 2
    for failed in blocked.bench.sent:
        assert "_block_here" not in repr(failed)
        assert "blocks its thread" not in repr(failed)
        opened = converter.open_failure(failed.failure)
        assert "_block_here" in opened.stack_trace
        assert "blocks its thread" in opened.message


def test_output_of_a_step_that_was_given_up_is_dropped(blocked: BlockedBench) -> None:
    blocked.give_up()
    outcome = blocked.end()
    assert isinstance(outcome, StepAbandoned)
    assert len(blocked.bench.sent) == 1, "no completion after the failure"
    assert blocked.bench.tasks.cache.get("w") is None


def test_other_workflows_go_on_while_one_blocks(blocked: BlockedBench) -> None:
    blocked.give_up()
    blocked.bench.workflows.script = {}
    blocked.bench.task(workflow_id="v", run_id="other")
    assert blocked.bench.sent[1].workflow_id == "v"


def test_a_workflow_that_still_blocks_a_thread_does_not_get_another(blocked: BlockedBench) -> None:
    step = blocked.give_up().step
    blocked.bench.task(offset=20, attempt=2)
    assert [r.cause for r in blocked.bench.sent] == ["blocked", "blocked"]
    assert len(blocked.bench.workflows.created) == 1
    blocked.end()
    blocked.bench.tasks.on_unblocked(step)
    blocked.bench.workflows.script = {}
    blocked.bench.task(offset=30, attempt=3)
    assert len(blocked.bench.workflows.created) == 2


def test_tasks_of_the_blocked_workflow_that_came_meanwhile_are_answered(blocked: BlockedBench) -> None:
    blocked.give_up()
    later = blocked.bench.task(offset=20)
    assert not later.finished
    blocked.bench.producer.sent[1].deliver(5)
    assert later.finished


def test_a_step_that_feeds_events_is_not_blocked_however_long_it_takes() -> None:
    bench = Bench()
    seen: list[object] = []

    def slow() -> list[Any]:
        seen.append(bench.steps.blocked(2.0))
        bench.now += 1.5
        seen.append(bench.steps.blocked(2.0))
        return []

    bench.workflows.script.update(dict.fromkeys((1, 2, 3, 4), slow))
    bench.task(events=[event(1), event(2), event(3), event(4)])
    assert seen == [None] * 8


def test_blocked_query_is_rejected() -> None:
    bench = Bench()
    bench.task()
    bench.producer.sent[0].deliver(11)
    running = bench.workflows.created[0]

    def block(name: str, input: object, headers: object) -> Any:
        bench.steps.blocked(2.0)
        bench.now += 3
        blocked = bench.steps.blocked(2.0)
        assert blocked is not None
        bench.tasks.on_blocked(blocked.step, blocked.stack)
        return None

    running.query = block  # type: ignore[method-assign]
    with pytest.raises(StepAbandoned):
        bench.queries.on_query(query_task(base="s1-1"))
    ((_, _, answer),) = bench.replies
    assert answer.status == "rejected"
    assert "blocks its thread" in answer.failure.message
