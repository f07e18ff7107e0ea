"""Engines of two fold versions, as processes on one Kafka: forward half-way, back, and forward wholly (V1, V2)."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from odradek import Client, Worker, WorkflowHandle, activity, workflow
from odradek_log import Log, TopicPartition, open_log
from odradek_schemas import Topics, decode, records

from ..longer import with_longer_times
from .newer import MARK

WORKFLOWS, AT_A_TIME, PARTITIONS, QUEUE = 20, 3, 16, "upgrades"
PATIENCE_S = 60.0
SCRIPT = str(Path(__file__).parent / "newer.py")


@activity.define(name="upgrades.keep")
async def keep(number: int) -> int:
    return number


@workflow.define(name="upgrades.heard")
class Heard:
    """Returns the numbers that it heard, each taken through an activity."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.done = False

    async def run(self) -> list[int]:
        kept: list[int] = []
        while not self.done or len(kept) < len(self.heard):
            await workflow.wait_condition(lambda: self.done or len(kept) < len(self.heard))
            if len(kept) < len(self.heard):
                kept.append(await keep(self.heard[len(kept)]))
        return kept

    @workflow.signal
    def hear(self, number: int) -> None:
        self.heard.append(number)

    @workflow.signal
    def end(self) -> None:
        self.done = True


class Fleet:
    """Two engines, each with its folder, whose version may change. They announce themselves every `announce_s`."""

    def __init__(self, target: str, namespace: str, folder: Path, announce_s: float) -> None:
        self.about = target, namespace
        self.announce_s = str(announce_s)
        self.folders = [str(folder / f"state-{number}") for number in range(2)]
        self.running: dict[int, asyncio.subprocess.Process] = {}

    async def start(self, number: int, version: int) -> None:
        arguments = ["engine", *self.about, self.folders[number], self.announce_s, str(version)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, SCRIPT, *arguments, stdout=asyncio.subprocess.PIPE
        )
        self.running[number] = process
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"

    async def stop(self, number: int) -> None:
        process = self.running.pop(number)
        process.terminate()
        assert await process.wait() == 0

    async def replace(self, number: int, version: int) -> None:
        await self.stop(number)
        await self.start(number, version)

    async def verify(self) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, SCRIPT, "verify", *self.about, *self.folders, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode().splitlines()

    def kill(self) -> None:
        for process in self.running.values():
            process.kill()


class Elections:
    """The fold versions of the elections of each partition, and who was elected, as the log shows them."""

    def __init__(self, log: Log, topic: str) -> None:
        self.versions: defaultdict[int, list[int]] = defaultdict(list)
        self.members: set[str] = set()
        self._log, self._topic = log, topic
        self._consumer = log.consumer()
        self._consumer.assign({TopicPartition(topic, partition): 0 for partition in range(PARTITIONS)})
        self._read = [0] * PARTITIONS

    def _poll(self) -> None:
        for record in self._consumer.poll(1.0):
            self._read[record.partition] = record.offset + 1
            elected = decode(record.value)
            if isinstance(elected, records.LeaderElected):
                self.versions[record.partition].append(elected.version)
                self.members.add(elected.member)

    def so_far(self) -> set[int]:
        """All versions up to now."""
        ends = [self._log.offsets(TopicPartition(self._topic, partition))[1] for partition in range(PARTITIONS)]
        while any(read < end for read, end in zip(self._read, ends, strict=True)):
            self._poll()
        return {version for versions in self.versions.values() for version in versions}

    def wait_for_members(self, count: int) -> None:
        """Until so many engines have led something: each process is another one."""
        self._wait(lambda: len(self.members) >= count, f"{count} engines")

    def wait_for(self, version: int) -> None:
        """Until all partitions are led under it."""
        self._wait(
            lambda: all(version in self.versions[partition] for partition in range(PARTITIONS)), f"version {version}"
        )

    def _wait(self, holds: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not holds():
            self._poll()
            assert time.monotonic() < give_up, f"not {what} after {PATIENCE_S} s: {self.members} {self.versions}"


async def _tell(handles: list[WorkflowHandle[Heard, list[int]]], first: int) -> None:
    async def tell(handle: WorkflowHandle[Heard, list[int]]) -> None:
        for number in range(first, first + AT_A_TIME):
            await handle.signal(Heard.hear, number)

    await asyncio.gather(*map(tell, handles))


@pytest.mark.timeout(300)
async def test_v2_engines_of_two_versions_share_a_namespace_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """An engine of the old version that stands still for a few announcements is taken for gone: then the version goes
    up, as it should."""

    async def share(announce_s: float) -> None:
        await engines_of_two_versions(f"kafka://{kafka_bootstrap}", tmp_path / f"{announce_s:g}", announce_s)

    await with_longer_times(0.5, share)


async def engines_of_two_versions(target: str, folder: Path, announce_s: float) -> None:
    namespace = f"upgrades-{uuid.uuid4().hex[:8]}"
    fleet = Fleet(target, namespace, folder, announce_s)
    try:
        await asyncio.gather(fleet.start(0, 1), fleet.start(1, 1))
        async with (
            Client(target, namespace=namespace, request_timeout=60) as client,
            Worker(client, task_queue=QUEUE, workflows=[Heard], activities=[keep]),
        ):
            elections = Elections(log := open_log(target), Topics(namespace).events)
            handles = [await client.start(Heard, id=f"w{n}", task_queue=QUEUE) for n in range(WORKFLOWS)]
            for step, change in enumerate([(0, 2), (0, 1)]):  # half-way forward, and back
                await asyncio.to_thread(elections.wait_for_members, 2 + step)
                await asyncio.gather(_tell(handles, step * AT_A_TIME), fleet.replace(*change))
            assert await asyncio.to_thread(elections.so_far) == {1}
            await asyncio.gather(_tell(handles, 2 * AT_A_TIME), fleet.replace(0, 2))
            await asyncio.gather(_tell(handles, 3 * AT_A_TIME), fleet.replace(1, 2))
            await asyncio.to_thread(elections.wait_for, 2)
            await _tell(handles, 4 * AT_A_TIME)
            for handle in handles:
                await handle.signal(Heard.end)
            for handle in handles:
                assert await handle.result() == list(range(5 * AT_A_TIME))
                by = [e.attributes["identity"] for e in await handle.history() if e.type == "SignalReceived"]
                marked = [identity.endswith(MARK) for identity in by]
                assert marked == sorted(marked), "once switched, always switched"
                assert not any(marked[: 2 * AT_A_TIME])
                assert all(marked[4 * AT_A_TIME :])
            await asyncio.gather(fleet.stop(0), fleet.stop(1))
            log.close()
        verified = await fleet.verify()
        assert [line for line in verified if not line.endswith("the same")] == []
        assert {line.split()[0] for line in verified} == {str(partition) for partition in range(PARTITIONS)}
    finally:
        fleet.kill()
