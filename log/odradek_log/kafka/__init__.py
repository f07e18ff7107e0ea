"""The log on Apache Kafka."""

from __future__ import annotations

from .log import KafkaLog

__all__ = ["KafkaLog"]
