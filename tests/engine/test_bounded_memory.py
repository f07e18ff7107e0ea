"""What an engine keeps in memory is bounded by bytes: reads, heartbeats, changes and rows."""

from __future__ import annotations

import msgspec
import pytest
from odradek_engine import members as members_module
from odradek_engine import reads as reads_module
from odradek_engine import sessions as sessions_module
from odradek_engine.fold import MemoryStorage, State, keys
from odradek_engine.fold.rows import UpdateRow
from odradek_engine.fold.state import MAX_CACHED_ROW_BYTES
from odradek_engine.members import Members
from odradek_engine.reads import WAIT_MS, Reads
from odradek_engine.sessions import Sessions, details_bytes
from odradek_log.memory import MAX_RECORD_BYTES
from odradek_schemas import encode, ephemeral, records
from odradek_schemas.common import Payload, Record, Request
from odradek_schemas.replies import QueryResult

from .harness import act, payload, request
from .solo import ManualClock, Solo, advance, alive, beat


@pytest.mark.parametrize("where", ["input", "headers", "metadata"])
def test_reads_are_bounded_by_bytes_and_a_query_too_many_is_told(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when queries with large arguments, or headers, fill the memory of an engine that is behind."""
    monkeypatch.setattr(reads_module, "MAX_WAITING_BYTES", 100_000)
    clock, answers = ManualClock(), list[tuple[Request, Record]]()
    state = State(MemoryStorage(), 0)
    reads = Reads(
        state, Sessions(state, clock, 10.0), clock, lambda *answer: answers.append(answer), lambda *_: None,
        lambda *_: None,
    )

    def ask(number: int) -> None:
        large = payload("x" * 20_000) if where != "metadata" else Payload({"encoding": b"x" * 20_000}, b"")
        reads.ask(ephemeral.QueryWorkflow(
            workflow_id="w", query="q", request=request(f"r{number}"), barrier=7,
            input=[] if where == "headers" else [large], headers={"who": large} if where == "headers" else {},
        ))

    for number in range(8):
        ask(number)
    assert reads.waiting == 5
    refused = [answer for _, answer in answers if isinstance(answer, QueryResult)]
    assert [answer.status for answer in refused] == ["overloaded"] * 3
    assert refused[0].failure is not None
    reads.ask(ephemeral.AwaitResult(workflow_id="w", request=request("later"), barrier=7))
    assert reads.waiting == 5, "it is asked again"
    clock.seconds += WAIT_MS / 1000 + 1
    reads.expire()
    ask(8)
    assert (reads.waiting, len(refused)) == (1, 3)


def running(solo: Solo, count: int) -> list[dict[str, object]]:
    solo.lead()
    alive(solo)
    advance(solo, *(act(n, heartbeat_timeout_ms=3_600_000) for n in range(1, count + 1)))
    run = solo.state.get(b"ww\0")
    who = [
        {"workflow_id": "w", "run_id": run.run_id, "seq": n, "scheduled_by": run.base, "attempt": 1, "session": "W1"}
        for n in range(1, count + 1)
    ]
    for one in who:
        solo.put(records.ActivityStarted(**one))  # type: ignore[arg-type]  # as above
    solo.settle()
    return who


def heartbeat(solo: Solo, who: dict[str, object], size: int) -> None:
    details = [payload("x" * size)] if size else []
    solo.processor.handle_ephemeral(encode(ephemeral.ActivityHeartbeat(**who, details=details)))  # type: ignore[arg-type]


def test_the_verdict_on_a_worker_fits_into_a_record() -> None:
    """Breaks when the details of many running activities make the one record that gives them to others too large: the
    worker is never declared lost, and its activities wait for ever."""
    solo = Solo(lost_after=5.0)
    for one in running(solo, 8):
        heartbeat(solo, one, 150_000)
    beat(solo)
    while not (verdicts := solo.take(records.WorkerLost)):
        solo.pass_time(1)
    assert len(verdicts[0].value) < MAX_RECORD_BYTES / 1.5
    assert len(verdicts[0].body.heartbeat_details) == 3


def test_heartbeat_details_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when heartbeats of many activities fill an engine; or when they count no longer as signs of life."""
    monkeypatch.setattr(sessions_module, "MAX_DETAILS_BYTES", 10_000)
    solo = Solo()
    who = running(solo, 4)
    for one in who:
        heartbeat(solo, one, 100)
    solo.clock.seconds += 7
    for one in who:
        heartbeat(solo, one, 4_000)
    sessions = solo.processor.sessions
    rows = [row for _, row in solo.state.scan(keys.ACTIVITY)]
    known = [sessions.last_heartbeat(row) for row in rows]
    assert [details_bytes(details) > 4_000 for _, details in known] == [True, True, False, False]
    assert all(details for _, details in known), "the details known before stay"
    assert {at for at, _ in known} == {solo.clock.now_ms()}
    for one in who[:2]:
        solo.put(records.ActivityCompleted(**one))  # type: ignore[arg-type]
    solo.settle()
    solo.pass_time(1)
    heartbeat(solo, who[2], 4_000)
    assert details_bytes(sessions.last_heartbeat(rows[2])[1]) > 4_000, "what has ended makes room"


def test_changes_go_to_the_store_when_they_have_too_many_bytes() -> None:
    """Breaks when two thousand rows of a megabyte each wait in memory for their number."""
    solo = Solo(flush_bytes=100_000)
    solo.lead()
    for number in range(6):
        solo.put(records.StartWorkflow(
            workflow_id=f"w{number}", workflow_type="Order", task_queue="orders", input=[payload("x" * 10_000)]
        ))
    most = 0
    while solo.state.partition.position < len(solo.events):
        solo.processor.handle(solo.events[solo.state.partition.position])
        most = max(most, solo.state.unflushed)
        solo.processor.maybe_flush()
    assert solo.state.unflushed < most, "it was flushed on the way"


def test_large_rows_are_not_kept_beside_the_store() -> None:
    """Breaks when a cache that counts rows holds gigabytes of inputs."""
    state = State(MemoryStorage(), 0)
    small, large = (keys.update("w", "r", seq) for seq in (1, 2))
    row = UpdateRow(workflow_id="w", run_id="r", seq=1, update_id="u", update="m", after_event_id=0, time_ms=0)
    state.put(small, row)
    state.put(large, msgspec.structs.replace(row, seq=2, input=[payload("x" * MAX_CACHED_ROW_BYTES)]))
    state.commit()
    state.flush()
    assert state.get(small) is state.get(small)
    assert state.get(large) is not state.get(large)
    assert state.get(large) == state.get(large)


def test_reads_are_counted_with_all_that_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a hundred thousand reads of workflows whose names are long, or heartbeats with details, wait as if
    they were small."""
    monkeypatch.setattr(reads_module, "MAX_WAITING_BYTES", 100_000)
    long = "x" * 20_000
    for read in (
        ephemeral.AwaitResult(workflow_id=long, request=request("r"), barrier=7),
        ephemeral.AwaitResult(workflow_id="w", request=Request(long, "c", 0), barrier=7),
        ephemeral.AwaitResult(workflow_id="w", request=Request("r", long, 0), barrier=7),
        ephemeral.DescribeWorkflow(workflow_id="w", run_id=long, request=request("r"), barrier=7),
        ephemeral.FetchHistory(workflow_id=long, request=request("r"), barrier=7),
        ephemeral.ListRuns(workflow_type=long, request=request("r"), barrier=7),
        ephemeral.DescribeBuilds(task_queue=long, request=request("r"), barrier=7),
        ephemeral.HeartbeatActivity(
            workflow_id="w", task_token=b"", details=[payload(long)], request=request("r"), barrier=7
        ),
    ):
        clock, state = ManualClock(), State(MemoryStorage(), 0)
        reads = Reads(state, Sessions(state, clock, 10.0), clock, lambda *_: None, lambda *_: None, lambda *_: None)
        for _ in range(8):
            reads.ask(read)
        assert reads.waiting == 5, type(read).__name__


def test_workers_that_nobody_knows_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when heartbeats of ever new sessions fill an engine; or when those of its own workers count no more."""
    monkeypatch.setattr(sessions_module, "MAX_WORKERS_BYTES", 20_000)
    solo = Solo(lost_after=5.0)
    running(solo, 1)
    for number in range(100):
        solo.processor.handle_ephemeral(
            encode(ephemeral.WorkerHeartbeat(session=f"{number}" * 100, workflow_queues=["q" * 500]))
        )
    assert len(solo.processor.sessions._workers) < 30
    for _ in range(8):
        beat(solo)
        solo.pass_time(1)
    assert solo.take(records.WorkerLost) == [], "it lives"
    solo.pass_time(61)
    solo.processor.sessions._forget("W1")
    assert solo.processor.sessions._workers_bytes == 0, "what is forgotten makes room"


def test_engines_that_nobody_knows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "MAX_MEMBERS", 10)
    clock = ManualClock()
    members = Members("us", 1, clock, 10.0)
    for number in range(100):
        members.heard(ephemeral.EngineAlive(member=f"m{number}"))
    members.heard(ephemeral.EngineAlive(member="x" * 200_000))
    assert len(members._others) == 10
    clock.seconds += 60
    members.heard(ephemeral.EngineAlive(member="new"))
    assert list(members._others) == ["new"], "those that are gone make room"


def test_names_that_no_workflow_has_are_not_kept() -> None:
    """Breaks when thousands of names of a megabyte each are remembered, because somebody asked for them once."""
    solo = Solo()
    solo.lead()
    long = "x" * 100_000
    for barrier in (0, -1):
        asked = ephemeral.DescribeWorkflow(workflow_id=long, request=request("r"), barrier=barrier)
        solo.processor.handle_ephemeral(encode(asked))
    solo.settle()
    assert [one.cache_info().currsize for one in (keys.text, keys.current, keys._run)] == [0, 0, 0]
    solo.put(records.SignalWorkflow(workflow_id=long, signal="s"))
    solo.settle()
    assert [one.cache_info().currsize for one in (keys.text, keys.current, keys._run)] == [0, 0, 0]
