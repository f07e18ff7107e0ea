"""The topics of an embedded log, in one small file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..protocol import LogCorruptError, TopicSpec
from .files import Files


@dataclass(frozen=True, slots=True)
class Topic:
    """`id` stands for the name in the journals; from 1 on."""

    id: int
    name: str
    partitions: int
    retention_ms: int | None
    durable: bool


class Catalogue:
    """Not safe from several threads at once: the log holds its lock around `add`."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self.topics: dict[str, Topic] = {}
        if path.exists():
            self._load()

    def _load(self) -> None:
        try:
            for row in json.loads(self._path.read_bytes())["topics"]:
                topic = Topic(**row)
                self.topics[topic.name] = topic
        except (ValueError, KeyError, TypeError) as e:
            raise LogCorruptError(f"{self._path} is damaged ({e}): restore it from a copy") from e

    def add(self, specs: list[TopicSpec]) -> list[Topic]:
        """Store the topics that are not there yet, durably; return those. Raises OSError, and then adds none."""
        added: dict[str, Topic] = {}
        for spec in specs:
            if spec.partitions < 1:
                raise ValueError(f"topic {spec.name!r}: partitions must be at least 1, not {spec.partitions}")
            if spec.name not in self.topics and spec.name not in added:
                number = len(self.topics) + len(added) + 1
                added[spec.name] = Topic(number, spec.name, spec.partitions, spec.retention_ms, spec.durable)
        if added:
            rows = [asdict(topic) for topic in (*self.topics.values(), *added.values())]
            self._files.replace(self._path, json.dumps({"version": 1, "topics": rows}, indent=1).encode(), sync=True)
            self.topics.update(added)
        return list(added.values())
