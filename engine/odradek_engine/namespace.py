"""The topics of a namespace in the log."""

from __future__ import annotations

from odradek_log import Log, TopicSpec
from odradek_schemas import Topics

DEFAULT_PARTITIONS = 16
HOUR_MS = 3_600_000
TASK_RETENTION_MS = 7 * 24 * HOUR_MS


def topic_specs(topics: Topics, partitions: int) -> list[TopicSpec]:
    """The topics of a namespace, but for those of task queues."""
    return [
        TopicSpec(topics.events, partitions),
        TopicSpec(topics.history, partitions),
        TopicSpec(topics.dead_letters, partitions),
        TopicSpec(topics.ephemeral, partitions, HOUR_MS, durable=False),
        TopicSpec(topics.replies, partitions, HOUR_MS, durable=False),
    ]


def ensure_topics(log: Log, topics: Topics, partitions: int = DEFAULT_PARTITIONS) -> int:
    """Make what is missing of a namespace's topics; return how many partitions it has."""
    found = log.partitions(topics.events)
    log.create_topics(topic_specs(topics, found or partitions))
    return found or log.partitions(topics.events) or partitions  # a broker may not know yet of one that was just made
