"""Several partitions of one namespace, each checked as `harness.Partition` is, with messages going between them.

Messages are delivered late, twice and again from the beginning, as by leaders that take over; and with gaps.
"""

from __future__ import annotations

from random import Random
from typing import Any

from odradek_engine.fold import Effect
from odradek_schemas import partition_of, records
from odradek_schemas.common import Record

from .harness import TOPICS, Partition

PARTITIONS = 3


class Cluster:
    """`sent`: the messages of each source to each target, in the order of their chain; `given`: how many of them were
    handed over at least once."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = Random(seed)
        self.partitions = [Partition(n, PARTITIONS) for n in range(PARTITIONS)]
        self.sent: dict[tuple[int, int], list[Effect]] = {}
        self.given: dict[tuple[int, int], int] = {}
        for partition in self.partitions:
            partition.lead()
            partition.alive()

    def home(self, workflow_id: str) -> Partition:
        return self.partitions[partition_of(workflow_id.encode(), PARTITIONS)]

    def elsewhere(self, workflow_id: str, name: str = "child") -> str:
        """An ID whose home is another partition."""
        ids = (f"{name}-{n}" for n in range(100))
        return next(i for i in ids if self.home(i) is not self.home(workflow_id))

    def append(self, record: Record) -> None:
        workflow_id: str = record.workflow_id  # type: ignore[attr-defined]  # all of these have one
        self.fold(self.home(workflow_id), record)

    def start(self, workflow_id: str = "w") -> None:
        self.append(records.StartWorkflow(workflow_id=workflow_id, workflow_type="Order", task_queue="orders"))

    def advance(self, workflow_id: str, *asked: Any) -> None:
        partition = self.home(workflow_id)
        before = len(partition.log)
        partition.advance(*asked, workflow_id=workflow_id)
        self._collect(partition, before)

    def fold(self, partition: Partition, record: Record | bytes) -> None:
        before = len(partition.log)
        partition.append(record)
        self._collect(partition, before)

    def _collect(self, partition: Partition, before: int) -> None:
        """Note the messages made since."""
        for effect in partition.made_since(before):
            if effect.topic == TOPICS.events:
                self.sent.setdefault((partition.number, effect.partition), []).append(effect)

    def settle(self) -> None:
        """Deliver all that was not delivered, until there is nothing more."""
        while todo := [chain for chain, sent in self.sent.items() if self.given.get(chain, 0) < len(sent)]:
            for chain in todo:
                self._give(chain, self.given.get(chain, 0))

    def settle_badly(self) -> None:
        """The same, with repeats of what was delivered, and links that come before their predecessors."""
        while todo := [chain for chain, sent in self.sent.items() if self.given.get(chain, 0) < len(sent)]:
            chain = self.rng.choice(todo)
            reached = self.given.get(chain, 0)
            choice = self.rng.random()
            if choice < 0.3:
                self._give(chain, reached)
            elif choice < 0.6:  # a leader that took over emits again, from wherever the last mark was
                for index in range(self.rng.randint(0, reached), len(self.sent[chain])):
                    self._give(chain, index)
            elif reached + 1 < len(self.sent[chain]):  # the one before is lost, for now
                self._give(chain, reached + 1)
            else:
                self._give(chain, self.rng.randint(0, reached))
        for chain, sent in list(self.sent.items()):
            for index in range(len(sent)):
                self._give(chain, index)

    def _give(self, chain: tuple[int, int], index: int) -> None:
        effect = self.sent[chain][index]
        if index == self.given.get(chain, 0):
            self.given[chain] = index + 1
        self.fold(self.partitions[chain[1]], effect.value)

    def finish(self) -> None:
        for partition in self.partitions:
            partition.finish()
