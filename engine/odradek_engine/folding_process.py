"""A process that folds what it is given, and does nothing else; `feeding.py` begins it.

It reads pickled values one after another from its standard input: `Terms`, then for each partition a `Task`, batches of
records, and an empty batch. It answers on its standard output: with the offset that the state has, with what each batch
gave (`Folded`), and after the empty one with `Refolded`. An exception is its last answer. It ends when there is nothing
more to read: so also when the process that began it was killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO

from .fold import State
from .folding import Folded, Folding, Refolded, Task, Terms, opened
from .store_memory import StoreMemory


def main() -> None:
    """Fold until there is nothing more to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who began it ends it
    given, told = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    with contextlib.suppress(OSError):  # whatever is printed here is no answer; there may be nowhere to print to
        os.dup2(2, 1)
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)  # hardly anything here is in cycles
    try:
        terms: Terms = pickle.load(given)
        memory = StoreMemory(terms.memory)
        while True:
            _say(told, _fold(pickle.load(given), terms, memory, given, told))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        _say(told, error)


def _fold(task: Task, terms: Terms, memory: StoreMemory, given: BinaryIO, told: BinaryIO) -> Refolded:
    with opened(task, memory) as storage:
        state = State(storage, task.partition)
        begun_at = state.partition.position
        _say(told, begun_at)
        folding = Folding(state, terms)
        try:
            for batch in _batches(given):
                for record in batch:
                    folding.add(*record)
                _say(told, folding.news())
        finally:
            folding.flush()
        rows = storage.count() if terms.count_rows else 0
    return Refolded(task.partition, *folding.made, rows, begun_at, folding.asked())


def _batches(given: BinaryIO) -> Iterator[list[tuple[int, int, bytes, bytes]]]:
    while batch := pickle.load(given):
        yield batch


def _say(told: BinaryIO, answer: int | Folded | Refolded | Exception) -> None:
    pickle.dump(answer, told, pickle.HIGHEST_PROTOCOL)
    told.flush()


