"""What came out of a run, from the topics themselves, read whole: the auditors of the simulation, on plain records."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from odradek_engine.fold import State
from odradek_engine.store import RocksStorage
from odradek_log import Log, Record, TopicPartition, open_log
from odradek_schemas import Topics

from ..e2e.families import FAMILY_QUEUE, FAMILY_WORKFLOWS
from ..e2e.orders import STEPS, TASK_QUEUE, Order
from ..simulation.auditors import Auditors, Code
from ..simulation.journal import Acknowledged, Execution, Journal

LATE_S = 2.5
"""How long after a result that is folded an execution may begin whose claim was folded before it: an answer to a claim
counts for a second, an attempt begins within another, and clocks of records and lines differ a little."""
LOCAL = "weigh"
"""The step that is a local activity: it is recorded only when it has ended."""


@dataclass
class ReadLog:
    """A log that was read whole, as the auditors want it. `landed`: the log's own time of each record, in seconds.
    `markers`: offsets that are no records; nobody writes within transactions there."""

    records: dict[TopicPartition, list[Record]] = field(default_factory=lambda: defaultdict(list))
    landed: dict[TopicPartition, list[float]] = field(default_factory=lambda: defaultdict(list))
    markers: dict[TopicPartition, set[int]] = field(default_factory=lambda: defaultdict(set))


def read_whole(log: Log, topics: Iterable[str]) -> ReadLog:
    """Every record of the topics, up to their ends as they are now."""
    found = ReadLog()
    ends = {
        tp: log.offsets(tp)[1]
        for topic in topics
        for tp in (TopicPartition(topic, p) for p in range(log.partitions(topic)))
    }
    left = {tp for tp, end in ends.items() if end}
    consumer = log.consumer()
    consumer.assign(dict.fromkeys(left, 0))
    while left:
        for record in consumer.poll(1.0, 10_000):
            where = TopicPartition(record.topic, record.partition)
            found.records[where].append(record)
            found.landed[where].append(record.timestamp_ms / 1000)
            if record.offset + 1 >= ends[where]:
                left.discard(where)
    consumer.close()
    return found


@dataclass
class Outcome:
    """What the auditors found. All lists are empty when all is well."""

    orders: int = 0
    executions: int = 0
    records: int = 0
    stores: int = 0
    """How many states of engines were compared with what the log says."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    claimed_before_result: int = 0
    longest_order_s: float = 0.0

    @property
    def problems(self) -> list[str]:
        return self.lost + self.doubled + self.wrong


def audit(target: str, namespace: str, partitions: int, lines: Path, journal: Path, states: list[Path]) -> Outcome:
    """`lines`: of the activities; `journal`: of the client; `states`: the engines' folders."""
    topics, outcome = Topics(namespace), Outcome()
    log = open_log(target, request_timeout=60.0)
    read = read_whole(log, log.topics(topics.prefix))
    log.close()
    outcome.records = sum(len(records) for records in read.records.values())
    notes = _lines(journal)
    code = {TASK_QUEUE: Code([Order]), FAMILY_QUEUE: Code(FAMILY_WORKFLOWS)}
    auditors = Auditors(read, topics, partitions, _journal(_lines(lines), notes), code, LATE_S)
    outcome.stores = _compare_stores(auditors, [folder / namespace for folder in states])
    auditors.close([])
    outcome.wrong += auditors.wrong
    _results(notes, outcome)
    _messages(auditors, outcome)
    _steps(auditors, _lines(lines), outcome)
    return outcome


def _lines(path: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in path.read_text().splitlines()]


def _journal(lines: list[dict], notes: list[dict]) -> Journal:  # type: ignore[type-arg]
    journal = Journal()
    for line in lines:
        if line["step"] != LOCAL:
            journal.executions[line["key"]].append(
                Execution(
                    line["key"], line["step"], line["workflow"], line["key"].partition("/")[0], line["attempt"],
                    str(line["pid"]), line["at_ms"] / 1000,
                )
            )
    journal.acknowledged += [
        Acknowledged(note["kind"], note["workflow"], note["token"], note["token"])
        for note in notes if note["what"] == "acknowledged"
    ]  # fmt: skip
    return journal


def _compare_stores(auditors: Auditors, folders: list[Path]) -> int:
    """Each stored state of an engine is byte for byte what the log gives at its position. Returns their number."""
    count = 0
    for golden in auditors.golden:
        stored = [
            (str(folder), State(RocksStorage(folder / str(golden.partition), read_only=True), golden.partition))
            for folder in folders if (folder / str(golden.partition) / "CURRENT").exists()
        ]  # fmt: skip
        auditors.compare(golden.partition, stored)
        count += len(stored)
    return count


def _results(notes: list[dict], outcome: Outcome) -> None:  # type: ignore[type-arg]
    """Everything that the client has begun came to the right end, once or, after it was killed, more often."""
    begun = {note["workflow"] for note in notes if note["what"] in ("begun", "acknowledged")}
    right = {note["workflow"] for note in notes if note["what"] == "result" and note["right"]}
    outcome.orders = len(begun)
    outcome.lost += [f"{workflow} has no result, or a wrong one" for workflow in sorted(begun - right)]
    outcome.longest_order_s = max((note["seconds"] for note in notes if note["what"] == "result"), default=0.0)


def _messages(auditors: Auditors, outcome: Outcome) -> None:
    """Every acknowledged start and signal is in history once."""
    found: Counter[str] = Counter()
    for run in auditors.runs:
        found.update(t for entry in run.entries if (t := getattr(entry.event.attributes, "request_id", "")))
    for note in auditors.journal.acknowledged:
        count = found[note.token]
        if count != 1:
            (outcome.doubled if count else outcome.lost).append(f"{note} is in history {count} times")


def _steps(auditors: Auditors, lines: list[dict], outcome: Outcome) -> None:  # type: ignore[type-arg]
    """Every step of every order has one idempotency key; how many began shortly after their result."""
    outcome.executions = len(lines)
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in lines:
        keys[line["workflow"], line["step"]].add(line["key"])
    for run in auditors.runs:
        if run.workflow_id.startswith("order-"):
            for step in STEPS:
                count = len(keys[run.workflow_id, step])
                if count != 1:
                    found = outcome.doubled if count else outcome.lost
                    found.append(f"step {step} of {run.workflow_id} has {count} idempotency keys")
    completed = {key: at for golden in auditors.golden for key, at in golden.completed.items()}
    outcome.claimed_before_result = sum(
        line["at_ms"] / 1000 > completed[line["key"]] for line in lines if line["key"] in completed
    )
