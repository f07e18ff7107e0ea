"""The counting process on a real Apache Kafka: exact counts after repetitions, kills, and lost folders."""

from __future__ import annotations

import contextlib
import select
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec
from odradek_engine.stats import Stats, StatsError, TypeCounts, read_stats, run_stats
from odradek_log import Log, TopicSpec, open_log
from odradek_schemas import Topics

from .histories import Source, append

PARTITIONS = 4
PROCESS = Path(__file__).parent / "stats_process.py"

PATIENCE_S = 240.0
"""After a process was killed the others had not counted all after a minute, once, beside a busy loop."""
pytestmark = pytest.mark.timeout(600)


class Namespace(NamedTuple):
    target: str
    name: str
    topics: Topics
    log: Log
    sources: list[Source]


@pytest.fixture
def namespace(kafka_bootstrap: str) -> Iterator[Namespace]:
    target, name = f"kafka://{kafka_bootstrap}", f"stats-{uuid.uuid4().hex[:8]}"
    log = open_log(target)
    topics = Topics(name)
    log.create_topics([TopicSpec(topics.history, PARTITIONS)])
    yield Namespace(target, name, topics, log, [Source(p) for p in range(PARTITIONS)])
    log.close()


@contextlib.contextmanager
def counting(namespace: Namespace, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that counts, ready; killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "output.log", "a") as output:
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), namespace.target, namespace.name, str(folder)],
            stdout=subprocess.PIPE, stderr=output, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        there, _, _ = select.select([process.stdout], [], [], 60.0)
        assert there, f"not ready after a minute: {(folder / 'output.log').read_text()[-3000:]}"
        assert process.stdout.readline() == "ready\n", (folder / "output.log").read_text()[-3000:]
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def until(namespace: Namespace, behind: int) -> Stats:
    """Wait until no more than `behind` records are uncounted."""
    deadline = time.monotonic() + PATIENCE_S
    while (stats := read_stats(namespace.target, namespace.name)).behind > behind:
        assert time.monotonic() < deadline, stats
        time.sleep(0.1)  # another process counts; Kafka is all that it tells us
    return stats


