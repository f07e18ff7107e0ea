"""The process of an embedded log dies at random moments; every order ends right all the same. On Kafka: tests/chaos."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest
from odradek_log import TopicPartition, open_log
from odradek_schemas import Topics, decode
from odradek_schemas.history import HistoryEvent, LocalActivityCompleted
from odradek_schemas.tasks import HistoryBatch

from ..cli.running import until
from .orders import STEPS, expected

ORDERS = 30


def _alone(folder: Path, lines: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).parent / "roles.py"), "alone", f"file:{folder}", "default"]
    environment = {**os.environ, "ODRADEK_TEST_LINES": str(lines)}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    )


def _has_lines(lines: Path, wanted: int, process: subprocess.Popen[str]) -> bool:
    return lines.read_bytes().count(b"\n") >= wanted or process.poll() is not None


@pytest.mark.timeout(240)
def test_the_embedded_process_is_killed_at_random_moments(tmp_path: Path) -> None:
    """Each life is killed after it has written some more lines; the last one is left to finish."""
    lines, chosen = tmp_path / "lines", random.Random()
    lines.touch()
    for _ in range(5):
        process = _alone(tmp_path / "data", lines)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write(f"{ORDERS}\n")
        process.stdin.flush()
        wanted = min(lines.read_bytes().count(b"\n") + chosen.randrange(1, 15), ORDERS * len(STEPS))
        enough = partial(_has_lines, lines, wanted, process)
        until(enough, f"{wanted} lines")
        process.kill()
        process.wait()
    process = _alone(tmp_path / "data", lines)
    output, _ = process.communicate(f"{ORDERS}\n", timeout=120)
    assert output.splitlines() == ["ready", str([expected(amount) for amount in range(ORDERS)])]
    by_step: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in lines.read_text().splitlines():
        entry = json.loads(line)
        by_step[entry["workflow"], entry["step"]].add(entry["key"])
    assert len(by_step) == ORDERS * len(STEPS)
    assert all(len(keys) == 1 for keys in by_step.values()), "a repeated step has the same idempotency key"
    recorded = _local_results(tmp_path / "data")
    assert len(recorded) == ORDERS
    again = [e for e in map(json.loads, lines.read_text().splitlines())
             if e["step"] == "weigh" and e["at_ms"] > recorded[e["workflow"]]]
    assert again == [], "a local activity does not run again once its result was accepted"


def _local_results(folder: Path) -> dict[str, int]:
    """When the result of each order's local activity was recorded."""
    log = open_log(f"file:{folder}")
    topic, found = Topics("default").history, dict[str, tuple[int, int]]()
    consumer = log.consumer()
    ends = {TopicPartition(topic, p): log.offsets(TopicPartition(topic, p))[1] for p in range(log.partitions(topic))}
    consumer.assign(dict.fromkeys(ends, 0))
    left = sum(ends.values())
    while left:
        records = consumer.poll(1.0)
        left -= len(records)
        for batch in (decode(record.value) for record in records):
            for event in map(decode, batch.events if isinstance(batch, HistoryBatch) else ()):
                if isinstance(event, HistoryEvent) and isinstance(event.attributes, LocalActivityCompleted):
                    found.setdefault(batch.workflow_id, (event.event_id, event.time_ms))
                    assert found[batch.workflow_id][0] == event.event_id, "it is recorded once"
    consumer.close()
    log.close()
    return {workflow_id: time_ms for workflow_id, (_, time_ms) in found.items()}
