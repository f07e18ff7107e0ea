"""How workflow tasks are answered (rules W1, W2, W8, W11, T1)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from odradek._worker.offsets import Ticket
from odradek.errors import NonDeterminismError, WorkflowTaskError
from odradek_log.protocol import LogUnavailableError, RecordTooLargeError
from odradek_schemas import Payload
from odradek_schemas.commands import CompleteWorkflow, ScheduleActivity
from odradek_schemas.records import WorkflowTaskCompleted, WorkflowTaskFailed

from .worker_fakes import Bench, activity, completed_event, event, page, result_event, workflow_task


def bench_with_one_completion(deliver_at: int | None = 15) -> Bench:
    """The first task (position 10) is answered; its completion is at `deliver_at`, if it is delivered."""
    bench = Bench({1: [activity(1)], 3: [activity(2)]})
    bench.task(offset=10)
    if deliver_at is not None:
        bench.producer.sent[0].deliver(deliver_at)
    return bench


def test_first_task_runs_from_its_own_events_and_its_answer_is_appended() -> None:
    bench = Bench({1: [activity(1)]})
    bench.task()
    assert bench.fetches == [], "consumed_through 0: the task's events are all there is"
    assert bench.sent == [
        WorkflowTaskCompleted(
            workflow_id="w", run_id="run", id="s1-1", base="run", consumed_through=1, session="s1",
            commands=[activity(1)],
        )
    ]


def test_t1_offset_is_committed_after_completion_is_durable() -> None:
    bench = Bench()
    ticket = bench.task()
    assert bench.sent
    assert not ticket.finished
    bench.producer.sent[0].deliver(11)
    assert ticket.finished


def test_t1_offset_is_committed_after_failure_is_durable() -> None:
    bench = Bench({1: WorkflowTaskError("bug")})
    ticket = bench.task()
    assert not ticket.finished
    bench.producer.sent[0].deliver(11)
    assert ticket.finished


def test_w1_a_chain_of_tasks_runs_from_the_cache() -> None:
    bench = bench_with_one_completion()
    bench.task(base="s1-1", events=[event(2), event(3)], consumed_through=1, offset=20)
    assert len(bench.workflows.created) == 1
    assert bench.workflows.created[0].fed == [1, 2, 3]
    second = bench.sent[1]
    assert (second.id, second.base, second.consumed_through) == ("s1-2", "s1-1", 3)


def test_w1_a_task_on_another_base_is_not_run_from_the_cache() -> None:
    bench = bench_with_one_completion()
    bench.task(base="other-7", events=[event(5)], consumed_through=4, offset=20)
    assert [f.workflow_id for f in bench.fetches] == ["w"]
    assert bench.workflows.created[0].closed
    assert len(bench.sent) == 1


def test_w1_a_task_of_another_run_is_not_run_from_the_cache() -> None:
    bench = bench_with_one_completion()
    bench.task(run_id="run2", base="run2", offset=20)
    assert len(bench.workflows.created) == 2
    assert bench.workflows.created[0].closed
    assert bench.sent[1].run_id == "run2"


def test_w1_the_same_base_in_another_run_is_another_workflow_state() -> None:
    bench = bench_with_one_completion()
    bench.task(run_id="run2", base="s1-1", events=[event(3)], consumed_through=1, offset=20)
    assert [f.run_id for f in bench.fetches] == ["run2"]
    assert bench.workflows.created[0].closed


def test_w1_completion_ids_are_unique_also_across_sessions_and_evictions() -> None:
    bench = Bench()
    bench.task(workflow_id="a")
    bench.session.ended("s1")
    bench.tasks.cache.clear()
    bench.task(workflow_id="a")
    ids = [r.id for r in bench.sent if isinstance(r, WorkflowTaskCompleted)]
    assert ids == ["s1-1", "s2-2"]


def test_w2_feeding_stops_at_the_event_at_which_the_workflow_ends() -> None:
    bench = Bench({2: [CompleteWorkflow()]})
    bench.task(events=[event(1), event(2), event(3)])
    assert bench.workflows.created[0].fed == [1, 2]
    assert bench.sent[0].consumed_through == 2, "event 3 was never read: it must not be reported as consumed"


def test_consumed_through_is_the_last_input_fed_not_the_last_event() -> None:
    bench = bench_with_one_completion()
    own = completed_event(2, "s1-1", "run", 1)
    bench.task(base="s1-1", events=[own, event(3), completed_event(4, "x", "y", 3)], consumed_through=1, offset=20)
    assert bench.workflows.created[0].fed == [1, 3]
    assert bench.sent[1].consumed_through == 3


def test_local_results_that_got_their_ids_later_are_not_fed_again() -> None:
    bench = bench_with_one_completion()
    own = completed_event(3, "s1-1", "run", 1, local_events=[2])
    bench.task(base="s1-1", events=[result_event(2), own, event(4)], consumed_through=1, offset=20)
    assert bench.workflows.created[0].fed == [1, 4]


def test_w8_task_below_my_completion_is_superseded() -> None:
    bench = bench_with_one_completion(deliver_at=15)
    ticket = bench.task(base="run", events=[event(1), event(2)], offset=12)
    assert ticket.finished
    assert len(bench.sent) == 1
    assert bench.fetches == []
    assert not bench.workflows.created[0].closed, "the cache is still right"


@pytest.mark.parametrize("offset", [15, 16])
def test_w8_task_above_my_completion_says_that_it_was_refused(offset: int) -> None:
    bench = bench_with_one_completion(deliver_at=15)
    ticket = bench.task(base="run", events=[event(1), event(2)], offset=offset)
    assert bench.workflows.created[0].closed, "what is cached has seen a refused completion"
    assert not ticket.finished
    assert bench.workflows.created[1].fed == [1, 2]
    assert (bench.sent[1].base, bench.sent[1].id) == ("run", "s1-2")


def test_w8_task_waits_for_the_offset_of_my_completion() -> None:
    bench = bench_with_one_completion(deliver_at=None)
    below, above = bench.task(base="run", offset=12), bench.task(base="run", offset=30)
    assert not below.finished
    assert len(bench.sent) == 1
    bench.producer.sent[0].deliver(15)
    assert below.finished
    assert not above.finished
    assert len(bench.sent) == 2, "the second one is above: replayed and answered again"


def test_w8_a_refused_later_task_is_replayed_from_history() -> None:
    bench = bench_with_one_completion()
    bench.task(base="s1-1", events=[event(3)], consumed_through=1, offset=20)
    bench.producer.sent[1].deliver(21)
    bench.task(base="s1-1", events=[event(3), event(4)], consumed_through=1, offset=22)
    assert [f.barrier for f in bench.fetches] == [23]


def test_w11_history_is_fetched_from_a_position_not_below_the_task() -> None:
    bench = Bench()
    bench.task(base="b3", events=[event(9)], consumed_through=8, offset=77)
    (fetch,) = bench.fetches
    assert (fetch.workflow_id, fetch.run_id, fetch.barrier, fetch.from_event_id) == ("w", "run", 78, 1)


def test_w11_base_and_consumed_through_come_from_what_was_replayed() -> None:
    bench = Bench()
    ticket = bench.task(base="b1", events=[event(3)], consumed_through=1, offset=77)
    bench.fetches[0].answer(page(
        event(1), completed_event(2, "b1", "run", 1), event(3), completed_event(4, "b2", "b1", 3), event(5),
        base="b2", consumed_through=3,
    ))
    assert bench.workflows.created[0].fed == [1, 3, 5]
    assert (bench.sent[0].base, bench.sent[0].consumed_through) == ("b2", 5)
    bench.producer.sent[0].deliver(80)
    assert ticket.finished


def test_w11_pages_of_two_states_are_not_mixed() -> None:
    bench = Bench()
    bench.task(base="b1", events=[event(3)], consumed_through=1, offset=77)
    bench.fetches[0].answer(page(event(1), base="b1", consumed_through=1, next_event_id=2))
    assert bench.fetches[1].from_event_id == 2
    bench.fetches[1].answer(page(event(3), base="b2", consumed_through=3))
    assert bench.fetches[2].from_event_id == 1, "the run advanced between the pages"
    assert bench.sent == []
    bench.fetches[2].answer(page(
        event(1), completed_event(2, "b2", "run", 1), base="b2", consumed_through=1, next_event_id=3
    ))
    bench.fetches[3].answer(page(event(3), base="b2", consumed_through=1))
    assert bench.workflows.created[0].fed == [1, 3]
    assert bench.sent[0].base == "b2"


def test_replayed_run_without_unread_input_is_cached_and_the_task_done() -> None:
    bench = Bench()
    ticket = bench.task(base="b1", events=[event(3)], consumed_through=1)
    bench.fetches[0].answer(page(
        event(1), completed_event(2, "b1", "run", 1), event(3), completed_event(4, "b2", "b1", 3),
        base="b2", consumed_through=3,
    ))
    assert ticket.finished
    assert bench.sent == []
    bench.task(base="b2", events=[event(3), event(5)], consumed_through=3, offset=90)
    assert len(bench.workflows.created) == 1
    assert bench.workflows.created[0].fed == [1, 3, 5], "event 3 was consumed by what was replayed"


@pytest.mark.parametrize("fields", [{"status": "completed"}, {"found": False}])
def test_a_task_of_a_run_that_is_closed_or_gone_is_done(fields: dict[str, Any]) -> None:
    bench = Bench()
    ticket = bench.task(base="b1", events=[event(3)], consumed_through=1)
    bench.fetches[0].answer(page(event(1), **fields))
    assert ticket.finished
    assert bench.sent == []


def test_tasks_of_a_workflow_wait_for_its_history_and_those_of_others_do_not() -> None:
    bench = Bench()
    bench.task(base="b1", events=[event(3)], consumed_through=1)
    bench.task(base="b2", events=[event(5)], consumed_through=3, offset=50)
    other = bench.task(workflow_id="v")
    assert [r.workflow_id for r in bench.sent] == ["v"]
    assert len(bench.fetches) == 1
    assert bench.tasks.waiting == 1
    bench.fetches[0].answer(page(
        event(1), completed_event(2, "b1", "run", 1), event(3), base="b1", consumed_through=1,
    ))
    assert [r.workflow_id for r in bench.sent] == ["v", "w"]
    assert len(bench.fetches) == 2, "the second task builds on another completion than ours"
    assert not other.finished


def test_history_that_cannot_be_fetched_is_asked_for_again() -> None:
    bench = Bench()
    ticket = bench.task(base="b1", events=[event(3)], consumed_through=1)
    bench.fetches[0].answer(LogUnavailableError("no broker"))
    assert bench.sent == []
    bench.run_timers()
    assert len(bench.fetches) == 2
    assert not ticket.finished


def test_a_task_without_its_events_fetches_history_even_if_cached() -> None:
    bench = bench_with_one_completion()
    bench.task(base="s1-1", events=[event(3)], consumed_through=1, offset=20, complete=False)
    assert len(bench.fetches) == 1


def test_a_history_that_grows_long_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when what nobody can replay soon comes as a surprise, or is told with each task."""
    bench = Bench(max_history_bytes=100_000)
    warned = []
    for number, size in enumerate((10_000, 48_600, 49_000, 90_000, 110_000)):
        bench.task(
            base=f"s1-{number}" if number else "run", events=[event(number + 1)], consumed_through=number,
            history_size=size, offset=10 * number + 10,
        )  # fmt: skip
        bench.producer.sent[-1].deliver(10 * number + 11)
        warned.append(len(caplog.records))
    assert warned == [0, 0, 1, 1, 1]
    assert "history of workflow w (Order) takes 51100 bytes of memory; workers here replay up to 100000" in caplog.text


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (WorkflowTaskError("division by zero"), "bug", "division by zero"),
        (NonDeterminismError("- A\n+ B"), "non_determinism", "- A\n+ B"),
        (SystemExit("bye"), "bug", "bye"),
        (RuntimeError("of our own"), "bug", "of our own"),
    ],
)
def test_code_that_cannot_go_on_fails_the_task_and_is_evicted(error: BaseException, cause: str, message: str) -> None:
    bench = Bench({1: error})
    bench.task()
    (failed,) = bench.sent
    assert isinstance(failed, WorkflowTaskFailed)
    assert (failed.base, failed.cause, failed.failure.message) == ("run", cause, message)
    assert bench.workflows.created[0].closed
    bench.task(attempt=2, offset=20)
    assert len(bench.workflows.created) == 2, "the retry begins from history, not from the broken instance"


