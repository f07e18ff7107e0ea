"""Partitions that are far behind are folded by processes up to the log's end; whatever goes wrong with these, or comes
in between, is as if the engine had folded by itself."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from odradek_engine import Engine, Settings, StoreError, catching_up
from odradek_engine.feeding import BATCH_BYTES, BATCH_RECORDS, FoldingProcess, batches, cores
from odradek_engine.fold import State
from odradek_engine.folding import Folded, Refolded, Task
from odradek_engine.store import RocksStorage
from odradek_log import Record, TopicPartition
from odradek_schemas import Request, decode, partition_of, records
from odradek_schemas.replies import WorkflowResult

from .test_engine_embedded import PATIENCE_S, TOPICS, Place, place
from .test_refolding import folding_processes

__all__ = ["place"]

FAR = 20
BOTH = Settings(far_behind=FAR, folding_processes=2)
ONE = Settings(far_behind=FAR, folding_processes=1)


def until(reached: Callable[[], bool], *engines: Engine) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < give_up, "the engines do not get there"
        for engine in engines:
            engine.step(0.05 / len(engines))


def catch_up(place: Place, settings: Settings = BOTH) -> Engine:
    """An engine that begins, until it leads all."""
    engine = place.boot(settings=settings)
    until(lambda: engine.leading == [0, 1], engine)
    return place.settle()


def assert_golden(place: Place, *partitions: int) -> None:
    for partition in partitions or (0, 1):
        state = place.state(partition)
        assert state.dump() == place.golden(partition, state.partition.position)


def end_of(place: Place, partition: int) -> int:
    return place.log.offsets(TopicPartition(TOPICS.events, partition))[1]


Change = Callable[[FoldingProcess, Task], None]


class Gate:
    """Where each process comes by before it folds: there it waits for `go`, and `change` is done to it."""

    def __init__(self, patch: pytest.MonkeyPatch, change: Change = lambda process, task: None) -> None:
        self.reached = threading.Semaphore(0)
        self.go = threading.Event()
        gate = self

        class Gated(FoldingProcess):
            def fold(
                self, task: Task, records: Callable[[int], Iterable[Record]], told: Callable[[Folded], None]
            ) -> Refolded:
                gate.reached.release()
                assert gate.go.wait(PATIENCE_S)
                change(self, task)
                return super().fold(task, records, told)

        patch.setattr(catching_up, "FoldingProcess", Gated)


@pytest.fixture
def far(place: Place) -> Iterator[Place]:
    """Two partitions that are far behind, with a record that is none."""
    place.start(60)
    place.append(b"nonsense")
    place.start(20, first=60)
    yield place
    place.stop()
    assert folding_processes() == []


# ---------------------------------------------------------------- what it is for


def test_processes_fold_what_is_far_behind(far: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when the folding thread folds it, or the state is another one than it would have made."""
    with caplog.at_level(logging.INFO):
        engine = catch_up(far)
    assert "partition 0: a process folded 41 records" in caplog.text
    assert "partition 1: a process folded 40 records" in caplog.text
    assert "ALARM" not in caplog.text
    assert_golden(far)
    for partition, counters in engine.counters().items():
        assert counters.folded == far.state(partition).partition.position
        assert counters.rebuilds == 0


@pytest.mark.parametrize("processes", [0, 2])
def test_a_result_that_another_engine_has_promised_is_told(place: Place, processes: int) -> None:
    """Breaks when a start's client has the result only once it asks again: its engine left, and processes fold."""
    request = Request(request_id="start", client_id="c", reply_partition=0)
    home = partition_of(b"asked", 2)
    catch_up(place)
    place.stop()
    place.start(40)
    place.append(
        records.StartWorkflow(
            workflow_id="asked", workflow_type="Order", task_queue="orders", request=request, result_request="result"
        ),
        partition=home,
    )  # fmt: skip
    catch_up(place, Settings(far_behind=FAR, folding_processes=processes))
    place.append(records.TerminateWorkflow(workflow_id="asked"), partition=home)
    place.settle()
    told = [decode(record.value) for record in place.read(TOPICS.replies, 0)]
    assert [(r.request_id, r.status) for r in told if isinstance(r, WorkflowResult)] == [("result", "terminated")]
    place.stop()


