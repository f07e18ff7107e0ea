"""Where a Kafka log is, and what librdkafka is told about it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_ENVIRONMENT = "ODRADEK_KAFKA_"
_DEFAULT_PORT = 9092

COMMON: dict[str, Any] = {
    "socket.nagle.disable": True,
    "socket.keepalive.enable": True,
    # A broker that is cut off, or stands still, closes nothing: after so long what was asked of it is asked again,
    # of the leader of then. librdkafka has a minute; with 10 s, busy brokers did nothing but serve new connections.
    "socket.timeout.ms": 20_000,
    "socket.connection.setup.timeout.ms": 10_000,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 2000,
    # How soon a topic that was just made, or a new leader, is seen.
    "topic.metadata.refresh.interval.ms": 10_000,
    "topic.metadata.refresh.fast.interval.ms": 50,
    "topic.metadata.propagation.max.ms": 10_000,
}

PRODUCER: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    # No append times out alone (rule E2): later ones would go on without it.
    "message.timeout.ms": 0,
    "linger.ms": 0,
    # A broker that is busy answers late, and what comes meanwhile goes together. With five, librdkafka's thread turns
    # without a pause while all are out, up to two hundred times for a workflow of three steps.
    "max.in.flight": 2,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 65_536,
}

CONSUMER: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
    "check.crcs": True,
    "fetch.min.bytes": 1,
    # A fetch that is under way knows nothing of partitions that come later: they wait for its end.
    "fetch.wait.max.ms": 100,
    "fetch.error.backoff.ms": 50,
    # Nothing is fetched while two records wait here: who is busy fetches seldom, and much at once, for a fetch costs a
    # broker as much as an append. One record alone delays no fetch: the steps of one workflow go on at full speed.
    # More, with a longer pause, leaves out fewer partitions in a fetch that goes out meanwhile, and costs an eighth of
    # the rate of (a) of the bench.
    "queued.min.messages": 2,
    "fetch.queue.backoff.ms": 4,
    "queued.max.messages.kbytes": 32_768,
    "fetch.max.bytes": 16_777_216,
}


def parse_address(url: str) -> tuple[str, dict[str, str]]:
    """The bootstrap servers and the settings in `kafka://host:port[,host:port][?name=value&...]`.

    A host without port gets 9092. Raises ValueError.
    """
    parts = urlsplit(url)
    hosts = [host.strip() for host in parts.netloc.split(",")]
    if parts.scheme != "kafka" or not all(hosts) or parts.path not in ("", "/"):
        shown = url.partition("?")[0]  # what follows may be a password
        raise ValueError(f"{shown!r} is no address of Kafka: write kafka://host:port or kafka://host:port,host:port")
    servers = [host if _has_port(host) else f"{host}:{_DEFAULT_PORT}" for host in hosts]
    return ",".join(servers), dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Settings in variables: ODRADEK_KAFKA_SECURITY_PROTOCOL is `security.protocol`."""
    return {
        name.removeprefix(_ENVIRONMENT).lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(_ENVIRONMENT)
    }


def replication(brokers: int, replication_factor: int | None, min_insync_replicas: int | None) -> tuple[int, int]:
    """(replication factor, min.insync.replicas) of topics in a cluster of so many brokers, unless they are given.

    A record is then on two brokers before it is acknowledged, and one of three may be away.
    """
    replicas = replication_factor or min(brokers, 3)
    return replicas, min_insync_replicas or (2 if replicas >= 3 else 1)