def test_a_bug_is_logged_in_full_once_and_in_a_line_when_it_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise KeyError("no such thing")

    bench = Bench({1: broken})
    for attempt in (1, 2, 3):
        bench.task(offset=10 * attempt, attempt=attempt)
    first, *others = [record.getMessage() for record in caplog.records]
    assert "in feed" in first, "all frames, ours too"
    assert "in broken" in first
    assert [(message.count("\n"), f"attempt {n}" in message) for n, message in enumerate(others, 2)] == [(0, True)] * 2
    caplog.clear()
    bench.workflows.script = {1: RuntimeError("another one")}
    bench.task(offset=40, attempt=4)
    assert "Traceback" in caplog.records[0].getMessage()


def test_non_determinism_on_replay_fails_the_task_on_the_base_replayed() -> None:
    bench = Bench()
    bench.workflows.replay_error = NonDeterminismError("differs")
    bench.task(base="b1", events=[event(3)], consumed_through=1)
    bench.fetches[0].answer(page(event(1), base="b1", consumed_through=1))
    (failed,) = bench.sent
    assert (failed.base, failed.cause) == ("b1", "non_determinism")


def test_unknown_workflow_type_names_those_that_are_there() -> None:
    bench = Bench()
    bench.task(workflow_type="Invoice")
    (failed,) = bench.sent
    assert failed.cause == "unknown_type"
    assert "'Invoice'" in failed.failure.message
    assert "Order" in failed.failure.message


