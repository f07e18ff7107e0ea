"""The embedded log's own: one process, durability, limits, segments."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from odradek_log import (
    LogError,
    LogLockedError,
    LogUnavailableError,
    Producer,
    TopicPartition,
    TopicSpec,
    open_log,
)
from odradek_log.embedded import EmbeddedLog

from .disk import FaultyFiles, entries_of, segments_of
from .harness import PATIENCE, Deliveries, append, background, read, reader

TOPICS = [TopicSpec("durable", 2), TopicSpec("other", 2, durable=False)]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., EmbeddedLog]]:
    opened: list[EmbeddedLog] = []

    def make(**settings: object) -> EmbeddedLog:
        log = EmbeddedLog(tmp_path / "log", **settings)  # type: ignore[arg-type]
        opened.append(log)
        log.create_topics(TOPICS)
        return log

    yield make
    for log in opened:
        log.close()


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# ---------------------------------------------------------------- one process


def test_a_second_process_is_told_who_has_the_folder(make: Callable[..., EmbeddedLog], tmp_path: Path) -> None:
    log = make()
    code = "import sys; from odradek_log import open_log; open_log(sys.argv[1])"
    other = python(code, f"file:{tmp_path / 'log'}")
    _, said = other.communicate(timeout=PATIENCE)
    assert other.returncode == 1
    assert f"LogLockedError: the log's folder {tmp_path / 'log'} is open in process {os.getpid()}" in said
    with pytest.raises(LogLockedError):
        open_log(f"file:{tmp_path / 'log'}")
    log.close()
    open_log(f"file:{tmp_path / 'log'}").close()


def test_the_folder_is_free_again_when_the_process_was_killed(tmp_path: Path) -> None:
    code = "import sys; from odradek_log import open_log; l = open_log(sys.argv[1]); print('open', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, f"file:{tmp_path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(LogLockedError, match=str(other.pid)):
        open_log(f"file:{tmp_path}")
    other.kill()
    other.wait()
    open_log(f"file:{tmp_path}").close()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailableError, match="file"):
        EmbeddedLog(tmp_path / "file" / "log")


WRITER = """
import sys
from odradek_log import TopicSpec, open_log
log = open_log(sys.argv[1], fsync=sys.argv[2] == "True", segment_bytes=40_000)
log.create_topics([TopicSpec("durable", 2), TopicSpec("other", 2, durable=False)])
producer = log.producer()
start = int(sys.argv[3])
def on_delivery(name, partition, i):
    def done(offset, error):
        sys.stdout.write(f"{name} {partition} {offset} {i} {error}\\n")
        if i % 20 == 0:
            sys.stdout.flush()
    return done
for i in range(start, start + 1_000_000):
    name, partition = ("durable", "other")[i % 2], i // 2 % 2
    producer.send(name, partition, b"%d" % i, b"v%d" % i * (i % 50), on_delivery(name, partition, i))
    if i % 200 == 0:
        producer.flush(60)
