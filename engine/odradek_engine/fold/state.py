"""The state of one partition: rows in an ordered key-value storage, changed step by step.

A step's changes become visible together or not at all. What the storage holds is the state as of some
position; changes since then are kept here until `flush`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Protocol, TypeVar

import msgspec

from . import keys
from .outbox import Outbox
from .rows import Effect, NeededRow, OutboxRow, PartitionRow, Row, outbox_row
from .tables import TABLES

R = TypeVar("R", bound=Row)

_MISSING: Any = object()
_PARTITION = keys.PARTITION
_DUE, _EXPIRY, _NEEDED, _OUTBOX = keys.DUE[0], keys.EXPIRY[0], keys.NEEDED[0], keys.OUTBOX[0]
_INDEXED = {table[0] for table, cls in TABLES.items() if cls.indexes is not Row.indexes}
"""Tables whose rows have index entries: the first bytes of their keys."""

_CACHED = {table[0] for table in TABLES} - {keys.OUTBOX[0], keys.WAITING[0], keys.BEHIND[0]}
"""Tables whose rows are kept decoded beside the storage; the others are written once and read once, or only scanned."""

MAX_CACHED_ROW_BYTES = 8_000
"""Larger rows, those with large inputs or results, are read from the storage each time."""

_encode = msgspec.msgpack.Encoder().encode
_decoders = {table: msgspec.msgpack.Decoder(cls) for table, cls in TABLES.items()}


class Storage(Protocol):
    """An ordered map of bytes to bytes."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start <= key < end, in the order of their keys."""
        ...

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Apply all changes, or none; a value of None deletes."""
        ...


class MemoryStorage:
    """A storage for tests and small comparisons."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(k for k in self.entries if start <= k < end):
            yield key, self.entries[key]

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in changes:
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value


def _to_bytes(row: Any) -> bytes:
    if type(row) is bytes:
        return row
    return _encode(outbox_row(row) if type(row) is Effect else row)


def _from_bytes(key: bytes, value: bytes) -> Any:
    decoder = _decoders.get(key[:1])
    return value if decoder is None else decoder.decode(value)


