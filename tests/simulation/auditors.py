"""What must be true at every moment, and what must be true in the end, whatever befell the cluster.

The auditors fold the log themselves, from zero, and compare: that is the truth about which everybody else may be late
but never wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from odradek import DataConverter, OdradekError
from odradek._export import ExportedHistory
from odradek.testing import replay
from odradek_engine.fold import State, keys
from odradek_engine.fold.invariants import problems
from odradek_engine.fold.rows import PartitionRow
from odradek_log import TopicPartition
from odradek_schemas import Topics, history, idempotency_key, records, tasks
from odradek_schemas.common import Position

from .disk import DiskStorage, SortedStorage
from .golden import AuditedLog, Golden, Run
from .journal import Journal
from .machines import EngineMachine
from .scripted import NOWHERE
from .stdlib import decoded
from .told import misfits

LATE_S = 5.0
"""A claim that was answered in time may be followed by its execution for so long, and by nothing else."""


class Code(NamedTuple):
    """With what the histories of a task queue are replayed."""

    workflows: list[Any]
    converter: DataConverter | None = None


class Auditors:
    """`wrong` lists what they found, in words. `code`: by task queue. `late_s`: how long after its result an execution
    that was claimed before may begin."""

    def __init__(
        self,
        log: AuditedLog,
        topics: Topics,
        partitions: int,
        journal: Journal,
        code: Mapping[str, Code],
        late_s: float = LATE_S,
    ) -> None:
        self.wrong: list[str] = []
        self._late_s = late_s
        self.code = code
        self.journal = journal
        self._log = log
        self._topics = topics
        self.golden = [Golden(log, topics, p, self.wrong) for p in range(partitions)]
        self._dumps: dict[tuple[int, int], int] = {}

    # ------------------------------------------------------------ at every write, and again and again

    def look(self, engines: list[EngineMachine]) -> None:
        """Between two steps: every state is what the log says, and sound."""
        for golden in self.golden:
            states = [(m.name, state) for m in engines if (state := _state_of(m, golden.partition)) is not None]
            self.compare(golden.partition, states)
            self.wrong += [f"partition {golden.partition}: {problem}" for problem in problems(golden.state)]
            old = [m.name for m in engines if _is_too_old(m, golden.partition)]
            self.wrong += [f"{name} has folded records of a newer fold version" for name in old]

    def written(self, name: str, partition: int, storage: SortedStorage) -> None:
        """Right after each write of a state: all of it is what the log says at its position."""
        row = storage.entries.get(keys.PARTITION)
        position = msgspec.msgpack.decode(row, type=PartitionRow).position if row is not None else 0
        golden = self.golden[partition]
        if position > golden.state.partition.position:
            golden.follow(position)
        if golden.totals.get(position, storage.total) != storage.total:
            self.wrong.append(f"what {name} wrote for partition {partition} at {position} is not what the log says")

    def compare(self, partition: int, states: list[tuple[str, State]]) -> None:
        """States are what the log says. Those at lower positions must come first, or all together."""
        for position in sorted({state.partition.position for _, state in states}):
            self._compare_at(self.golden[partition], position, states)

    def _compare_at(self, golden: Golden, position: int, states: list[tuple[str, State]]) -> None:
        """Compare those who are at a position with a fold that has got so far; later ones with a note of it."""
        noted = (golden.partition, position)
        if position >= golden.state.partition.position:
            golden.follow(position)
            self._dumps[noted] = _hash(golden.state)
        for name, state in states:
            if state.partition.position == position and noted in self._dumps and _hash(state) != self._dumps[noted]:
                self.wrong.append(
                    f"the state of {name} for partition {golden.partition} at {position} is not what the log says"
                )

    # ------------------------------------------------------------ in the end

    def close(self, engines: list[EngineMachine]) -> None:
        """All has come to rest."""
        for golden in self.golden:
            golden.follow(len(self._log.records[TopicPartition(self._topics.events, golden.partition)]))
        self.look(engines)
        self.wrong += misfits(self.golden, self.journal, self._topics)
        for check in (
            self._effects,
            self._nothing_open,
            self._acknowledged,
            self._executions,
            self._phantoms,
            self._replays,
        ):
            self.wrong += check()
        self.wrong += self.journal.wrong

    @property
    def runs(self) -> list[Run]:
        return [run for golden in self.golden for run in golden.runs.values()]

    def _effects(self) -> Iterator[str]:
        """Every effect has arrived, once and in order, as a receiver takes it (rule E1)."""
        for golden in self.golden:
            for where, made in golden.effects.items():
                if NOWHERE in where.topic:
                    continue
                got = _received(self._log, where, golden.partition)
                if got != [value for _, value in made]:
                    yield f"{where} took {len(got)} effects of partition {golden.partition}, which made {len(made)}"

    def _nothing_open(self) -> Iterator[str]:
        for run in self.runs:
            if not isinstance(run.entries[-1].event.attributes, history.CLOSES):
                if any(_closed_here(entry.event.attributes) for entry in run.entries):
                    continue
                yield f"{run.workflow_id} ({run.run_id}) is open: {type(run.entries[-1].event.attributes).__name__}"

    def _acknowledged(self) -> Iterator[str]:
        """Every acknowledged message is in the history of its workflow, once, in the order of its sender."""
        by_workflow: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            by_workflow[run.workflow_id].append(run)
        for acknowledged in self.journal.acknowledged:
            runs = by_workflow[acknowledged.workflow_id]
            found = [run for run in runs for entry in run.entries if _has(entry.event.attributes, acknowledged.token)]
            carried = sum(_carries(run, acknowledged.token) for run in found)
            copies = any(run.was_reset for run in runs) and len(found) == len({run.run_id for run in found}) > 0
            if len(found) != 1 + carried and not copies:
                yield f"{acknowledged} is {len(found)} times in history, carried on {carried} times"
        yield from self._order()

    def _order(self) -> Iterator[str]:
        by_sender: dict[tuple[str, str], list[str]] = defaultdict(list)
        for kind, workflow_id, token, sender in self.journal.acknowledged:
            if kind in ("signal", "update"):
                by_sender[workflow_id, sender].append(token)
        for (workflow_id, sender), tokens in by_sender.items():
            for run in self.runs:
                if run.workflow_id == workflow_id:
                    at = [_index(run, token) for token in tokens]
                    there = [index for index in at if index >= 0]
                    if there != sorted(there):
                        yield f"{workflow_id} ({run.run_id}) has the messages of {sender} in the order {there}"

    def _executions(self) -> Iterator[str]:
        """No activity begins again after its result was taken; one that may run once, did."""
        completed = {where: at for golden in self.golden for where, at in golden.completed.items()}
        for key, executions in self.journal.executions.items():
            if len({(e.workflow_id, e.name) for e in executions}) != 1:
                yield f"the idempotency key {key} stands for several: {executions}"
            seq = int(key.rpartition("/")[2])
            for e in executions:  # a reset may have carried it on: then each run has its own result
                done = completed.get((e.run_id, seq))
                if done is not None and e.at > done + self._late_s:
                    yield f"{e} began although a result was taken at {done:.3f}"
            if executions[0].name.startswith("once") and len(executions) > 1:
                yield f"an activity that may run once ran {len(executions)} times: {executions}"

    def _phantoms(self) -> Iterator[str]:
        """Nothing was run that no accepted command asked for."""
        scheduled = {idempotency_key(run.run_id, by, seq) for run in self.runs for seq, by in run.scheduled.items()}
        for key, executions in self.journal.executions.items():
            if key not in scheduled:
                yield f"{executions[0]} ran, although nothing in history has scheduled it"

    def _replays(self) -> Iterator[str]:
        """The code gives what is recorded when it is run again over each history."""
        for run in self.runs:
            started = run.entries[0].event.attributes
            assert isinstance(started, history.WorkflowStarted)
            code = self.code.get(started.task_queue)
            if code is None or started.workflow_type == "ghost":
                continue
            exported = ExportedHistory(
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                workflow_type=started.workflow_type,
                task_queue=started.task_queue,
                namespace=self._topics.namespace,
                events=[entry.event for entry in run.entries],
            )
            try:
                replay(exported, workflows=code.workflows, data_converter=code.converter)
            except (OdradekError, ValueError) as error:
                yield f"{run.workflow_id} ({run.run_id}) cannot be replayed: {error}"


def _state_of(machine: EngineMachine, partition: int) -> State | None:
    """The state that a machine has of a partition, if it is between two records and between two writes."""
    engine = machine.engine
    if not machine.up or engine is None:
        return None
    processor = engine._processors.get(partition)
    if processor is None or not processor.counters.folded:
        return None  # it has not looked yet whether its state is of this log (rule L3)
    state = processor.state
    storage = state.storage
    assert isinstance(storage, DiskStorage)
    return None if state.in_step or storage.writing else state


def _is_too_old(machine: EngineMachine, partition: int) -> bool:
    """Whether it has folded records with a state of newer code (V1)."""
    if not machine.up or machine.engine is None:
        return False
    processor = machine.engine._processors.get(partition)
    knows = machine.engine._settings.fold_version
    return processor is not None and processor.counters.folded > 0 and processor.state.partition.version > knows


def _hash(state: State) -> int:
    return hash(tuple(state.dump().items()))


def _received(log: AuditedLog, where: TopicPartition, source: int) -> list[bytes]:
    """What a receiver takes of one source's effects."""
    last, taken = (-1, 0), []
    for record in log.records.get(where, []):
        try:
            body: Any = decoded(record.value)
        except ValueError:
            continue
        if where.topic.endswith(".events") and not isinstance(body, (records.ForwardedRecord, tasks.VoidEffect)):
            continue
        position = getattr(body, "position", None)
        if not isinstance(position, Position) or position.partition != source:
            continue
        here = (position.offset, position.index)
        if (position.previous_offset, position.previous_index) <= last < here:
            taken.append(record.value)
            last = here
    return taken


def _closed_here(attributes: Any) -> bool:
    return isinstance(attributes, history.CLOSES)


def _has(attributes: Any, token: str) -> bool:
    """Whether an event is the one that a request made: by its request ID, or by its only argument."""
    if isinstance(attributes, history.WorkflowStarted):
        if not token.startswith("start-"):
            return False
        first = not attributes.continued_from_run_id and not attributes.seed and attributes.attempt == 1
        return attributes.request_id == token and first
    if isinstance(attributes, (history.SignalReceived, history.UpdateAccepted)) and not token.startswith("start-"):
        return getattr(attributes, "request_id", "") == token or [p.data for p in attributes.input] == [
            b'"%b"' % token.encode()
        ]
    return False


def _index(run: Run, token: str) -> int:
    return next((n for n, entry in enumerate(run.entries) if _has(entry.event.attributes, token)), -1)


def _carries(run: Run, token: str) -> bool:
    """Whether the run has ended without reading a message, which went on into the next one; or was reset."""
    last = run.entries[-1].event.attributes
    unread = getattr(last, "unread", [])
    return bool(getattr(last, "new_run_id", "")) and any(
        _has(run.entries[number - 1].event.attributes, token) for number in unread
    )