def runs(namespace: Namespace, count: int) -> None:
    """Append `count` batches to each partition: three runs begin, one fails, one completes, and so on; the last
    third of the batches is emitted twice."""
    for partition, source in enumerate(namespace.sources):
        batches = [
            source.batch(f"Type{i % 3}", "started", *["failed"] * (i % 5 == 0), *["completed"] * (i % 5 == 1))
            for i in range(count)
        ]
        append(namespace.log, namespace.topics, partition, batches + batches[-count // 3 :])


def expected(*rounds: int) -> dict[str, TypeCounts]:
    """The counts after `runs` with each of these."""
    types = {f"Type{t}": TypeCounts() for t in range(3)}
    for i in (i for count in rounds for i in range(count)):
        counts = types[f"Type{i % 3}"]
        counts.started += PARTITIONS
        counts.failed += PARTITIONS * (i % 5 == 0)
        counts.completed += PARTITIONS * (i % 5 == 1)
    return types


def test_counts_are_exact_though_batches_come_again(namespace: Namespace, tmp_path: Path) -> None:
    runs(namespace, 60)
    with counting(namespace, tmp_path):
        assert until(namespace, 0) == Stats(expected(60), behind=0)
        late = namespace.sources[2].batch("Late", "started")
        append(namespace.log, namespace.topics, 2, [late, late])
        assert until(namespace, 0).types == {"Late": TypeCounts(started=1), **expected(60)}


def test_counts_are_exact_after_kill_9_in_the_middle(namespace: Namespace, tmp_path: Path) -> None:
    """A process that has counted all before it is killed gets twice as much to count."""
    counts: list[int] = []
    left = 0
    for kill in range(3):
        while True:
            if not left:
                counts.append(1_000 << len(counts))
                assert len(counts) < 5, "no kill comes before the end"
                runs(namespace, counts[-1])
                left = PARTITIONS * counts[-1] * 4 // 3
            with counting(namespace, tmp_path) as process:
                until(namespace, left * 3 // 4)
                process.kill()
            left = read_stats(namespace.target, namespace.name).behind
            if left:
                break
        if kill == 1:
            shutil.rmtree(tmp_path)  # the machine is lost too
    with counting(namespace, tmp_path):
        assert until(namespace, 0).types == expected(*counts)


def test_two_processes_share_and_one_takes_over(namespace: Namespace, tmp_path: Path) -> None:
    with counting(namespace, tmp_path / "a") as first:
        with counting(namespace, tmp_path / "b"):
            runs(namespace, 100)
            until(namespace, 100)
        runs(namespace, 100)  # b is dead
        assert until(namespace, 0).types == expected(100, 100)
        assert first.poll() is None


def test_positions_come_from_the_table_not_from_the_group(namespace: Namespace, tmp_path: Path) -> None:
    """Kafka's group says that all was read. Nothing was."""
    runs(namespace, 30)
    admin = AdminClient({"bootstrap.servers": namespace.target.removeprefix("kafka://")})
    ends = admin.list_offsets(
        {Position(namespace.topics.history, p): OffsetSpec.latest() for p in range(PARTITIONS)}
    )
    group = ConsumerGroupTopicPartitions(
        f"odradek.{namespace.name}.stats",
        [Position(p.topic, p.partition, future.result().offset) for p, future in ends.items()],
    )
    for future in admin.alter_consumer_group_offsets([group]).values():
        future.result()
    with counting(namespace, tmp_path):
        assert until(namespace, 0).types == expected(30)


def test_a_topic_whose_beginning_is_gone_is_counted_from_where_it_begins(namespace: Namespace, tmp_path: Path) -> None:
    source = namespace.sources[1]
    append(namespace.log, namespace.topics, 1, [source.batch("A", "started") for _ in range(10)])
    admin = AdminClient({"bootstrap.servers": namespace.target.removeprefix("kafka://")})
    for future in admin.delete_records([Position(namespace.topics.history, 1, 7)]).values():
        future.result()
    with counting(namespace, tmp_path):
        assert until(namespace, 0).types == {"A": TypeCounts(started=3)}
        append(namespace.log, namespace.topics, 1, [source.batch("A", "completed")])
        assert until(namespace, 0).types == {"A": TypeCounts(started=3, completed=1)}


def test_the_topics_that_faust_makes(namespace: Namespace, tmp_path: Path) -> None:
    """One only, compacted, in the namespace, with the partitions and replicas of `history`."""
    with counting(namespace, tmp_path):
        pass
    admin = AdminClient({"bootstrap.servers": namespace.target.removeprefix("kafka://")})
    topics = {name: t for name, t in admin.list_topics().topics.items() if namespace.name in name}
    changelog = f"odradek.{namespace.name}.stats-counts-changelog"
    assert set(topics) == {namespace.topics.history, changelog}
    assert len(topics[changelog].partitions) == PARTITIONS
    replicas = {len(p.replicas) for t in topics.values() for p in t.partitions.values()}
    assert len(replicas) == 1
    (config,) = (f.result() for f in admin.describe_configs([ConfigResource("topic", changelog)]).values())
    assert config["cleanup.policy"].value == "compact"
    assert config["min.insync.replicas"].value == ("2" if replicas.pop() >= 3 else "1")


def test_sigterm_ends_it_with_all_counted(namespace: Namespace, tmp_path: Path) -> None:
    runs(namespace, 20)
    with counting(namespace, tmp_path) as process:
        until(namespace, 0)
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert read_stats(namespace.target, namespace.name).types == expected(20)


def test_errors_say_what_to_do(kafka_bootstrap: str, namespace: Namespace, tmp_path: Path) -> None:
    with pytest.raises(StatsError, match="nobody has counted namespace"):
        read_stats(namespace.target, namespace.name)
    with pytest.raises(StatsError, match="start an engine of namespace 'nobody'"):
        run_stats(f"kafka://{kafka_bootstrap}", "nobody", tmp_path)
    with pytest.raises(StatsError, match="needs no process that counts"):
        run_stats(f"file:{tmp_path}", "default", tmp_path)