@pytest.mark.parametrize("settings", [Settings(), Settings(far_behind=FAR, folding_processes=0)])
def test_what_is_near_is_folded_by_the_engine(
    far: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when an engine with little to fold waits for processes, or one that may have none begins some."""
    gate = Gate(monkeypatch)
    catch_up(far, settings)
    assert_golden(far)
    assert not gate.reached.acquire(blocking=False)


def test_a_state_that_is_far_behind_is_gone_on_from(far: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when a stored state is thrown away, or its last record is folded twice."""
    catch_up(far)
    far.stop()
    far.start(60, first=80)
    with caplog.at_level(logging.INFO):
        engine = catch_up(far)
    assert "a process folded" in caplog.text
    assert "ALARM" not in caplog.text
    assert all(30 <= counters.folded < 60 for counters in engine.counters().values())
    assert_golden(far)


def test_what_is_led_goes_on_while_others_are_folded(far: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the folding thread waits for the processes."""
    far.append(*(b"nonsense" for _ in range(600)), partition=1)
    gate = Gate(monkeypatch)
    engine = far.boot(settings=Settings(far_behind=500, folding_processes=1))
    until(lambda: engine.leading == [0], engine)
    assert gate.reached.acquire(timeout=PATIENCE_S)
    before = far.state(0).partition.open_workflows
    far.append(records.StartWorkflow(workflow_id="w1000", workflow_type="Order", task_queue="orders"), partition=0)
    until(lambda: far.state(0).partition.open_workflows == before + 1, engine)
    assert engine.leading == [0]
    gate.go.set()
    until(lambda: engine.leading == [0, 1], engine)
    assert_golden(far)


def test_what_processes_folded_is_told_before_the_engine_goes_on_with_it(far: Place) -> None:
    """Breaks when the engine goes on with a partition of which it has not said yet that it was folded."""
    telling, go = threading.Semaphore(0), threading.Event()

    class Held(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "a process folded" in record.getMessage():
                telling.release()
                assert go.wait(PATIENCE_S)

    logger, held = logging.getLogger("odradek_engine.catching_up"), Held(logging.INFO)
    logger.addHandler(held)
    logger.setLevel(logging.INFO)
    try:
        engine = far.boot(settings=ONE)
        until(lambda: telling.acquire(blocking=False), engine)
        for _ in range(100):
            engine.step(0.01)
        assert engine.counters() == {}
        go.set()
        until(lambda: engine.leading == [0, 1], engine)
    finally:
        go.set()
        logger.removeHandler(held)
        logger.setLevel(logging.NOTSET)


def test_a_standby_that_is_far_behind_has_processes_fold(far: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when only what an engine is to lead is folded so, or is let go as nobody's."""
    one = far.boot(standbys=1)
    until(lambda: one.leading == [0, 1], one)
    other = Engine(log=far.log, namespace="test", data_dir=far.folder / "other", settings=BOTH, standbys=1)
    with caplog.at_level(logging.INFO, "odradek_engine.catching_up"):
        other.connect()
        give_up = time.monotonic() + PATIENCE_S
        while not len(other.leading) == len(other.following) == 1 and time.monotonic() < give_up:
            for engine in (one, other):
                engine.step(0.01)
                engine.read_step(0.0)
                engine.follow_step(0.0)
    assert sorted(other.leading + other.following) == [0, 1]
    assert {"partition 0: a process", "partition 1: a process"} <= {line[:22] for line in caplog.messages}
    other.hand_over()
    other.stop()


# ---------------------------------------------------------------- what comes in between


def test_one_that_is_given_to_another_meanwhile_is_let_go(
    far: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when an engine leads what is not its own any more, or keeps its store open."""
    with monkeypatch.context() as patch:
        gate = Gate(patch)
        one = far.boot(settings=BOTH)
        until(lambda: gate.reached.acquire(blocking=False), one)
        other = Engine(log=far.log, namespace="test", data_dir=tmp_path / "other", settings=Settings())
        other.connect()
        until(lambda: len(other.leading) == 1, one, other)
        gate.go.set()
        until(lambda: len(one.leading) == 1, one, other)
    [gone] = other.leading
    until(lambda: gone not in one._assignment.catching_up, one)
    assert one.leading == [1 - gone]
    RocksStorage(far.data / "test" / str(gone)).close()
    assert_golden(far, 1 - gone)
    other.hand_over()
    other.stop()
    until(lambda: one.leading == [0, 1], one)
    assert_golden(far)


def test_an_engine_that_stops_meanwhile_keeps_what_was_folded(far: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when it waits for the log's end, leaves a process behind, or half a state."""
    half = threading.Event()

    class Halved(FoldingProcess):
        def fold(
            self, task: Task, records: Callable[[int], Iterable[Record]], told: Callable[[Folded], None]
        ) -> Refolded:
            def some(begun_at: int) -> Iterator[Record]:
                for number, record in enumerate(records(begun_at)):
                    if number == 25:
                        half.set()
                        assert engine._assignment.catching_up._ending.wait(PATIENCE_S)
                        return
                    yield record

            return super().fold(task, some, told)

    monkeypatch.setattr(catching_up, "FoldingProcess", Halved)
    monkeypatch.setattr(catching_up, "PATIENCE_S", PATIENCE_S)
    engine = far.boot(settings=ONE)
    until(half.is_set, engine)
    far.stop()
    assert folding_processes() == []
    dumps = {p: State(RocksStorage(far.data / "test" / p, read_only=True), int(p)) for p in ("0", "1")}
    assert sorted(state.partition.position for state in dumps.values()) == [0, 25]
    assert all(state.dump() == far.golden(int(p), state.partition.position) for p, state in dumps.items())


def test_a_process_that_does_not_answer_does_not_keep_an_engine_from_its_end(
    far: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when an engine that is to stop waits for ever."""
    stands_still = threading.Event()

    def suspend(process: FoldingProcess, task: Task) -> None:
        psutil.Process(process._process.pid).suspend()
        stands_still.set()

    monkeypatch.setattr(catching_up, "PATIENCE_S", 0.1)
    Gate(monkeypatch, suspend).go.set()
    engine = far.boot(settings=ONE)
    until(stands_still.is_set, engine)
    far.stop()
    assert folding_processes() == []


PROGRAM = """
import sys, threading
from odradek_engine import Engine, Settings, catching_up
from odradek_engine.feeding import FoldingProcess
from odradek_log.embedded import EmbeddedLog

class Stuck(FoldingProcess):
    def fold(self, task, records, told):
        def some(begun_at):
            yield from list(records(begun_at))
            print("folding", flush=True)
            threading.Event().wait()
        return super().fold(task, some, told)

print("begun", flush=True)
catching_up.FoldingProcess = Stuck
log, data = sys.argv[1:]
engine = Engine(
    log=EmbeddedLog(log), namespace="test", data_dir=data, settings=Settings(far_behind=20, folding_processes=1)
)
engine.start()
engine.wait_failed()
"""


def test_an_engine_that_is_killed_meanwhile_leaves_nothing_behind(far: Place, tmp_path: Path) -> None:
    """Breaks when the processes of an engine that was killed live on, and keep its next life from its state; or when
    they run a user's program again, which need not be guarded against that."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    log = far.folder / "log"
    far.log.close()
    command = [sys.executable, str(script), str(log), str(far.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "begun\n"
        assert program.stdout.readline() == "folding\n", "the program was begun once"
        program.kill()
        assert program.stderr.read() == "", "it has an end when nobody is left who could write there"
    far.new_log("log")
    catch_up(far)
    assert_golden(far)


def test_a_store_that_a_dying_process_has_open_is_waited_for(far: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when an engine ends because the process of its last life has not quite ended."""
    hold = "import sys; from pathlib import Path; from odradek_engine.store import RocksStorage; "
    hold += "storage = RocksStorage(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read(); storage.close()"
    command = [sys.executable, "-c", hold, str(far.data / "test" / "0")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr("odradek_engine.stores.sleep", lambda _: holder.communicate())
        catch_up(far, Settings())
    assert_golden(far)


# ---------------------------------------------------------------- what goes wrong


def test_l3_the_state_of_another_log_is_not_gone_on_with(far: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when a process folds on top of a state that is not of this log: its last record would be compared then,
    which is of this one."""
    catch_up(far)
    far.stop()
    far.new_log("another cluster")
    far.start(200, first=100)
    with caplog.at_level(logging.ERROR):
        engine = catch_up(far)
    assert "ALARM" in caplog.text
    assert [counters.rebuilds for counters in engine.counters().values()] == [1, 1]
    assert_golden(far)


def test_v1_a_newer_fold_version_is_met_by_the_engine(far: Place) -> None:
    """Breaks when a process folds what only newer code may, or its error ends an engine that can lead other
    partitions."""
    where = end_of(far, 0)
    far.append(records.LeaderElected(member="newer", nonce="n", clock_ms=0, version=2, partitions=2), partition=0)
    far.start(40, first=80)
    engine = far.boot(settings=Settings(far_behind=FAR, folding_processes=1, fold_version=1))
    until(lambda: engine.leading == [1] and 0 in engine._processors and engine._processors[0].declined == 2, engine)
    assert far.state(0).partition.position == where
    assert_golden(far)


def test_a_process_that_is_killed_is_one_less(far: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a process that takes too much memory ends the engine, or its partition has no leader for ever."""
    Gate(monkeypatch, lambda process, task: process.kill()).go.set()
    engine = catch_up(far)
    assert_golden(far)
    assert all(counters.folded == far.state(p).partition.position for p, counters in engine.counters().items())


def test_where_no_process_can_be_begun_the_engine_folds(
    far: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks when an engine cannot begin within a program that is no Python, or for want of memory."""
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: "/nowhere/python")
    with caplog.at_level(logging.WARNING):
        catch_up(far)
    assert "is folded by the engine's own thread: no process could be begun" in caplog.text
    assert_golden(far)


def test_a_disk_that_takes_no_more_ends_the_engine_as_ever(far: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when what a process could not write is not told."""

    def spoil(process: FoldingProcess, task: Task) -> None:
        for path in task.folder.iterdir():
            path.unlink()
        task.folder.rmdir()
        task.folder.write_bytes(b"no folder")

    gate = Gate(monkeypatch, spoil)
    engine = Engine(log=far.log, namespace="test", data_dir=far.data, settings=ONE)
    engine.start()
    gate.go.set()
    assert isinstance(engine.wait_failed(PATIENCE_S), StoreError)
    engine.stop()
    assert folding_processes() == []


# ---------------------------------------------------------------- what processes are given


def test_no_process_is_given_more_than_so_many_bytes_at_once() -> None:
    """Breaks when what is on its way to a process grows with the size of records."""
    large = [Record("events", 0, offset, 0, b"key", bytes(BATCH_BYTES // 3)) for offset in range(7)]
    assert [len(batch) for batch in batches(large)] == [3, 3, 1]
    small = [Record("events", 0, offset, 0, b"", b"") for offset in range(BATCH_RECORDS + 1)]
    assert [len(batch) for batch in batches(small)] == [BATCH_RECORDS, 1]
    assert next(batches(small)) == [(offset, 0, b"", b"") for offset in range(BATCH_RECORDS)]


def test_there_are_no_more_processes_than_memory_is_counted_on(far: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when an engine on a machine of many cores, in a container with little memory, begins one for each."""
    for there, begun in ((1, 0), (2, 2), (64, catching_up.MOST_PROCESSES)):
        monkeypatch.setattr(catching_up, "cores", lambda there=there: there)
        assert far.boot()._assignment.catching_up._processes == begun
        far.stop()
    assert far.boot(settings=Settings(folding_processes=9))._assignment.catching_up._processes == 9


@pytest.mark.parametrize(("quota", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_a_container_has_as_many_cores_as_it_may_use(tmp_path: Path, quota: str, expected: Any) -> None:
    """Breaks when an engine that may use one core of many begins a process for each of them."""
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert cores(path) == (expected or cores(tmp_path / "none"))
