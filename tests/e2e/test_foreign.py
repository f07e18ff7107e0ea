"""Any service can start a workflow: with Avro by the `.avsc`, or with JSON, through any partitioner."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import odradek_schemas
import pytest
from odradek import WorkflowHandle, WorkflowNotFoundError, workflow
from odradek_log import TopicPartition

from .system import PARTITIONS, System, system_on

AVSC = Path(odradek_schemas.__file__).parent / "avsc" / "odradek.record.StartWorkflow.avsc"


@workflow.define
async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def test_n1_a_program_without_odradek_starts_workflows_by_avro_and_json(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with system_on(f"kafka://{kafka_bootstrap}", tmp_path / "state") as system:
        async with system.worker("abroad", workflows=[greet]):
            for number in range(6):
                ids = [f"avro-{number}", f"json-{number}"]
                program = await asyncio.create_subprocess_exec(
                    sys.executable, str(Path(__file__).parent / "foreign.py"), kafka_bootstrap, system.topics.events,
                    str(AVSC), "abroad", *ids,
                )
                assert await program.wait() == 0
                results = [await _result(system.client.get(name)) for name in ids]
                assert results == ["Hello, Avro!", "Hello, JSON!"]
        misplaced = await asyncio.to_thread(_misplaced, system)
        assert misplaced, "the other partitioner chose other partitions, or this test shows nothing"


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed (Debian: apt install kcat)")
async def test_n1_kcat_starts_workflows(kafka_bootstrap: str, tmp_path: Path) -> None:
    """As README.md says it: lines of an ID and JSON, in partitions that kcat chooses."""
    async with system_on(f"kafka://{kafka_bootstrap}", tmp_path / "state") as system:
        async with system.worker("abroad", workflows=[greet]):
            ids = [f"json-{number}" for number in range(6)]
            start = {"type": "StartWorkflow", "workflow_type": "greet", "task_queue": "abroad", "input": ["kcat"]}
            lines = [f"{name}:{json.dumps({**start, 'workflow_id': name})}\n" for name in ids]
            program = await asyncio.create_subprocess_exec(
                "kcat", "-P", "-b", kafka_bootstrap, "-t", system.topics.events, "-K:", stdin=asyncio.subprocess.PIPE
            )
            await program.communicate("".join(lines).encode())
            assert program.returncode == 0
            assert [await _result(system.client.get(name)) for name in ids] == ["Hello, kcat!"] * len(ids)
        misplaced = await asyncio.to_thread(_misplaced, system)
        assert misplaced, "kcat chose other partitions, or this test shows nothing"


async def _result(handle: WorkflowHandle[Any, Any]) -> Any:
    while True:
        try:
            return await handle.result()
        except WorkflowNotFoundError:
            continue  # the record is on its way through another partition


def _misplaced(system: System) -> list[str]:
    """Keys of records that the foreign producer put into another partition than their workflow's."""
    log, topic = system.log, system.topics.events
    consumer = log.consumer()
    partitions = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    ends = {tp: log.offsets(tp)[1] for tp in partitions}
    consumer.assign(dict.fromkeys(partitions, 0))
    found: list[str] = []
    left = {tp for tp, end in ends.items() if end}
    while left:
        for record in consumer.poll(1.0):
            if record.key.startswith((b"avro-", b"json-")):
                key = record.key.decode()
                found += [key] if system.home(key) != record.partition else []
            if record.offset + 1 >= ends[TopicPartition(topic, record.partition)]:
                left.discard(TopicPartition(topic, record.partition))
    consumer.close()
    return found
