"""Clusters whose log loses records that it had acknowledged, as by an unclean election of Kafka's.

What was lost is lost, and so is what followed from it. But nothing else is: engines notice, and have the state of the
log that is left; whatever is left in it ends, as it should, and so does all that is begun later. Not looked at is what
was there twice for that: activities whose results were lost run again, and effects at offsets that were lost wait until
their tasks are emitted again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from random import Random
from typing import Any

from odradek import Client, WorkflowFailedError, WorkflowNotFoundError
from odradek_log import TopicPartition

from .__main__ import Report, seeds_of
from .auditors import Auditors
from .disk import SortedStorage
from .golden import Golden
from .machines import AsyncMachine, EngineMachine
from .programs import QUEUE, insist
from .races import CALM, TASKS, only, small
from .scripted import Scripted, Step
from .scripts import Mix, Writer, misfit_script
from .world import Outcome, World, _quiet_gc

MIX = Mix(steps={"act": 2, "sleep": 1, "side": 1}, activities={"quick": 3, "slow": 1}, length=(3, 6), again=0,
          sleeps=(0.5, 3.0), failures=(0, 0, 1), wait=0)

LOSSES = small(
    name="a log that loses its end",
    engines=2,
    machines=2,
    partitions=2,
    tasks=(0, 0),
    mix=MIX,
    habits=CALM,
    weather=only({"crash": 1, "pause": 1}, (0, 0, 2, 4), seconds=16,
                 roles=dict.fromkeys(("crash", "pause"), "engine worker")),
    workers=TASKS,
    reissues=1.0,
    reissue_after=15.0,
    patience=200.0,
    quiet=90.0,
)
LOST_AT = (4.0, 12.0)
"""When it happens, in seconds."""
WORKFLOWS = 12
BEGUN_S = 24.0
"""They are begun within this time: before it, after it, and while it is noticed."""


class _Auditors(Auditors):
    """They look at the end only: until all have noticed, states are those of a log that is not any more."""

    def look(self, engines: list[EngineMachine]) -> None: ...

    def written(self, name: str, partition: int, storage: SortedStorage) -> None: ...

    def close(self, engines: list[EngineMachine]) -> None:
        for golden in self.golden:
            golden.follow(len(golden._log))
        super().look(engines)
        for check in (self._nothing_open, self._replays):
            self.wrong += check()


class Losing(World):
    """Loses the ends of partitions once."""

    def __init__(self, seed: int) -> None:
        self.lost_at = float("inf")
        self.outcomes: dict[str, str] = {}
        super().__init__(seed, LOSSES)

    def _begin(self) -> None:
        super()._begin()
        old = self.auditors
        self.auditors = _Auditors(self.log, self.topics, self.partitions, self.journal, old.code)
        rng = Random(f"lost-{self.seed}")
        self.hub.at(rng.uniform(*LOST_AT), lambda: self._lose(rng))

    def _lose(self, rng: Random) -> None:
        self.lost_at = self.hub.now
        for partition in range(self.partitions):
            if partition == 0 or rng.random() < 0.5:
                where = TopicPartition(self.topics.events, partition)
                self.log.lose_end(where, rng.randint(1, 30))
                self.hub.happened["end of a log lost"] += 1
        self.auditors.golden = [
            Golden(self.log, self.topics, partition, self.auditors.wrong) for partition in range(self.partitions)
        ]

    async def _script(self, machine: AsyncMachine) -> bool:
        rng = Random(f"unclean-{self.seed}")
        async with machine.client() as client, asyncio.TaskGroup() as group:
            for number in range(WORKFLOWS):
                workflow_id = f"w{number}"
                script = Writer(rng, workflow_id, [], MIX).script(0)
                begins = rng.uniform(0.0, BEGUN_S)
                if workflow_id not in self.outcomes:
                    group.create_task(self._customer(client, workflow_id, script, begins))
        return True

    async def _customer(self, client: Client, workflow_id: str, script: list[Step], begins: float) -> None:
        """Starts a workflow and waits for its end; what was lost nobody knows."""
        await asyncio.sleep(max(0.0, begins - self.hub.now))
        options: Any = {"id": workflow_id, "task_queue": QUEUE, "request_id": f"start-{workflow_id}"}
        begun = self.hub.now
        await insist(lambda: client.start(Scripted, script, [], [], [], **options))
        try:
            result = await insist(client.get(workflow_id, Scripted).result)
        except WorkflowNotFoundError:
            self.outcomes[workflow_id] = "lost"
            if begun > self.lost_at:
                self.journal.wrong.append(f"{workflow_id} is gone, which was begun after the loss")
        except WorkflowFailedError as error:
            self.journal.wrong.append(f"{workflow_id} failed: {error.__cause__!r}")
        else:
            self.outcomes[workflow_id] = "completed"
            if problem := misfit_script(script, result["seen"]):
                self.journal.wrong.append(f"{workflow_id}: {problem}")

    def _outcome(self) -> Outcome:
        self.auditors.wrong += self.journal.wrong
        outcome = super()._outcome()
        outcome.happened.update(f"workflow {how}" for how in self.outcomes.values())
        return outcome


def simulate(seed: int) -> Outcome:
    with _quiet_gc():
        return Losing(seed).run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.unclean", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="20", help="how many fresh ones, or which: 7000-7999, 42,43,")
    report, began = Report(), time.monotonic()
    for seed in seeds_of(parser.parse_args().seeds):
        report.add(simulate(seed))
        report.took = time.monotonic() - began
    print(report)
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