def test_completion_too_large_for_the_log_fails_the_task_with_its_size() -> None:
    large = ScheduleActivity(seq=1, activity_type="charge", input=[Payload(data=b"x" * 3_000)])
    bench = Bench({1: [large]}, max_record_bytes=2_000)
    bench.task()
    (failed,) = bench.sent
    assert isinstance(failed, WorkflowTaskFailed)
    assert "3," in failed.failure.message
    assert bench.workflows.created[0].closed


def test_completion_that_the_log_refuses_as_too_large_fails_the_task() -> None:
    bench = Bench()
    ticket = bench.task()
    bench.producer.sent[0].give_up(RecordTooLargeError("too large"))
    assert isinstance(bench.sent[1], WorkflowTaskFailed)
    assert not ticket.finished
    bench.producer.sent[1].deliver(12)
    assert ticket.finished


def test_failure_too_large_for_the_log_is_cut() -> None:
    bench = Bench({1: WorkflowTaskError("x" * 50_000)}, max_record_bytes=12_000)
    bench.task()
    (failed,) = bench.sent
    assert failed.failure.message.startswith("xxx")
    assert "left out" in failed.failure.message
    assert bench.producer.sent[0].size < 20_000


def test_completion_that_was_not_appended_is_made_again_later() -> None:
    bench = Bench()
    ticket = bench.task()
    bench.producer.sent[0].give_up(LogUnavailableError("fenced"))
    assert bench.workflows.created[0].closed
    assert not ticket.finished
    bench.run_timers()
    assert [r.id for r in bench.sent] == ["s1-1", "s1-2"]


