"""A read model over the `history` topic: how many workflows of each type started, completed and failed.

    run_stats("kafka://localhost:9092")             keeps the table up to date, until it is stopped
    read_stats("kafka://localhost:9092")            what the table says now

It is a Faust application with a table in RocksDB, and stays off the path on which workflows advance: stop
it, delete its folder, and nothing but the counts waits. The embedded log needs no table: there `read_stats`
counts the topic itself.
"""

from .counts import StatsError, TypeCounts
from .reading import Stats, count_topic, read_stats
from .running import run_stats

__all__ = ["Stats", "StatsError", "TypeCounts", "count_topic", "read_stats", "run_stats"]