"""


@pytest.mark.parametrize("fsync", [True, False])
def test_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path, fsync: bool) -> None:
    rng = random.Random(7)
    acknowledged: dict[tuple[str, int, int], int] = {}
    for kill in range(6):
        acknowledged |= write_and_kill(tmp_path / "log", fsync, kill * 1_000_000, rng.randint(50, 3_000))
        log = open_log(f"file:{tmp_path / 'log'}", segment_bytes=40_000)
        found: dict[tuple[str, int, int], int] = {}
        for name in ("durable", "other"):
            ends = [log.offsets(TopicPartition(name, p))[1] for p in range(2)]
            for record in read(reader(log, name, 2), sum(ends)):
                i = int(record.key)
                assert record.value == b"v%d" % i * (i % 50)
                found[name, record.partition, record.offset] = i
            for partition in range(2):
                mine = [found.get((name, partition, offset), -1) for offset in range(ends[partition])]
                assert -1 not in mine
                assert mine == sorted(mine)
        assert {place: found.get(place) for place in acknowledged} == acknowledged
        log.close()
    assert len(acknowledged) > 300
    assert len(segments_of(tmp_path / "log" / "durable")) > 1


def write_and_kill(folder: Path, fsync: bool, start: int, after: int) -> dict[tuple[str, int, int], int]:
    """Kill a writer `after` so many acknowledgements; return what it had acknowledged, with the number of each."""
    writer = python(WRITER, f"file:{folder}", fsync, start)
    assert writer.stdout is not None
    acknowledged: dict[tuple[str, int, int], int] = {}
    for line in writer.stdout:
        if not line.endswith("\n"):
            break  # cut off by the kill
        name, partition, offset, i, error = line.split()
        assert error == "None"
        acknowledged[name, int(partition), int(offset)] = int(i)
        if len(acknowledged) == after:
            writer.send_signal(signal.SIGKILL)
    writer.communicate()
    return acknowledged


# ---------------------------------------------------------------- what is shown when


def test_a_durable_record_is_shown_and_delivered_once_it_is_on_the_disk(make: Callable[..., EmbeddedLog]) -> None:
    files = FaultyFiles()
    log = make(files=files)
    consumer, deliveries = reader(log, "durable"), Deliveries()
    files.syncing.clear()
    files.let_sync.clear()
    log.producer().send("durable", 0, b"", b"it", deliveries.of("it"))
    assert files.syncing.wait(PATIENCE)
    assert consumer.poll(0.2) == []
    assert log.offsets(TopicPartition("durable", 0)) == (0, 0)
    assert deliveries.seen == []
    files.let_sync.set()
    assert [r.value for r in consumer.poll(PATIENCE)] == [b"it"]
    assert deliveries.wait(1) == [("it", 0, None)]


def test_another_record_is_shown_at_once_and_delivered_once_it_is_on_the_disk(
    make: Callable[..., EmbeddedLog],
) -> None:
    files = FaultyFiles()
    log = make(files=files)
    consumer, deliveries = reader(log, "other"), Deliveries()
    files.syncing.clear()
    files.let_sync.clear()
    log.producer().send("other", 0, b"", b"it", deliveries.of("it"))
    assert [r.value for r in consumer.poll(0)] == [b"it"]
    assert files.syncing.wait(PATIENCE)
    assert deliveries.seen == []
    files.let_sync.set()
    assert deliveries.wait(1) == [("it", 0, None)]


def test_many_appends_share_one_sync(make: Callable[..., EmbeddedLog]) -> None:
    files = FaultyFiles()
    log = make(files=files)
    append(log, "durable", [b"first"])
    files.syncing.clear()
    files.let_sync.clear()
    producer, deliveries = log.producer(), Deliveries()
    producer.send("durable", 0, b"", b"", deliveries.of(0))
    assert files.syncing.wait(PATIENCE)
    for i in range(1, 1000):
        producer.send("durable", i % 2, b"", b"", deliveries.of(i))
    before = files.syncs
    files.let_sync.set()
    deliveries.wait(1000)
    assert files.syncs == before + 2


def test_without_fsync_nothing_is_synced_until_the_end(make: Callable[..., EmbeddedLog]) -> None:
    files = FaultyFiles()
    log = make(files=files, fsync=False)
    before = files.syncs
    append(log, "durable", [b"a"] * 10)
    append(log, "other", [b"a"] * 10)
    assert files.syncs == before
    log.close()
    assert files.syncs > before


def test_appends_wait_while_too_many_bytes_are_out(make: Callable[..., EmbeddedLog]) -> None:
    files = FaultyFiles()
    log = make(files=files, max_pending_bytes=100_000)
    for name in ("durable", "other"):
        files.syncing.clear()
        files.let_sync.clear()
        producer, deliveries = log.producer(), Deliveries()
        sent: list[int] = []

        enough = threading.Event()

        def send(
            name: str, producer: Producer, deliveries: Deliveries, sent: list[int], enough: threading.Event
        ) -> None:
            for i in range(50):
                producer.send(name, 0, b"", b"x" * 10_000, deliveries.of(i))
                sent.append(i)
                if len(sent) == 5:
                    enough.set()

        with background(partial(send, name, producer, deliveries, sent, enough)):
            assert files.syncing.wait(PATIENCE)
            assert enough.wait(PATIENCE)
            assert producer.flush(0.3) > 0
            assert 5 <= len(sent) <= 20
            files.let_sync.set()
        assert [label for label, _, _ in deliveries.wait(50)] == list(range(50))


def test_a_callback_never_waits_for_space(make: Callable[..., EmbeddedLog]) -> None:
    log = make(max_pending_bytes=1_000)
    producer, deliveries = log.producer(), Deliveries()

    def send_many(offset: int, error: LogError | None) -> None:
        for i in range(10):
            producer.send("durable", 0, b"", b"x" * 1_000, deliveries.of(i))

    producer.send("durable", 0, b"", b"", send_many)
    assert [offset for _, offset, _ in deliveries.wait(10)] == list(range(1, 11))


def test_the_clock_may_go_back_but_a_partition_does_not(make: Callable[..., EmbeddedLog]) -> None:
    now = [1_000]
    log = make(clock=lambda: now[0])
    for name in ("durable", "other"):
        now[0] = 1_000
        append(log, name, [b""])
        now[0] = 500
        append(log, name, [b""])
        now[0] = 2_000
        append(log, name, [b""])
        assert [r.timestamp_ms for r in read(reader(log, name), 3)] == [1_000, 1_000, 2_000]
    log.close()
    now[0] = 7
    log = make(clock=lambda: now[0])
    for name in ("durable", "other"):
        append(log, name, [b""])
        assert read(reader(log, name), 4)[-1].timestamp_ms == 2_000


def test_closing_the_log_ends_a_waiting_poll(make: Callable[..., EmbeddedLog]) -> None:
    log = make()
    consumer = reader(log, "durable")
    polling = threading.Event()

    def close() -> None:
        polling.wait()
        log.close()

    with background(close):
        polling.set()
        with pytest.raises(LogError, match="closed"):
            while True:
                consumer.poll(PATIENCE)
    with pytest.raises(LogError, match="closed"):
        log.producer()


def test_closing_the_log_stores_what_was_sent(make: Callable[..., EmbeddedLog]) -> None:
    log = make()
    producer, deliveries = log.producer(), Deliveries()
    for i in range(100):
        producer.send("other", 0, b"", b"%d" % i, deliveries.of(i))
    log.close()
    assert len(deliveries.seen) == 100
    assert len(read(reader(make(), "other"), 100)) == 100


# ---------------------------------------------------------------- a disk that fails


@pytest.mark.parametrize("name", ["durable", "other"])
def test_a_full_disk_loses_nothing_and_passes(make: Callable[..., EmbeddedLog], tmp_path: Path, name: str) -> None:
    files = FaultyFiles()
    log = make(files=files)
    append(log, name, [b"before"] * 3)
    deliveries, producer = Deliveries(), log.producer()
    files.space = 50  # less than an entry
    producer.send(name, 0, b"", b"x" * 100, deliveries.of("full"))
    [(_, offset, error)] = deliveries.wait(1)
    assert offset == -1
    assert isinstance(error, LogUnavailableError)
    assert error.retriable
    assert "space" in str(error)
    producer.send(name, 0, b"", b"y" * 100, deliveries.of("still full"))
    assert isinstance(deliveries.wait(2)[1][2], LogUnavailableError)
    [path] = segments_of(tmp_path / "log" / name)
    assert [e.value for e in entries_of(path) if not e.mark] == [b"before"] * 3  # nothing half written
    files.space = None
    landed = append(log, name, [b"after"])
    shown = [r.value for r in read(reader(log, name), landed[0] + 1)]
    # What was shown at once stays, in its place; its sender knows only that the outcome is open.
    expected = [b"before"] * 3 + ([b"x" * 100] if name == "other" else []) + [b"after"]
    assert shown == expected
    log.close()
    assert [r.value for r in read(reader(make(), name), len(expected))] == expected


def test_what_came_while_the_disk_was_full_keeps_its_order(make: Callable[..., EmbeddedLog]) -> None:
    files = FaultyFiles()
    log = make(files=files)
    consumer, deliveries, producer = reader(log, "other"), Deliveries(), log.producer()
    files.space = 0
    producer.send("other", 0, b"", b"shown", deliveries.of("shown"))
    deliveries.wait(1)
    producer.send("other", 0, b"", b"given up", deliveries.of("given up"))
    deliveries.wait(2)
    assert [r.value for r in consumer.poll(0)] == [b"shown"]
    files.space = None
    files.syncing.clear()
    files.let_sync.clear()
    producer.send("other", 0, b"", b"first", deliveries.of("first"))
    assert files.syncing.wait(PATIENCE)  # the one that was shown is on its way to the disk
    producer.send("other", 0, b"", b"second", deliveries.of("second"))
    assert consumer.poll(0) == []
    files.let_sync.set()
    producer.send("other", 0, b"", b"third", deliveries.of("third"))
    assert [(label, offset) for label, offset, _ in deliveries.wait(5)[2:]] == [
        ("first", 1),
        ("second", 2),
        ("third", 3),
    ]
    assert [r.value for r in read(consumer, 3)] == [b"first", b"second", b"third"]
    log.close()
    assert [r.value for r in read(reader(make(), "other"), 4)] == [b"shown", b"first", b"second", b"third"]


@pytest.mark.parametrize("name", ["durable", "other"])
def test_after_a_failed_sync_the_log_must_be_opened_again(make: Callable[..., EmbeddedLog], name: str) -> None:
    files = FaultyFiles()
    log = make(files=files)
    append(log, name, [b"before"])
    deliveries, producer = Deliveries(), log.producer()
    files.sync_error = OSError(errno.EIO, "Input/output error")
    producer.send(name, 0, b"", b"lost", deliveries.of("lost"))
    deliveries.wait(1)
    producer.send(name, 0, b"", b"refused", deliveries.of("refused"))
    for _, offset, error in deliveries.wait(2):
        assert offset == -1
        assert isinstance(error, LogUnavailableError)
        assert "open it again" in str(error)
    log.close()
    log = make()
    append(log, name, [b"after"])
    values = [r.value for r in read(reader(log, name), log.offsets(TopicPartition(name, 0))[1])]
    assert values[0] == b"before"
    assert values[-1] == b"after"


# ---------------------------------------------------------------- memory


def test_memory_holds_no_more_bytes_of_records_than_it_may(make: Callable[..., EmbeddedLog]) -> None:
    """Breaks when records that were dropped from the cache stay in it until there are hundreds of them."""
    log = make(cache_bytes=2 << 20, fsync=False)
    for partition in range(2):
        append(log, "durable", [bytes(200_000)] * 30, partition)
    found = [log.find("durable", partition) for partition in range(2)]
    assert 0 < sum(len(record.value) for one in found if one is not None for record in one.tail) <= 1 << 20
    assert [len(r.value) for r in read(reader(log, "durable", 2), 60)] == [200_000] * 60


def test_a_poll_gives_a_bounded_number_of_bytes(make: Callable[..., EmbeddedLog]) -> None:
    log = make(fsync=False)
    append(log, "durable", [bytes([n]) * 900_000 for n in range(40)])
    consumer = reader(log, "durable")
    polls: list[list[int]] = []
    while sum(map(len, polls)) < 40:
        polls.append([record.value[0] for record in consumer.poll(PATIENCE)])
    consumer.close()
    assert max(map(len, polls)) <= 19
    assert [n for poll in polls for n in poll] == list(range(40))