class State:
    """The rows of one partition. `cache_rows` bounds how many decoded rows are kept beside the storage; large ones
    are not kept. `partition`: the row of the partition itself."""

    def __init__(self, storage: Storage, partition: int = 0, cache_rows: int = 4_000) -> None:
        self.storage = storage
        self._rows: dict[bytes, Any] = {}
        """What is known of rows, as they are now; None: there is none."""
        self._before: dict[bytes, Any] = {}
        """What changed in this step, as it was before it."""
        self._recent: dict[bytes, Any] = {}
        """What changed since the last flush, and is not in `_changed` yet. Only the keys count."""
        self._changed: defaultdict[int, dict[bytes, None]] = defaultdict(dict)
        """What changed since the last flush, by table: the first byte of its keys."""
        self._clean: OrderedDict[bytes, None] = OrderedDict()
        """The known rows that the storage holds, or held before they changed; the oldest are forgotten first."""
        self._cache_rows = cache_rows
        self._absent: set[bytes] = set()
        """Keys that the storage is known not to hold: not asked for again, and not deleted there."""
        self._entries: dict[bytes, tuple[bytes, ...]] = {}
        """Index entries of rows, as they were settled."""
        self._unsettled: dict[bytes, tuple[bytes, ...]] = {}
        """Rows that changed in this step, with the index entries that they had before it."""
        self._empty = PartitionRow(partition=partition)
        self.partition = self.row(keys.PARTITION, PartitionRow) or self._empty
        self.knows = 0
        """The newest fold version that may be folded here; 0: that of this code."""
        self.earliest_due_ms = 0
        """No entry of the due index is below this, as far as is known; who scans the index raises it."""
        self.earliest_expiry_ms = 0
        """The same for the expiry index."""
        self._outbox = Outbox()
        self._first_effect = keys.OUTBOX
        """The storage holds no effects below this key, as far as is known. It is not searched from the beginning: it
        walks over all that was deleted there."""
        self._stored_effects_end = keys.outbox(self.partition.position, 0)
        """The storage holds no effects from this key on."""

    # ------------------------------------------------------------ reading

    def get(self, key: bytes) -> Any:
        """The row at `key`, or None."""
        row = self._rows.get(key, _MISSING)
        return row if row is not _MISSING else self._load(key)

    def _load(self, key: bytes) -> Any:
        if key in self._absent:
            return None
        value = self.storage.get(key)
        if value is None:
            self._absent.add(key)
            self._rows[key] = None
            return None
        row = _from_bytes(key, value)
        if len(value) <= MAX_CACHED_ROW_BYTES:
            self._rows[key] = row
            self._remember(key)
        return row

    def row(self, key: bytes, kind: type[R]) -> R | None:
        """The row at `key`, for type checkers."""
        row: R | None = self._rows.get(key, _MISSING)  # as `get`, without a call between: most lookups are these
        return row if row is not _MISSING else self._load(key)

    def scan(self, prefix: bytes, start: bytes | None = None, end: bytes | None = None) -> Iterator[tuple[bytes, Any]]:
        """Rows whose keys begin with `prefix` (from `start` on, below `end`), in order, as of this call."""
        self.settle()
        self._sort_changes()
        first = start or prefix
        last = end or keys.after(prefix)
        rows = self._rows
        changes: dict[bytes, Any] = {}
        for table, changed in self._changed.items():
            if first[0] <= table <= last[0]:
                changes.update((k, rows[k]) for k in changed if first <= k < last)
        changes.update((k, rows[k]) for k in self._before if first <= k < last)
        if first[0] <= _OUTBOX <= last[0]:
            changes.update((k, effect) for k, effect in self._outbox.effects.items() if first <= k < last)
        pending = sorted(changes)
        at = 0
        nothing = first[:1] == keys.OUTBOX and first >= self._stored_effects_end
        for key, value in () if nothing else self.storage.scan(first, last):
            while at < len(pending) and pending[at] < key:
                if changes[pending[at]] is not None:
                    yield pending[at], changes[pending[at]]
                at += 1
            if at < len(pending) and pending[at] == key:
                if changes[key] is not None:
                    yield key, changes[key]
                at += 1
            else:
                yield key, _from_bytes(key, value)
        for key in pending[at:]:
            if changes[key] is not None:
                yield key, changes[key]

    # ------------------------------------------------------------ changing

    def put(self, key: bytes, row: Any) -> None:
        """Set a row other than the partition's; None: there is none. `settle` brings the index entries that follow from
        it in step."""
        if key[0] in _INDEXED and key not in self._unsettled:
            entries = self._entries.get(key)
            if entries is None:
                old: Row | None = self.get(key)
                entries = () if old is None else old.indexes(key)
            self._unsettled[key] = entries
        before = self._before
        if key not in before:
            before[key] = self._rows.get(key, _MISSING)
        self._rows[key] = row

    def put_partition(self, row: PartitionRow) -> None:
        """Set the row of the partition itself."""
        before = self._before
        if _PARTITION not in before:
            before[_PARTITION] = self._rows.get(_PARTITION, _MISSING)
        self._rows[_PARTITION] = self.partition = row

    def put_new(self, key: bytes, row: Any) -> None:
        """Set a row that is not there yet."""
        rows, before = self._rows, self._before
        if key[0] in _INDEXED and key not in self._unsettled:
            self._unsettled[key] = ()
        old = rows.get(key, _MISSING)
        if old is _MISSING:
            self._absent.add(key)
        if key not in before:
            before[key] = old
        rows[key] = row

    def delete(self, key: bytes) -> None:
        self.put(key, None)

    # ------------------------------------------------------------ effects that may not have left

    def effect(self, key: bytes) -> Effect | OutboxRow | None:
        """The effect at `key`, if there is one."""
        found: Effect | OutboxRow | None = self._outbox.effects.get(key) or self.get(key)
        return found

    def stage(self, effect: Effect) -> None:
        """Add an effect, the newest of all."""
        self._outbox.effects[keys.outbox(effect.offset, effect.index)] = effect

    def replace_effect(self, key: bytes, row: OutboxRow) -> None:
        """Put another effect in the place of one."""
        if key in self._outbox.effects:
            self._outbox.replace(key, row)
        else:
            self.put(key, row)

    def effects_left(self, marks: dict[tuple[str, int], tuple[int, int]]) -> None:
        """Remove those that left: of each topic and partition, up to the place (offset, index)."""

        def is_gone(row: Effect | OutboxRow) -> bool:
            mark = marks.get((row.topic, row.partition))
            return mark is not None and (row.offset, row.index) <= mark

        offset, index = max(marks.values())
        end = keys.outbox(offset, index + 1)
        for key in [key for key, row in self._outbox.until(end) if is_gone(row)]:
            self._outbox.remove(key)
        stored_end = min(end, self._stored_effects_end)
        if stored_end <= self._first_effect:
            return
        gone, left = [], b""
        for key, row in self.scan(keys.OUTBOX, self._first_effect, stored_end):
            if is_gone(row):
                gone.append(key)
            else:
                left = left or key
        for key in gone:
            self.delete(key)
        self._first_effect = left or stored_end

    # ------------------------------------------------------------ the end of a step

    def settle(self) -> None:
        """Bring the index entries of the rows that changed in step with them."""
        if not self._unsettled:
            return
        rows, entries = self._rows, self._entries
        for key, before in self._unsettled.items():
            row: Row | None = rows[key]
            after = entries[key] = () if row is None else row.indexes(key)
            if before != after:
                self._replace_entries(before, after)
        self._unsettled = {}

    def _replace_entries(self, before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
        for entry in before:
            if entry not in after:
                self.put(entry, None)
                if entry[0] == _NEEDED:
                    self._count(entry, -1)
        for entry in after:
            if entry not in before:
                self.put_new(entry, b"")
                table = entry[0]
                if table == _DUE:
                    self.earliest_due_ms = min(self.earliest_due_ms, keys.number_in(entry))
                elif table == _EXPIRY:
                    self.earliest_expiry_ms = min(self.earliest_expiry_ms, keys.number_in(entry))
                elif table == _NEEDED:
                    self._count(entry, 1)

    def _count(self, entry: bytes, change: int) -> None:
        """Keep the count of the runs that need a build in step with the index."""
        key = keys.needed_count(entry)
        row = self.row(key, NeededRow)
        count = change + (row.count if row is not None else 0)
        build = key[key.index(b"\0") + 1 : -1].decode()
        self.put(key, NeededRow(build_id=build, count=count) if count else None)

    def commit(self) -> None:
        """Make the step's changes part of the state."""
        self.settle()
        self._recent.update(self._before)
        self._before = {}
        self._outbox.commit()

    def rollback(self) -> None:
        """Forget the step's changes, and what was concluded from them."""
        for key, row in self._before.items():
            self._entries.pop(key, None)
            if row is _MISSING:
                del self._rows[key]
            else:
                self._rows[key] = row
                self._recent[key] = None  # a scan may have taken it for one that came and went
        self._before = {}
        self._unsettled = {}
        self.partition = self.row(keys.PARTITION, PartitionRow) or self._empty
        self._outbox.rollback(keys.outbox(self.partition.position, 0))
        self.earliest_due_ms = self.earliest_expiry_ms = 0
        self._first_effect = keys.OUTBOX

    def _sort_changes(self) -> None:
        """Put what changed into its tables. What came and went since the last flush leaves nothing."""
        rows, absent, changed, before = self._rows, self._absent, self._changed, self._before
        for key in self._recent:
            if rows[key] is None and key in absent:
                changed[key[0]].pop(key, None)
                if key not in before:
                    del rows[key]
            else:
                changed[key[0]][key] = None
        self._recent = {}

    @property
    def unflushed(self) -> int:
        """How many rows changed since the last flush."""
        self._sort_changes()
        return self.unflushed_at_most

    @property
    def unflushed_at_most(self) -> int:
        """The same, with those that came and went, and some twice; cheap to ask for."""
        return len(self._recent) + sum(map(len, self._changed.values())) + len(self._outbox.effects)

    def flush(self) -> None:
        """Write all changes to the storage, at once; if it does not take them, they stay here."""
        self._sort_changes()
        rows, absent = self._rows, self._absent
        written: dict[int, list[tuple[bytes, bytes | None]]] = {
            table: [(key, None if (row := rows[key]) is None else _to_bytes(row)) for key in changed]
            for table, changed in self._changed.items()
        }
        effects = [(key, _to_bytes(effect)) for key, effect in self._outbox.effects.items()]
        self.storage.write(chain(*written.values(), effects))
        self._stored_effects_end = keys.outbox(self.partition.position, 0)
        self._changed.clear()
        self._outbox.effects.clear()
        for table, entries in written.items():
            kept = table in _CACHED
            for key, value in entries:
                if value is None:
                    rows.pop(key, None)
                    continue
                absent.discard(key)
                if kept and len(value) <= MAX_CACHED_ROW_BYTES:
                    self._remember(key)
                else:
                    rows.pop(key, None)
        self._entries.clear()
        if len(absent) > self._cache_rows:
            for key in absent:
                rows.pop(key, None)
            absent.clear()

    def _remember(self, key: bytes) -> None:
        """Keep a row that the storage holds, for as long as there is room."""
        clean = self._clean
        clean[key] = None
        clean.move_to_end(key)
        while len(clean) > self._cache_rows:
            oldest, _ = clean.popitem(last=False)
            if not self._is_changed(oldest):  # else it is remembered again when it is written
                self._rows.pop(oldest, None)

    def _is_changed(self, key: bytes) -> bool:
        return key in self._before or key in self._recent or key in self._changed[key[0]]

    # ------------------------------------------------------------ comparing

    def dump(self) -> dict[bytes, bytes]:
        """All rows as bytes, in the order of their keys."""
        return {k: _to_bytes(row) for k, row in self.scan(b"\x01", b"\x01", b"\xff")}


def load(dump: dict[bytes, bytes], partition: int = 0) -> State:
    """A state in memory that holds what `dump` gave."""
    storage = MemoryStorage()
    storage.entries = dict(dump)
    return State(storage, partition)


__all__ = ["MemoryStorage", "State", "Storage", "load"]
