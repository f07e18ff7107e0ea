"""What the read model is called in Kafka."""

from __future__ import annotations

from odradek_schemas import Topics

TABLE = "counts"


def application_id(topics: Topics) -> str:
    """Faust's name for the application: its consumer group, and the beginning of its topics' names."""
    return f"{topics.prefix}stats"


def changelog_topic(topics: Topics) -> str:
    """The compacted topic that holds the table: the newest row for each partition of `history`."""
    return f"{application_id(topics)}-{TABLE}-changelog"


def row_key(partition: int) -> bytes:
    """The key of the row with the counts of one partition of `history`."""
    return str(partition).encode()
