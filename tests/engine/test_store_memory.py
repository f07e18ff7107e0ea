"""The stores of all partitions stay within one budget of memory, in bytes as RocksDB counts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from odradek_engine import Engine
from odradek_engine.store import RocksStorage, StoreError
from odradek_engine.store_memory import LEAST_STORE_MEMORY, MIB, StoreMemory


@pytest.fixture
def memory() -> StoreMemory:
    return StoreMemory(LEAST_STORE_MEMORY)


@pytest.fixture
def stores(memory: StoreMemory, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[RocksStorage]]:
    opened = [RocksStorage(tmp_path / str(number), memory=memory) for number in range(getattr(request, "param", 8))]
    yield opened
    for store in opened:
        store.close()


def write(store: RocksStorage, entries: int, size: int) -> None:
    store.write([(os.urandom(16), os.urandom(size)) for _ in range(entries)])


def in_memory(stores: list[RocksStorage]) -> int:
    return sum(store.buffered() for store in stores)


@pytest.mark.parametrize("stores", [64], indirect=True)
def test_many_partitions_written_to_in_turn_stay_within_the_budget(
    memory: StoreMemory, stores: list[RocksStorage]
) -> None:
    """Breaks when each store has a buffer of its own: 64 of 16 MiB are a gigabyte."""
    peak = 0
    for _ in range(5):
        for store in stores:
            write(store, 10, 8_000)
            assert memory.written <= memory.budget // 2
        peak = max(peak, in_memory(stores))
    assert memory.budget // 4 < peak <= memory.budget // 2, "what there is, is used"


def test_one_busy_partition_does_not_put_the_others_on_disk_again_and_again(
    memory: StoreMemory, stores: list[RocksStorage]
) -> None:
    """Breaks when the store that is written to goes to disk, rather than the one that holds most."""
    idle, busy = stores[0], stores[1]
    write(idle, 40, 100_000)
    for _ in range(3):
        write(busy, 10, 100_000)
    before = idle.buffered(), busy.buffered()
    memory.make_room(memory.budget // 2 - memory.written + 1)
    assert (idle.buffered() < before[0], busy.buffered()) == (True, before[1])


def test_what_is_read_is_within_the_budget_too(memory: StoreMemory, stores: list[RocksStorage]) -> None:
    """Breaks when stores have caches of their own, or indexes are kept beside them."""
    for store in stores:
        write(store, 60, 100_000)
        store.persist()
    for store in stores:
        assert sum(len(value) for _, value in store.scan(b"", b"\xff" * 17)) == 6_000_000
    assert memory.budget // 2 < memory.used <= memory.budget
    for store in stores:
        write(store, 1, 200_000)
    assert memory.used <= memory.budget, "blocks make room for what is written"


def test_a_store_that_cannot_go_to_disk_says_so_where_another_is_written(
    memory: StoreMemory, stores: list[RocksStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when the bound is given up silently."""

    def full() -> None:
        raise StoreError("no room")

    write(stores[0], 10, 100_000)
    monkeypatch.setattr(stores[0], "persist", full)
    with pytest.raises(StoreError, match="no room"):
        memory.make_room(memory.budget)
    monkeypatch.undo()


def test_a_write_larger_than_the_budget_is_one_write(memory: StoreMemory, stores: list[RocksStorage]) -> None:
    """Breaks when it waits for room that there will never be, or is parted."""
    write(stores[0], 20, MIB)
    assert stores[0].count() == 20
    write(stores[1], 1, 10)
    assert memory.written < MIB


def test_too_small_a_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give it 33,554,432 or more"):
        Engine("memory:", data_dir=tmp_path, store_memory=MIB)
