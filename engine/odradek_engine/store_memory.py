"""One budget of memory for all the stores of an engine, however many partitions it has.

What was written and is not on disk yet (memtables), and what was read (blocks of files, their indexes), share one cache
of RocksDB. RocksDB's own limit for memtables puts the store on disk that is written to, however little it holds, and
holds back nobody while that goes on; so the bound is kept here: before a write, the stores that hold most go to disk.
"""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from rocksdict import BlockBasedOptions, Cache, Options, WriteBufferManager

MIB = 1024 * 1024
DEFAULT_STORE_MEMORY = 256 * MIB
LEAST_STORE_MEMORY = 32 * MIB
WRITE_BUFFER_BYTES = 16 * MIB
"""Of one store, at most."""
ARENA_BLOCK_BYTES = 64 * 1024
"""Memtables grow by so much: with RocksDB's megabyte, many stores that hold little would use up the budget."""

BLOOM_BITS = 10
"""Of a file's Bloom filter, for each key: more than half of the keys that the fold looks for are not there."""


class Buffered(Protocol):
    """A store, as the budget sees it."""

    def buffered(self) -> int:
        """How many bytes of it are not on disk."""
        ...

    def persist(self) -> None:
        """Put them there. Raises StoreError."""
        ...


class StoreMemory:
    """Of all the stores that are opened with it: `budget` bytes, half of them for what was written. Safe from any
    thread. One write of more than what is left is taken all the same: it cannot be parted.

    Raises ValueError for less than LEAST_STORE_MEMORY.
    """

    def __init__(self, budget: int = DEFAULT_STORE_MEMORY) -> None:
        if budget < LEAST_STORE_MEMORY:
            raise ValueError(
                f"{budget:,} bytes of memory are too few for the stores of an engine: give it {LEAST_STORE_MEMORY:,} "
                "or more"
            )
        self.budget = budget
        self._cache = Cache(budget)
        self._written = WriteBufferManager.new_write_buffer_manager_with_cache(budget, False, self._cache)
        self._stores: weakref.WeakSet[Buffered] = weakref.WeakSet()
        self._lock = threading.RLock()

    def limit(self, options: Options) -> None:
        """Let a store that is opened with these options use this memory, and no other."""
        blocks = BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_cache_index_and_filter_blocks(True)
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
        blocks.set_bloom_filter(BLOOM_BITS, False)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self._written)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_arena_block_size(ARENA_BLOCK_BYTES)

    def add(self, store: Buffered) -> None:
        with self._lock:
            self._stores.add(store)

    def remove(self, store: Buffered) -> None:
        """Before it is closed: nobody else touches it from here on."""
        with self._lock:
            self._stores.discard(store)

    @property
    def written(self) -> int:
        """How many bytes were written and are not on disk."""
        return self._written.get_usage()

    @property
    def used(self) -> int:
        """All bytes of the budget that are taken, `written` among them."""
        return self._cache.get_usage()

    def make_room(self, size: int) -> None:
        """For a write of `size` bytes. Raises the StoreError of a store that cannot be put on disk."""
        while self.written + size > self.budget // 2:
            with self._lock:
                held = {store: store.buffered() for store in self._stores}
                largest = max(held, key=held.__getitem__, default=None)
                if largest is None or held[largest] < ARENA_BLOCK_BYTES:
                    return
                largest.persist()
