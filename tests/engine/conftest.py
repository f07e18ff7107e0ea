"""Fixtures of the engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from odradek_schemas import partition_of

from .harness import Partition


@pytest.fixture
def make_partition() -> Iterator[Callable[..., Partition]]:
    """Makes partitions; at the end of the test each is folded again in other ways and compared."""
    made: list[Partition] = []

    def make(number: int = 0, partitions: int = 1) -> Partition:
        made.append(Partition(number, partitions))
        return made[-1]

    yield make
    for partition in made:
        partition.finish()


@pytest.fixture
def p(make_partition: Callable[..., Partition]) -> Partition:
    """A partition with a leader and the live worker session W1."""
    partition = make_partition()
    partition.lead()
    partition.alive("W1")
    return partition


@pytest.fixture
def two(make_partition: Callable[..., Partition]) -> Partition:
    """The home of "w" among two partitions, with a leader and a run of "w"."""
    partition = make_partition(partition_of(b"w", 3), 3)
    partition.lead()
    partition.start()
    return partition
