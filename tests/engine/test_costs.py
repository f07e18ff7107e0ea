"""What folding a record costs, in counts: look-ups and writes of the storage, encodings. Not in seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from odradek_engine.fold import MemoryStorage, State, fold, keys, rows
from odradek_schemas import commands, encode, records
from odradek_schemas.common import Record

from .harness import TOPICS, Entry, Partition

WORKFLOWS, STEPS = 6, 3
AT_ITS_END = 1_000_000


class CountingStorage(MemoryStorage):
    """Counts what it is asked, by table."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[bytes] = Counter()
        self.written: Counter[bytes] = Counter()
        self.deleted: Counter[bytes] = Counter()
        self.scanned: Counter[bytes] = Counter()
        self.batches = 0

    def get(self, key: bytes) -> bytes | None:
        self.asked[key[:1]] += 1
        return super().get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        self.scanned[start[:1]] += 1
        return super().scan(start, end)

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        found = list(changes)
        self.batches += 1
        self.written.update(key[:1] for key, value in found if value is not None)
        self.deleted.update(key[:1] for key, value in found if value is None)
        super().write(found)


@pytest.fixture(scope="module")
def log() -> list[Entry]:
    """Workflows with activities one after another, each effect of which is marked as gone in the end."""
    p = Partition()
    p.lead()
    p.alive()
    for number in range(WORKFLOWS):
        workflow_id = f"w{number}"
        p.start(workflow_id)
        for seq in range(1, STEPS + 1):
            p.advance(commands.ScheduleActivity(seq=seq, activity_type="charge"), workflow_id=workflow_id)
            p.begin(seq, workflow_id)
            p.succeed(seq, workflow_id)
        p.advance(commands.CompleteWorkflow(), workflow_id=workflow_id)
        last = {(effect.topic, effect.partition): effect for effect in p.emitted}
        p.append(
            records.EffectsEmitted(
                marks=[
                    records.Mark(topic=e.topic, partition=e.partition, offset=e.offset, index=e.index)
                    for e in last.values()
                ]
            )
        )
    return p.log


def folded(log: list[Entry], storage: CountingStorage, flush_every: int) -> State:
    """The state of a log, written to the storage each so many records, and at the end."""
    state = State(storage, 0)
    for offset, entry in enumerate(log):
        fold(state, TOPICS, offset, *entry)
        if offset % flush_every == flush_every - 1:
            state.flush()
    state.flush()
    return state


def test_effects_that_are_gone_are_never_encoded(log: list[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the fold encodes each effect: a rebuild would do half of its encoding for nothing."""
    encoded: list[Record] = []

    def note(record: Record) -> bytes:
        encoded.append(record)
        return encode(record)

    monkeypatch.setattr(rows, "encode", note)
    storage = CountingStorage()
    folded(log, storage, AT_ITS_END)
    assert encoded == []
    assert storage.written[keys.OUTBOX] == storage.deleted[keys.OUTBOX] == 0
    assert storage.scanned[keys.OUTBOX] <= 1 < WORKFLOWS, "nor looked for again and again where they cannot be"
    folded(log, CountingStorage(), 1)
    assert len(encoded) > len(log), "those that are stored before they are gone are"


def test_what_came_and_went_is_not_written(log: list[Entry]) -> None:
    """Breaks when an index entry or row that the storage never held is deleted there: each would be a tombstone that
    later scans walk over."""
    storage = CountingStorage()
    folded(log, storage, AT_ITS_END)
    assert storage.batches == 1
    assert storage.deleted == {}
    assert storage.written[keys.EVENT] == WORKFLOWS * (2 + STEPS * 3 + 1)
    assert {keys.OUT, keys.HELD, keys.ACTIVITY, keys.OUTBOX}.isdisjoint(storage.written)


def test_what_is_stored_is_deleted(log: list[Entry]) -> None:
    """However often the state is written, it is the same: breaks when a deletion is taken for needless that is not."""
    once, often = CountingStorage(), CountingStorage()
    folded(log, once, AT_ITS_END)
    folded(log, often, 1)
    assert often.deleted[keys.OUTBOX] == often.written[keys.OUTBOX] > 0
    assert often.entries == once.entries


def test_a_key_that_is_not_there_is_looked_up_once(log: list[Entry]) -> None:
    """Breaks when what the storage does not hold is asked for again and again: on disk, each costs a search."""
    storage = CountingStorage()
    folded(log, storage, AT_ITS_END)
    activities = WORKFLOWS * STEPS
    assert storage.asked[keys.ACTIVITY] <= activities
    assert storage.asked[keys.CURRENT] <= WORKFLOWS
    assert storage.asked[keys.CURRENT_BUILD] == 1
    assert storage.asked.total() <= len(log), "less than one for a record"
