"""The state of one partition: rows in an ordered key-value storage, changed step by step.

A step's changes become visible together or not at all. What the storage holds is the state as of some
position; changes since then are kept here until `flush`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from . import keys
from .outbox import Outbox
from .rows import Effect, NeededRow, OutboxRow, PartitionRow, Row, outbox_row
from .tables import TABLES

R = TypeVar("R", bound=Row)

_UNKNOWN: Any = object()
"""What a row was before its first change, where nobody looked."""

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


class _Slot:
    """What is known of a key."""

    __slots__ = ("before", "dirty", "entries", "key", "row", "step", "stored", "unsettled")

    def __init__(self, key: bytes, row: Any, stored: bool) -> None:
        self.key = key
        self.row = row
        """The row as it is now; None: there is none."""
        self.stored = stored
        """Whether the storage may hold something here: else nothing has to be deleted there."""
        self.dirty = False
        """Whether the row changed since the last flush."""
        self.step = -1
        """The last step that changed it."""
        self.before: Any = None
        """The row as it was before that step."""
        self.unsettled = False
        """Whether the row changed since `entries` did."""
        self.entries: tuple[bytes, ...] | None = None
        """The index entries of the row; None: they were not needed yet."""


class State:
    """The rows of one partition. `cache_rows` bounds how many decoded rows are kept beside the storage; large ones
    are not kept. `partition`: the row of the partition itself."""

    def __init__(self, storage: Storage, partition: int = 0, cache_rows: int = 4_000) -> None:
        self.storage = storage
        self._slots: dict[bytes, _Slot] = {}
        self._dirty: defaultdict[int, dict[bytes, _Slot]] = defaultdict(dict)
        """The slots that changed since the last flush, by table: the first byte of their keys."""
        self._step = 0
        self._undo: list[_Slot] = []
        """The slots that this step changed."""
        self._unsettled: list[_Slot] = []
        self._clean: OrderedDict[bytes, None] = OrderedDict()
        """The known rows that the storage holds, or held before they changed; the oldest are forgotten first."""
        self._cache_rows = cache_rows
        self._absent: list[bytes] = []
        """Keys that the storage was asked for in vain since these were last forgotten."""
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
        slot = self._slots.get(key)
        return slot.row if slot is not None else self._load(key)

    def row(self, key: bytes, kind: type[R]) -> R | None:
        """The row at `key`, for type checkers."""
        slot = self._slots.get(key)  # as `get`, without a call between: most lookups are these
        row: R | None = slot.row if slot is not None else self._load(key)
        return row

    def _load(self, key: bytes) -> Any:
        value = self.storage.get(key)
        if value is None:
            self._slots[key] = _Slot(key, None, False)
            self._absent.append(key)
            return None
        row = _from_bytes(key, value)
        if len(value) <= MAX_CACHED_ROW_BYTES:
            self._slots[key] = _Slot(key, row, True)
            self._remember(key)
        return row

    def _loaded(self, key: bytes) -> _Slot:
        """The slot of a key, with the row that is there."""
        row = self._load(key)
        slot = self._slots.get(key)
        if slot is None:  # of a row that is not kept
            slot = self._slots[key] = _Slot(key, row, True)
        return slot

    def scan(self, prefix: bytes, start: bytes | None = None, end: bytes | None = None) -> Iterator[tuple[bytes, Any]]:
        """Rows whose keys begin with `prefix` (from `start` on, below `end`), in order, as of this call."""
        self.settle()
        first = start or prefix
        last = end or keys.after(prefix)
        changes: dict[bytes, Any] = {}
        for table, slots in self._dirty.items():
            if first[0] <= table <= last[0]:
                self._forget_gone(slots)
                changes.update((k, slot.row) for k, slot in slots.items() if first <= k < last)
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
        slot = self._slots.get(key)
        if key[0] in _INDEXED:
            if slot is None:
                slot = self._loaded(key)
            if not slot.unsettled:
                slot.unsettled = True
                self._unsettled.append(slot)
                if slot.entries is None:
                    slot.entries = () if slot.row is None else slot.row.indexes(key)
        elif slot is None:
            slot = self._slots[key] = _Slot(key, _UNKNOWN, True)
        if slot.step != self._step:
            slot.step = self._step
            slot.before = slot.row
            self._undo.append(slot)
        slot.row = row
        if not slot.dirty:
            slot.dirty = True
            self._dirty[key[0]][key] = slot

    def put_partition(self, row: PartitionRow) -> None:
        """Set the row of the partition itself."""
        self.partition = row
        self.put(_PARTITION, row)

    def put_new(self, key: bytes, row: Any) -> None:
        """Set a row that is not there yet."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot(key, _UNKNOWN, False)
        if key[0] in _INDEXED and not slot.unsettled:
            slot.unsettled = True
            self._unsettled.append(slot)
        if slot.step != self._step:  # from here on as `put`, without a call between: most changes are these
            slot.step = self._step
            slot.before = slot.row
            self._undo.append(slot)
        slot.row = row
        if not slot.dirty:
            slot.dirty = True
            self._dirty[key[0]][key] = slot

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

    @property
    def in_step(self) -> bool:
        """Whether there are changes that are not part of the state yet."""
        return bool(self._undo)

    def settle(self) -> None:
        """Bring the index entries of the rows that changed in step with them."""
        if not self._unsettled:
            return
        for slot in self._unsettled:
            slot.unsettled = False
            before, row = slot.entries or (), slot.row
            after = slot.entries = () if row is None else row.indexes(slot.key)
            if before != after:
                self._replace_entries(before, after)
        self._unsettled = []

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
        self._undo = []
        self._step += 1
        self._outbox.commit()

    def rollback(self) -> None:
        """Forget the step's changes, and what was concluded from them."""
        for slot in self._undo:
            slot.unsettled, slot.entries = False, None
            slot.row = slot.before
            if slot.row is _UNKNOWN:
                del self._slots[slot.key], self._dirty[slot.key[0]][slot.key]
        self._undo = []
        self._unsettled = []
        self._step += 1
        self.partition = self.row(keys.PARTITION, PartitionRow) or self._empty
        self._outbox.rollback(keys.outbox(self.partition.position, 0))
        self.earliest_due_ms = self.earliest_expiry_ms = 0
        self._first_effect = keys.OUTBOX

    # ------------------------------------------------------------ the storage

    def _forget_gone(self, slots: dict[bytes, _Slot]) -> None:
        """Forget the changes of a table, before this step, that came to nothing: rows that came and went."""
        gone = [slot for slot in slots.values() if slot.row is None and not slot.stored and slot.step != self._step]
        for slot in gone:
            del slots[slot.key], self._slots[slot.key]

    @property
    def unflushed(self) -> int:
        """How many rows changed since the last flush."""
        for slots in self._dirty.values():
            self._forget_gone(slots)
        return self.unflushed_at_most

    @property
    def unflushed_at_most(self) -> int:
        """The same, with those that came and went; cheap to ask for."""
        return sum(map(len, self._dirty.values())) + len(self._outbox.effects)

    def flush(self) -> None:
        """Write all changes to the storage, at once; if it does not take them, they stay here."""
        for slots in self._dirty.values():
            self._forget_gone(slots)
        changed = [slot for slots in self._dirty.values() for slot in slots.values()]
        written = [(slot.key, None if slot.row is None else _to_bytes(slot.row)) for slot in changed]
        effects = [(key, _to_bytes(effect)) for key, effect in self._outbox.effects.items()]
        self.storage.write([*written, *effects])
        self._stored_effects_end = keys.outbox(self.partition.position, 0)
        self._outbox.effects.clear()
        self._dirty.clear()
        for slot, (key, value) in zip(changed, written, strict=True):
            slot.dirty, slot.before = False, None
            if value is not None and key[0] in _CACHED and len(value) <= MAX_CACHED_ROW_BYTES:
                slot.stored = True
                self._remember(key)
            else:
                del self._slots[key]
        if len(self._absent) > self._cache_rows:
            for key in self._absent:
                known = self._slots.get(key)
                if known is not None and known.row is None:
                    del self._slots[key]
            self._absent = []

    def _remember(self, key: bytes) -> None:
        """Keep a row that the storage holds, for as long as there is room."""
        clean = self._clean
        clean[key] = None
        clean.move_to_end(key)
        while len(clean) > self._cache_rows:
            oldest, _ = clean.popitem(last=False)
            slot = self._slots.get(oldest)
            if slot is not None and not slot.dirty:  # else it is remembered again when it is written
                del self._slots[oldest]

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
