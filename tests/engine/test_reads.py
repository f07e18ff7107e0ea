"""When reads are answered, and how long they wait for that."""

from __future__ import annotations

import pytest
from odradek_engine.fold import MemoryStorage, State
from odradek_engine.fold.core import TRUST_MS
from odradek_engine.reads import WAIT_MS, Reads
from odradek_engine.sessions import Sessions
from odradek_schemas import encode, ephemeral, records, replies, tasks
from odradek_schemas.common import Position, Request
from odradek_schemas.ephemeral import AwaitResult

from .harness import DONE, T0, request, sleep
from .solo import START, Solo, advance, elected

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


def ask(solo: Solo, barrier: int = -1, workflow_id: str = "w", **fields: int) -> None:
    read = ephemeral.AwaitResult(
        workflow_id=workflow_id, request=request(f"q{solo.clock.seconds}", **fields), barrier=barrier
    )
    solo.processor.handle_ephemeral(encode(read))


def results(solo: Solo) -> list[replies.WorkflowResult]:
    return [body for body in solo.outputs("replies") if isinstance(body, replies.WorkflowResult)]


def test_reads_wait_for_their_barrier() -> None:
    """Breaks when a read is answered before what was acknowledged before it is folded."""
    solo = Solo()
    solo.lead()
    ask(solo, barrier=len(solo.events) + 1)
    solo.settle()
    assert results(solo) == []
    solo.put(START)
    solo.settle()
    advance(solo, DONE)
    assert [r.status for r in results(solo)] == ["completed"]


def test_a_read_without_a_barrier_waits_for_the_log_s_end() -> None:
    """Breaks when it is answered from where the fold just happens to be."""
    solo = Solo()
    solo.lead()
    ask(solo)
    solo.put(START)
    [found] = solo.ends
    found(len(solo.events))
    solo.processor.tick()
    solo.deliver()
    assert results(solo) == []
    solo.settle()
    advance(solo, DONE)
    assert [r.status for r in results(solo)] == ["completed"]


def test_a_query_waits_until_the_code_has_read_what_came_before_it() -> None:
    """Breaks when a query is handed to a worker before signals that were acknowledged earlier."""
    solo = Solo()
    solo.lead()
    advance(solo)
    solo.put(records.SignalWorkflow(workflow_id="w", signal="poke"))
    solo.settle()
    query = ephemeral.QueryWorkflow(workflow_id="w", query="state", request=request("q"), barrier=0)
    solo.processor.handle_ephemeral(encode(query))
    solo.deliver()
    assert not any(isinstance(t, tasks.QueryTask) for t in solo.outputs("workflow-tasks"))
    advance(solo, sleep(1, 60_000))
    [task] = [t for t in solo.outputs("workflow-tasks") if isinstance(t, tasks.QueryTask)]
    assert task.base == solo.state.get(b"ww\0").base


def start_and_wait(request_id: str = "s") -> records.StartWorkflow:
    return records.StartWorkflow(
        workflow_id="w", workflow_type="Order", task_queue="orders", request=request(request_id),
        result_request="result",
    )


def test_a_start_may_ask_for_the_result_of_the_run_that_it_begins() -> None:
    """Breaks when the result needs a request of its own, or a repeated start asks for the result of another run."""
    solo = Solo()
    solo.lead()
    solo.put(start_and_wait())
    solo.settle()
    assert results(solo) == []
    advance(solo, DONE)
    assert [(r.request_id, r.status) for r in results(solo)] == [("result", "completed")]
    solo.put(START)
    solo.put(start_and_wait())
    solo.settle()
    assert solo.processor.reads.waiting == 0


def test_a_start_that_waited_for_the_clock_asks_as_any_other() -> None:
    """Breaks when the result is not awaited that a start asks for in a partition where nothing happened for a minute:
    its client had it when it asked again, ten seconds later."""
    solo = Solo()
    solo.lead()
    solo.clock.seconds += TRUST_MS / 1000 + 1
    solo.put(start_and_wait())
    solo.fold()
    assert solo.state.partition.waiting == 1
    solo.settle()
    advance(solo, DONE)
    assert [(r.request_id, r.status) for r in results(solo)] == [("result", "completed")]


def test_a_start_that_came_by_another_partition_asks_as_any_other() -> None:
    """Breaks when the result is not awaited that a start asks for which another partitioner put elsewhere (N1)."""
    solo = Solo()
    solo.lead()
    position = Position(partition=0, offset=1, index=0)
    solo.put(records.ForwardedRecord(position=position, key=b"w", value=encode(start_and_wait())))
    solo.settle()
    advance(solo, DONE)
    assert [(r.request_id, r.status) for r in results(solo)] == [("result", "completed")]


@pytest.mark.parametrize("age_s", [0, 60])
def test_a_start_of_just_before_an_election_asks_the_new_leader(age_s: int) -> None:
    """Breaks when a result is awaited in vain whose start was folded between two leaders, or by all of a log."""
    solo = Solo()
    solo.put(elected("other"))
    solo.put(start_and_wait())
    solo.clock.seconds += age_s
    solo.fold()
    solo.lead()
    assert solo.processor.reads.waiting == (0 if age_s else 1)


def test_reads_that_nobody_waits_for_are_forgotten() -> None:
    """Breaks when reads with barriers that never come, or without an end, fill the memory."""
    solo = Solo()
    solo.lead()
    advance(solo)
    ask(solo, barrier=10**9, deadline_ms=T0 + 2000)
    ask(solo, barrier=10**9)
    ask(solo, barrier=0, deadline_ms=T0 + 2000)
    ask(solo, barrier=0)
    for _ in range(130):
        solo.pass_time(1)
    assert solo.processor.reads.waiting == 0


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        encode(START),
        encode(
            ephemeral.ActivityHeartbeat(workflow_id="w", run_id="r", scheduled_by="c", seq=-9, attempt=1, session="")
        ),
        encode(ephemeral.AwaitResult(workflow_id="a\0b", request=request("q", reply_partition=2**40), barrier=0)),
        encode(ephemeral.FetchHistory(workflow_id="w", request=request("q"), from_event_id=2**62, barrier=0)),
        encode(ephemeral.FetchHistory(workflow_id="w", request=request("q"), from_event_id=-(2**62), barrier=0)),
        encode(ephemeral.WorkerHeartbeat(session="W", lost_after_ms=-5)),
    ],
    ids=range(8),
)
def test_what_is_wrong_in_ephemeral_disturbs_nobody(value: bytes) -> None:
    """Breaks when a read or heartbeat by a broken client stops the engine, or is answered into nowhere."""
    solo = Solo()
    solo.lead()
    advance(solo)
    solo.processor.handle_ephemeral(value)
    solo.settle()
    assert {partition for topic, partition, _ in solo.out if "replies" in topic} <= {0}
    ask(solo, barrier=0, workflow_id="unknown")
    solo.settle()
    assert [r.status for r in results(solo)][-1] == "not_found"
