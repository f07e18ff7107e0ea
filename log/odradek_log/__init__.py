"""The partitioned log under Odradek: one protocol, and the logs that speak it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .folder_lock import FolderHeldError, FolderLock
from .protocol import (
    Committed,
    Consumer,
    Log,
    LogCorruptError,
    LogError,
    LogLockedError,
    LogUnavailableError,
    OnDelivery,
    Producer,
    ProducerFailedError,
    Record,
    RecordTooLargeError,
    TopicPartition,
    TopicSpec,
)

__all__ = [
    "Committed",
    "Consumer",
    "FolderHeldError",
    "FolderLock",
    "Log",
    "LogCorruptError",
    "LogError",
    "LogLockedError",
    "LogUnavailableError",
    "OnDelivery",
    "Producer",
    "ProducerFailedError",
    "Record",
    "RecordTooLargeError",
    "TopicPartition",
    "TopicSpec",
    "open_log",
]


def open_log(target: str, **settings: Any) -> Log:
    """Open the log at `target`: `kafka://host:port[,host:port]`, `file:./folder` or `file:///absolute/folder`.

    `settings` go to KafkaLog or EmbeddedLog. Raises ValueError for other forms, LogError as those two do.
    """
    scheme, colon, rest = target.partition(":")
    if colon and scheme == "kafka" and rest.startswith("//"):
        from .kafka import KafkaLog  # only here: confluent-kafka is slow to import, and not needed without

        return KafkaLog(target, **settings)
    if colon and scheme == "file" and rest:
        from .embedded import EmbeddedLog

        return EmbeddedLog(_folder(target, rest), **settings)
    raise ValueError(
        f"no log has the address {target!r}: write kafka://host:port (or kafka://host:port,host:port), "
        "file:./folder or file:///absolute/folder"
    )


def _folder(target: str, rest: str) -> Path:
    if not rest.startswith("//"):
        return Path(rest)
    parts = urlsplit(target)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"{target!r} names the host {parts.netloc!r}: write file:./folder for a folder here, "
            "or file:///absolute/folder"
        )
    return Path(unquote(parts.path))