def test_cache_is_bounded_by_bytes_and_the_least_recently_used_goes_first() -> None:
    bench = Bench(cache_bytes=250)
    for workflow_id in ("a", "b", "c"):
        bench.task(workflow_id=workflow_id)
    first, second, third = bench.workflows.created
    assert (first.closed, second.closed, third.closed) == (True, False, False)
    assert bench.tasks.cache.used == 200


def test_a_workflow_larger_than_the_cache_still_runs() -> None:
    bench = Bench({1: [activity(1)]}, cache_bytes=10)
    bench.task()
    bench.task(base="s1-1", events=[event(2)], consumed_through=1, offset=20)
    assert len(bench.workflows.created) == 1
    assert len(bench.sent) == 2


def test_ended_workflows_leave_the_cache() -> None:
    bench = Bench({1: [CompleteWorkflow()]})
    bench.task()
    assert len(bench.tasks.cache) == 0
    assert bench.workflows.created[0].closed


def test_tasks_not_begun_at_shutdown_are_neither_answered_nor_committed() -> None:
    bench = Bench()
    bench.tasks.closing = True
    ticket = bench.task()
    assert bench.sent == []
    assert not ticket.finished


def test_events_that_cannot_be_read_fail_the_task() -> None:
    bench = Bench()
    bench.tasks.on_task(msgspec.structs.replace(workflow_task(), events=[b"rubbish"]), Ticket(0))
    (failed,) = bench.sent
    assert isinstance(failed, WorkflowTaskFailed)


@pytest.mark.parametrize("fresh", [True, False])
def test_t4_what_runs_on_the_spot_waits_for_the_history_if_the_task_is_old(fresh: bool) -> None:
    """Breaks when a worker that takes over runs a local activity again whose result was accepted."""
    bench = Bench()
    bench.workflows.begins_with = {1: SimpleNamespace(fn=None)}
    ticket = Ticket(10)
    ticket.fresh = fresh
    bench.tasks.on_task(workflow_task(), ticket)
    assert [f.workflow_id for f in bench.fetches] == ["w"], "the first task of a run comes again where engines change"
    assert bench.workflows.created[0].closed
    bench = bench_with_one_completion()
    bench.workflows.created[0].locals = {1: SimpleNamespace(fn=None)}
    ticket = Ticket(20)
    ticket.fresh = fresh
    bench.tasks.on_task(workflow_task(base="s1-1", events=[event(2)], consumed_through=1, offset=20), ticket)
    assert [f.workflow_id for f in bench.fetches] == ([] if fresh else ["w"])
