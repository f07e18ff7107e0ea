"""Odradek's engine: the fold, and the stream processors around it.

    from odradek_engine import Engine
    async with Engine("kafka://localhost:9092", namespace="default", data_dir="./state"): ...
"""

from .checkpointing import CheckpointSettings
from .checkpoints import CheckpointError, CheckpointStore
from .engine import Engine, ensure_topics
from .processor import Processor, StaleStateError
from .settings import Counters, Settings
from .store import StoreError

__all__ = [
    "CheckpointError",
    "CheckpointSettings",
    "CheckpointStore",
    "Counters",
    "Engine",
    "Processor",
    "Settings",
    "StaleStateError",
    "StoreError",
    "ensure_topics",
]
