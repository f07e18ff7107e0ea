"""The pure core: a deterministic, total fold over one partition of the log.

No clock, no randomness, no I/O: time is the record's own timestamp, and everything done to the world is
an effect, a value stamped with the position of the record that caused it.
"""

from . import events, keys, rows
from .core import Folded, fold
from .engine_records import VERSION, UnsupportedVersionError
from .evolve import evolve
from .rows import Effect
from .state import MemoryStorage, State, Storage, load
from .storage_error import StorageError

__all__ = [
    "VERSION",
    "Effect",
    "Folded",
    "MemoryStorage",
    "State",
    "Storage",
    "StorageError",
    "UnsupportedVersionError",
    "events",
    "evolve",
    "fold",
    "keys",
    "load",
    "rows",
]
